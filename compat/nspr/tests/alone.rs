//! The library stands alone: a program that has its header and nothing of NSPR's; and one that has both.

mod common;

use std::path::Path;
use std::process::Command;

/// Compiles and runs the program with these arguments; nothing is left.
fn run(test: &str, compiler: &str, extra: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let parent = common::namespace();
    // The library makes it: that is what a program finds that is the first one.
    let namespace = parent.path().join("namespace");
    let program = place.path().join("alone");
    let library = common::library();
    let directory = library.parent().unwrap().display();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut arguments = vec![
        format!("-I{}", include.display()),
        format!("-L{directory}"),
        "-lcommons_nspr".into(),
        "-lpthread".into(),
        format!("-Wl,-rpath,{directory}"),
    ];
    arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
    if common::compile(test, compiler, "alone.c", &program, &arguments).is_none() {
        return;
    }
    let name = place.path().join("name");
    let text = common::output(Command::new(&program).arg(name).env("COMMONS_NSPR_NAMESPACE", &namespace));
    assert_eq!(text, "fine\n");
    assert_eq!(common::files(&namespace), Vec::<String>::new());
}

#[test]
fn the_header_stands_alone() {
    let test = "the_header_stands_alone";
    run(test, "cc", &["-std=c99", "-pedantic"]);
    run(test, "c++", &["-x", "c++", "-std=c++11"]);
}

#[test]
fn the_header_stands_beside_nsprs() {
    let test = "the_header_stands_beside_nsprs";
    if common::nspr(test).is_none() {
        return;
    }
    let nspr = ["-I/usr/include/nspr", "-lnspr4"];
    for order in ["-DNSPR_FIRST", "-DNSPR_LAST", "-DNSPR_NEITHER"] {
        run(test, "cc", &[order, nspr[0], nspr[1]]);
        run(test, "c++", &["-x", "c++", order, nspr[0], nspr[1]]);
    }
}
