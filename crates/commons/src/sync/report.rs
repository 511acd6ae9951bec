//! What the bytes of a lock say, for programs that look at a segment without knowing its types, or without attaching it.
//!
//! Only locks whose words are known here have a report: a [word](super::word) for a mutex; for an `RwLock` the writer's,
//! and behind it the readers', each in a line of its own.

use super::mutex::LockState;
use super::rwlock::{LINE, SLOTS};
use super::word::{OWNER, WAITERS, Word};

/// What is known of a lock, whatever its kind, without taking it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockReport {
    /// What it is like; for an [`RwLock`](super::RwLock), what its writer is like.
    pub state: LockState,
    /// The thread ids of those who read, in the pid namespace of those who use the lock.
    pub readers: Vec<u32>,
    /// Whether others may be waiting for one of these threads.
    pub waiters: bool,
}

impl LockReport {
    /// So many bytes say all there is to say about a lock of any kind.
    pub const LEN: usize = SLOTS * LINE + size_of::<Word>();

    /// What the bytes of a lock say, whose kind is called so in a [layout](crate::shared::LockPlace::kind). Bytes behind
    /// the first [`LEN`](LockReport::LEN) do not matter. Nothing that is in the bytes can do harm.
    ///
    /// `None` for a kind that is not known here, and where there are fewer bytes than such a lock has.
    ///
    /// ```
    /// use commons::sync::{LockReport, LockState};
    ///
    /// let report = LockReport::from_bytes("Mutex", &[0; 48]).unwrap();
    /// assert_eq!(report.state, LockState::Free);
    /// assert!(LockReport::from_bytes("Unheard", &[0; 48]).is_none());
    /// ```
    pub fn from_bytes(kind: &str, bytes: &[u8]) -> Option<LockReport> {
        let mut words = offsets(kind)?.map(|offset| bytes.get(offset..offset + size_of::<Word>()));
        let number = |bytes: &[u8], at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let first = words.next()??;
        let waits = |word: u32| word & OWNER != 0 && word & WAITERS != 0;
        let state = LockState::of(number(first, 0), || number(first, 4));
        let mut waiters = waits(number(first, 0));
        let mut readers = Vec::new();
        for word in words {
            let word = number(word?, 0);
            waiters |= waits(word);
            readers.extend(Some(word & OWNER).filter(|thread| *thread != 0));
        }
        Some(LockReport { state, readers, waiters })
    }

    /// The threads that have it: who writes, and who reads.
    pub fn threads(&self) -> impl Iterator<Item = u32> {
        let writer = match self.state {
            LockState::Held { thread, .. } => Some(thread),
            _ => None,
        };
        writer.into_iter().chain(self.readers.iter().copied())
    }

    /// Whether nobody has it, and no owner has left anything behind.
    pub fn is_free(&self) -> bool {
        self.state == LockState::Free && self.readers.is_empty()
    }
}

/// Where the words of a lock of this kind are, the deciding one first.
fn offsets(kind: &str) -> Option<impl Iterator<Item = usize> + use<>> {
    let readers = match kind {
        "Mutex" => 0,
        "RwLock" => SLOTS,
        _ => return None,
    };
    Some((0..=readers).map(|line| line * LINE))
}

/// The words of a lock of this kind, the deciding one first; `None` if it is not known, or these bytes cannot be one.
///
/// # Safety
///
/// The bytes are mapped, readable and writable, while the words are used, and others only change them by atomics.
pub(crate) unsafe fn words<'l>(kind: &str, first: *mut u8, len: usize) -> Option<Vec<&'l Word>> {
    let word = |offset: usize| {
        let place = first.wrapping_add(offset).cast::<Word>();
        let fits = offset + size_of::<Word>() <= len && place.is_aligned();
        // SAFETY: within the bytes that the caller vouches for, and aligned; a word is atomics, or is never looked at.
        fits.then(|| unsafe { &*place })
    };
    offsets(kind)?.map(word).collect()
}

impl Word {
    /// The thread that has it; 0 for none.
    pub(crate) fn owner(&self) -> u32 {
        self.load(super::primitive::Ordering::Relaxed) & OWNER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{LockError, Mutex, RwLock};

    /// The bytes of a lock, as others would read them.
    fn bytes<T>(lock: &T) -> Vec<u8> {
        let first = std::ptr::from_ref(lock).cast::<u8>();
        let byte = |offset: usize| {
            // SAFETY: within the lock; looked at only where it has no gaps, or where they are not used.
            unsafe { first.add(offset).read_volatile() }
        };
        (0..size_of::<T>()).map(byte).collect()
    }

    #[test]
    fn bytes_say_what_the_lock_says() {
        let mutex = Mutex::new([0_u64; 3]);
        let report = || LockReport::from_bytes("Mutex", &bytes(&mutex)).unwrap();
        assert!(report().is_free());
        let guard = mutex.lock().unwrap();
        assert_eq!((report().state, report().waiters), (mutex.state(), false));
        assert_eq!(report().threads().collect::<Vec<_>>(), [crate::sys::robust::thread_id()]);
        drop(guard);
        assert!(report().is_free());
    }

    #[test]
    fn readers_are_among_the_threads() {
        let lock = RwLock::new(1_u64);
        let report = || LockReport::from_bytes("RwLock", &bytes(&lock)).unwrap();
        let me = crate::sys::robust::thread_id();
        let guard = lock.read().unwrap();
        assert_eq!((report().state, report().readers), (LockState::Free, vec![me]));
        assert!(!report().is_free());
        drop(guard);
        let guard = lock.write().unwrap();
        assert_eq!(report().threads().collect::<Vec<_>>(), [me]);
        drop(guard);
        assert!(report().is_free());
    }

    #[test]
    fn what_is_too_short_or_unknown_has_no_report() {
        for (kind, len) in [("Mutex", 39), ("RwLock", LockReport::LEN - 1), ("Condvar", 4096), ("", 64)] {
            assert!(LockReport::from_bytes(kind, &vec![0; len]).is_none(), "{kind} {len}");
        }
        assert!(LockReport::from_bytes("RwLock", &[0xff; LockReport::LEN]).is_some());
    }

    #[test]
    fn a_word_is_taken_from_the_thread_it_names_and_no_other() {
        let mutex = Mutex::new(7_u32);
        let guard = mutex.lock().unwrap();
        let me = crate::sys::robust::thread_id();
        let first = (&raw const mutex).cast_mut().cast::<u8>();
        // SAFETY: the lock lives longer, and its words are atomics.
        let words = unsafe { words("Mutex", first, size_of_val(&mutex)) }.unwrap();
        words[0].take_from(me + 1);
        assert_eq!(words[0].owner(), me);
        words[0].take_from(me);
        assert_eq!(mutex.state(), LockState::OwnerDied);
        drop(guard);
        let Err(LockError::OwnerDied(guard)) = mutex.lock() else { panic!("nobody was told") };
        drop(guard);
        assert_eq!(mutex.state(), LockState::Unrecoverable);
        words[0].reset();
        assert_eq!(mutex.state(), LockState::OwnerDied);
    }
}
