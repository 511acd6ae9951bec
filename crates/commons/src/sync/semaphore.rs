//! A counting semaphore, whose permits come back when their process dies.
//!
//! # Layout
//!
//! | bytes       | what                                                                                    |
//! | ----------- | --------------------------------------------------------------------------------------- |
//! | 0 to 7      | the [count](super::permit): the value in its low 31 bits; above 32, a permit's last operation |
//! | 64 to 67    | the [queue](super::queue) of those who sleep                                            |
//! | 128 to 1151 | 64 [entries](super::permit), one for each permit that is out                            |
//!
//! All zero is a semaphore with value 0. It begins at a multiple of 64 bytes.
//!
//! # States
//!
//! | step                      | value  | operation | by                                                     |
//! | ------------------------- | ------ | --------- | ------------------------------------------------------ |
//! | `post`                    | + n    | stays     | anybody                                                |
//! | `wait`                    | - 1    | stays     | anybody, if it is above 0                              |
//! | a permit is acquired      | - 1    | its taking | who has an entry for it, if the value is above 0      |
//! | a permit is given back    | + 1    | its giving | who has it; or who took the entry over from the dead  |
//!
//! Why no wake-up is lost is argued in [`queue`](super::queue); why a crash between any two steps of a permit is safe,
//! in [`permit`](super::permit). `post` and `wait` are one step each. A process that dies between that of `wait` and
//! what it waited for has taken the unit with it, as with any semaphore: that is what permits are for.

use std::fmt;
use std::time::{Duration, Instant};

use super::backoff::Deadline;
use super::error::SyncError;
use super::permit::{Claim, Entries, Lacking, VALUE};
use super::primitive::{
    self, AtomicU64, Home,
    Ordering::{Relaxed, SeqCst},
    Seat, constructor,
};
use super::queue::{Attempt, Queue};
use crate::segment::slot::Slot;

/// A number of units that threads of any processes take and give, waiting when there is none.
///
/// Two ways, which may be mixed:
///
/// - [`acquire`](Semaphore::acquire) gives a [`Permit`], for whatever only so many may use at a time. The unit comes
///   back as the permit is dropped, or when its process dies: somebody who waits has it some 25 ms later, 50 ms at
///   most. (The model is System V's `SEM_UNDO`.)
/// - [`post`](Semaphore::post) and [`wait`](Semaphore::wait), for telling others that there is something to do. Who
///   posts need not be who waits.
///
/// All zero is a semaphore with value 0. Nothing here takes a system call unless it has to sleep, or somebody does.
/// Waiting is not broken by signals. Not fair: whoever comes while there is a unit may have it, also before one that
/// was woken for it.
///
/// Permits rest on the kernel's knowledge of who holds the segment. So they are to be had only in a segment that
/// Commons attached, whose name is still there (or by processes that the kernel lets look into others). They
/// belong to the process: a thread that ends without dropping its permit keeps it. 64 can be out at a time. A child
/// that is forked has none of its parent's permits; those that it acquires are its own.
///
/// Not to be used in signal handlers, except [`post`](Semaphore::post).
///
/// The source of the algorithm is this module's, which has the proof; the semaphore is a counting one after
/// Dijkstra's, as in `sem_overview(7)`.
///
/// ```
/// use commons::sync::Semaphore;
///
/// let jobs = Semaphore::new(0);
/// jobs.post(2)?; // two are ready
/// jobs.wait();
/// assert_eq!(jobs.value(), 1);
/// assert!(jobs.try_wait().is_ok() && jobs.try_wait().is_err());
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[doc(alias = "sem_t")]
#[doc(alias = "SEM_UNDO")]
#[repr(C, align(64))]
pub struct Semaphore {
    count: Count,
    pub(super) queue: Queue,
    pub(super) entries: Entries,
}

/// A cache line of its own.
#[repr(C, align(64))]
struct Count(AtomicU64);

#[cfg(not(commons_model))]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Semaphore>() == 1152 && align_of::<Semaphore>() == 64);
    assert!(offset_of!(Semaphore, queue) == 64 && offset_of!(Semaphore, entries) == 128);
};

