//! Which ids and keys there are: a table for segments, and one for sets of semaphores, each a file in the namespace's
//! directory that every process maps once.
//!
//! # What stands where
//!
//! `ids.shm` and `ids.sem` have a header, lists of entries by key, and entries, all zero at first. The file grows with
//! the entries, and its memory is had before it is used. Each segment or set has a file of its own beside it, named by
//! its id (`shm.5`, `sem.32773`).
//!
//! # Ids
//!
//! As Linux's: an id is its entry's index and, from the 16th bit on, a sequence number. Indices are given out in turn,
//! as far as half again as many as are used, or 64; each time that they begin anew the sequence number goes up, so that
//! an id comes again only after 65,536 turns.
//!
//! # States
//!
//! An entry's word holds id and state, and is the whole truth: free, *live*, or *removed* (there by id until the last
//! holder leaves). Each change of state is one store or compare-and-exchange:
//!
//! | from    | to      | by whom                                                                            |
//! | ------- | ------- | ---------------------------------------------------------------------------------- |
//! | free    | live    | a creator with the lock, after fields and file are complete                        |
//! | live    | removed | anybody who may, without the lock                                                  |
//! | live    | free    | the same, for what has no holders                                                  |
//! | removed | free    | whoever made sure that nobody holds it, after removing the file, without the lock  |
//!
//! # The lock
//!
//! Creating, and changing permissions, is for one process at a time: whoever has a [`Mutex`](commons::sync::Mutex) in
//! the header. A namespace on a disk survives a reboot, and a thread id in a mutex does not: there it is an
//! open-file-description lock on a byte of the table's file, which costs opening that. All who use a namespace find it
//! of the same kind. Looking up takes no lock.
//!
//! # Why a crash is safe
//!
//! The kernel gives the lock back, or the mutex with word of a death, in whatever container. Whoever has it next sees
//! from `changes`, which is odd during a creation, that one did not come to its end, and *repairs*: the lists are made
//! anew from the words, and files that no word speaks of are removed. So it does not matter in which order the rest of
//! a creation is done, but for two things: index and sequence number are noted before they are used, so that no id is
//! given out twice, and the word comes last, so that an entry is seen with its fields and file or not at all. A removal
//! is a single step; what has to follow it is done by whoever comes across a removed entry that nobody holds.
//!
//! Left open: a program that writes a living thread's id over the mutex holds up all who create, as it would by any other
//! damage to the table; looking up goes on.
//!
//! # Why looking up needs no lock
//!
//! What is found in a list is believed only if the word says live, the key is right, and the word is still the same
//! afterwards. What is not found is believed only if `changes` is even and still the same afterwards: lists change only
//! in between. Otherwise one looks again with the lock.

pub(crate) mod access;
mod create;
mod layout;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use create::{Created, New};
pub(crate) use layout::{Entry, Permissions, State, Word};
pub(crate) use table::Table;

pub(crate) use commons_compat::sysv::{INDEX_BITS, Kind};

/// Sequence numbers there are.
pub(crate) const SEQUENCES: u32 = (i32::MAX as u32) >> INDEX_BITS;

/// The index in an id.
#[inline]
pub(crate) fn index(id: i32) -> u32 {
    id as u32 & ((1 << INDEX_BITS) - 1)
}
