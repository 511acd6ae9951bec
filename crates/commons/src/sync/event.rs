//! Events: one says that something has happened, others wait for it.
//!
//! # Layout
//!
//! | bytes  | what                                                             |
//! | ------ | ---------------------------------------------------------------- |
//! | 0 to 3 | the word: bit 30 is `SET`, bit 31 `WAITERS`, the low ones are 0  |
//!
//! All zero is an event that is not set.
//!
//! # States of an [`Event`]
//!
//! | word      | means                             | goes to   | by                                                    |
//! | --------- | --------------------------------- | --------- | ----------------------------------------------------- |
//! | `0`       | not set, nobody asleep            | `SET`     | `set`, without a call                                 |
//! |           |                                   | `WAITERS` | who is about to sleep                                 |
//! | `WAITERS` | not set, somebody may be asleep   | `SET`     | `set`, in one step of the kernel's that also wakes all |
//! | `SET`     | set, nobody asleep                | `0`       | `reset`                                               |
//!
//! *Why no wake-up is lost.* One sleeps only on the value `WAITERS`, and the only way out of it wakes all, in the same
//! step: the kernel changes the word while nobody can fall asleep on it (`FUTEX_WAKE_OP`). So whoever is asleep, the
//! word is `WAITERS`, and the next `set` finds it so.
//!
//! *Why a crash between any two steps is safe.* There are no two steps that belong together. A waiter that dies leaves
//! at most a `WAITERS` that nobody sleeps for, and the next `set` makes one call in vain.
//!
//! # States of an [`AutoEvent`]
//!
//! | word            | means                                    | goes to         | by                                     |
//! | --------------- | ---------------------------------------- | --------------- | -------------------------------------- |
//! | `0`             | not set                                  | `SET`           | `set`, without a call                  |
//! |                 |                                          | `WAITERS`       | who is about to sleep, or to give up after it slept |
//! | `WAITERS`       | not set, somebody may be asleep          | `SET + WAITERS` | `set`, in one step that also wakes one |
//! | `SET`           | set                                      | `0`             | who takes it                           |
//! |                 |                                          | `WAITERS`       | who takes it after it slept            |
//! | `SET + WAITERS` | set; one was woken, others may be asleep | `WAITERS`       | who takes it                           |
//! |                 |                                          | `SET`           | a `set` whose wake-up found nobody     |
//!
//! *Why no wake-up is lost.* Say that a thread *owes a look* from the moment in which it is woken until it looks at the
//! word, and either takes `SET` and leaves `WAITERS` there, or sees to `WAITERS` (also if its time is over and it does
//! not sleep again). Then whenever somebody is asleep, either the word is `WAITERS`, or somebody owes a look:
//!
//! - one sleeps only on the value `WAITERS`;
//! - `WAITERS` becomes `SET + WAITERS` in one step with waking one, who then owes a look;
//! - `WAITERS` is taken away only from `SET + WAITERS`, where, if somebody is asleep, somebody owes a look, who brings
//!   it back; a `SET` that comes meanwhile without waking anybody is found by that same look;
//! - looks are not lost: while it waits, a thread names the word as `pending` in the head of its list of held locks,
//!   and if it dies the kernel, finding a word without an owner's id (the low bits are 0), wakes one more, who then
//!   owes the look in its place.
//!
//! So if the word has `SET` and anybody is asleep, one that is awake will look and take it.
//!
//! *Why a crash between any two steps is safe.* A `set` is one step. Of a waiter that dies the kernel passes the look
//! on, as above; if it dies after it took `SET`, the event has been taken, as if it had died a moment later.
//!
//! # What a wrong word does
//!
//! Low bits that are not zero are carried along, or wiped out. A `SET` that nobody set ends a wait; a `WAITERS` that is
//! gone is brought back when those asleep look again by themselves, after 50 ms to 1 s.

use std::fmt;
use std::time::{Duration, Instant};

