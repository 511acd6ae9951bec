//! Shared memory: `shmget`, `shmat`, `shmdt`, `shmctl`.
//!
//! A segment is the file `shm.<id>` in the namespace. Its size and memory are had in full when its entry in the
//! [table of ids](crate::ids) says that it is there. Its mode and owner are the segment's permissions, so that the kernel
//! keeps them.
//!
//! # Creation
//!
//! Nobody opens the file of an id that no entry has, and an id is given out once. So a small segment in memory is made
//! under its name at once, under the table's lock, which spares a fifth of what making one costs. Dying meanwhile leaves
//! a file without an entry, in whatever state, and `changes` odd: whoever has the lock next removes it. A large one is
//! complete before it has a name and before the lock is taken, so that nobody waits for its memory; so is one on a disk,
//! where entry and file are not written in order and a power failure could leave an entry with half a file; and one for
//! which there was no room at first.
//!
//! # Attachments
//!
//! Each has an open file description of its own, with one byte of the file locked for reading, and no descriptor: the
//! mapping alone keeps the lock ([`commons::slot`] says where, so that `commons` shows the holders). So `shm_nattch` is
//! how many bytes are locked, whatever became of the processes. In a forked child each gets a description of its own
//! ([`fork`]).
//!
//! # Removal
//!
//! 1. The entry goes from *live* to *removed*: the key is free, and the id works for those who know it.
//! 2. Whoever locks the whole range for writing has proved that nobody is attached. With that lock it removes the file,
//!    frees the entry, and only then gives the lock back.
//!
//! `IPC_RMID` does the first and tries the second; so does, on a removed segment, whoever detaches, and whoever comes
//! across it and sees that nobody holds it. Who attaches takes its byte first and looks at the entry afterwards: either
//! the byte keeps out the one who wants the whole range, or the entry is free by the time the byte is had. Dying between
//! removing the file and freeing the entry leaves a removed entry without a file, which whoever finds it frees; who had
//! the file open by then sees that it has no name any more.
//!
//! Nobody waits for the range: it is tried, and who does not get it leaves the rest to others.

mod attach;
mod control;
mod detach;
mod file;
mod foreign;
pub(crate) mod fork;
mod get;
mod maps;
mod memory_lock;
pub(crate) mod records;
mod slots;
mod times;

pub(crate) use attach::attach;
pub(crate) use control::{control, table_text};
pub(crate) use detach::{at_exit, detach};
pub(crate) use get::get;
pub(crate) use records::touch;

use crate::ids::{Kind, Table};
use crate::quiet::Quiet;

/// `SHM_DEST`: removed, and still attached.
pub(crate) const DEST: u32 = 0o1000;
/// `SHM_LOCKED`.
pub(crate) const LOCKED: u32 = 0o2000;

/// The same on every architecture.
pub(crate) const PAGE: usize = 4096;

/// The lowest index of an id that is another drop-in's.
pub(crate) const FOREIGN: u32 = 1 << 14;

const _: () = assert!(Kind::Memory.indices() <= FOREIGN);

/// Finishes the removal of segments that nobody holds any more, if it is time to look for such.
#[inline]
pub(crate) fn look_for_removed(table: &Table) {
    if table.is_time_to_look() {
        finish_all(table, table.known_entries());
    }
}

/// The same, at once, for the first so many entries. Not to be called while quiet.
#[cold]
pub(crate) fn finish_all(table: &Table, entries: u32) {
    let began = crate::kernel::monotonic();
    let removed = |index: &u32| matches!(table.at(*index), Some((word, _)) if word.is_removed());
    let mut left = false;
    // Mostly there are none any more.
    if let Some(first) = (0..entries).find(removed) {
        let _quiet = Quiet::new();
        for (word, entry) in (first..entries).filter_map(|index| table.at(index)) {
            left |= file::finish(table, entry, word, None) == file::Fate::Held;
        }
    }
    table.looked(crate::kernel::monotonic() - began, left);
}
