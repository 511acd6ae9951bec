//! The words of a semaphore: a count that lies in a segment, and sleeping until there is something to take.
//!
//! # The word
//!
//! | bits   | mean                                                             |
//! | ------ | ---------------------------------------------------------------- |
//! | 0–14   | the count: 32,767 at most, as System V's                         |
//! | 16     | `SLEEPERS`: somebody may be asleep                               |
//! | 31     | `GONE`: it was deleted                                           |
//!
//! All others mean nothing and stay as they are, so that every value of the word is one of a semaphore's.
//!
//! # The steps
//!
//! - *Wait*: if the count is not 0, take one (acquire), in one step. If it is, set `SLEEPERS`, and sleep as long as
//!   the word is what it was then; look again.
//! - *Post*: add one (release) and clear `SLEEPERS`, in one step. If it was set, wake all.
//! - *Delete*: set `GONE`; wake all.
//!
//! # Why no wake-up is lost
//!
//! Who sleeps has seen the count at 0 and `SLEEPERS` set, and the kernel compares the word before it lets it sleep. So
//! a post after that changes the word, sees `SLEEPERS`, and wakes all who sleep. Of those, whoever finds the count
//! at 0 again sets `SLEEPERS` again. That all are woken, and not one, is for the sake of a waiter that is killed just
//! after it was woken: nobody relies on it.
//!
//! # Why a crash is harmless at every step
//!
//! Taking and adding are one atomic step: a process that is killed has done it or not. As with NSPR's semaphores,
//! what a dead process took does not come back. Who is killed between a post and its waking leaves sleepers that nobody
//! wakes: so no sleep is endless, and after 50 milliseconds, growing to one second, everybody looks again. A
//! waiter that is killed leaves `SLEEPERS` set: the next post makes one call for nothing.
//!
//! # Signals
//!
//! A handler that runs during a sleep ends the wait, whether or not it was installed with `SA_RESTART`: the
//! kernel never restarts a futex's wait that has a timeout. One that runs in the instant between two sleeps does not.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::failure::{Failure, Result};

/// What a count can be at most.
pub(crate) const MOST: u32 = 0x7fff;
const SLEEPERS: u32 = 1 << 16;
const GONE: u32 = 1 << 31;

const FIRST_SLEEP: Duration = Duration::from_millis(50);
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A semaphore's count.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Counter(AtomicU32);

impl Counter {
    #[cfg(test)]
    const fn new(count: u32) -> Counter {
        Counter(AtomicU32::new(count))
    }

    /// Takes one; sleeps until there is one to take.
    ///
    /// Errors: `EINTR` if a signal was handled; `EINVAL` if it is deleted, `EIDRM` if that was while waiting.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut sleep = FIRST_SLEEP;
        let mut slept = false;
        loop {
            let now = self.0.load(Relaxed);
            if now & GONE != 0 {
                return Err(Failure::of(if slept { libc::EIDRM } else { libc::EINVAL }));
            }
            if now & MOST != 0 {
                if self.0.compare_exchange_weak(now, now - 1, Acquire, Relaxed).is_ok() {
                    return Ok(());
                }
                continue;
            }
            let waiting = now | SLEEPERS;
            if now != waiting && self.0.compare_exchange_weak(now, waiting, Relaxed, Relaxed).is_err() {
                continue;
            }
            slept = true;
            match self.sleep(waiting, sleep) {
                0 | libc::EAGAIN => {}
                libc::ETIMEDOUT => sleep = (sleep * 2).min(LONGEST_SLEEP),
                code => return Err(Failure::of(code)),
            }
        }
    }

    /// Adds one.
    ///
    /// Errors: `ERANGE` at 32,767; `EINVAL` if it is deleted.
    pub(crate) fn post(&self) -> Result<()> {
        let mut now = self.0.load(Relaxed);
        loop {
            if now & GONE != 0 {
                return Err(Failure::of(libc::EINVAL));
            }
            if now & MOST == MOST {
                return Err(Failure::of(libc::ERANGE));
            }
            match self.0.compare_exchange_weak(now, (now + 1) & !SLEEPERS, Release, Relaxed) {
                Ok(_) => break,
                Err(found) => now = found,
            }
        }
        if now & SLEEPERS != 0 {
            self.wake_all();
        }
        Ok(())
    }

    /// Ends it for all who have it, and for whoever waits.
    pub(crate) fn delete(&self) {
        self.0.fetch_or(GONE, AcqRel);
        self.wake_all();
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.0.load(Acquire) & GONE != 0
    }

    /// Sleeps while the word is `expected`; gives the `errno`, 0 if it was woken.
    fn sleep(&self, expected: u32, timeout: Duration) -> i32 {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the word is mapped as long as `self` is borrowed; the time lives until the call returns.
        let done = unsafe {
            libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, expected, &raw const timeout)
        };
        if done == 0 { 0 } else { Failure::last().system }
    }

    fn wake_all(&self) {
        // SAFETY: the word is mapped as long as `self` is borrowed.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_is_a_semaphores() {
        for word in [0x0000_8000, 0x7fff_8000, 0x7ffe_0005, 0xffff_ffff, 0x8000_0000] {
            let counter = Counter::new(word);
            let result = if word & MOST != 0 || word & GONE != 0 { counter.wait() } else { counter.post() };
            assert_eq!(result.is_err(), word & GONE != 0, "{word:#x}");
        }
    }

    #[test]
    fn a_full_count_is_an_error() {
        let counter = Counter::new(MOST);
        assert_eq!(counter.post(), Err(Failure::of(libc::ERANGE)));
        counter.wait().unwrap();
        counter.post().unwrap();
    }

    #[test]
    fn posts_reach_all_who_wait() {
        const EACH: u32 = 2_000;
        let counter = Counter::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|_| counter.wait().unwrap()));
            }
            for _ in 0..2 {
                scope.spawn(|| (0..2 * EACH).for_each(|_| counter.post().unwrap()));
            }
        });
        assert_eq!(counter.0.load(Relaxed) & MOST, 0);
    }
}