/// What becomes of a semaphore that would have more units than it can count.
const TOO_MANY: SyncError = SyncError::Mismatch("a semaphore has at most 2147483647 units");

/// Why a process that knows its segment gets no permit.
const NAMELESS: SyncError = SyncError::Unsupported(
    "its segment's name is gone, so that the file cannot be opened to ask who holds it",
);

impl Semaphore {
    /// The most units that a semaphore has.
    pub const MAX: u32 = VALUE as u32;

    constructor! {
        /// A semaphore with so many units; a number above [`MAX`](Semaphore::MAX) is lowered to that.
        pub fn new(value: u32) -> Self {
            let value = if value > Semaphore::MAX { VALUE } else { value as u64 };
            Semaphore { count: Count(AtomicU64::new(value)), queue: Queue::new(), entries: Entries::new() }
        }
    }

    /// How many units there are to take at the moment.
    #[doc(alias = "sem_getvalue")]
    #[inline]
    pub fn value(&self) -> u32 {
        (self.count.0.load(Relaxed) & VALUE) as u32
    }

    /// Adds units, and wakes who waits for them. Never blocks; may be called in a signal handler.
    ///
    /// # Errors
    ///
    /// [`SyncError::Mismatch`], and nothing is added, if there would be more than [`MAX`](Semaphore::MAX).
    #[doc(alias = "sem_post")]
    #[inline]
    pub fn post(&self, units: u32) -> Result<(), SyncError> {
        let mut seen = self.count.0.load(Relaxed);
        loop {
            if (seen & VALUE) + u64::from(units) > VALUE {
                return Err(TOO_MANY);
            }
            // The bit above the value is zero, so that nothing is carried.
            let more = (seen & !(VALUE + 1)) + u64::from(units);
            match self.count.0.compare_exchange_weak(seen, more, SeqCst, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.queue.added();
        Ok(())
    }

    /// Takes a unit if there is one; how many are left.
    #[inline]
    fn take(&self) -> Option<u32> {
        let mut seen = self.count.0.load(SeqCst);
        loop {
            let left = (seen & VALUE).checked_sub(1)?;
            match self.count.0.compare_exchange_weak(seen, seen - 1, SeqCst, SeqCst) {
                Ok(_) => return Some(left as u32),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes a unit, waiting for as long as it takes.
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn wait(&self) {
        // Without a deadline it ends only with a unit.
        let _ = self.wait_or(|| Deadline::Never);
    }

    /// Takes a unit if there is one.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`].
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_wait(&self) -> Result<(), SyncError> {
        self.take().map(|_| ()).ok_or(SyncError::WouldBlock)
    }

    /// Takes a unit, waiting so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`].
    #[doc(alias = "sem_timedwait")]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), SyncError> {
        self.wait_or(|| Deadline::after(timeout))
    }

    /// Takes a unit, waiting until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`].
    #[doc(alias = "sem_clockwait")]
    pub fn wait_until(&self, moment: Instant) -> Result<(), SyncError> {
        self.wait_or(|| Deadline::At(moment))
    }

    #[inline]
    fn wait_or(&self, deadline: impl FnOnce() -> Deadline) -> Result<(), SyncError> {
        if self.take().is_some() { Ok(()) } else { self.wait_slowly(deadline()) }
    }

    #[cold]
    fn wait_slowly(&self, deadline: Deadline) -> Result<(), SyncError> {
        let take = || match self.take() {
            Some(left) => Attempt::Taken((), left),
            None => Attempt::Nothing,
        };
        self.queue.wait(deadline, take, || self.look())
    }

    /// Takes a unit that comes back by itself, waiting for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`SyncError::NoSegment`] where this process does not know the segment: on the heap, in an anonymous or System V
    /// segment, or in one that was attached by hand without [`Attachment::object`](crate::Attachment::object) or
    /// [`register`](crate::Attachment::register). [`SyncError::Unsupported`] if it knows the segment, but its name was
    /// deleted, so that nobody can be asked who holds it. That 64 permits are out already is no error: it waits for one
    /// of them to come back.
    #[doc(alias = "semop")]
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, SyncError> {
        self.acquire_or(|| Deadline::Never)
    }

    /// The same if it needs no waiting: if there is a unit, or a dead process had one.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`] if there is no unit; [`SyncError::Full`] if 64 permits are out already; otherwise
    /// as [`acquire`](Semaphore::acquire).
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, SyncError> {
        self.acquire_or(|| Deadline::Now)
    }

    /// The same, waiting so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`acquire`](Semaphore::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, SyncError> {
        self.acquire_or(|| Deadline::after(timeout))
    }

    /// The same, waiting until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`acquire`](Semaphore::acquire).
    pub fn acquire_until(&self, moment: Instant) -> Result<Permit<'_>, SyncError> {
        self.acquire_or(|| Deadline::At(moment))
    }

    // Always: a permit that is returned by way of memory is read before it has got there.
    #[inline(always)]
    fn acquire_or(&self, deadline: impl FnOnce() -> Deadline) -> Result<Permit<'_>, SyncError> {
        let seat = primitive::home(self).ok_or(SyncError::NoSegment)?.seat().ok_or(NAMELESS)?;
        match self.entries.take(&self.count.0, seat) {
            Ok((claim, _)) => Ok(Permit { semaphore: self, claim }),
            Err(lacking) => self.acquire_slowly(seat, deadline(), lacking),
        }
    }

    #[cold]
    fn acquire_slowly<'s>(
        &'s self,
        seat: &'s Seat,
        deadline: Deadline,
        lacking: Lacking,
    ) -> Result<Permit<'s>, SyncError> {
        let home = primitive::home(self).ok_or(SyncError::NoSegment)?;
        let take = || self.entries.take(&self.count.0, seat);
        let permit = |claim| Permit { semaphore: self, claim };
        if deadline.is_now() {
            let lacking =
                if self.recover(home) { take().map(|(claim, _)| permit(claim)) } else { Err(lacking) };
            return lacking.map_err(|lacking| match lacking {
                Lacking::Value => SyncError::WouldBlock,
                Lacking::Entry => SyncError::Full,
            });
        }
        let attempt = || match take() {
            Ok((claim, left)) => Attempt::Taken(claim, left),
            Err(Lacking::Value) => Attempt::Nothing,
            Err(Lacking::Entry) => Attempt::Crowded,
        };
        self.queue.wait(deadline, attempt, || self.look()).map(permit)
    }

    /// Gives back what the dead had, if that can be found out; whether it can.
    fn look(&self) -> bool {
        primitive::home(self).is_some_and(|home| {
            self.recover(home);
            true
        })
    }

    /// Gives back what the dead had, if that can be found out, for those who do not wait.
    #[cfg(not(commons_model))]
    pub(crate) fn recover_permits(&self) {
        self.look();
    }

    /// Gives back what the dead had; whether there was any.
    fn recover(&self, home: Home<'_>) -> bool {
        let any = self.entries.recover(&self.count.0, home);
        if any {
            self.queue.added();
        }
        any
    }

    /// Who has permits: the [slot](crate::slot) that each one's process took, which has its process id. Those of the
    /// dead included, until somebody waits.
    pub fn holders(&self) -> impl Iterator<Item = Slot> {
        self.entries.holders().filter_map(Slot::from_number)
    }
}

impl Default for Semaphore {
    fn default() -> Self {
        Semaphore::new(0)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders: Vec<u32> = self.holders().map(Slot::pid).collect();
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .field("waiters", &self.queue.has_sleepers())
            .field("holders", &holders)
            .finish()
    }
}

/// A unit of a semaphore; goes back when it is dropped, or when this process dies.
///
/// Any thread of the process may drop it. Forgotten (`std::mem::forget`), the unit comes back as the process ends,
/// or detaches the segment. In a forked child it is none, and dropping it does nothing.
#[must_use = "dropping the permit gives the unit back"]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    claim: Claim,
}

impl Drop for Permit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.claim.is_mine() && self.semaphore.entries.give(&self.semaphore.count.0, self.claim) {
            self.semaphore.queue.added();
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("semaphore", self.semaphore).finish()
    }
}
