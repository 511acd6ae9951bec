//! A lock for many readers or one writer, any of which may die.
//!
//! # Layout
//!
//! | bytes                        | what                                                                                |
//! | ---------------------------- | ----------------------------------------------------------------------------------- |
//! | 0 to 39                      | the writer's [word](super::word), and its node                                      |
//! | 64 + 64·i to 103 + 64·i      | the word, and its node, of slot i of 16: a reader's                                 |
//! | from 1088                    | the data, at its alignment                                                          |
//!
//! The lock is aligned to 64 bytes. What is between is unused, and zero.
//!
//! A reader writes to its own slot only, and its thread's place among the slots stays the same: so as long as nobody
//! writes, readers on different processors have no cache line that goes back and forth.
//!
//! States, transitions, why no wake-up is lost, and why a crash between any two steps is safe: in [`words`]. To that
//! comes what the guards do. One that was taken over from a dead writer is *unmended*: given back so, the word says
//! `OWNER_DIED` again, with the flag `UNRECOVERABLE`, as a mutex's.

mod guards;
mod words;

use std::cell::UnsafeCell;
use std::fmt;
use std::time::{Duration, Instant};

pub use guards::{RwLockReadGuard, RwLockWriteGuard};

use super::backoff::Deadline;
use super::error::{LockError, LockResult, SyncError};
use super::mutex::LockState;
use super::primitive::{Ordering::Relaxed, constructor};
use super::word::{Data, OWNER, Taken};
use words::{Entered, Words};
#[cfg(not(commons_model))]
pub(super) use words::{LINE, SLOTS};

/// Many readers at a time, or one writer: threads of any processes that share the memory it lies in.
///
/// All zero is an unlocked lock around zeroed data, so that it needs no initialising. Readers on different processors do
/// not slow each other down.
///
/// A reader that dies is stepped over: it changed nothing, and nobody is told. After a writer died, the next one gets
/// [`LockError::OwnerDied`], whether it came to read or to write: with a guard that may write, so that the data can be
/// mended, and that can be [downgraded](RwLockWriteGuard::downgrade) then. A writer counts from when it began to wait
/// for readers to go.
///
/// Reading or writing takes no system call unless a thread has to wait. Waiting is not broken by signals. A writer that
/// waits keeps new readers out, so that it does not starve; apart from that the lock is not fair. For that reason too, a
/// thread that reads cannot read a second time, or write ([`SyncError::WouldDeadlock`]). At most 16 threads read at a
/// time, more of them wait.
///
/// Not for use in signal handlers. A guard that a forked child inherits gives nothing back there.
///
/// The states and the proof stand in the module's source.
///
/// ```
/// use commons::sync::{LockError, RwLock};
///
/// let prices = RwLock::new([100_u64, 200]);
/// prices.write_or_recover(|prices| *prices = [0; 2])?[0] = 110;
/// assert_eq!(prices.read_or_recover(|prices| *prices = [0; 2])?[0], 110);
///
/// // The same, in full.
/// let guard = match prices.read() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = [0; 2]; // whatever makes the data good again
///         guard.recover().downgrade()
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// assert_eq!(guard[1], 200);
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[repr(C)]
pub struct RwLock<T: ?Sized> {
    words: Words,
    pub(crate) data: UnsafeCell<T>,
}

// SAFETY: the lock lets one writer at a time at the data, which goes from thread to thread.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as above; and several threads may have a `&T` at the same time.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

#[cfg(not(commons_model))]
const _: () = assert!(std::mem::offset_of!(RwLock<u8>, data) == 1088);

/// What became of an attempt to read: if the last writer died, the news comes with a guard that may write.
pub type ReadResult<'l, T> = Result<RwLockReadGuard<'l, T>, LockError<RwLockWriteGuard<'l, T>>>;

impl<T> RwLock<T> {
    constructor! {
        /// An unlocked lock around `value`.
        pub fn new(value: T) -> Self {
            RwLock { words: Words::new(), data: UnsafeCell::new(value) }
        }
    }

