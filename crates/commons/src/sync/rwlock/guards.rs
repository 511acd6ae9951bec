//! What lets at the data, and gives the lock back: to read, or to write, and from the one to the other.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};

use super::super::word::{Data, Wake, Word};
use super::RwLock;

/// A lock that is locked for reading; unlocks it when dropped.
///
/// Stays in its thread. Forgotten (`std::mem::forget`), it keeps writers out until the thread ends, and the segment
/// attached.
#[must_use = "dropping the guard unlocks the lock"]
pub struct RwLockReadGuard<'l, T: ?Sized> {
    lock: &'l RwLock<T>,
    /// What it is locked with: a slot, or, after a downgrade that found no free one, the writer's word.
    word: &'l Word,
    /// Whether the data is in order. If not, the word is the writer's.
    data: Data,
    stays: PhantomData<*const ()>,
}

/// A lock that is locked for writing; unlocks it when dropped.
///
/// Stays in its thread. Forgotten (`std::mem::forget`), it leaves the lock locked until the thread ends, and the
/// segment attached.
#[must_use = "dropping the guard unlocks the lock"]
pub struct RwLockWriteGuard<'l, T: ?Sized> {
    lock: &'l RwLock<T>,
    /// Whether the data is in order.
    data: Data,
    stays: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'l, T: ?Sized> RwLockReadGuard<'l, T> {
    #[inline]
    pub(super) fn new(lock: &'l RwLock<T>, word: &'l Word, data: Data) -> Self {
        RwLockReadGuard { lock, word, data, stays: PhantomData }
    }

    /// Locks for writing instead, if nobody else has the lock, with no writer in between: what was read still holds.
    /// Never waits.
    ///
    /// # Errors
    ///
    /// Gives the guard back if somebody else reads, or waits to write, or if the last one who waited to write died.
    /// Two that try at the same time may both be refused. To wait, drop the guard, lock for writing, and look again
    /// at what was read: another writer may have been there first.
    ///
    /// ```
    /// use commons::sync::RwLock;
    ///
    /// let hits = RwLock::new(0_u64);
    /// let guard = hits.read_or_recover(|_| {})?;
    /// if *guard == 0 {
    ///     match guard.try_upgrade() {
    ///         Ok(mut guard) => *guard = 1,
    ///         Err(guard) => drop(guard), // then the longer way
    ///     }
    /// }
    /// # Ok::<(), commons::sync::SyncError>(())
    /// ```
    pub fn try_upgrade(self) -> Result<RwLockWriteGuard<'l, T>, Self> {
        if !self.lock.words.try_upgrade(self.word) {
            return Err(self);
        }
        let guard = RwLockWriteGuard::new(self.lock, self.data);
        mem::forget(self);
        Ok(guard)
    }

    /// Whether a writer died and the data has not been made good since: if this guard comes of one for writing that
    /// was not [mended](RwLockWriteGuard::recover).
    pub fn owner_died(&self) -> bool {
        self.data == Data::Unmended
    }
}

impl<'l, T: ?Sized> RwLockWriteGuard<'l, T> {
    #[inline]
    pub(super) fn new(lock: &'l RwLock<T>, data: Data) -> Self {
        RwLockWriteGuard { lock, data, stays: PhantomData }
    }

    /// Says that the data is good again, after the last writer died. Does nothing if it always was.
    pub fn recover(mut self) -> Self {
        self.data = Data::InOrder;
        self
    }

    /// Whether the last writer died and the data has not been made good since.
    pub fn owner_died(&self) -> bool {
        self.data == Data::Unmended
    }

    /// Locks for reading instead, and lets other readers in, but no writer in between: what was written can be read.
    /// Never waits.
    ///
    /// A guard that is not [mended](RwLockWriteGuard::recover) lets nobody in: all that changes is that it can no
    /// longer write. Dropped, it makes the lock [unrecoverable](crate::sync::SyncError::Unrecoverable), as it would
    /// have before. The same guard also keeps others out, without further consequences, if all of the readers' slots
    /// are taken just then by threads that have not seen yet that there is a writer.
    pub fn downgrade(self) -> RwLockReadGuard<'l, T> {
        let words = &self.lock.words;
        let word = if self.data == Data::InOrder { words.downgrade() } else { words.writer() };
        let guard = RwLockReadGuard::new(self.lock, word, self.data);
        mem::forget(self);
        guard
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so that nobody writes.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, alone, and the guard borrowed alone.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.word, self.data);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.lock.words.writer(), self.data);
    }
}

#[inline]
fn give_back(word: &Word, data: Data) {
    if data == Data::InOrder {
        word.unlock(Wake::All);
    } else {
        word.unlock_unmended();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
