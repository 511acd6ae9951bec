//! A condition variable: waiting, with a mutex given back, until somebody has changed what it guards.
//!
//! # Layout
//!
//! | bytes  | what                                                                                             |
//! | ------ | ------------------------------------------------------------------------------------------------ |
//! | 0 to 3 | the word: from bit 1 a number that each notification makes one larger; bit 0 is `SLEEPERS`       |
//!
//! All zero is a condition variable that nobody waits for.
//!
//! # States
//!
//! | word             | means                                                | goes to      | by                              |
//! | ---------------- | ---------------------------------------------------- | ------------ | ------------------------------- |
//! | `2n`             | nobody sleeps; some may look at the word             | `2(n + 1)`   | who notifies, without a call    |
//! |                  |                                                      | `2n + 1`     | who is about to sleep           |
//! | `2n + 1`         | some may be asleep, all of them on this very value   | `2(n + 1)`   | who notifies, in one step of the kernel's that also wakes all |
//!
//! Whoever waits reads the number while it has the mutex, gives the mutex back, and waits for another number.
//!
//! # Why no wake-up is lost
//!
//! Who notifies after having had the mutex, does so after the waiter read the number (which came before it gave the
//! mutex back), and so makes the number another one than that. A waiter that does not sleep yet sees that, or is
//! refused by the kernel, which lets it sleep only on the number it has seen. One that sleeps, sleeps on a word that is
//! odd; from one odd value to the next the word gets only by the kernel's step (`FUTEX_WAKE_OP`), which adds 1 and
//! wakes all while nobody can fall asleep. So as long as anybody sleeps the word is odd, and who notifies makes the
//! call.
//!
//! Two that notify at once may both find it odd, and the second call adds 1 to an even number: the number stays, and
//! the word claims sleepers that there are not. Those who had the old number were woken by the first call, which came
//! after the second one began to notify; and who came since has seen all that was done before that. The next one makes
//! a call in vain.
//!
//! # Why a crash between any two steps is safe
//!
//! A notification is one step: it happened, or it did not. (Where the kernel lacks that step it takes two, and those whom
//! one that dies in between leaves asleep look again by themselves.) A waiter that dies leaves nothing but, at most, the claim
//! that somebody sleeps. It swallows no notification, since *every notification wakes all*: the kernel passes a
//! wake-up on for a dead thread only where the word's low bits are 0, and without a number in them a waiter could not
//! tell that it had been notified before it slept. So [`notify_one`](Condvar::notify_one) wakes all, too. If the
//! thread dies with the mutex, or while waiting for it, that is the mutex's matter.
//!
//! # What a wrong word does
//!
//! A number that somebody changed is a notification that nobody gave. A bit that somebody cleared leaves those asleep
//! alone until they look again by themselves, after 50 ms to 1 s. The number comes back after 2,147,483,648
//! notifications: who stood still for just so many, between reading it and sleeping, takes it for the same.

use std::fmt;
use std::time::{Duration, Instant};

use super::backoff::{Deadline, Pace};
use super::error::LockResult;
use super::mutex::MutexGuard;
use super::primitive::{
    self, AtomicU32, Change,
    Ordering::{Relaxed, Release},
    constructor,
};
use super::spin::Spin;

/// Somebody may be asleep.
pub(super) const SLEEPERS: u32 = 1;

/// Waits until somebody has changed what a [`Mutex`](super::Mutex) guards, and said so.
///
/// All zero is a condition variable that nobody waits for. Waiting gives the mutex back, and locks it again before it
/// returns. It may return though nobody notified: look at the condition again, or use
/// [`wait_while`](Condvar::wait_while). Use it with one mutex at a time. Notifying takes no system call unless somebody
/// sleeps. Waiting is not broken by signals.
///
/// A process that dies while it waits harms no other and swallows no notification. For that reason
/// [`notify_one`](Condvar::notify_one) wakes all who wait: one of them may be about to die, and nobody could tell.
///
/// Not for use in signal handlers.
///
/// ```
/// use commons::sync::{Condvar, Mutex};
///
/// let (queue, filled) = (Mutex::new(0_u32), Condvar::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *queue.lock().unwrap() = 7;
///         filled.notify_one();
///     });
///     let guard = queue.lock()?;
///     let guard = filled.wait_while(guard, |value| *value == 0)?;
///     assert_eq!(*guard, 7);
///     Ok::<(), commons::sync::LockError<_>>(())
/// }).unwrap();
/// ```
#[repr(C)]
#[doc(alias = "pthread_cond_t")]
pub struct Condvar {
    word: AtomicU32,
}

