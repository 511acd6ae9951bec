//! Futexes: sleeping until a word in shared memory changes, and waking who sleeps.

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::super::Errno;

/// Why a wait ended. Whichever it is, the caller looks at the word again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Woken, or interrupted by a signal, or the word had another value at once.
    Over,
    /// The time is over, and nobody woke this thread.
    TimedOut,
}

/// Sleeps while the word has this value, for so long at most; woken through any mapping of the same memory.
pub(crate) fn wait(word: &AtomicU32, value: u32, most: Option<Duration>) -> Waited {
    let most = most.map(|most| libc::timespec {
        tv_sec: libc::time_t::try_from(most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: most.subsec_nanos() as _,
    });
    let timeout = most.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time live as long as the call; the kernel reads no other memory.
    let slept = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, timeout) };
    if slept == -1 && Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::TIMEDOUT) {
        Waited::TimedOut
    } else {
        Waited::Over
    }
}

/// Wakes so many of those who sleep on the word, at most; how many there were.
pub(crate) fn wake(word: &AtomicU32, most: u32) -> u32 {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    // SAFETY: the kernel takes the word's address for a key, and reads or writes no memory.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
    u32::try_from(woken).unwrap_or(0)
}

/// Takes the highest bit out of the word and wakes all who sleep on it, in one step that nobody can fall asleep in
/// between; whether the system can.
pub(crate) fn clear_highest_and_wake_all(word: &AtomicU32) -> bool {
    // See futex(2): "and not" of one bit shifted by 31, and a comparison that does not matter.
    const AND_NOT: u32 = (libc::FUTEX_OP_ANDN as u32 | libc::FUTEX_OP_OPARG_SHIFT as u32) << 28 | 31 << 12;
    let (address, all) = (word.as_ptr(), i32::MAX);
    // SAFETY: the kernel changes the word, atomically, and no other memory.
    let done = unsafe {
        libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE_OP, all, 0_usize, address, AND_NOT)
    };
    done >= 0
}
