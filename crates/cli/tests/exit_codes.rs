//! 0 is done, 1 failed, 2 wrong usage; what went wrong is one line on standard error.

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use common::{Place, complaint};

#[test]
fn what_was_done_is_0_and_silent() {
    let place = Place::new();
    for arguments in [
        &["create", "x", "4K", "--mode", "0640"][..],
        &["create", "x", "4096"],
        &["grow", "x", "8K"],
        &["sweep"],
        &["locks"],
        &["locks", "--all", "--json"],
        &["ls"],
        &["info", "x"],
        &["rm", "x"],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
    ] {
        place.get(arguments);
    }
    assert_eq!(place.get(&["create", "y", "1"]), "");
    assert_eq!(place.get(&["rm", "y"]), "");
}

#[test]
fn what_failed_is_1_and_one_line() {
    let place = Place::new();
    place.get(&["create", "x", "4096"]);
    std::fs::create_dir(place.path("directory")).unwrap();
    for (arguments, reason) in [
        (&["create", "x", "8192"][..], "4096 bytes"),
        (&["create", "x", "4096", "--exclusive"], "taken"),
        (&["create", "y", "0"], "at least one byte"),
        (&["create", "y", "15E"], "no segment can have that many bytes"),
        (&["create", "y", "4000000G"], "free some memory"),
        (&["create", "..", "1"], "bad name"),
        (&["create", "", "1"], "bad name"),
        (&["create", "directory", "1"], "directory"),
        (&["grow", "x", "1"], "never shrinks"),
        (&["grow", "y", "1"], "no such segment"),
        (&["info", "y"], "no such segment"),
        (&["read", "y"], "no such segment"),
        (&["write", "y"], "no such segment"),
        (&["dump", "y"], "no such segment"),
        (&["rm", "y"], "no such segment"),
        (&["rm", "y*"], "no segment matches"),
        (&["rm", "directory"], "directory"),
        (&["hold", "y", "--", "true"], "no such segment"),
        (&["hold", "x", "--", "/nowhere/program"], "no such program"),
        (&["read", "x", "--offset", "4097"], "beyond"),
        (&["read", "x", "--offset", "1", "--length", "4096"], "beyond"),
        (&["dump", "x", "--offset", "18446744073709551615", "--length", "18446744073709551615"], "beyond"),
        (&["--namespace", "/nowhere", "ls"], "/nowhere"),
        (&["--namespace", "/dev/null", "ls"], "directory"),
    ] {
        // A namespace of its own stands before the test's.
        let arguments: Vec<&str> = arguments.to_vec();
        let output = match arguments.first() {
            Some(&"--namespace") => {
                std::process::Command::new(env!("CARGO_BIN_EXE_commons")).args(&arguments).output().unwrap()
            }
            _ => place.run(&arguments),
        };
        let text = complaint(1, &output);
        assert!(text.contains(reason), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(place.names(), ["directory", "x"]);
}

#[test]
fn wrong_usage_is_2_and_one_line() {
    let place = Place::new();
    for (arguments, reason) in [
        (&["bogus"][..], "unrecognized"),
        (&["create"], "<NAME> <SIZE>"),
        (&["create", "x", "1Q"], "1Q"),
        (&["create", "x", "-1"], "-1"),
        (&["create", "x", "99999999999999999999"], "99999999999999999999"),
        (&["create", "x", "1", "--mode", "rw"], "octal"),
        (&["create", "x", "1", "--mode", "1777"], "0777"),
        (
            &["create", "x", "1M", "--lifetime", "until-last-detach"],
            "commons hold x --size 1048576 -- PROGRAM",
        ),
        (&["create", "x", "1", "--lifetime", "forever"], "until-deleted"),
        (&["hold", "x"], "PROGRAM"),
        (&["rm"], "<NAME>"),
        (&["completions", "cobol"], "cobol"),
        (&["ls", "--bogus\n\x1b[2J"], "bogus"),
    ] {
        let text = place.fail(2, arguments);
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
    assert!(place.names().is_empty());
    assert_eq!(place.run::<&str>(&[]).status.code(), Some(2), "help, but nothing was asked for");
}

#[test]
fn any_bytes_are_a_name_and_none_a_panic() {
    let place = Place::new();
    let odd = OsStr::from_bytes(b"\xff\xfe \n\x1b[31m*\x80");
    for command in [&["create"][..], &["grow"]] {
        let mut arguments: Vec<&OsStr> = command.iter().map(OsStr::new).collect();
        arguments.extend([odd, OsStr::new("4096")]);
        assert!(place.run(&arguments).status.success());
    }
    for command in ["info", "read", "dump", "write", "ls", "rm"] {
        assert!(place.run(&[OsStr::new(command), odd]).status.success(), "{command}");
    }
    assert!(place.names().is_empty());
    for command in ["info", "read", "dump", "write", "rm"] {
        place.fail(1, &[OsStr::new(command), odd]);
    }
    place.fail(2, &[odd]);
    place.fail(2, &[OsStr::new("create"), odd, odd]);
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    place.get(&["create", "x", "1M"]);
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["info", "x"],
        &["read", "x"],
        &["dump", "x"],
        &["locks"],
        &["sweep"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = place.command(arguments).stdout(full).output().unwrap();
        let text = complaint(1, &output);
        assert!(text.contains("standard output"), "{text}");
    }
}

#[test]
fn a_namespace_that_is_missing_is_named_with_who_named_it() {
    let place = Place::new();
    let absent = place.path("absent");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_commons"));
    let by_variable = command.arg("ls").env("COMMONS_NAMESPACE", &absent).output().unwrap();
    let said = common::complaint(1, &by_variable);
    assert!(said.contains("COMMONS_NAMESPACE") && said.contains("create it"), "{said}");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_commons"));
    let by_option = command.arg("--namespace").arg(&absent).arg("ls").output().unwrap();
    let said = common::complaint(1, &by_option);
    assert!(!said.contains("COMMONS_NAMESPACE") && said.contains("create it"), "{said}");
}
