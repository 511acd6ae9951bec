//! Which addresses are mapped, how far each reaches, and whether the program has it: detaching is told the address
//! alone, by whatever handle.
//!
//! Each handle has one mapping of its own, its *spare*, so that it can attach whatever happens to the name. The first
//! attachment is the spare itself, lent to the program; when it is detached, it is hidden (`PROT_NONE`) rather
//! than unmapped, as long as the handle is open. So opening, attaching, detaching and closing once, as nearly all
//! programs do, maps once.
//!
//! # The table
//!
//! It grows by chunks and never shrinks. Each slot is an address, whose low bits are free for its state, and a length.
//! There is no lock, since a child that is forked while another thread has it would wait for it for ever.
//!
//! | address word | the slot is                                       | next                                          |
//! | ------------ | ------------------------------------------------- | --------------------------------------------- |
//! | 0            | free                                              | `BUSY` by who maps                            |
//! | `BUSY`       | somebody's who is between two of the others       | any                                           |
//! | a + `READY`  | a spare, mapped as the program will have it       | a + `LENT` (attach), `BUSY` (close)           |
//! | a + `HIDDEN` | a spare that nobody can touch                     | `BUSY` then a + `LENT` (attach), or 0 (close) |
//! | a + `LENT`   | the program's, and the spare of an open handle    | `BUSY` then a + `HIDDEN` (detach), a (close)  |
//! | a            | the program's                                     | `BUSY` then 0 (detach)                        |
//!
//! Each change is a compare-and-exchange, so that of two threads that detach or close the same at once one succeeds.
//! The length is written before the address is (release), and read by whoever has made the slot `BUSY` (acquire). Who
//! unmaps does so before the slot is free; a mapping that gets the same address meanwhile is noted in another slot.
//!
//! A child that is forked between two steps of another thread finds a slot `BUSY` for ever: nobody has its address
//! then but that thread, which the child does not have. A handle whose spare is in that slot is closed without it.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::failure::{Failure, Result};

const FREE: usize = 0;
const BUSY: usize = 1;
const READY: usize = 2;
const HIDDEN: usize = 3;
const LENT: usize = 4;
const STATES: usize = 7;

const SLOTS: usize = 126;

/// How often who closes looks for another thread to be done with a slot.
const LOOKS: u32 = 10_000;

/// A mapping, or room for one.
#[derive(Debug)]
pub(crate) struct Slot {
    word: AtomicUsize,
    len: AtomicUsize,
}

struct Chunk {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk {
            slots: [const { Slot { word: AtomicUsize::new(FREE), len: AtomicUsize::new(0) } }; SLOTS],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: null, or a chunk that was leaked by `next_or_new`.
        unsafe { self.next.load(Acquire).as_ref() }
    }

    fn next_or_new(&self) -> &'static Chunk {
        if let Some(next) = self.next() {
            return next;
        }
        let new = Box::into_raw(Box::new(Chunk::new()));
        match self.next.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            // SAFETY: leaked just now, and never freed.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: leaked by the other thread, which was first.
                unsafe { &*theirs }
            }
        }
    }
}

static FIRST: Chunk = Chunk::new();

fn pointer(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

fn insert(address: *mut c_void, len: usize, state: usize) -> &'static Slot {
    let mut chunk = &FIRST;
    loop {
        for slot in &chunk.slots {
            if slot.word.load(Relaxed) == FREE && slot.claim(FREE) {
                slot.len.store(len, Relaxed);
                slot.word.store(address.expose_provenance() | state, Release);
                return slot;
            }
        }
        chunk = chunk.next_or_new();
    }
}

/// Notes the program's own mapping.
pub(crate) fn note(address: *mut c_void, len: usize) {
    insert(address, len, 0);
}

/// Notes the spare of a new handle, which is mapped as the program is going to have it.
pub(crate) fn note_spare(address: *mut c_void, len: usize) -> &'static Slot {
    insert(address, len, READY)
}

/// Takes what is mapped at this address from the program; an error if it has nothing there.
pub(crate) fn detach(address: *mut c_void) -> Result<()> {
    let nothing = Failure::of(libc::EINVAL);
    let address = address.addr();
    if address == 0 || address & STATES != 0 {
        return Err(nothing);
    }
    let mut chunk = &FIRST;
    loop {
        for slot in &chunk.slots {
            let word = slot.word.load(Relaxed);
            if word == address && slot.claim(word) {
                return slot.unmap(address);
            }
            if word == address | LENT && slot.claim(word) {
                // SAFETY: mapped by this library, so long, and by the program's word not used any more.
                let done =
                    unsafe { libc::mprotect(pointer(address), slot.len.load(Relaxed), libc::PROT_NONE) };
                let failure = Failure::last();
                slot.word.store(address | if done == 0 { HIDDEN } else { LENT }, Release);
                return if done == 0 { Ok(()) } else { Err(failure) };
            }
            if word == address | LENT || word == address {
                // It changed just then, perhaps only from one of these to the other.
                return detach(pointer(address));
            }
        }
        chunk = chunk.next().ok_or(nothing)?;
    }
}

