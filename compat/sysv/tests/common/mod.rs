//! What tests of the library need: C programs, run with it and without it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The library, built as these tests are.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let release = !cfg!(debug_assertions);
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--lib"]);
        if release {
            build.arg("--release");
        }
        assert!(
            build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(),
            "it does not build"
        );
        // The test lies in `deps`, the library beside that.
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let library = profile.join("libcommons_sysv.so");
        assert!(library.exists(), "no {}", library.display());
        library
    })
}

/// A directory of its own in `/dev/shm`, for everybody, with programs and namespace; removed at the end.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::Builder::new().prefix("commons-sysv-").tempdir_in("/dev/shm").unwrap();
        let place = Place(directory);
        open_to_all(place.0.path());
        std::fs::create_dir(place.namespace()).unwrap();
        open_to_all(&place.namespace());
        place
    }

    pub fn namespace(&self) -> PathBuf {
        self.0.path().join("namespace")
    }

    /// What files are left in the namespace.
    pub fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.namespace()).unwrap();
        let mut files: Vec<_> =
            files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        files
    }

    /// Compiles a C program.
    pub fn program(&self, source: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
        let program = self.0.path().join(source.file_stem().unwrap());
        let compiled = Command::new("cc")
            .args(["-O1", "-g", "-Wall", "-Werror", "-pthread", "-o"])
            .arg(&program)
            .arg(source)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        program
    }

    /// A command that runs on Commons.
    pub fn on_commons(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", library()).env("COMMONS_SYSV_NAMESPACE", self.namespace());
        command
    }
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Has the command run in an ipc namespace of its own, where the kernel has no System V objects.
pub fn alone(command: &mut Command) -> &mut Command {
    // SAFETY: one call of the kernel's, in the child.
    unsafe {
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWIPC) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    }
}

/// Whether this process may make ipc namespaces.
pub fn can_be_alone() -> bool {
    alone(&mut Command::new("true")).status().is_ok_and(|status| status.success())
}

/// What a program printed, and how it ended.
pub fn told(output: &Output) -> String {
    format!("{}{}{}", text(&output.stdout), text(&output.stderr), output.status)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
