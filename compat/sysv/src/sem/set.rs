//! A set of semaphores in memory: where everything lies, and how it is read without believing it.
//!
//! # Layout
//!
//! | from              | what                                                                                        |
//! | ----------------- | ------------------------------------------------------------------------------------------- |
//! | 0                 | [`Header`]: the lock, the times, what is being changed                                      |
//! | [`JOURNAL`]       | 500 entries of 16 bytes: what stood where somebody is changing something                    |
//! | [`WORDS`]         | 8 bytes for each semaphore: bits 0 to 15 its value, 16 to 31 how many waiters name it, 32 to 63 the pid |
//! | behind them       | 2 bytes for each semaphore: the values of a `SETALL` that is under way                      |
//! | behind them       | 2 bytes for each place in the [queue](super::queue): the waiters in the order of their coming |
//! | the next page     | [`MOST_WAITERS`] [waiters](super::queue), 128 bytes each                                     |
//! | the next page     | undo [slots](super::undo): owner, counts, 2 bytes for each semaphore                        |
//!
//! All zero is a set of zeros that nobody waits for, but for the number of semaphores, which its creator writes. The
//! file is sparse: memory for waiters and slots is had in pieces, before a piece is used.
//!
//! # Bytes that others write
//!
//! Everything is read by atomic loads, and every number that is an index or a count is brought within its bounds as it is
//! read. The number of semaphores is read once, when the set is attached, and checked against the size of the file. So
//! whatever stands there, all that can come of it is a wrong value, an error, or a wait that looks again.

use std::mem::offset_of;
use std::sync::atomic::{AtomicI16, AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use commons::sync::Mutex;

/// As many semaphores as a set has at most: the kernel's `SEMMSL`.
pub(crate) const MOST_SEMAPHORES: u32 = 32_000;
/// As many operations as a call has at most: `SEMOPM`.
pub(crate) const MOST_OPERATIONS: usize = 500;
/// The largest value: `SEMVMX`; of undo values too: `SEMAEM`.
pub(crate) const MOST_VALUE: i32 = 32_767;
/// As many waiters as are queued; who finds no place looks again from time to time.
pub(super) const MOST_WAITERS: u32 = 4096;

const JOURNAL: usize = 256;
const WORDS: usize = JOURNAL + MOST_OPERATIONS * size_of::<Entry>();
const PAGE: usize = 4096;

/// What a set begins with.
#[repr(C)]
pub(super) struct Header {
    /// Whoever changes anything has it.
    pub(super) lock: Mutex<()>,
    /// How many semaphores there are.
    pub(super) count: AtomicU32,
    /// Not 0 once the set is removed.
    pub(super) removed: AtomicU32,
    /// Seconds: `sem_otime`.
    pub(super) operated: AtomicI64,
    /// Seconds: `sem_ctime`.
    pub(super) changed: AtomicI64,
    /// What is being changed: one of the journal's kinds.
    pub(super) kind: AtomicU32,
    /// How many entries of the journal count.
    pub(super) journaled: AtomicU32,
    /// The undo slot that the journal is about.
    pub(super) slot: AtomicU32,
    /// What else the kind needs.
    pub(super) argument: AtomicU32,
    /// How many waiters are queued.
    pub(super) queued: AtomicU32,
    /// How many waiters are queued whose operations are too many to stand there: any change may concern them.
    pub(super) long: AtomicU32,
    /// For so many waiters, and so many slots, memory is had.
    pub(super) waiters_had: AtomicU32,
    pub(super) slots_had: AtomicU32,
    /// The number of the next waiter.
    pub(super) ticket: AtomicU64,
    /// So many slots have ever been in use.
    pub(super) slots: AtomicU32,
    /// So many slots have an undo value that is not 0.
    pub(super) owing: AtomicU32,
    /// So many undo values are below 0, in all slots.
    pub(super) negative: AtomicU32,
    /// Goes up whenever the permissions change.
    pub(super) permissions: AtomicU32,
    /// When somebody last looked for owners of slots that are gone: milliseconds of the monotonic clock.
    pub(super) looked: AtomicU64,
}

const _: () = assert!(size_of::<Header>() <= JOURNAL && WORDS % 8 == 0 && size_of::<Mutex<()>>() == 40);

/// One entry of the journal.
#[repr(C)]
pub(super) struct Entry {
    /// The semaphore's word as it was.
    pub(super) word: AtomicU64,
    /// Bits 0 to 15 which semaphore, bit 16 whether its undo value changes too, 32 to 47 that as it was.
    pub(super) what: AtomicU64,
}

/// One process's undo values, as the slot begins; they follow, 2 bytes each.
#[repr(C)]
pub(super) struct Slot {
    /// Whose they are; 0 if nobody's.
    pub(super) owner: AtomicU64,
    /// How many are not 0.
    pub(super) owing: AtomicU32,
    unused: AtomicU32,
}

/// A waiter whose operations do not fit here tries again itself when woken.
pub(super) const FIT: usize = 6;

/// A thread that waits.
#[repr(C, align(128))]
pub(super) struct Waiter {
    /// Locked by the thread as long as it waits: the kernel tells if it is gone.
    pub(super) alive: Mutex<()>,
    /// What became of it, and what it sleeps on.
    pub(super) status: AtomicU32,
    pub(super) pid: AtomicU32,
    pub(super) ticket: AtomicU64,
    /// Whose undo values change with it, and where they are; 0 if none do.
    pub(super) owner: AtomicU64,
    pub(super) slot: AtomicU32,
    /// How many operations; more than [`FIT`] do not stand here.
    pub(super) count: AtomicU16,
    /// 1 from when it first sleeps: from then on handlers of signals end the wait, and others see that it waits.
    pub(super) slept: AtomicU16,
    /// What it waits for: bits 0 to 15 the semaphore, bit 16 whether for zero.
    pub(super) blocking: AtomicU32,
    unused_too: AtomicU32,
    /// Bits 0 to 15 the semaphore, 16 to 31 what is added, 32 to 47 the flags.
    pub(super) operations: [AtomicU64; FIT],
}

const _: () = assert!(size_of::<Waiter>() == 128);

/// One operation, as in `struct sembuf`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Which semaphore.
    pub(crate) number: u16,
    /// What is added to its value; 0 waits for it to be 0.
    pub(crate) change: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub(crate) flags: i16,
}

