//! A mutex whose owner may die.
//!
//! # Layout
//!
//! | bytes    | what                                     |
//! | -------- | ---------------------------------------- |
//! | 0 to 39  | the [word](super::word), and its node    |
//! | from 40  | the data, at its alignment               |
//!
//! # States
//!
//! Those of the word. Taken over from a dead owner, the guard is *unmended*: given back so, the word says
//! `OWNER_DIED` again and the flag `UNRECOVERABLE` is set; whoever takes it then sees the flag, gives it back as it
//! was, and reports. [`Mutex::reset`] clears the flag, so that the next one is told of the dead owner once more.
//!
//! # Why a crash is safe
//!
//! That of the word is argued there. While a guard is unmended the word has its thread's id, so that a second death
//! is a death like the first. `UNRECOVERABLE` is set before the word is given back: a crash in between marks the word
//! the same way, with the flag set; nobody was told that the data is good. Mending changes no shared word, only what
//! the guard will do.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::backoff::Deadline;
use super::error::{LockError, LockResult, SyncError};
use super::primitive::{Ordering::Relaxed, constructor};
use super::word::{Data, OWNER, OWNER_DIED, Taken, UNRECOVERABLE, WAITERS, Wake, Word};

/// Mutual exclusion between threads of any processes that share the memory it lies in.
///
/// All zero is an unlocked mutex around zeroed data, so that it needs no initialising. If an owner dies, the next
/// thread gets the lock together with that news ([`LockError::OwnerDied`]), at once.
///
/// Locking takes no system call unless another thread has the lock. Waiting is not broken by signals. Not fair:
/// whoever comes while the lock is free may have it, also before one that was woken for it. There is no priority
/// inheritance: the kernel's inheriting futexes and its lists of held locks do not go together across pid namespaces.
///
/// Not for use in signal handlers. A guard that a forked child inherits gives nothing back there.
///
/// The source of the algorithm is the kernel's `robust-futex-ABI`; the states and the proof stand in the module's
/// source.
///
/// ```
/// use commons::sync::{LockError, Mutex};
///
/// let total = Mutex::new(0_u64);
/// *total.lock_or_recover(|total| *total = 0)? += 1;
///
/// // The same, in full.
/// let mut guard = match total.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = 0; // whatever makes the data good again
///         guard.recover()
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// *guard += 1;
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[repr(C)]
pub struct Mutex<T: ?Sized> {
    word: Word,
    pub(crate) data: UnsafeCell<T>,
}

// SAFETY: the lock lets one thread at a time at the data, which goes from thread to thread.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// What is known of a lock, without taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// A thread has it.
    Held {
        /// Its thread id, in the pid namespace of those who use the lock.
        thread: u32,
        /// Whether others may be waiting.
        waiters: bool,
    },
    /// Its owner died; the next one to lock it is told.
    OwnerDied,
    /// Its owner died, and whoever took it over did not mend the data.
    Unrecoverable,
}

impl LockState {
    /// What a word says; the flags are asked for only if it takes them.
    pub(super) fn of(word: u32, flags: impl FnOnce() -> u32) -> LockState {
        match word {
            word if word & OWNER != 0 => {
                LockState::Held { thread: word & OWNER, waiters: word & WAITERS != 0 }
            }
            word if word & OWNER_DIED == 0 => LockState::Free,
            _ if flags() & UNRECOVERABLE != 0 => LockState::Unrecoverable,
            _ => LockState::OwnerDied,
        }
    }
}

impl Word {
    /// What a lock made of this word alone is like.
    pub(super) fn state(&self) -> LockState {
        LockState::of(self.load(Relaxed), || self.flags().load(Relaxed))
    }

    /// Clears `UNRECOVERABLE`; whether it was set.
    pub(crate) fn reset(&self) -> bool {
        self.flags().fetch_and(!UNRECOVERABLE, Relaxed) & UNRECOVERABLE != 0
    }

    /// After the word was taken from a dead owner: gives it back if nobody is to have it any more.
    #[cold]
    pub(super) fn refuse_unrecoverable(&self) -> Result<(), SyncError> {
        if self.flags().load(Relaxed) & UNRECOVERABLE == 0 {
            return Ok(());
        }
        // Without the flag: a `reset` that came meanwhile stays.
        self.unlock_as_found();
        Err(SyncError::Unrecoverable)
    }
}

impl<T> Mutex<T> {
    constructor! {
        /// An unlocked mutex around `value`.
        pub fn new(value: T) -> Self {
            Mutex { word: Word::new(), data: UnsafeCell::new(value) }
        }
    }

