//! Which addresses are attached, and how far each reaches: detaching is told the address alone, by whatever handle.
//!
//! A table that grows by chunks and never shrinks. Each slot is two words: an address, and its length. There is no
//! lock, since a child that is forked while another thread has it would wait for it for ever.
//!
//! | address | the slot is                                                                                      |
//! | ------- | ------------------------------------------------------------------------------------------------ |
//! | 0       | free                                                                                              |
//! | 1       | somebody's who is filling or emptying it                                                          |
//! | other   | an attachment's, and the length is its                                                            |
//!
//! Whoever turns 0 into 1 fills the slot: length first, then the address (release), so that whoever finds the address
//! (acquire) sees its length. Whoever turns an address into 1 empties it: that is one thread, so that of two that
//! detach one address at once only one succeeds. It unmaps first and frees the slot then; a mapping that gets the
//! same address meanwhile is noted in another slot. A child that is forked between two steps of another thread has a
//! slot more that nobody frees, or an attachment that nobody in the child has the address of: both do no harm.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::failure::{Failure, Result};

const FREE: usize = 0;
const TAKEN: usize = 1;
const SLOTS: usize = 126;

struct Slot {
    address: AtomicUsize,
    len: AtomicUsize,
}

struct Chunk {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk {
            slots: [const { Slot { address: AtomicUsize::new(FREE), len: AtomicUsize::new(0) } }; SLOTS],
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

/// Notes an attachment.
pub(crate) fn insert(address: usize, len: usize) {
    let mut chunk = &FIRST;
    loop {
        for slot in &chunk.slots {
            if slot.address.load(Relaxed) == FREE
                && slot.address.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_ok()
            {
                slot.len.store(len, Relaxed);
                slot.address.store(address, Release);
                return;
            }
        }
        chunk = chunk.next_or_new();
    }
}

/// Unmaps what is attached at this address; an error if nothing is.
pub(crate) fn detach(address: usize) -> Result<()> {
    let nothing = Failure::of(libc::EINVAL);
    if address <= TAKEN {
        return Err(nothing);
    }
    let mut chunk = &FIRST;
    loop {
        for slot in &chunk.slots {
            if slot.address.load(Relaxed) == address
                && slot.address.compare_exchange(address, TAKEN, Acquire, Relaxed).is_ok()
            {
                let len = slot.len.load(Relaxed);
                // SAFETY: mapped by `Memory::attach`, so long, and by the program's word not used any more.
                let done = unsafe { libc::munmap(ptr::without_provenance_mut::<c_void>(address), len) };
                if done != 0 {
                    let failure = Failure::last();
                    slot.address.store(address, Release);
                    return Err(failure);
                }
                slot.address.store(FREE, Release);
                return Ok(());
            }
        }
        chunk = chunk.next().ok_or(nothing)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> usize {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: goes where nothing is mapped.
        unsafe { libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) }.addr()
    }

    #[test]
    fn each_address_is_detached_once() {
        let pages: Vec<usize> = (0..3 * SLOTS).map(|_| page()).collect();
        for page in &pages {
            insert(*page, 4096);
        }
        for page in pages.iter().rev() {
            detach(*page).unwrap();
            assert_eq!(detach(*page), Err(Failure::of(libc::EINVAL)));
        }
        assert_eq!(detach(0), Err(Failure::of(libc::EINVAL)));
        assert_eq!(detach(1), Err(Failure::of(libc::EINVAL)));
    }
}
