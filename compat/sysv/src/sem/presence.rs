//! Which mapped set each thread is using, so that nobody unmaps it meanwhile.
//!
//! A thread that is about to use a mapped set says so in its record, then looks whether the set is still what it was. Who
//! gives a set up first changes what that look finds, then reads all records. Each has to see the other's store, for which both
//! would need a barrier between store and look. It costs as much as a lock; so only who gives up has one, and the kernel
//! makes it one for all threads of the process (`membarrier`). Without that nothing is ever unmapped.
//!
//! A signal's handler may use another set in the middle of this; so a record has some places, used like a stack. The place is
//! taken before it is written, and given back after it is cleared, so that a handler in between uses the next one.

use std::cell::Cell;
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::set::in_order;
use crate::kernel;

const REGISTER: usize = 16; // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
const BARRIER: usize = 8; // MEMBARRIER_CMD_PRIVATE_EXPEDITED

/// How many sets a thread can use at a time: handlers in handlers.
const DEEP: usize = 4;

/// One thread's.
struct Record {
    deep: AtomicUsize,
    used: [AtomicPtr<()>; DEEP],
    /// Whether a thread has it.
    taken: AtomicBool,
    next: *const Record,
}

static ALL: AtomicPtr<Record> = AtomicPtr::new(null_mut());

thread_local! {
    static MINE: Cell<*const Record> = const { Cell::new(ptr::null()) };
    static LEAVE: Leave = const { Leave };
}

/// Gives the record back as its thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // SAFETY: records are never freed.
        if let Some(record) = unsafe { MINE.replace(ptr::null()).as_ref() } {
            record.deep.store(0, Relaxed);
            record.taken.store(false, Release);
        }
    }
}

/// A thread's saying that it uses something; taken back when dropped.
pub(super) struct Present {
    record: &'static Record,
    place: usize,
}

impl Present {
    /// Says so. What is used is to be looked at again after this.
    #[inline]
    pub(super) fn at(used: *const ()) -> Option<Present> {
        // SAFETY: null, or a record, and those are never freed.
        let record = match unsafe { MINE.get().as_ref() } {
            Some(record) => record,
            None => set_up(),
        };
        let place = record.deep.load(Relaxed);
        let at = record.used.get(place)?;
        record.deep.store(place + 1, Relaxed);
        in_order();
        at.store(used.cast_mut(), Relaxed);
        in_order();
        Some(Present { record, place })
    }
}

impl Drop for Present {
    #[inline]
    fn drop(&mut self) {
        if let Some(at) = self.record.used.get(self.place) {
            at.store(null_mut(), Release);
        }
        in_order();
        self.record.deep.store(self.place, Relaxed);
    }
}

#[cold]
fn set_up() -> &'static Record {
    let free = |record: &&Record| record.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok();
    let record = all().find(free).unwrap_or_else(|| {
        let new = Box::into_raw(Box::new(Record {
            deep: AtomicUsize::new(0),
            used: [const { AtomicPtr::new(null_mut()) }; DEEP],
            taken: AtomicBool::new(true),
            next: ptr::null(),
        }));
        let mut first = ALL.load(Relaxed);
        loop {
            // SAFETY: nobody knows it yet.
            unsafe { (*new).next = first };
            match ALL.compare_exchange_weak(first, new, AcqRel, Relaxed) {
                // SAFETY: never freed.
                Ok(_) => return unsafe { &*new },
                Err(now) => first = now,
            }
        }
    });
    MINE.set(record);
    // Fails while the thread's data is being destroyed: then the record stays taken, and empty.
    let _ = LEAVE.try_with(|_| ());
    record
}

fn all() -> impl Iterator<Item = &'static Record> {
    let mut next: *const Record = ALL.load(Acquire);
    std::iter::from_fn(move || {
        // SAFETY: records are never freed.
        let record = unsafe { next.as_ref() }?;
        next = record.next;
        Some(record)
    })
}

fn membarrier(command: usize) -> bool {
    // SAFETY: takes numbers.
    unsafe { kernel::call(libc::SYS_membarrier, [command, 0, 0, 0, 0, 0]) }.is_ok()
}

/// To be called early, while there is one thread: then it costs little.
pub(super) fn register() {
    membarrier(REGISTER);
}

/// Whether no thread uses this, and none will, what they look at having been changed before.
pub(super) fn is_unused(what: *const ()) -> bool {
    if !(membarrier(BARRIER) || membarrier(REGISTER) && membarrier(BARRIER)) {
        return false;
    }
    !all().any(|record| record.used.iter().any(|used| ptr::eq(used.load(Acquire), what)))
}

/// In a forked child: the other threads are not there.
pub(super) fn in_child() {
    let mine = MINE.get();
    for record in all().filter(|record| !ptr::eq(*record, mine)) {
        for used in &record.used {
            used.store(null_mut(), Relaxed);
        }
        record.deep.store(0, Relaxed);
        record.taken.store(false, Relaxed);
    }
}
