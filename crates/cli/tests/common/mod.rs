//! Running the command in a namespace of the test's own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod holder;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A namespace that goes with the test.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The command with these arguments, plain and in this namespace.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commons"));
        command.arg("--namespace").arg(self.directory.path()).args(arguments);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("COMMONS_NAMESPACE");
        command
    }

    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What it prints, if it succeeds.
    #[track_caller]
    pub fn get(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says on standard error, after making sure that it ends with `code` and one line.
    #[track_caller]
    pub fn fail<A: AsRef<OsStr>>(&self, code: i32, arguments: &[A]) -> String {
        complaint(code, &self.run(arguments))
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Makes what a holder leaves that was killed.
    pub fn make_orphan(&self, name: &str, size: usize) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.path(name), vec![0; size]).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o1600)).unwrap();
    }

    pub fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The line on standard error of a command that ended with `code`.
#[track_caller]
pub fn complaint(code: i32, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(text.starts_with("commons: ") && text.ends_with('\n'), "{text:?}");
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(!text.contains('\x1b'), "{text:?}");
    text
}
