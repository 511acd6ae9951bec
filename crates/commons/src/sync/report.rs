//! What the bytes of a lock say, for programs that look at a segment without knowing its types, or without attaching it:
//! `commons locks` is one.
//!
//! The bytes are a copy, and may be anything: whoever can write to a segment can write to its locks. Each kind's own module
//! describes its layout; here is what of it can be told from outside.

use std::mem::offset_of;

use super::barrier::{self, Barrier};
use super::condvar;
use super::event;
use super::mutex::LockState;
use super::once;
use super::permit;
use super::queue;
use super::rwlock::{LINE, SLOTS};
use super::semaphore::Semaphore;
use super::seqlock::SeqLock;
use super::word::{OWNER, OWNER_DIED, WAITERS, Word};
use crate::segment::slot::Slot;

/// What is known of a lock, whatever its kind, without taking it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockReport {
    /// What it is like; for an [`RwLock`](super::RwLock), what its writer is like. [`LockState::Free`] where no thread can
    /// have it for itself, as with a [`Semaphore`], and where a dead owner is no news to anybody, as with
    /// a [`SeqLock`].
    pub state: LockState,
    /// The thread ids of those who read, in the pid namespace of those who use the lock.
    pub readers: Vec<u32>,
    /// Whether others may be waiting. They may have given up, or died, since they said so.
    pub waiters: bool,
    /// What there is to know of its kind.
    pub details: LockDetails,
}

/// What is known of a lock of one kind, beside who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockDetails {
    /// Of a [`Mutex`](super::Mutex), an [`RwLock`](super::RwLock), a [`Condvar`](super::Condvar): nothing.
    None,
    /// Of a [`Semaphore`].
    Semaphore {
        /// How many units there are to take.
        value: u32,
        /// Who has permits, one for each: the slot of its process. Those of the dead included, until somebody waits.
        permits: Vec<Slot>,
    },
    /// Of an [`Event`](super::Event) or [`AutoEvent`](super::AutoEvent).
    Event {
        /// Whether it is set.
        set: bool,
    },
    /// Of a [`Barrier`].
    Barrier {
        /// How many have to come; 0 if nobody has joined yet.
        parties: u32,
        /// How many have come, and wait for the others.
        arrived: u32,
        /// Whether a member died or left, so that it has to be reset.
        broken: bool,
        /// The thread ids of those who take part, in their pid namespace.
        members: Vec<u32>,
        /// How many places are those of dead members, which nobody has taken since.
        dead: u32,
    },
    /// Of a [`Once`](super::Once) or [`OnceLock`](super::OnceLock).
    Once {
        /// Whether it has been done. If not, and a thread has it, that thread is doing it.
        done: bool,
    },
    /// Of a [`SeqLock`].
    SeqLock {
        /// How often the value was replaced, modulo 2^32. Its lowest bit says which of the two copies is the current one.
        writes: u32,
    },
}

impl LockReport {
    /// So many bytes say all there is to say about a lock of any kind.
    pub const LEN: usize = {
        let (rwlock, barrier) = (SLOTS * LINE + size_of::<Word>(), size_of::<Barrier>());
        let semaphore = size_of::<Semaphore>();
        let most = if rwlock > barrier { rwlock } else { barrier };
        if most > semaphore { most } else { semaphore }
    };