impl Operation {
    pub(super) fn packed(self) -> u64 {
        u64::from(self.number) | u64::from(self.change as u16) << 16 | u64::from(self.flags as u16) << 32
    }

    pub(super) fn of(packed: u64) -> Operation {
        Operation { number: packed as u16, change: (packed >> 16) as i16, flags: (packed >> 32) as i16 }
    }

    #[inline]
    pub(super) fn undoes(self) -> bool {
        i32::from(self.flags) & libc::SEM_UNDO != 0
    }

    #[inline]
    pub(super) fn waits(self) -> bool {
        i32::from(self.flags) & libc::IPC_NOWAIT == 0
    }
}

/// A semaphore's word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    #[inline]
    pub(super) fn value(self) -> i32 {
        i32::from(self.0 as u16)
    }

    #[inline]
    pub(super) fn waiters(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    pub(super) fn pid(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(super) fn with_value(self, value: i32) -> Word {
        Word(self.0 & !0xffff | u64::from(value as u16))
    }

    #[inline]
    pub(super) fn with_waiters(self, waiters: u16) -> Word {
        Word(self.0 & !0xffff_0000 | u64::from(waiters) << 16)
    }

    #[inline]
    pub(super) fn with_pid(self, pid: u32) -> Word {
        Word(self.0 & 0xffff_ffff | u64::from(pid) << 32)
    }
}

/// Where the parts lie in a set of so many semaphores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) count: u32,
    staging: usize,
    order: usize,
    waiters: usize,
    slots: usize,
    stride: usize,
    pub(super) most_slots: u32,
    /// Bytes of the file.
    pub(super) size: usize,
}

impl Layout {
    pub(super) const fn of(count: u32) -> Layout {
        let n = count as usize;
        let staging = WORDS + n * 8;
        let order = staging + (n * 2).next_multiple_of(8);
        let waiters = (order + MOST_WAITERS as usize * 2).next_multiple_of(PAGE);
        let slots = waiters + MOST_WAITERS as usize * size_of::<Waiter>();
        let stride = (size_of::<Slot>() + n * 2).next_multiple_of(16);
        let fit = (8 << 20) / stride;
        let most_slots = if fit < 4096 { fit } else { 4096 };
        let size = (slots + most_slots * stride).next_multiple_of(PAGE);
        Layout { count, staging, order, waiters, slots, stride, most_slots: most_slots as u32, size }
    }

    /// How many bytes from the beginning have memory from the start: all but waiters and slots.
    pub(super) const fn dense(&self) -> usize {
        self.waiters
    }

    /// The bytes of these waiters.
    pub(super) fn waiters(&self, which: std::ops::Range<u32>) -> std::ops::Range<usize> {
        let at = |index: u32| self.waiters + index.min(MOST_WAITERS) as usize * size_of::<Waiter>();
        at(which.start)..at(which.end)
    }

    /// The bytes of these slots.
    pub(super) fn slots(&self, which: std::ops::Range<u32>) -> std::ops::Range<usize> {
        let at = |index: u32| self.slots + index.min(self.most_slots) as usize * self.stride;
        at(which.start)..at(which.end)
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}

/// A set, as it is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    base: *mut u8,
    pub(super) layout: &'static Layout,
}

impl Set {
    /// # Safety
    ///
    /// At `base`, aligned to a page, `layout.size` bytes are mapped for reading and writing, and `layout` stays as
    /// it is, as long as the value or what was had from it is used.
    pub(super) const unsafe fn at(base: *mut u8, layout: &'static Layout) -> Set {
        Set { base, layout }
    }

