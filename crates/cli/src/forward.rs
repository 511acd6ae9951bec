//! Passing signals on to the program that `hold` runs.
//!
//! The command stays while the program runs, and lets the program decide what a signal means. A signal that
//! somebody sends to the command alone is passed on. One that the terminal sends (Ctrl-C) has reached the
//! program already, for the two are in one process group, and is not passed on a second time. Signals that the
//! command was started to ignore stay ignored.
//!
//! The handler touches two atomics and makes one system call, `kill`.

use std::ffi::c_int;
use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

/// The program's process id; 0 while there is none.
static PROGRAM: AtomicI32 = AtomicI32::new(0);
/// A signal that came before there was a program; 0 if none did.
static EARLY: AtomicI32 = AtomicI32::new(0);

const SIGNALS: [c_int; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

extern "C" fn pass_on(signal: c_int, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with `SA_SIGINFO` the kernel passes a valid pointer.
    let by_somebody = unsafe { (*information).si_code } <= 0;
    match PROGRAM.load(SeqCst) {
        0 => EARLY.store(signal, SeqCst),
        program if by_somebody => {
            // SAFETY: `kill` takes any numbers, and is safe in a signal handler. `errno` is this thread's own, and
            // put back, for the interrupted code may be about to look at it.
            unsafe {
                let errno = libc::__errno_location();
                let before = *errno;
                libc::kill(program, signal);
                *errno = before;
            }
        }
        _ => {}
    }
}

/// From now on, signals are kept for the program.
pub(crate) fn begin() -> io::Result<()> {
    for signal in SIGNALS {
        // SAFETY: all zeros is a valid `sigaction`: the default action, no flags, an empty mask.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: `before` is valid for writing; no new action is given.
        if unsafe { libc::sigaction(signal, null_mut(), &mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if before.sa_sigaction == libc::SIG_IGN {
            continue;
        }
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) = pass_on;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the handler has the signature that `SA_SIGINFO` asks for, and does only what a handler may.
        if unsafe { libc::sigaction(signal, &action, null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The program runs: it gets what came before, and all that comes.
pub(crate) fn program_runs(program: i32) {
    PROGRAM.store(program, SeqCst);
    let early = EARLY.swap(0, SeqCst);
    if early != 0 {
        // SAFETY: as in the handler; the program has not been waited for, so that the id is its own.
        unsafe { libc::kill(program, early) };
    }
}

/// The program has ended; to be called before its id is given back by waiting for it.
pub(crate) fn program_ended() {
    PROGRAM.store(0, SeqCst);
}
