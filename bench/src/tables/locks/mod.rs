//! Locks: what surviving an owner's death costs, beside the C library's locks, robust and not.

mod contended;
mod deaths;
mod readers;
mod uncontended;
mod wakes;

use std::sync::atomic::AtomicU32;

use super::Table;

pub(super) static TABLE: Table = Table {
    name: "locks",
    about: "what locks cost that survive their owners",
    works: &[
        ("locking alone", uncontended::measure),
        ("contending", contended::throughput),
        ("waiting", contended::waits),
        ("reading", readers::measure),
        ("counting", uncontended::semaphores),
        ("waking", wakes::measure),
        ("dying", deaths::measure),
    ],
    roles: &[],
};

/// Nanoseconds on the monotonic clock, which all processes share.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The call itself, as a program without Commons would make it.
fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word lives as long as the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, std::ptr::null::<libc::timespec>())
    };
}