    /// What the bytes of a lock say, whose kind is called so in a [layout](crate::shared::LockPlace::kind). Bytes behind
    /// the first [`LEN`](LockReport::LEN) do not matter. Nothing that is in the bytes can do harm.
    ///
    /// `None` for a kind that is not known here, and where there are fewer bytes than such a lock has.
    ///
    /// ```
    /// use commons::sync::{LockDetails, LockReport, LockState};
    ///
    /// let report = LockReport::from_bytes("Mutex", &[0; 48]).unwrap();
    /// assert_eq!(report.state, LockState::Free);
    /// let report = LockReport::from_bytes("Event", &0x4000_0000_u32.to_ne_bytes()).unwrap();
    /// assert_eq!(report.details, LockDetails::Event { set: true });
    /// assert!(LockReport::from_bytes("Unheard", &[0; 48]).is_none());
    /// ```
    pub fn from_bytes(kind: &str, bytes: &[u8]) -> Option<LockReport> {
        match kind {
            "Mutex" | "RwLock" => owned(kind, bytes),
            "Condvar" => {
                let word = number(bytes, 0)?;
                Some(LockReport::free(word & condvar::SLEEPERS != 0, LockDetails::None))
            }
            "Event" | "AutoEvent" => {
                let word = number(bytes, 0)?;
                let set = word & event::SET != 0;
                Some(LockReport::free(word & event::WAITERS != 0, LockDetails::Event { set }))
            }
            "Once" | "OnceLock" => {
                let done = number(bytes, FLAGS)? & once::DONE != 0;
                retried(bytes, LockDetails::Once { done })
            }
            "SeqLock" => {
                let writes = number(bytes, offset_of!(SeqLock<u64>, index))?;
                retried(bytes, LockDetails::SeqLock { writes })
            }
            "Semaphore" => semaphore(bytes),
            "Barrier" => barrier(bytes),
            _ => None,
        }
    }

    /// So many bytes say it of a lock of this kind: none of the data behind it, which whoever has it may be writing.
    pub(crate) fn len_of(kind: &str) -> usize {
        match kind {
            "Condvar" | "Event" | "AutoEvent" => size_of::<u32>(),
            "SeqLock" => offset_of!(SeqLock<u64>, index) + size_of::<u32>(),
            "Semaphore" => size_of::<Semaphore>(),
            _ => places(kind).and_then(Iterator::last).map_or(0, |last| last + size_of::<Word>()),
        }
    }

    /// Of a lock that no thread has for itself.
    fn free(waiters: bool, details: LockDetails) -> LockReport {
        LockReport { state: LockState::Free, readers: Vec::new(), waiters, details }
    }

    /// The threads that have it: who writes, who reads, who takes part in a barrier.
    pub fn threads(&self) -> impl Iterator<Item = u32> {
        let writer = match self.state {
            LockState::Held { thread, .. } => Some(thread),
            _ => None,
        };
        let members = match &self.details {
            LockDetails::Barrier { members, .. } => members.as_slice(),
            _ => &[],
        };
        writer.into_iter().chain(self.readers.iter().copied()).chain(members.iter().copied())
    }

    /// Whether nobody has it, or a permit of it, or takes part in it; and no owner has left anything behind.
    pub fn is_free(&self) -> bool {
        let in_use = match &self.details {
            LockDetails::Semaphore { permits, .. } => !permits.is_empty(),
            LockDetails::Barrier { members, broken, dead, .. } => !members.is_empty() || *broken || *dead > 0,
            _ => false,
        };
        self.state == LockState::Free && self.readers.is_empty() && !in_use
    }
}

/// Where a word's flags are.
const FLAGS: usize = 4;

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long_number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whether a word says that somebody may be waiting for its owner.
fn waits(word: u32) -> bool {
    word & OWNER != 0 && word & WAITERS != 0
}

/// Of a lock that threads have, for themselves or to read.
fn owned(kind: &str, bytes: &[u8]) -> Option<LockReport> {
    let mut places = places(kind)?.map(|offset| bytes.get(offset..offset + size_of::<Word>()));
    let first = places.next()??;
    let (word, flags) = (number(first, 0)?, number(first, FLAGS)?);
    let mut report = LockReport::free(waits(word), LockDetails::None);
    report.state = LockState::of(word, || flags);
    for place in places {
        let word = number(place?, 0)?;
        report.waiters |= waits(word);
        report.readers.extend(Some(word & OWNER).filter(|thread| *thread != 0));
    }
    Some(report)
}

/// Of one whose owner's death is no news: whoever is next does it anew.
fn retried(bytes: &[u8], details: LockDetails) -> Option<LockReport> {
    let word = number(bytes.get(..size_of::<Word>())?, 0)?;
    let mut report = LockReport::free(waits(word), details);
    report.state = match LockState::of(word, || 0) {
        LockState::OwnerDied => LockState::Free,
        state => state,
    };
    Some(report)
}

