//! What tests of several processes need: children that are forked, told apart, killed and reaped, and
//! namespaces of their own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod between;
pub mod campaign;
pub mod without_nameless;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use commons::{Lifetime, Namespace, SegmentOptions};

/// A directory on `/dev/shm`, removed at the end, and the namespace in it.
///
/// There is one at a time in a process: a child that another test forks would hold this test's segments,
/// as it should.
pub struct Private {
    pub directory: tempfile::TempDir,
    pub namespace: Namespace,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Private {
    pub fn new() -> Private {
        Private::within("/dev/shm")
    }

    pub fn within(parent: impl AsRef<Path>) -> Private {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir_in(parent).unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        Private { directory, namespace, _alone: alone }
    }

    /// Options for this namespace, 4096 bytes.
    pub fn options(&self) -> SegmentOptions<'static> {
        SegmentOptions::new().size(4096).namespace(&self.namespace)
    }

    pub fn staying(&self) -> SegmentOptions<'static> {
        self.options().lifetime(Lifetime::UntilDeleted)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The names of all files there, whoever made them.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = self
            .directory
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        files
    }
}

/// A forked child; killed and reaped if it still runs when dropped.
#[must_use = "what becomes of the child says whether its part of the test passed"]
pub struct Child {
    pub pid: i32,
    /// The other end is the child's.
    line: UnixStream,
    reaped: bool,
}

/// What a child uses to talk to its parent, one byte at a time.
pub struct Line(UnixStream);

impl Line {
    pub fn say(&mut self) {
        self.0.write_all(b".").unwrap();
    }

    pub fn hear(&mut self) {
        self.0.read_exact(&mut [0]).unwrap();
    }
}

/// Runs `body` in a forked child, which then ends without running destructors of the parent's objects.
/// Exit status 0, or 101 if it panicked.
pub fn fork(body: impl FnOnce(&mut Line)) -> Child {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // SAFETY: the child runs `body` and ends by `_exit`; glibc lets a forked child allocate.
    match unsafe { libc::fork() } {
        0 => {
            drop(ours);
            // SAFETY: asks for signals: when the parent dies, and should the child hang.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(100);
            }
            let mut line = Line(theirs);
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| body(&mut line)));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork");
            Child { pid, line: ours, reaped: false }
        }
    }
}

impl Child {
    /// Waits until the child says something.
    pub fn hear(&mut self) {
        self.line.read_exact(&mut [0]).expect("the child ended before it said anything");
    }

    pub fn say(&mut self) {
        self.line.write_all(b".").unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not reaped, so that the pid is still its.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.reap();
    }

    fn reap(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        self.reaped = true;
        status
    }

    /// Its wait status; 0 if it ended well.
    pub fn status(mut self) -> i32 {
        self.reap()
    }

    pub fn succeed(self) {
        let status = self.status();
        assert_eq!(status, 0, "the child failed: wait status {status:#x}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            self.reap();
        }
    }
}

/// Whether the test may change users, mounts and limits; says so if it is skipped.
pub fn is_root(test: &str) -> bool {
    // SAFETY: asks for an id.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("SKIPPED: {test}: needs root");
    }
    root
}

pub fn c_string(path: &Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Runs `body` in a forked child that has mounts of its own, with a tmpfs of these options; the child's
/// death is the test's failure.
pub fn on_tmpfs(options: &str, body: impl FnOnce(&Path)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let child = fork(|_| {
        let options = std::ffi::CString::new(options).unwrap();
        let target = c_string(directory.path());
        // SAFETY: changes only this child's mounts; the strings outlive the calls.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
            let private = libc::MS_REC | libc::MS_PRIVATE;
            assert_eq!(
                libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()),
                0
            );
            let data = options.as_ptr().cast();
            assert_eq!(libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, data), 0);
        }
        body(directory.path());
    });
    child.succeed();
}
