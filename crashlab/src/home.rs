//! The directory in shared memory where everything happens. It goes at the end, however that comes.
//!
//! The work is done by a child. This process waits for it and then removes the directory, also after a panic, a signal
//! or an interrupt from the keyboard, which it leaves to the child.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::process;

const PREFIX: &str = "crashlab-";

/// Runs `work` in a child, with a directory of its own; its exit code.
pub(crate) fn within(work: impl FnOnce(&Path) -> std::io::Result<bool>) -> std::io::Result<ExitCode> {
    remove_leftovers();
    let parent = rustix::process::getpid();
    let directory = PathBuf::from(format!("/dev/shm/{PREFIX}{}", parent.as_raw_nonzero()));
    std::fs::create_dir(&directory)?;
    // SAFETY: this process has one thread.
    let child = match unsafe { libc::fork() } {
        0 => {
            process::leave_with(parent);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&directory)));
            process::exit(match result {
                Ok(Ok(true)) => 0,
                Ok(Ok(false)) => 1,
                Ok(Err(error)) => {
                    eprintln!("crashlab: {error}");
                    2
                }
                Err(_) => 2,
            })
        }
        child => child,
    };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: ignores a signal, which reaches the child as well (from a keyboard) or is passed on below.
        unsafe { libc::signal(signal, pass_on as *const () as usize) };
    }
    CHILD.store(child, std::sync::atomic::Ordering::Relaxed);
    let mut status = 0;
    // SAFETY: our own child; writes to `status`.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        // Interrupted by a signal that was passed on.
    }
    // What the child left alive dies with it, a moment later.
    for _ in 0..50 {
        match std::fs::remove_dir_all(&directory) {
            Ok(()) => break,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    Ok(if libc::WIFEXITED(status) {
        ExitCode::from(libc::WEXITSTATUS(status) as u8)
    } else {
        ExitCode::from(128_u8.wrapping_add(libc::WTERMSIG(status) as u8))
    })
}

static CHILD: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn pass_on(signal: i32) {
    let child = CHILD.load(std::sync::atomic::Ordering::Relaxed);
    if child > 0 {
        // SAFETY: may be called in a signal handler; the child is not reaped before it is waited for.
        unsafe { libc::kill(child, signal) };
    }
}

/// Removes the directories of laboratories that were killed themselves.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<i32>().ok())
        else {
            continue;
        };
        let mine = entry.metadata().is_ok_and(|metadata| {
            std::os::unix::fs::MetadataExt::uid(&metadata) == rustix::process::geteuid().as_raw()
        });
        let alive = rustix::process::Pid::from_raw(pid)
            .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        if mine && !alive {
            // A directory, or what a library left that it is compared with.
            let _ = std::fs::remove_dir_all(entry.path());
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