use super::backoff::{Deadline, Pace};
use super::primitive::{
    self, AtomicU32, Change,
    Ordering::{Acquire, Relaxed, Release},
    constructor,
};
use super::spin::Spin;
use super::thread::Record;

/// It has happened.
pub(super) const SET: u32 = 0x4000_0000;
/// Somebody may be asleep.
pub(super) const WAITERS: u32 = 0x8000_0000;

/// Says to all who wait, and to all who come later, that something has happened, until it is reset.
///
/// All zero is an event that is not set. Setting takes no system call unless somebody sleeps, waiting none if the
/// event is set or is set within some microseconds. Waiting is not broken by signals. What was written before
/// [`set`](Event::set) is seen by whoever was let through by it. A process that dies, at whatever moment, harms no
/// other: `set` has happened as a whole, or not at all.
///
/// An event that is set and reset at once may be missed by those who were waiting. To let just one of them through,
/// use an [`AutoEvent`].
///
/// `set` may be called in signal handlers, the others not.
///
/// ```
/// use commons::sync::Event;
///
/// let ready = Event::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| ready.wait());
///     scope.spawn(|| ready.wait());
///     ready.set();
/// });
/// assert!(ready.is_set());
/// ready.reset();
/// ```
#[repr(C)]
#[doc(alias = "ManualResetEvent")]
#[doc(alias = "CreateEvent")]
pub struct Event {
    word: AtomicU32,
}

impl Event {
    constructor! {
        /// Not set.
        pub fn new() -> Self {
            Event { word: AtomicU32::new(0) }
        }
    }

    /// Sets it, and wakes all who wait.
    #[doc(alias = "SetEvent")]
    #[inline]
    pub fn set(&self) {
        let mut seen = self.word.load(Relaxed);
        while seen & WAITERS == 0 {
            match self.word.compare_exchange_weak(seen, SET, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        primitive::change_and_wake(&self.word, Change::Set(SET), u32::MAX);
    }

    /// Makes it an event that has not happened.
    #[doc(alias = "ResetEvent")]
    #[inline]
    pub fn reset(&self) {
        self.word.fetch_and(!SET, Relaxed);
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.word.load(Acquire) & SET != 0
    }

    /// Waits until it is set.
    #[inline]
    pub fn wait(&self) {
        if !self.is_set() {
            self.wait_slowly(Deadline::Never);
        }
    }

    /// Waits until it is set, so long at most; whether it was.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_slowly(Deadline::after(timeout))
    }

    /// Waits until it is set, until that moment at most, on the monotonic clock; whether it was.
    pub fn wait_until(&self, moment: Instant) -> bool {
        self.is_set() || self.wait_slowly(Deadline::At(moment))
    }

    #[cold]
    fn wait_slowly(&self, deadline: Deadline) -> bool {
        let mut spin = Spin::new();
        let mut pace = Pace::new();
        loop {
            let seen = self.word.load(Acquire);
            if seen & SET != 0 {
                spin.came();
                return true;
            }
            if spin.again() {
                continue;
            }
            let Ok(most) = deadline.left() else { return false };
            if seen != WAITERS && self.word.compare_exchange(seen, WAITERS, Relaxed, Relaxed).is_err() {
                continue;
            }
            primitive::wait(&self.word, WAITERS, pace.next(most));
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show("Event", self.word.load(Relaxed), f)
    }
}

fn show(name: &str, word: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name).field("set", &(word & SET != 0)).field("waiters", &(word & WAITERS != 0)).finish()
}

/// Lets one through each time it is set: whoever gets through resets it by that.
///
/// All zero is an event that is not set. Set twice before anybody came, it lets one through; to count, use a
/// semaphore. Setting takes no system call unless somebody sleeps, waiting none if the event is set or is set within
/// some microseconds. Waiting is not broken by signals. What was written before [`set`](AutoEvent::set) is seen by
/// whoever was let through by it.
///
/// A process that dies while it waits takes nothing with it, even if it had just been woken: another one is, in its
/// place. One that dies after it got through did get through.
///
/// `set` may be called in signal handlers, the others not.
///
/// ```
/// use commons::sync::AutoEvent;
///
/// let (question, answer) = (AutoEvent::new(), AutoEvent::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         question.wait();
///         answer.set();
///     });
///     question.set();
///     answer.wait();
/// });
/// assert!(!question.try_wait(), "it was taken");
/// ```
#[repr(C)]
#[doc(alias = "AutoResetEvent")]
#[doc(alias = "CreateEvent")]
pub struct AutoEvent {
    word: AtomicU32,
}

impl AutoEvent {
    constructor! {
        /// Not set.
        pub fn new() -> Self {
            AutoEvent { word: AtomicU32::new(0) }
        }
    }

