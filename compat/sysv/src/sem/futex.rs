//! Sleeping on a word in shared memory, so that a signal's handler ends it.

use std::sync::atomic::AtomicU32;

use crate::kernel;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slept {
    /// Woken, or the word had another value.
    Over,
    /// The time is over.
    TimedOut,
    /// A handler ran, whatever it was installed with.
    Interrupted,
}

/// Sleeps while the word has this value, so long at most (nanoseconds).
///
/// Always with a time: the kernel starts a futex wait without one again after a handler with `SA_RESTART`, but never one
/// that has a time.
pub(super) fn wait(word: &AtomicU32, value: u32, most: u64) -> Slept {
    let time = libc::timespec {
        tv_sec: (most / 1_000_000_000) as libc::time_t,
        tv_nsec: (most % 1_000_000_000) as libc::c_long,
    };
    let arguments =
        [word.as_ptr().addr(), libc::FUTEX_WAIT as usize, value as usize, (&raw const time).addr(), 0, 0];
    // SAFETY: the word and the time live as long as the call; the kernel reads no other memory.
    match unsafe { kernel::call(libc::SYS_futex, arguments) } {
        Err(libc::EINTR) => Slept::Interrupted,
        Err(libc::ETIMEDOUT) => Slept::TimedOut,
        _ => Slept::Over,
    }
}

/// Wakes who sleeps on the word: one thread at most does.
#[cold]
pub(super) fn wake(word: &AtomicU32) {
    let arguments = [word.as_ptr().addr(), libc::FUTEX_WAKE as usize, 1, 0, 0, 0];
    // SAFETY: the kernel takes the word's address for a key, and touches no memory.
    let _ = unsafe { kernel::call(libc::SYS_futex, arguments) };
}