    /// # Safety
    ///
    /// `offset` is aligned for `T`, which is made of atomics, and lies with all of it within the layout's size.
    #[inline]
    unsafe fn part<T>(&self, offset: usize) -> &'static T {
        // SAFETY: mapped, as `at` was promised, and aligned and within, as this is; the caller of `at` sees to
        // nothing being used later than the mapping.
        unsafe { &*self.base.add(offset).cast::<T>() }
    }

    #[inline]
    pub(super) fn header(&self) -> &'static Header {
        // SAFETY: at 0, and smaller than any set.
        unsafe { self.part(0) }
    }

    #[inline]
    pub(super) fn entry(&self, index: usize) -> &'static Entry {
        let index = index.min(MOST_OPERATIONS - 1);
        // SAFETY: one of the 500 entries.
        unsafe { self.part(JOURNAL + index * size_of::<Entry>()) }
    }

    /// The semaphore's word; `None` if there is no such semaphore.
    #[inline]
    pub(super) fn word(&self, number: u32) -> Option<&'static AtomicU64> {
        if number >= self.layout.count {
            return None;
        }
        // SAFETY: one of the words.
        Some(unsafe { self.part(WORDS + number as usize * 8) })
    }

    /// Where a `SETALL` keeps the semaphore's new value.
    #[inline]
    pub(super) fn staged(&self, number: u32) -> Option<&'static AtomicU16> {
        if number >= self.layout.count {
            return None;
        }
        // SAFETY: one of the places.
        Some(unsafe { self.part(self.layout.staging + number as usize * 2) })
    }

    /// A place in the queue: which waiter stands there.
    #[inline]
    pub(super) fn place(&self, index: u32) -> &'static AtomicU16 {
        let index = index.min(MOST_WAITERS - 1);
        // SAFETY: one of the places.
        unsafe { self.part(self.layout.order + index as usize * 2) }
    }

    #[inline]
    pub(super) fn waiter(&self, index: u32) -> &'static Waiter {
        let index = index.min(MOST_WAITERS - 1);
        // SAFETY: one of the waiters; the first begins a page.
        unsafe { self.part(self.layout.waiters + index as usize * size_of::<Waiter>()) }
    }

    /// A slot; `None` if there is no such one, or no memory for it.
    #[inline]
    pub(super) fn slot(&self, index: u32) -> Option<&'static Slot> {
        if index >= self.layout.most_slots || index >= self.header().slots_had.load(Relaxed) {
            return None;
        }
        // SAFETY: one of the slots; the first begins a page, and the stride is a multiple of 16.
        Some(unsafe { self.part(self.layout.slots + index as usize * self.layout.stride) })
    }

    /// A slot's undo value of the semaphore.
    #[inline]
    pub(super) fn adjustment(&self, slot: u32, number: u32) -> Option<&'static AtomicI16> {
        if number >= self.layout.count || slot >= self.layout.most_slots {
            return None;
        }
        let values = self.layout.slots + slot as usize * self.layout.stride + size_of::<Slot>();
        // SAFETY: within the slot.
        Some(unsafe { self.part(values + number as usize * 2) })
    }

    /// How many waiters there may be: those that have memory.
    pub(super) fn waiters_had(&self) -> u32 {
        self.header().waiters_had.load(Relaxed).min(MOST_WAITERS)
    }

    /// How many slots may be in use.
    pub(super) fn slots_used(&self) -> u32 {
        let header = self.header();
        header.slots.load(Relaxed).min(header.slots_had.load(Relaxed)).min(self.layout.most_slots)
    }

    pub(super) fn is_removed(&self) -> bool {
        self.header().removed.load(Relaxed) != 0
    }

    /// How many semaphores a set says it has, before anything of it is known.
    pub(super) const COUNT_AT: usize = offset_of!(Header, count);
    /// Where the time stands at which it was made.
    pub(super) const CHANGED_AT: usize = offset_of!(Header, changed);
}

/// Lets the compiler move no store from one side to the other. What a thread stored, up to its death, others see in the
/// order of the program: the kernel tells of the death only after it.
#[inline(always)]
pub(super) fn in_order() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_apart_and_within() {
        for count in [1, 2, 3, 4, 5, 250, 32_000] {
            let layout = Layout::of(count);
            assert!(WORDS + count as usize * 8 <= layout.staging);
            assert!(layout.staging + count as usize * 2 <= layout.order);
            assert!(layout.order + MOST_WAITERS as usize * 2 <= layout.waiters);
            assert!(layout.waiters(0..MOST_WAITERS).end <= layout.slots);
            assert!(layout.stride >= size_of::<Slot>() + 2 * count as usize);
            assert!(layout.slots(0..layout.most_slots).end <= layout.size);
            assert!(layout.most_slots >= 128, "{}", layout.most_slots);
        }
    }

    #[test]
    fn words_and_operations_keep_their_parts_apart() {
        let word = Word(0).with_value(32_767).with_waiters(u16::MAX).with_pid(4_194_303);
        assert_eq!((word.value(), word.waiters(), word.pid()), (32_767, u16::MAX, 4_194_303));
        assert_eq!(word.with_value(0).with_waiters(7).waiters(), 7);
        let operation = Operation { number: 31_999, change: -32_767, flags: 0x1800 };
        assert_eq!(Operation::of(operation.packed()), operation);
        assert!(operation.undoes() && !operation.waits());
    }
}