fn semaphore(bytes: &[u8]) -> Option<LockReport> {
    let bytes = bytes.get(..size_of::<Semaphore>())?;
    let value = (long_number(bytes, 0)? & permit::VALUE) as u32;
    let holder = |entry: usize| long_number(bytes, offset_of!(Semaphore, entries) + entry * permit::ENTRY);
    let holders = (0..permit::ENTRIES).filter_map(holder).filter(|holder| *holder != 0);
    let permits = holders.filter_map(Slot::from_number).collect();
    let waiters = number(bytes, offset_of!(Semaphore, queue))? & queue::SLEEPERS != 0;
    Some(LockReport::free(waiters, LockDetails::Semaphore { value, permits }))
}

fn barrier(bytes: &[u8]) -> Option<LockReport> {
    let bytes = bytes.get(..size_of::<Barrier>())?;
    let state = barrier::Reading::of(number(bytes, 0)?);
    let words = || places("Barrier").into_iter().flatten().filter_map(|place| number(bytes, place));
    let members = words().map(|word| word & OWNER).filter(|thread| *thread != 0).collect();
    // The mark of an earlier epoch's dead means nothing.
    let is_dead = |place: &usize| {
        let word = number(bytes, *place).unwrap_or(0);
        word & OWNER == 0
            && word & OWNER_DIED != 0
            && number(bytes, place + FLAGS) == Some(barrier::flags_of(state.epoch))
    };
    let dead = places("Barrier").into_iter().flatten().filter(is_dead).count() as u32;
    let barrier::Reading { parties, arrived, broken, sleepers, .. } = state;
    let details = LockDetails::Barrier { parties, arrived, broken, members, dead };
    Some(LockReport::free(arrived > 0 || sleepers, details))
}

/// Where the words of a lock of this kind are, the deciding one first; `None` for one that has no words, or is unknown.
fn places(kind: &str) -> Option<impl Iterator<Item = usize> + use<>> {
    let (first, step, count) = match kind {
        "Mutex" | "Once" | "OnceLock" | "SeqLock" => (0, 0, 1),
        "RwLock" => (0, LINE, 1 + SLOTS),
        "Barrier" => (offset_of!(Barrier, places), size_of::<Word>(), Barrier::MAX_PARTIES as usize),
        _ => return None,
    };
    Some((0..count).map(move |number| first + number * step))
}

