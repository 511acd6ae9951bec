//! What the tests of this library need: the library itself, a C compiler, and NSPR to compare with.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The shared library, built as these tests are.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // …/target/PROFILE/deps/this-test
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "commons-nspr", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "cargo build -p commons-nspr");
        let library = profile.join("libcommons_nspr.so");
        assert!(library.exists(), "{}", library.display());
        library
    })
}

/// A C compiler's arguments for Debian's NSPR; `None`, said so, if it is not installed.
pub fn nspr(test: &str) -> Option<Vec<String>> {
    let headers = Path::new("/usr/include/nspr/prshm.h");
    if !headers.exists() {
        eprintln!("SKIPPED: {test}: needs libnspr4-dev");
        return None;
    }
    Some(vec!["-I/usr/include/nspr".into(), "-lnspr4".into()])
}

/// Compiles a program of `tests/c`, or says why not.
pub fn compile(test: &str, compiler: &str, source: &str, to: &Path, arguments: &[String]) -> Option<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    let mut command = Command::new(compiler);
    command.arg("-O1").arg("-Wall").arg("-Werror").arg("-Wno-unused-result").arg(source).arg("-o").arg(to);
    match command.args(arguments).stdin(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "{compiler} could not compile"),
        Err(error) => {
            eprintln!("SKIPPED: {test}: needs {compiler}: {error}");
            return None;
        }
    }
    Some(())
}

/// Runs a program and gives what it printed; a failure, or more than a minute, is the test's.
pub fn output(command: &mut Command) -> String {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(std::time::Duration::from_secs(60)).is_err() {
            // SAFETY: our own child, which is reaped only after this thread has ended.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let mut text = String::new();
    let mut child = child;
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

/// A namespace that others may use as well, removed at the end.
pub fn namespace() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    directory
}

/// The names of all files in a directory.
pub fn files(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