    /// The data, the mutex being given up.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, waiting for as long as it takes.
    ///
    /// The error can have a guard, which borrows the mutex: `?` cannot pass it on to where the mutex is gone. `match` it,
    /// or use [`lock_or_recover`](Mutex::lock_or_recover).
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] has the guard. [`SyncError::Unrecoverable`], [`SyncError::WouldDeadlock`],
    /// [`SyncError::TooManyLocks`], [`SyncError::Unsupported`].
    #[doc(alias = "pthread_mutex_lock")]
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.word.lock_free(std::sync::atomic::Ordering::Acquire) {
            Some(()) => Ok(MutexGuard::new(self, Data::InOrder)),
            None => self.lock_slowly(Deadline::Never),
        }
    }

    /// Locks if that needs no waiting.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`] if somebody has it; otherwise as [`lock`](Mutex::lock).
    #[doc(alias = "pthread_mutex_trylock")]
    #[inline]
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self.word.lock_free(std::sync::atomic::Ordering::Acquire) {
            Some(()) => Ok(MutexGuard::new(self, Data::InOrder)),
            None => self.lock_slowly(Deadline::Now),
        }
    }

    /// Locks, waiting so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`lock`](Mutex::lock).
    #[doc(alias = "pthread_mutex_timedlock")]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.try_lock_or(|| Deadline::after(timeout))
    }

    /// Locks, waiting until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`lock`](Mutex::lock).
    #[doc(alias = "pthread_mutex_clocklock")]
    pub fn lock_until(&self, moment: Instant) -> LockResult<MutexGuard<'_, T>> {
        self.try_lock_or(|| Deadline::At(moment))
    }

    /// Locks, and if the owner before died, has `mend` make the data good.
    ///
    /// # Errors
    ///
    /// As [`lock`](Mutex::lock), but for `OwnerDied`.
    pub fn lock_or_recover(&self, mend: impl FnOnce(&mut T)) -> Result<MutexGuard<'_, T>, SyncError> {
        self.lock().or_else(|error| match error {
            LockError::OwnerDied(mut guard) => {
                mend(&mut guard);
                Ok(guard.recover())
            }
            LockError::Failed(error) => Err(error),
        })
    }

    /// Asks the clock only if it comes to waiting.
    fn try_lock_or(&self, deadline: impl FnOnce() -> Deadline) -> LockResult<MutexGuard<'_, T>> {
        match self.word.lock_free(std::sync::atomic::Ordering::Acquire) {
            Some(()) => Ok(MutexGuard::new(self, Data::InOrder)),
            None => self.lock_slowly(deadline()),
        }
    }

    #[cold]
    fn lock_slowly(&self, deadline: Deadline) -> LockResult<MutexGuard<'_, T>> {
        match self.word.lock_slowly(deadline, std::sync::atomic::Ordering::Acquire)? {
            Taken::Clean => Ok(MutexGuard::new(self, Data::InOrder)),
            Taken::OwnerDied => {
                self.word.refuse_unrecoverable()?;
                Err(LockError::OwnerDied(MutexGuard::new(self, Data::Unmended)))
            }
        }
    }

    /// The data, without locking: nobody else has the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// What is known of the lock; it may be another moment's by the time it is looked at.
    pub fn state(&self) -> LockState {
        self.word.state()
    }

    /// Lets a mutex that is [unrecoverable](SyncError::Unrecoverable) be locked again: whoever is next gets
    /// [`LockError::OwnerDied`], and with it the duty to mend the data. For administrators; whether it was
    /// unrecoverable.
    pub fn reset(&self) -> bool {
        self.word.reset()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    /// Shows who has it. Not the data: that would take the lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A locked mutex; unlocks it when dropped.
///
/// Stays in its thread. Forgotten (`std::mem::forget`), it leaves the mutex locked until the thread ends, and the
/// segment attached.
#[must_use = "dropping the guard unlocks the mutex"]
pub struct MutexGuard<'m, T: ?Sized> {
    mutex: &'m Mutex<T>,
    /// Whether the data is in order.
    data: Data,
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'m, T: ?Sized> MutexGuard<'m, T> {
    #[inline]
    fn new(mutex: &'m Mutex<T>, data: Data) -> Self {
        MutexGuard { mutex, data, stays: PhantomData }
    }

    /// The mutex that it locks.
    #[inline]
    pub(super) fn mutex(&self) -> &'m Mutex<T> {
        self.mutex
    }

    /// Says that the data is good again, after the owner before died. Does nothing if it always was.
    pub fn recover(mut self) -> Self {
        self.data = Data::InOrder;
        self
    }

    /// Whether the owner before died and the data has not been made good since.
    pub fn owner_died(&self) -> bool {
        self.data == Data::Unmended
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard borrowed alone.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.data == Data::InOrder {
            self.mutex.word.unlock(Wake::One);
        } else {
            self.mutex.word.unlock_unmended();
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
