//! A value that is replaced as a whole, and read without waiting for whoever replaces it.
//!
//! # Layout
//!
//! | bytes                       | what                                                                     |
//! | --------------------------- | ------------------------------------------------------------------------ |
//! | 0 to 39                     | the [word](super::word), held by who writes                              |
//! | 40 to 43                    | the index: how often the value was replaced; its lowest bit says which copy is the current one |
//! | from 48                     | copy 0, at the value's alignment, but a multiple of 8                    |
//! | behind it, at the same alignment | copy 1                                                              |
//!
//! All zero is a value that is all zero, and nobody writing.
//!
//! # Steps
//!
//! | who writes                                     | who reads                                    |
//! | ---------------------------------------------- | -------------------------------------------- |
//! | 1. takes the word                              |                                              |
//! | 2. reads the index, `i`                        | 1. reads the index, `i`; acquire fence       |
//! | 3. release fence                               |                                              |
//! | 4. writes copy `i + 1`, word by word, relaxed  | 2. reads copy `i`, word by word, relaxed     |
//! |                                                | 3. acquire fence                             |
//! | 5. writes the index, `i + 1` (release)         | 4. reads the index; if it is not `i`: from 1 |
//! | 6. gives the word back                         |                                              |
//!
//! (*Copy `i`* is the one that `i`'s lowest bit says.)
//!
//! # Why nobody sees a torn value
//!
//! Say that `W(i)` is the writer that made the index `i`. A reader that found `i` reads words of copy `i`.
//!
//! *None is older than what `W(i)` wrote.* Its step 4 comes before its step 5, which the reader's step 1 has read from:
//! release and the fence order them, so that step 2 reads what `W(i)` wrote or something later.
//!
//! *If one is newer, the reader notices.* After `W(i)` the next to write copy `i` is somebody that found the index
//! `i + 1`, whether it then finished or died half way. If the reader's step 2 read a word of its step 4, then its fence
//! (step 3, before that write) synchronises with the reader's fence (after that read): that the index was `i + 1`,
//! which it knew in its step 2, happens before the reader's step 4, which so reads `i + 1` or later, and not `i`.
//!
//! Writers are ordered among themselves by the word. Not even a reader that stops for long is fooled, unless just
//! 4,294,967,296 writes, or a multiple, were done between its steps 1 and 4.
//!
//! # Why a crash between any two steps is safe
//!
//! Before step 5 nothing that a reader takes for current has changed; the next writer writes all of the idle copy
//! again. After it, all has. That a writer died is no news to anybody. Waiting for the word, and waking, are the
//! word's matter.
//!
//! # What a wrong word does
//!
//! Any bytes are a value, and any index says one of the two copies. An index that never stands still keeps readers
//! reading; [`SeqLock::try_read`] reads once.

use std::fmt;
use std::time::Duration;

use super::backoff::Deadline;
use super::error::SyncError;
use super::primitive::{
    self, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
    constructor, fence,
};
use super::word::{Held, Word};
use super::wordwise::Wordwise;

/// Types that are just their bytes.
///
/// # Safety
///
/// No padding, any bit pattern is a value, no pointers or references.
pub unsafe trait Bytes: Copy + 'static {}

macro_rules! bytes {
    ($($type:ty),*) => {$(
        // SAFETY: a number of a fixed size: no padding, and any bit pattern is one.
        unsafe impl Bytes for $type {}
    )*};
}
bytes!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

// SAFETY: an array is its elements, one after the other.
unsafe impl<T: Bytes, const N: usize> Bytes for [T; N] {}

/// A value that many read and few replace: readers never block, never write, and never see half a value.
///
/// All zero is a value that is all zero. There are two copies: a writer fills the one that nobody reads, then flips
/// them. So one that dies, or is stopped, half way has changed nothing and is in nobody's way. Readers read again if
/// the value was replaced meanwhile: what they return was the value at one moment.
///
/// Reading takes no system call and stores nothing, so that it works through a `&SeqLock` into memory that is mapped for
/// reading only, where somebody made one by hand ([`SharedReader`](crate::shared::SharedReader) gives copies instead). Writers exclude each other as
/// with a [`Mutex`](super::Mutex). Not for use in signal handlers, but for reading.
///
/// ```
/// use commons::sync::SeqLock;
///
/// let position = SeqLock::new([0.0_f64, 0.0]);
/// position.write([1.0, 2.0])?;
/// position.update(|[x, y]| [x + 1.0, y])?;
/// assert_eq!(position.read(), [2.0, 2.0]);
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[repr(C)]
#[doc(alias = "seqlock_t")]
pub struct SeqLock<T: Bytes> {
    word: Word,
    pub(super) index: AtomicU32,
    pub(crate) copies: [Wordwise<T>; 2],
}

