//! What the tests share: the library, built as its users build it, C programs against it, and a database of their own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

#[path = "../../../../crates/commons/tests/common/campaign.rs"]
pub mod campaign;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How a program has the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Shared,
    Static,
}

/// What a C program has to link beside the static library.
pub const BESIDE_STATIC: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// The directory with `libcommons_gpl.so` and `.a`, of the profile that this test was built with. `cargo test` does not
/// build them, since no test links them; so this does.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let executable = std::env::current_exe().unwrap();
        let profile = executable.parent().and_then(Path::parent).unwrap().to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "commons-gpl", "--lib", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the library builds");
        assert!(profile.join("libcommons_gpl.so").exists() && profile.join("libcommons_gpl.a").exists());
        profile
    })
}

/// Compiles one of `tests/c` into the directory.
pub fn compile(source: &str, into: &Path, linked: Linked) -> PathBuf {
    let library = library();
    let program = into.join(format!("{source}.{linked:?}"));
    let cxx = source.ends_with(".cc");
    let mut compiler = Command::new(if cxx { "c++" } else { "cc" });
    compiler.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    compiler.arg(if cxx { "-std=c++11" } else { "-std=gnu11" });
    compiler.args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/include")]);
    compiler.arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c")).join(source));
    compiler.arg("-o").arg(&program);
    match linked {
        Linked::Shared => {
            compiler.arg("-L").arg(library).args(["-lcommons_gpl", "-ldl"]);
            compiler.arg(format!("-Wl,-rpath,{}", library.display()));
        }
        Linked::Static => {
            compiler.arg(library.join("libcommons_gpl.a")).args(BESIDE_STATIC);
        }
    }
    assert!(compiler.status().unwrap().success(), "{source} compiles, {linked:?}");
    program
}

/// A directory for a database, and one for other files.
pub struct Place {
    pub database: tempfile::TempDir,
    pub files: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { database: tempfile::tempdir_in("/dev/shm").unwrap(), files: tempfile::tempdir().unwrap() }
    }

    /// How to run a program here; it ends after two minutes at the latest.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "120"]).arg(program).stdin(Stdio::null());
        command.env("COMMONS_GPL_NAMESPACE", self.database.path()).current_dir(self.files.path());
        command
    }

    /// What is in the database, but for its lock.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .database
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "~database")
            .collect();
        names.sort();
        names
    }

    /// That a sweep leaves nothing at all.
    pub fn must_be_swept_clean(&self) {
        commons::Namespace::at(self.database.path()).unwrap().sweep().unwrap();
        let left: Vec<_> =
            self.database.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
