//! Programs in C, with and without the library.

#![allow(dead_code, unreachable_pub, reason = "each test has its own needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The library, built for this test.
pub fn library() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let directory = executable.parent().unwrap().parent().unwrap();
    let library = directory.join("libcommons_sysv.so");
    // A test of this package alone need not have built it, or not anew.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "commons-sysv"]);
    if directory.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// A program, compiled.
pub struct Program {
    pub directory: tempfile::TempDir,
    pub path: PathBuf,
    library: PathBuf,
}

/// Where a program's System V memory is: a directory that all users may use.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::Builder::new().prefix("commons-sysv-").tempdir_in("/dev/shm").unwrap();
        open_to_all(directory.path(), 0o1777);
        Place(directory)
    }

    /// The files in it, without the table.
    pub fn files(&self) -> Vec<String> {
        let files = self.0.path().read_dir().unwrap().map(|file| file.unwrap().file_name());
        let mut files: Vec<String> =
            files.map(|file| file.into_string().unwrap()).filter(|file| !file.starts_with("ids.")).collect();
        files.sort();
        files
    }
}

fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl Program {
    /// Compiles `tests/c/NAME.c`.
    pub fn new(name: &str) -> Program {
        let directory = tempfile::tempdir().unwrap();
        open_to_all(directory.path(), 0o755);
        let path = directory.path().join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
        compile(&["-O1", "-g", "-Wl,-rpath,$ORIGIN", "-lpthread", "-ldl"], &source, &path);
        // Where other users can read it.
        let library = directory.path().join("libcommons_sysv.so");
        std::fs::copy(self::library(), &library).unwrap();
        Program { directory, path, library }
    }

    /// A library beside it, as `dlopen` is to find it.
    pub fn with_library(self, name: &str) -> Program {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{name}.c"));
        let file = format!("{}.{name}.so", self.path.display());
        compile(&["-shared", "-fPIC"], &source, Path::new(&file));
        self
    }

    /// To be run on the kernel, in an IPC namespace of its own.
    pub fn on_the_kernel(&self) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "unshare", "-i"]).arg(&self.path);
        command
    }

    /// To be run on the library.
    pub fn on_commons(&self, place: &Path) -> Command {
        let mut command = self.other_on_commons(place, "env");
        command.arg(&self.path);
        command
    }

    /// The same for another program.
    pub fn other_on_commons(&self, place: &Path, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "60", "env"]);
        command.arg(format!("LD_PRELOAD={}", self.library.display()));
        command.arg(format!("COMMONS_SYSV_NAMESPACE={}", place.display())).arg(program);
        command
    }
}

fn compile(options: &[&str], source: &Path, to: &Path) {
    let mut command = Command::new("cc");
    command.arg("-w").arg(source).args(options).arg("-o").arg(to);
    assert!(command.status().unwrap().success(), "cannot compile {}", source.display());
}

/// What it printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether the kernel can be compared with: as root, with IPC namespaces.
pub fn can_compare(test: &str) -> bool {
    // SAFETY: has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let able =
        root && Command::new("unshare").args(["-i", "true"]).status().is_ok_and(|status| status.success());
    if !able {
        eprintln!(
            "SKIPPED: {test}: needs root, and System V memory in the kernel, in an IPC namespace of its own"
        );
    }
    able
}
