//! Being interrupted: ctrl-c and `kill` end the measuring after the round, so that everything is cleaned up
//! on the way out. Whatever does not come to an end by itself is ended some seconds later.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Result, bail};

use crate::scratch::Leftovers;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
    // SAFETY: may be called in a signal handler.
    unsafe { libc::alarm(PATIENCE) };
}

/// Seconds from being interrupted until the measuring is ended by force.
const PATIENCE: libc::c_uint = 10;

/// The process waits for something that does not come, and so is not in the middle of anything else.
extern "C" fn give_up(_signal: libc::c_int) {
    drop(Leftovers);
    // SAFETY: ends the process; its children end with it.
    unsafe { libc::_exit(130) };
}

/// From now on, `SIGINT`, `SIGTERM` and `SIGHUP` are only noted.
pub(crate) fn watch() {
    // SAFETY: all-zero bytes are a valid value of this structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic and sets an alarm, which may be done in a signal handler.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
    action.sa_sigaction = give_up as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler ends the process; it comes only after another signal.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
}

/// An error if one of them came.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
