//! Something that is done once, by whoever comes first and does not die over it.
//!
//! # Layout
//!
//! | bytes    | what                                                                                          |
//! | -------- | --------------------------------------------------------------------------------------------- |
//! | 0 to 39  | the [word](super::word), held by who is doing it; in its flags (bytes 4 to 7) bit 1 is `DONE` |
//! | from 40  | of a [`OnceLock`], the value, at its alignment                                                |
//!
//! All zero is not done.
//!
//! # States
//!
//! | word                | `DONE` | means                                             |
//! | ------------------- | ------ | ------------------------------------------------- |
//! | free, or owner died | no     | not done; who comes takes the word and does it    |
//! | taken               | no     | somebody is doing it; who comes waits for the word |
//! | taken               | yes    | done, and about to be given back                  |
//! | free, or owner died | yes    | done                                              |
//!
//! `DONE` is set by who has the word, and never taken away.
//!
//! # Why no wake-up is lost
//!
//! That of the word is argued there: whoever waited for it takes it, finds `DONE`, and gives it back.
//!
//! # Why a crash between any two steps is safe
//!
//! `DONE` is one store, with release, after all that was to be done. Before it the next one finds that nothing is
//! done, and begins anew, over whatever the dead one left; after it all is done, and the word's being marked by the
//! kernel means nothing. Who sees `DONE` (with acquire) sees all that was done before.
//!
//! # What a wrong word does
//!
//! A `DONE` that somebody else wrote shows a value that is whatever bytes are there. One that was taken away has it
//! done again.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;

use super::backoff::Deadline;
use super::error::SyncError;
use super::primitive::{
    Ordering::{Acquire, Release},
    constructor,
};
use super::word::{Held, Word};

/// In the word's flags: it is done.
pub(super) const DONE: u32 = 2;

/// Runs something once, among all threads of all processes that share the memory it lies in.
///
/// All zero is not run yet. If whoever runs it dies or panics, the next one runs it again, from the beginning: so it
/// has to cope with what one that stopped half way may have left. Once it has run, asking costs one load.
///
/// Waiting for another one to finish is not broken by signals. Not for use in signal handlers.
///
/// ```
/// use commons::sync::Once;
/// # let mut runs = 0;
///
/// let made = Once::new();
/// for _ in 0..2 {
///     made.call_once(|| runs += 1)?;
/// }
/// assert_eq!(runs, 1);
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[repr(C)]
#[doc(alias = "pthread_once_t")]
pub struct Once {
    word: Word,
}

impl Once {
    constructor! {
        /// Not run yet.
        pub fn new() -> Self {
            Once { word: Word::new() }
        }
    }

    /// Runs `f`, unless it has been run; waits if another thread is just running it.
    ///
    /// # Errors
    ///
    /// [`SyncError::WouldDeadlock`] if `f` itself calls this. [`SyncError::TooManyLocks`], [`SyncError::Unsupported`].
    #[doc(alias = "pthread_once")]
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<(), SyncError> {
        if self.is_completed() {
            return Ok(());
        }
        self.try_call_once(|| {
            f();
            Ok(())
        })
    }

    /// Whether it has been run.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.word.flags().load(Acquire) & DONE != 0
    }

    /// It counts as run only if it says `Ok`.
    #[cold]
    fn try_call_once<E: From<SyncError>>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        // Whether somebody died over it does not matter: it was not done then.
        let _ = self.word.lock(Deadline::Never)?;
        let _held = Held::new(&self.word);
        if !self.is_completed() {
            f()?;
            self.word.flags().fetch_or(DONE, Release);
        }
        Ok(())
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("completed", &self.is_completed())
            .field("state", &self.word.state())
            .finish()
    }
}

/// A value that is made once, by whoever comes first, and is only read from then on.
///
/// All zero is one without a value yet. If whoever makes the value dies or panics, the next one makes it. Once it is
/// there, reading costs one load.
///
/// The value is never dropped, since it may lie in memory that outlives the process: its type may not need to be.
///
/// ```
/// use commons::sync::OnceLock;
///
/// let seed = OnceLock::new();
/// assert_eq!(seed.get(), None);
/// assert_eq!(*seed.get_or_init(|| 7)?, 7);
/// assert!(!seed.set(8)?);
/// assert_eq!(seed.get(), Some(&7));
/// # Ok::<(), commons::sync::SyncError>(())
/// ```
#[repr(C)]
pub struct OnceLock<T> {
    once: Once,
    pub(crate) value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value, made in one thread, goes with it to another.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: one thread makes the value, and may not be the one that had it (`Send`); then all may look at it (`Sync`).
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    constructor! {
        /// Without a value.
        pub fn new() -> Self {
            const { assert!(!std::mem::needs_drop::<T>(), "a value in shared memory is never dropped") };
            OnceLock { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// The value, if it has been made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: done means that the value was written, which is seen here (acquire), and is never written again.
        // Where others write what they like, any bytes are a value of a type that may lie there.
        self.once.is_completed().then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Gives it this value, unless it has one; whether it did. Waits if another thread is just making one.
    ///
    /// # Errors
    ///
    /// As [`Once::call_once`].
    pub fn set(&self, value: T) -> Result<bool, SyncError> {
        let mut did = false;
        self.get_or_init(|| {
            did = true;
            value
        })?;
        Ok(did)
    }

    /// The value; if there is none yet, `make` makes it. Waits if another thread is just making one.
    ///
    /// # Errors
    ///
    /// As [`Once::call_once`].
    #[inline]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<&T, SyncError> {
        self.get_or_try_init(|| Ok(make()))
    }

    /// The value; if there is none yet, `make` makes it, or says why it cannot. Then there still is none.
    ///
    /// # Errors
    ///
    /// What `make` said; as [`Once::call_once`].
    #[inline]
    pub fn get_or_try_init<E: From<SyncError>>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.once.try_call_once(|| {
            let value = make()?;
            // SAFETY: the word is held and the value not made, so that nobody reads it and nobody else writes it.
            unsafe { (*self.value.get()).write(value) };
            Ok::<_, E>(())
        })?;
        // SAFETY: it has been made, by this thread or by the one that had the word before.
        Ok(unsafe { (*self.value.get()).assume_init_ref() })
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}