    /// The data, the lock being given up.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, waiting for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] has a guard that may write. [`SyncError::Unrecoverable`], [`SyncError::WouldDeadlock`]
    /// if this thread reads or writes already, [`SyncError::TooManyLocks`], [`SyncError::Unsupported`].
    #[doc(alias = "pthread_rwlock_rdlock")]
    #[inline]
    pub fn read(&self) -> ReadResult<'_, T> {
        self.read_until_deadline(|| Deadline::Never)
    }

    /// Locks for reading if that needs no waiting.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`] if there is a writer, or 16 readers; otherwise as [`read`](RwLock::read).
    #[doc(alias = "pthread_rwlock_tryrdlock")]
    #[inline]
    pub fn try_read(&self) -> ReadResult<'_, T> {
        self.read_until_deadline(|| Deadline::Now)
    }

    /// Locks for reading, waiting so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`read`](RwLock::read).
    #[doc(alias = "pthread_rwlock_timedrdlock")]
    pub fn read_timeout(&self, timeout: Duration) -> ReadResult<'_, T> {
        self.read_until_deadline(|| Deadline::after(timeout))
    }

    /// Locks for reading, waiting until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`read`](RwLock::read).
    #[doc(alias = "pthread_rwlock_clockrdlock")]
    pub fn read_until(&self, moment: Instant) -> ReadResult<'_, T> {
        self.read_until_deadline(|| Deadline::At(moment))
    }

    /// Locks for reading, and if the last writer died, has `mend` make the data good.
    ///
    /// # Errors
    ///
    /// As [`read`](RwLock::read), but for `OwnerDied`.
    pub fn read_or_recover(&self, mend: impl FnOnce(&mut T)) -> Result<RwLockReadGuard<'_, T>, SyncError> {
        self.read().or_else(|error| match error {
            LockError::OwnerDied(mut guard) => {
                mend(&mut guard);
                Ok(guard.recover().downgrade())
            }
            LockError::Failed(error) => Err(error),
        })
    }

    /// Locks for writing, waiting for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] has the guard. [`SyncError::Unrecoverable`], [`SyncError::WouldDeadlock`] if this
    /// thread reads or writes already, [`SyncError::TooManyLocks`], [`SyncError::Unsupported`].
    #[doc(alias = "pthread_rwlock_wrlock")]
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until_deadline(|| Deadline::Never)
    }

    /// Locks for writing if that needs no waiting.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`] if anybody reads or writes; otherwise as [`write`](RwLock::write).
    #[doc(alias = "pthread_rwlock_trywrlock")]
    #[inline]
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until_deadline(|| Deadline::Now)
    }

    /// Locks for writing, waiting so long at most, for other writers and for readers together.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`write`](RwLock::write).
    #[doc(alias = "pthread_rwlock_timedwrlock")]
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until_deadline(|| Deadline::after(timeout))
    }

    /// Locks for writing, waiting until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`write`](RwLock::write).
    #[doc(alias = "pthread_rwlock_clockwrlock")]
    pub fn write_until(&self, moment: Instant) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until_deadline(|| Deadline::At(moment))
    }

    /// Locks for writing, and if the last writer died, has `mend` make the data good.
    ///
    /// # Errors
    ///
    /// As [`write`](RwLock::write), but for `OwnerDied`.
    pub fn write_or_recover(&self, mend: impl FnOnce(&mut T)) -> Result<RwLockWriteGuard<'_, T>, SyncError> {
        self.write().or_else(|error| match error {
            LockError::OwnerDied(mut guard) => {
                mend(&mut guard);
                Ok(guard.recover())
            }
            LockError::Failed(error) => Err(error),
        })
    }

    /// Asks for the deadline only if it comes to waiting. Always inlined, as what it calls: a guard that goes through
    /// memory to who asked for it costs much.
    #[inline(always)]
    fn read_until_deadline(&self, deadline: impl FnOnce() -> Deadline) -> ReadResult<'_, T> {
        match self.words.read_free() {
            Some(slot) => Ok(RwLockReadGuard::new(self, slot, Data::InOrder)),
            None => self.read_slowly(deadline()),
        }
    }

    #[cold]
    fn read_slowly(&self, deadline: Deadline) -> ReadResult<'_, T> {
        match self.words.read_slowly(deadline)? {
            Entered::Reading(slot) => Ok(RwLockReadGuard::new(self, slot, Data::InOrder)),
            Entered::OwnerDied => Err(LockError::OwnerDied(RwLockWriteGuard::new(self, Data::Unmended))),
        }
    }

    /// The same.
    #[inline]
    fn write_until_deadline(
        &self,
        deadline: impl FnOnce() -> Deadline,
    ) -> LockResult<RwLockWriteGuard<'_, T>> {
        match self.words.write(deadline)? {
            Taken::Clean => Ok(RwLockWriteGuard::new(self, Data::InOrder)),
            Taken::OwnerDied => Err(LockError::OwnerDied(RwLockWriteGuard::new(self, Data::Unmended))),
        }
    }

    /// The data, without locking: nobody else has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// What is known of its writer, who may be one that still waits for readers to go; it may be another moment's by the
    /// time it is looked at. [`LockState::Free`] says that nobody writes: [`readers`](RwLock::readers) says who reads.
    pub fn state(&self) -> LockState {
        self.words.writer().state()
    }

    /// The thread ids of those who read, in the pid namespace of those who use the lock; a reader that is about to see
    /// that there is a writer is among them.
    pub fn readers(&self) -> impl Iterator<Item = u32> {
        self.words.slots().map(|slot| slot.load(Relaxed) & OWNER).filter(|&thread| thread != 0)
    }

    /// Lets a lock that is [unrecoverable](SyncError::Unrecoverable) be locked again: whoever is next gets
    /// [`LockError::OwnerDied`], and with it the duty to mend the data. For administrators; whether it was
    /// unrecoverable.
    pub fn reset(&self) -> bool {
        self.words.writer().reset()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    /// Shows who has it. Not the data: that would take the lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("writer", &self.state())
            .field("readers", &self.readers().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
