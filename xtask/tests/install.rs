//! What is installed works from where it was installed: the command finds the drop-ins, C programs find headers and
//! libraries through pkg-config.

use std::path::Path;
use std::process::{Command, Output};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// The names of the files in a directory that have this ending; none if it is not there.
fn files(directory: &Path, ending: &str) -> Vec<String> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

/// A program that prints what is in its NSPR segment, and writes into it.
const PROGRAM: &str = r#"
#include <prshm.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **arguments) {
    PRSharedMemory *shm = PR_OpenSharedMemory(arguments[1], 100, PR_SHM_CREATE, 0600);
    char *text = shm ? PR_AttachSharedMemory(shm, 0) : NULL;
    if (!text) return 1;
    printf("%s", text);
    strcpy(text, "kept");
    return count == 2 ? 42 : 1;
}
"#;

#[test]
fn what_is_installed_works_from_there() {
    let place = tempfile::tempdir().unwrap();
    let prefix = place.path().join("usr");
    run(Command::new(env!("CARGO_BIN_EXE_xtask")).args(["install", "--debug", "--prefix"]).arg(&prefix));
    let command = prefix.join("bin/commons");
    let version = run(Command::new(&command).arg("--version"));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("commons "));
    for file in [
        "lib/libcommons_nspr.so",
        "include/commons/prshm.h",
        "lib/pkgconfig/commons-nspr.pc",
        "share/man/man1/commons.1",
        "share/man/man1/commons-run.1",
        "share/bash-completion/completions/commons",
        "share/zsh/site-functions/_commons",
        "share/fish/vendor_completions.d/commons.fish",
    ] {
        let length = prefix.join(file).metadata().unwrap_or_else(|error| panic!("{file}: {error}")).len();
        assert!(length > 0, "{file}");
    }
    c_programs(place.path(), &prefix);
    the_command(place.path(), &command);
}

/// Every library can be linked by what its `.pc` file says, shared and, where there is an archive, static.
fn c_programs(place: &Path, prefix: &Path) {
    if Command::new("pkg-config").arg("--version").output().is_err() {
        eprintln!("SKIPPED: what_is_installed_works_from_there, with C programs: needs pkg-config");
        return;
    }
    let headers = files(&prefix.join("include/commons"), ".h");
    let includes: String = headers.iter().map(|header| format!("#include <commons/{header}>\n")).collect();
    let source = place.join("empty.c");
    std::fs::write(&source, format!("{includes}int main(void) {{ return 0; }}\n")).unwrap();
    let descriptions = files(&prefix.join("lib/pkgconfig"), ".pc");
    assert!(!descriptions.is_empty());
    for description in descriptions {
        let package = description.strip_suffix(".pc").unwrap();
        let told = run(Command::new("pkg-config")
            .args(["--cflags", "--libs", package])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
        let told = String::from_utf8(told.stdout).unwrap();
        let program = place.join("empty");
        let mut compile = Command::new("cc");
        compile.arg("-Werror").arg(&source).arg("-o").arg(&program).arg("-Wl,--no-as-needed");
        run(compile.args(told.split_whitespace()));
        run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
    }
}

/// `commons run` finds the drop-in in `lib` beside its own directory.
fn the_command(place: &Path, command: &Path) {
    if !Path::new("/usr/include/nspr/prshm.h").exists() {
        eprintln!("SKIPPED: what_is_installed_works_from_there, with NSPR: needs libnspr4-dev");
        return;
    }
    let (source, program) = (place.join("program.c"), place.join("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    run(Command::new("cc").arg(&source).arg("-o").arg(&program).args(["-I/usr/include/nspr", "-lnspr4"]));
    let (namespace, name) = (place.join("namespace"), place.join("name"));
    for expected in ["", "kept"] {
        let output = Command::new(command)
            .args(["run", "--nspr", "--namespace"])
            .arg(&namespace)
            .arg("--")
            .arg(&program)
            .arg(&name)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(42), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
    let list = run(Command::new(command).args(["ls", "--json", "--namespace"]).arg(&namespace));
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains(&format!("\"nspr:{}\"", name.display())), "{list}");
}