    /// Sets it, and wakes one who waits. Does nothing if it is set already.
    #[doc(alias = "SetEvent")]
    #[inline]
    pub fn set(&self) {
        let mut seen = self.word.load(Relaxed);
        // If it is set already and somebody is asleep, somebody else is on the way to take it.
        while seen & (SET | WAITERS) != WAITERS {
            match self.word.compare_exchange_weak(seen, seen | SET, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        if primitive::change_and_wake(&self.word, Change::Or(SET), 1) == 0 {
            let _ = self.word.compare_exchange(SET | WAITERS, SET, Relaxed, Relaxed);
        }
    }

    /// Makes it an event that has not happened.
    #[doc(alias = "ResetEvent")]
    #[inline]
    pub fn reset(&self) {
        self.word.fetch_and(!SET, Relaxed);
    }

    /// Whether it is set. The next moment another one may have taken it.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.word.load(Acquire) & SET != 0
    }

    /// Gets through if it is set; whether it was.
    #[inline]
    pub fn try_wait(&self) -> bool {
        self.word.load(Relaxed) & SET != 0 && self.word.fetch_and(!SET, Acquire) & SET != 0
    }

    /// Waits until it is set, and gets through.
    #[inline]
    pub fn wait(&self) {
        if !self.try_wait() {
            self.wait_slowly(Deadline::Never);
        }
    }

    /// Waits until it is set and gets through, so long at most; whether it did.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.try_wait() || self.wait_slowly(Deadline::after(timeout))
    }

    /// Waits until it is set and gets through, until that moment at most, on the monotonic clock; whether it did.
    pub fn wait_until(&self, moment: Instant) -> bool {
        self.try_wait() || self.wait_slowly(Deadline::At(moment))
    }

    #[cold]
    fn wait_slowly(&self, deadline: Deadline) -> bool {
        // Where the kernel keeps no list, others notice the death of one that was woken when they look again.
        let record = Record::ready().ok();
        if let Some(record) = record {
            record.set_pending(&self.word);
        }
        let through = self.contend(deadline);
        if let Some(record) = record {
            record.clear_pending();
        }
        through
    }

    fn contend(&self, deadline: Deadline) -> bool {
        let mut spin = Spin::new();
        let mut pace = Pace::new();
        let mut slept = 0;
        loop {
            let seen = self.word.load(Relaxed);
            if seen & SET != 0 {
                let taken = seen & !SET | slept;
                if self.word.compare_exchange_weak(seen, taken, Acquire, Relaxed).is_ok() {
                    spin.came();
                    return true;
                }
                continue;
            }
            if spin.again() {
                continue;
            }
            // In this order: if this thread was woken, others rely on its seeing to the bit.
            let told = seen | WAITERS;
            if seen != told && self.word.compare_exchange(seen, told, Relaxed, Relaxed).is_err() {
                continue;
            }
            let Ok(most) = deadline.left() else { return false };
            primitive::wait(&self.word, told, pace.next(most));
            slept = WAITERS;
        }
    }
}

impl Default for AutoEvent {
    fn default() -> Self {
        AutoEvent::new()
    }
}

impl fmt::Debug for AutoEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show("AutoEvent", self.word.load(Relaxed), f)
    }
}
