//! What `shmId` of libgpl's drop-in gives is an identifier that `shmat` and `shmctl` take.

mod common;

use std::process::Command;

#[test]
fn an_identifier_of_libgpls_is_one_of_system_vs() {
    let sysv = common::library();
    let libraries = sysv.parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "commons-gpl"]);
    if libraries.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());

    let place = common::Place::new();
    let program = place.0.path().join("program");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(format!("{root}/sysv/tests/c/foreign.c"))
        .arg(format!("-I{root}/gpl/include"))
        .arg(format!("-L{}", libraries.display()))
        .args(["-lcommons_gpl", &format!("-Wl,-rpath,{}", libraries.display())])
        .status()
        .unwrap();
    assert!(compiled.success());
    let (own, gpl) = (place.0.path().join("sysv"), place.0.path().join("gpl"));
    let output = Command::new(&program)
        .env("LD_PRELOAD", &sysv)
        .env("COMMONS_SYSV_NAMESPACE", own)
        .env("COMMONS_GPL_NAMESPACE", &gpl)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{output:?}");
    let left: Vec<_> = gpl.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("~database")), "{left:?}");
}