impl Slot {
    /// Makes it `BUSY`, if it is still in that state.
    fn claim(&self, word: usize) -> bool {
        self.word.compare_exchange(word, BUSY, Acquire, Relaxed).is_ok()
    }

    /// Unmaps; the caller has made it `BUSY`.
    fn unmap(&self, address: usize) -> Result<()> {
        // SAFETY: mapped by this library, so long; the program has given it up, or never had it.
        if unsafe { libc::munmap(pointer(address), self.len.load(Relaxed)) } != 0 {
            let failure = Failure::last();
            self.word.store(address, Release);
            return Err(failure);
        }
        self.word.store(FREE, Release);
        Ok(())
    }

    /// Lends the spare to the program, mapped with this protection; `None` if it has it already.
    pub(crate) fn lend(&self, protection: i32) -> Result<Option<*mut c_void>> {
        let word = self.word.load(Relaxed);
        let address = word & !STATES;
        match word & STATES {
            READY if self.word.compare_exchange(word, address | LENT, AcqRel, Relaxed).is_ok() => {
                Ok(Some(pointer(address)))
            }
            HIDDEN if self.claim(word) => {
                // SAFETY: a spare of this length, which nobody else uses.
                let done = unsafe { libc::mprotect(pointer(address), self.len.load(Relaxed), protection) };
                let failure = Failure::last();
                self.word.store(address | if done == 0 { LENT } else { HIDDEN }, Release);
                if done == 0 { Ok(Some(pointer(address))) } else { Err(failure) }
            }
            _ => Ok(None),
        }
    }

    /// Where the spare is mapped; `None` while another thread is changing that.
    pub(crate) fn address(&self) -> Option<*mut c_void> {
        let word = self.word.load(Acquire);
        (word != BUSY && word != FREE).then(|| pointer(word & !STATES))
    }

    /// Ends the spare of a handle that is closed: what the program has of it, it keeps.
    pub(crate) fn close(&self) {
        for _ in 0..LOOKS {
            let word = self.word.load(Relaxed);
            let address = word & !STATES;
            match word & STATES {
                READY | HIDDEN if self.claim(word) => {
                    // That it cannot be unmapped, for want of memory, leaves it mapped.
                    let _ = self.unmap(address);
                    return;
                }
                LENT if self.word.compare_exchange(word, address, AcqRel, Relaxed).is_ok() => return,
                _ => std::thread::yield_now(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that one test has unmapped may be mapped by another, which would then be detached by both.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn alone() -> std::sync::MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn page() -> *mut c_void {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: goes where nothing is mapped.
        unsafe { libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) }
    }

    const NOTHING: Result<()> = Err(Failure { code: -5987, system: libc::EINVAL });

    #[test]
    fn each_address_is_detached_once() {
        let _alone = alone();
        let pages: Vec<_> = (0..3 * SLOTS).map(|_| page()).collect();
        for page in &pages {
            note(*page, 4096);
        }
        for page in pages.iter().rev() {
            detach(*page).unwrap();
            assert_eq!(detach(*page), NOTHING);
        }
        assert_eq!(detach(ptr::null_mut()), NOTHING);
        assert_eq!(detach(pointer(1)), NOTHING);
    }

    #[test]
    fn a_spare_is_lent_once_at_a_time_and_kept_by_who_has_it() {
        let _alone = alone();
        let page = page();
        let spare = note_spare(page, 4096);
        assert_eq!(detach(page), NOTHING);
        assert_eq!(spare.lend(libc::PROT_READ), Ok(Some(page)));
        assert_eq!(spare.lend(libc::PROT_READ), Ok(None));
        detach(page).unwrap();
        assert_eq!(detach(page), NOTHING);
        assert_eq!(spare.lend(libc::PROT_READ), Ok(Some(page)));
        spare.close();
        // SAFETY: mapped for reading: closing has taken nothing from the program.
        assert_eq!(unsafe { ptr::read_volatile(page.cast::<u8>()) }, 0);
        detach(page).unwrap();
        assert_eq!(detach(page), NOTHING);
    }

    #[test]
    fn of_many_that_detach_one_address_one_succeeds() {
        let _alone = alone();
        for _ in 0..200 {
            let page = page();
            let spare = note_spare(page, 4096);
            spare.lend(libc::PROT_READ).unwrap();
            let address = page.expose_provenance();
            let done: usize = std::thread::scope(|scope| {
                let closing = scope.spawn(|| spare.close());
                let threads: Vec<_> = (0..3)
                    .map(|_| scope.spawn(move || usize::from(detach(pointer(address)).is_ok())))
                    .collect();
                closing.join().unwrap();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(done, 1);
        }
    }
}