impl<T: Bytes> SeqLock<T> {
    constructor! {
        /// With this value, and nobody writing.
        pub fn new(value: T) -> Self {
            SeqLock {
                word: Word::new(),
                index: AtomicU32::new(0),
                copies: [Wordwise::new(value), Wordwise::new(value)],
            }
        }
    }

    /// The value as of one moment, all of one write. Never waits for a lock; tries again while writers go on.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            if let Some(value) = self.try_read() {
                return value;
            }
            primitive::spin();
        }
    }

    /// The value, unless it was replaced just while it was being read.
    #[inline]
    pub fn try_read(&self) -> Option<T> {
        // A relaxed load and a fence, not an acquire load, which not every machine does without writing.
        let index = self.index.load(Relaxed);
        fence(Acquire);
        let value = self.copy(index).load();
        fence(Acquire);
        (self.index.load(Relaxed) == index).then_some(value)
    }

    /// Replaces the value; waits if another thread is just doing that.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldDeadlock`] from within [`update`](SeqLock::update). [`SyncError::TooManyLocks`],
    /// [`SyncError::Unsupported`].
    #[inline]
    pub fn write(&self, value: T) -> Result<(), SyncError> {
        self.update_within(Deadline::Never, |_| value)
    }

    /// Replaces the value, if that needs no waiting.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldBlock`] if another thread is just doing that; otherwise as [`write`](SeqLock::write).
    #[inline]
    pub fn try_write(&self, value: T) -> Result<(), SyncError> {
        self.update_within(Deadline::Now, |_| value)
    }

    /// Replaces the value, waiting so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]; otherwise as [`write`](SeqLock::write).
    pub fn write_timeout(&self, value: T, timeout: Duration) -> Result<(), SyncError> {
        self.update_within(Deadline::after(timeout), |_| value)
    }

    /// Replaces the value by what `change` makes of it; waits if another thread is just replacing it. Nobody else
    /// replaces it meanwhile, and it stays as it was if `change` panics.
    ///
    /// # Errors
    ///
    /// As [`write`](SeqLock::write).
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<(), SyncError> {
        self.update_within(Deadline::Never, |copy| change(copy.load()))
    }

    #[inline]
    fn update_within(
        &self,
        deadline: Deadline,
        next: impl FnOnce(&Wordwise<T>) -> T,
    ) -> Result<(), SyncError> {
        // One that died has changed nothing.
        let _ = self.word.lock(deadline)?;
        let _held = Held::new(&self.word);
        let index = self.index.load(Relaxed);
        let value = next(self.copy(index));
        let index = index.wrapping_add(1);
        fence(Release);
        self.copy(index).store(&value);
        self.index.store(index, Release);
        Ok(())
    }

    #[inline]
    fn copy(&self, index: u32) -> &Wordwise<T> {
        &self.copies[(index & 1) as usize]
    }
}

impl<T: Bytes + Default> Default for SeqLock<T> {
    fn default() -> Self {
        SeqLock::new(T::default())
    }
}

impl<T: Bytes> From<T> for SeqLock<T> {
    fn from(value: T) -> Self {
        SeqLock::new(value)
    }
}

impl<T: Bytes + fmt::Debug> fmt::Debug for SeqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeqLock").field("value", &self.try_read()).field("state", &self.word.state()).finish()
    }
}

#[cfg(all(test, not(commons_model)))]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        use std::mem::offset_of;
        assert_eq!(offset_of!(SeqLock<u64>, index), 40);
        assert_eq!(offset_of!(SeqLock<u64>, copies), 48);
        assert_eq!((size_of::<SeqLock<u8>>(), size_of::<SeqLock<[u32; 3]>>()), (64, 80));
    }
}
