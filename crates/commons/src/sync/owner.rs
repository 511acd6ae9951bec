//! Owners that the kernel did not tell of: it marks the locks of a thread that ends, but for one that calls `exec`
//! while it is not its process's first thread, one that was cloned behind the C library's back, one whose list a neighbour
//! cut, one whose memory was taken away before it ended (by an out-of-memory killer in a hurry), and whatever a neighbour
//! wrote into a word that never was an owner. Who waits for long looks whether the owner exists.
//!
//! Thread ids mean one pid namespace. So this is done only for locks in a segment that Commons attached as an object,
//! and all of whose holders are in this process's pid namespace; others are waited for. And for locks in memory of this
//! process [alone](super::place), which the kernel is not told of: their owners are threads of this process, or of one
//! that it was forked from.

use super::primitive::{self, Ordering::Relaxed};
use super::word::{OWNER, Word};

/// Frees the word if its owner is no more, or is the thread of the id `me`, which is the calling one and does not have
/// the lock.
pub(super) fn look_after(word: &Word, me: u32) {
    let seen = word.load(Relaxed);
    let owner = seen & OWNER;
    if owner == 0 {
        return;
    }
    let is_gone = if word.place().is_private() {
        (owner == me || !primitive::thread_exists_here(owner))
            && primitive::lies_in_shared_memory(word) == Some(false)
    } else {
        (owner == me || !primitive::thread_exists(owner)) && is_ours(word)
    };
    if is_gone {
        word.bury(seen);
    }
}

/// Whether the lock lies in a segment whose holders all have this process's thread ids.
///
/// To be asked after the word was read: an owner that lives and held the segment before it wrote its id is among the
/// holders. (Not told apart is a child that was forked into a pid namespace of its own and goes on with what its
/// parent attached: it holds what its parent opened.)
#[cfg(not(commons_model))]
fn is_ours(word: &Word) -> bool {
    let registered = crate::segment::registry::find(word);
    registered.is_some_and(|registered| registered.all_holders_in_my_pid_namespace() == Some(true))
}

#[cfg(commons_model)]
fn is_ours(_: &Word) -> bool {
    false
}