/// Whether a wait ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    constructor! {
        /// Nobody waits for it.
        #[doc(alias = "pthread_cond_init")]
        pub fn new() -> Self {
            Condvar { word: AtomicU32::new(0) }
        }
    }

    /// Gives the mutex back, waits to be notified, and locks the mutex again.
    ///
    /// A guard that was not [recovered](MutexGuard::recover) makes the mutex unrecoverable, as dropping it does.
    ///
    /// # Errors
    ///
    /// Those of [`Mutex::lock`](super::Mutex::lock); with [`LockError::OwnerDied`](super::LockError::OwnerDied) the
    /// mutex is locked: somebody died who had it meanwhile.
    #[doc(alias = "pthread_cond_wait")]
    pub fn wait<'m, T: ?Sized>(&self, guard: MutexGuard<'m, T>) -> LockResult<MutexGuard<'m, T>> {
        let mutex = guard.mutex();
        self.give_back_and_sleep(guard, Deadline::Never);
        mutex.lock()
    }

    /// The same, waiting for a notification so long at most.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait). That the time was over is none; and locking the mutex again is waited for beyond
    /// that.
    #[doc(alias = "pthread_cond_timedwait")]
    pub fn wait_timeout<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        self.wait_with(guard, Deadline::after(timeout))
    }

    /// The same, waiting for a notification until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Condvar::wait_timeout).
    #[doc(alias = "pthread_cond_clockwait")]
    pub fn wait_until<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        moment: Instant,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        self.wait_with(guard, Deadline::At(moment))
    }

    /// Waits for as long as the condition holds.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait), at once: whoever gets the guard with [`OwnerDied`](super::LockError::OwnerDied)
    /// mends the data, and may wait again.
    pub fn wait_while<'m, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'m, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'m, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits for as long as the condition holds, so long at most. If the time was over, the condition still held.
    ///
    /// # Errors
    ///
    /// As [`wait_while`](Condvar::wait_while).
    pub fn wait_timeout_while<'m, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'m, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        let deadline = Deadline::after(timeout);
        let mut over = false;
        while condition(&mut guard) {
            if over {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            (guard, WaitTimeoutResult(over)) = self.wait_with(guard, deadline)?;
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    /// Wakes whoever waits: one at least, and in fact all, so that a notification is never lost on one
    /// that dies.
    #[doc(alias = "pthread_cond_signal")]
    #[inline]
    pub fn notify_one(&self) {
        self.notify_all();
    }

    /// Wakes all who wait.
    #[doc(alias = "pthread_cond_broadcast")]
    #[inline]
    pub fn notify_all(&self) {
        let mut seen = self.word.load(Relaxed);
        while seen & SLEEPERS == 0 {
            let next = seen.wrapping_add(2);
            match self.word.compare_exchange_weak(seen, next, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        primitive::change_and_wake(&self.word, Change::Add(1), u32::MAX);
    }

    fn wait_with<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        deadline: Deadline,
    ) -> LockResult<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        let mutex = guard.mutex();
        let notified = self.give_back_and_sleep(guard, deadline);
        let told = WaitTimeoutResult(!notified);
        match mutex.lock() {
            Ok(guard) => Ok((guard, told)),
            Err(error) => Err(error.map(|guard| (guard, told))),
        }
    }

    /// Whether it was notified before the time was over.
    fn give_back_and_sleep<T: ?Sized>(&self, guard: MutexGuard<'_, T>, deadline: Deadline) -> bool {
        // With the mutex: who has it after this thread notifies later than this.
        let before = self.word.load(Relaxed) & !SLEEPERS;
        drop(guard);
        let mut spin = Spin::new();
        let mut pace = Pace::new();
        loop {
            let seen = self.word.load(Relaxed);
            if seen & !SLEEPERS != before {
                spin.came();
                return true;
            }
            if spin.again() {
                continue;
            }
            let Ok(most) = deadline.left() else { return false };
            let told = before | SLEEPERS;
            if seen != told && self.word.compare_exchange(seen, told, Relaxed, Relaxed).is_err() {
                continue;
            }
            primitive::wait(&self.word, told, pace.next(most));
        }
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar")
            .field("waiters", &(self.word.load(Relaxed) & SLEEPERS != 0))
            .finish_non_exhaustive()
    }
}