/// The words of a lock of this kind, the deciding one first: none for one that no thread has. `None` if it is not known,
/// or these bytes cannot be one.
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
    match kind {
        "Condvar" | "Event" | "AutoEvent" | "Semaphore" => Some(Vec::new()),
        _ => places(kind)?.map(word).collect(),
    }
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
    use crate::sync::{AutoEvent, Event, LockError, Mutex, Once, OnceLock, RwLock};

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

    fn report<T>(kind: &str, lock: &T) -> LockReport {
        LockReport::from_bytes(kind, &bytes(lock)).unwrap()
    }

    #[test]
    fn events_say_whether_they_are_set() {
        let (event, auto) = (Event::new(), AutoEvent::new());
        assert_eq!(report("Event", &event).details, LockDetails::Event { set: false });
        event.set();
        auto.set();
        assert_eq!(report("Event", &event).details, LockDetails::Event { set: true });
        assert!(auto.try_wait());
        assert_eq!(report("AutoEvent", &auto).details, LockDetails::Event { set: false });
        assert!(!auto.wait_timeout(std::time::Duration::from_millis(1)));
        assert!(report("AutoEvent", &auto).waiters, "it may have been another one that waited");
    }

    #[test]
    fn what_is_done_once_says_who_does_it() {
        let me = crate::sys::robust::thread_id();
        let (once, lock) = (Once::new(), OnceLock::new());
        once.call_once(|| {
            let report = report("Once", &once);
            assert_eq!(report.threads().collect::<Vec<_>>(), [me]);
            assert_eq!(report.details, LockDetails::Once { done: false });
        })
        .unwrap();
        let done = report("Once", &once);
        assert_eq!((done.is_free(), done.details), (true, LockDetails::Once { done: true }));
        assert_eq!(report("OnceLock", &lock).details, LockDetails::Once { done: false });
        lock.set(7_u64).unwrap();
        assert_eq!(report("OnceLock", &lock).details, LockDetails::Once { done: true });
    }

    #[test]
    fn a_seqlock_says_how_often_it_was_written() {
        let lock = SeqLock::new([0_u8; 3]);
        lock.write([1; 3]).unwrap();
        lock.update(|value| {
            let report = report("SeqLock", &lock);
            assert!(matches!(report.state, LockState::Held { .. }), "{report:?}");
            value
        })
        .unwrap();
        lock.write([2; 3]).unwrap();
        let report = report("SeqLock", &lock);
        assert_eq!((report.is_free(), report.details), (true, LockDetails::SeqLock { writes: 3 }));
    }

    #[test]
    fn a_barrier_says_who_takes_part_and_whether_it_is_broken() {
        let me = crate::sys::robust::thread_id();
        let lock = Barrier::new();
        let expected = |parties, arrived, broken, members, dead| LockDetails::Barrier {
            parties,
            arrived,
            broken,
            members,
            dead,
        };
        let member = lock.join(2).unwrap();
        assert_eq!(report("Barrier", &lock).details, expected(2, 0, false, vec![me], 0));
        assert!(member.wait_timeout(std::time::Duration::from_millis(1)).is_err());
        assert_eq!(report("Barrier", &lock).threads().collect::<Vec<_>>(), [me]);
        let bytes = bytes(&lock);
        let mut dead = bytes.clone();
        // As the kernel marks it, in this epoch and in another one.
        dead[8..12].copy_from_slice(&OWNER_DIED.to_ne_bytes());
        let report_of = |bytes: &[u8]| LockReport::from_bytes("Barrier", bytes).unwrap();
        assert_eq!(report_of(&dead).details, expected(2, 0, false, vec![], 1));
        dead[12] = 2;
        assert_eq!(report_of(&dead).details, expected(2, 0, false, vec![], 0));
        drop(member);
        lock.abort();
        assert_eq!(report("Barrier", &lock).details, expected(2, 0, true, vec![], 0));
        assert!(!report("Barrier", &lock).is_free());
    }

    #[test]
    fn a_semaphore_says_its_value_and_who_has_permits() {
        let lock = Semaphore::new(7);
        lock.wait();
        let report_of = |bytes: &[u8]| LockReport::from_bytes("Semaphore", bytes).unwrap();
        let mut bytes = bytes(&lock);
        let free = report_of(&bytes);
        assert_eq!(
            (free.is_free(), free.details),
            (true, LockDetails::Semaphore { value: 6, permits: vec![] })
        );
        let slot = Slot::next();
        bytes[128 + 63 * 16..][..8].copy_from_slice(&slot.number().to_ne_bytes());
        // No slot has such a number.
        bytes[128..136].fill(0xff);
        let held = report_of(&bytes);
        let permits = vec![slot];
        assert_eq!((held.is_free(), held.details), (false, LockDetails::Semaphore { value: 6, permits }));
    }

    #[test]
    fn what_is_too_short_or_unknown_has_no_report() {
        for (kind, len) in [
            ("Mutex", 39),
            ("RwLock", 1063),
            ("Condvar", 3),
            ("Event", 3),
            ("Once", 39),
            ("SeqLock", 43),
            ("Barrier", 1287),
            ("Semaphore", 1151),
            ("Condition", 4096),
            ("", 64),
        ] {
            assert!(LockReport::from_bytes(kind, &vec![0; len]).is_none(), "{kind} {len}");
        }
        for kind in ["RwLock", "Barrier", "Semaphore", "Once", "OnceLock", "SeqLock", "Condvar", "AutoEvent"]
        {
            assert!(LockReport::from_bytes(kind, &[0xff; LockReport::LEN]).is_some(), "{kind}");
            assert!(LockReport::from_bytes(kind, &[0; LockReport::LEN]).unwrap().is_free(), "{kind}");
            let least = LockReport::len_of(kind);
            assert!(LockReport::from_bytes(kind, &vec![0; least]).is_some(), "{kind}");
            assert!(LockReport::from_bytes(kind, &vec![0; least - 1]).is_none(), "{kind}");
        }
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
