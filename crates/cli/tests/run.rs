//! `run` starts programs on the drop-ins, and what they share is seen and kept under the names that they know.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{Place, complaint};

const PROGRAM: &str = r#"
#include <prerror.h>
#include <pripcsem.h>
#include <prshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **arguments) {
    PRSharedMemory *shm = PR_OpenSharedMemory("table", 10000, PR_SHM_CREATE, 0600);
    PRSem *sem = PR_OpenSemaphore("lock", PR_SEM_CREATE, 0600, 3);
    if (!shm || !sem) return 1;
    char *text = PR_AttachSharedMemory(shm, 0);
    printf("%s|%s\n", text, getenv("LD_PRELOAD"));
    fflush(stdout);
    if (count > 1) strcpy(text, arguments[1]);
    if (count > 2) pause();
    return 42;
}
"#;

/// Makes sure that the drop-in is beside the command, as a build of the workspace puts it there.
fn built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let command = Path::new(env!("CARGO_BIN_EXE_commons"));
        let profile = command.parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "commons-nspr", "-p", "commons-sysv", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    });
}

/// A program of NSPR's in a directory of its own, in which it runs; `None`, said so, without NSPR.
fn program(test: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    if !Path::new("/usr/include/nspr/prshm.h").exists() {
        eprintln!("SKIPPED: {test}: needs libnspr4-dev");
        return None;
    }
    built();
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("program.c"), directory.path().join("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("cc")
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .args(["-I/usr/include/nspr", "-lnspr4"])
        .status()
        .unwrap();
    assert!(compiled.success());
    Some((directory, program))
}

#[test]
fn what_a_program_shares_is_seen_under_its_names() {
    let Some((directory, program)) = program("what_a_program_shares_is_seen_under_its_names") else { return };
    let place = Place::new();
    let run = |argument: &str| {
        let mut command = place.command(&["run", "--nspr", "--"]);
        command.arg(&program).arg(argument).current_dir(directory.path()).env("LD_PRELOAD", "");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(42), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("first").starts_with("|/"));
    assert!(run("second").starts_with("first|"));

    // By the path from the root, and by the one that the program has.
    let path = directory.path().canonicalize().unwrap().join("table");
    let name = format!("nspr:{}", path.display());
    let list: serde_json::Value = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let lock = format!("nspr-sem:{}", directory.path().canonicalize().unwrap().join("lock").display());
    assert_eq!(names, [lock.as_str(), name.as_str()]);
    assert!(list.as_array().unwrap().iter().all(|it| it["kind"] == "nspr"));
    assert_eq!(list[1]["size"], 10000);
    assert_eq!(place.get(&["read", &name, "--length", "6"]), "second");
    assert!(place.get(&["info", &name]).contains(&name));

    // Saved, changed, and loaded again.
    let file = directory.path().join("saved");
    place.get(&["save", &name, file.to_str().unwrap()]);
    run("third");
    place.get(&["load", file.to_str().unwrap(), &name]);
    let relative =
        place.command(&["read", "nspr:table", "--length", "6"]).current_dir(directory.path()).output();
    assert_eq!(relative.unwrap().stdout, b"second");

    place.fail(1, &["info", "nspr:/absent"]);
    place.fail(2, &["rm", &name, "other"]);
    place.get(&["rm", &name, &lock]);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn what_was_preloaded_stays_so_and_signals_are_passed_on() {
    let test = "what_was_preloaded_stays_so_and_signals_are_passed_on";
    let Some((directory, program)) = program(test) else { return };
    let place = Place::new();
    let mut command = place.command(&["run", "--nspr", "--"]);
    command.arg(&program).args(["x", "wait"]).current_dir(directory.path()).stdout(Stdio::piped());
    let mut child = command.env("LD_PRELOAD", "libc.so.6").spawn().unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.trim_end().ends_with("libcommons_nspr.so:libc.so.6"), "{line}");
    // Held while it runs.
    let list: serde_json::Value = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    assert!(list.as_array().unwrap().iter().all(|it| it["holders"] == 1), "{list}");
    // SAFETY: our own child, not waited for yet.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM));
}

#[test]
fn what_ends_in_the_middle_is_swept() {
    built();
    let place = Place::new();
    place.make_orphan("orphan", 100);
    std::os::unix::fs::symlink("/x", place.path("fe.0-98c0d0-6b064080.30c7ad94.path")).unwrap();
    place.get(&["run", "--nspr", "--", "true"]);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn programs_that_would_not_be_caught_are_refused() {
    built();
    let place = Place::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("program");
    let program = file.to_str().unwrap();

    std::fs::copy("/bin/true", &file).unwrap();
    place.get(&["run", "--nspr", "--", program]);
    // SAFETY: asks for an id.
    if unsafe { libc::geteuid() } == 0 {
        std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4755)).unwrap();
        assert!(place.fail(1, &["run", "--nspr", "--", program]).contains("set-uid"));
        std::fs::remove_file(&file).unwrap();
    } else {
        eprintln!("SKIPPED: programs_that_would_not_be_caught_are_refused, set-uid: needs root");
    }

    let source = directory.path().join("static.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let compiled = Command::new("cc").arg("-static").arg(&source).arg("-o").arg(&file).status();
    if compiled.is_ok_and(|status| status.success()) {
        assert!(place.fail(1, &["run", "--nspr", "--", program]).contains("statically linked"));
        // A script is what its interpreter is.
        let script = directory.path().join("script");
        std::fs::write(&script, format!("#!{program}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let script = script.to_str().unwrap();
        assert!(place.fail(1, &["run", "--nspr", "--", script]).contains("statically linked"));
    } else {
        eprintln!(
            "SKIPPED: programs_that_would_not_be_caught_are_refused, static: needs cc and a static libc"
        );
    }
    place.fail(1, &["run", "--nspr", "--", "/absent"]);
    place.fail(2, &["run", "--nspr"]);
}

#[test]
fn a_library_that_is_missing_is_named_and_where_it_was_looked_for() {
    // The command alone, without anything beside it.
    let directory = tempfile::tempdir().unwrap();
    let alone = directory.path().join("commons");
    std::fs::copy(env!("CARGO_BIN_EXE_commons"), &alone).unwrap();
    if ["/usr/local/lib", "/usr/lib"].iter().any(|lib| Path::new(lib).join("libcommons_nspr.so").exists()) {
        eprintln!("SKIPPED: a_library_that_is_missing_is_named: Commons is installed on this machine");
        return;
    }
    let output = Command::new(&alone).args(["run", "--nspr", "--", "true"]).output().unwrap();
    let said = complaint(1, &output);
    assert!(
        said.contains("libcommons_nspr.so") && said.contains(directory.path().to_str().unwrap()),
        "{said}"
    );
}
