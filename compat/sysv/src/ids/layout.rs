//! What stands in a table of ids. All zeros is an empty table.

use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use commons::sync::Mutex;
use commons_compat::sysv;

/// Where the lists of entries begin.
pub(super) const BUCKETS: usize = sysv::HEADER;
/// Bytes of an entry.
pub(super) const ENTRY: usize = size_of::<Entry>();

const _: () = assert!(ENTRY == sysv::ENTRY && size_of::<Header>() <= BUCKETS);
// What `commons_compat` reads of an entry.
const _: () = assert!(std::mem::offset_of!(Entry, word) == 0 && std::mem::offset_of!(Entry, key) == 8);

/// The beginning of a table. What is behind `changes` changes only under the lock.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Header {
    /// Goes up by one before a creation and after it: odd while one is under way, or was when its process died.
    pub(super) changes: AtomicU32,
    /// Where the next creation begins to look for a free entry.
    pub(super) next: AtomicU32,
    /// One more than the index that was given out last.
    pub(super) last: AtomicU32,
    /// The sequence number that was given out last.
    pub(super) sequence: AtomicU32,
    /// How many entries are not free, more or less: a crash can leave it too high.
    pub(super) used: AtomicU32,
    /// Not 0 if there may be entries that are removed and not free.
    pub(super) removed: AtomicU32,
    /// When to look next for removed entries that nobody holds: nanoseconds of the monotonic clock.
    pub(super) look: AtomicU64,
    /// The table's lock, where that is in memory.
    pub(super) lock: Mutex<()>,
}

/// The states of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Found by key and id.
    Live,
    /// Removed, and there by id until its last holder leaves.
    Removed,
}

/// An id with the state of its entry; the whole truth about it, in one word. Zero is a free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const FREE: Word = Word(0);

    pub(crate) fn new(id: i32, state: State) -> Word {
        let state = match state {
            State::Live => sysv::LIVE,
            State::Removed => 2,
        };
        Word(state << 32 | u64::from(id as u32))
    }

    /// Whether it is removed, and not free.
    pub(crate) fn is_removed(self) -> bool {
        matches!(self.get(), Some((_, State::Removed)))
    }

    /// `None` for a free entry.
    #[inline]
    pub(crate) fn get(self) -> Option<(i32, State)> {
        let id = self.0 as u32 as i32;
        match self.0 >> 32 {
            sysv::LIVE => Some((id, State::Live)),
            2 => Some((id, State::Removed)),
            _ => None,
        }
    }
}

/// Whose something is and who may use it: what `IPC_SET` changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The low nine bits.
    pub(crate) mode: u32,
    /// When this was set last.
    pub(crate) ctime: i64,
}

#[repr(C)]
#[derive(Debug, Default)]
struct Copy {
    uid: AtomicU32,
    gid: AtomicU32,
    mode: AtomicU32,
    unused: AtomicU32,
    ctime: AtomicI64,
}

/// What is known of one segment or set of semaphores.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Entry {
    word: AtomicU64,
    pub(crate) key: AtomicI32,
    /// The next entry in the same list: one more than its index, or 0.
    pub(super) next: AtomicU32,
    /// The list that it is in: one more than its number, or 0.
    pub(super) bucket: AtomicU32,
    /// The lowest bit says which copy of the permissions is good.
    version: AtomicU32,
    copies: [Copy; 2],
    pub(crate) cuid: AtomicU32,
    pub(crate) cgid: AtomicU32,
    /// The process that created it.
    pub(crate) cpid: AtomicI32,
    /// The process that used it last.
    pub(crate) lpid: AtomicI32,
    /// Bytes, or semaphores.
    pub(crate) size: AtomicU64,
    /// `shm_atime`, or `sem_otime`.
    pub(crate) atime: AtomicI64,
    /// `shm_dtime`.
    pub(crate) dtime: AtomicI64,
    /// For what a kind has beyond this; 0 in a new entry.
    pub(crate) flags: AtomicU32,
    /// The same.
    pub(crate) more: AtomicU32,
    /// The same.
    pub(crate) still_more: AtomicU64,
}

impl Entry {
    /// What it is now.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// Whether it still is what it was: then all that was read in between belongs to that.
    #[inline]
    pub(crate) fn is_still(&self, word: Word) -> bool {
        fence(Acquire);
        self.word.load(Relaxed) == word.0
    }

    /// The one step by which it is published.
    pub(super) fn publish(&self, word: Word) {
        self.word.store(word.0, Release);
    }

    /// The one step by which it is removed, or freed; whether this call did it.
    pub(super) fn change(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, SeqCst, Relaxed).is_ok()
    }

    /// All of its permissions, of one moment.
    #[inline]
    pub(crate) fn permissions(&self) -> Permissions {
        loop {
            let version = self.version.load(Acquire);
            let copy = &self.copies[version as usize & 1];
            let permissions = Permissions {
                uid: copy.uid.load(Relaxed),
                gid: copy.gid.load(Relaxed),
                mode: copy.mode.load(Relaxed),
                ctime: copy.ctime.load(Relaxed),
            };
            fence(Acquire);
            // A copy is written again only after the other one was made the good one.
            if self.version.load(Relaxed) == version {
                return permissions;
            }
        }
    }

    /// Changes them, in one step. One at a time: under the table's lock.
    pub(super) fn set_permissions(&self, permissions: Permissions) {
        let version = self.version.load(Relaxed);
        let copy = &self.copies[version.wrapping_add(1) as usize & 1];
        fence(Release);
        copy.uid.store(permissions.uid, Relaxed);
        copy.gid.store(permissions.gid, Relaxed);
        copy.mode.store(permissions.mode, Relaxed);
        copy.ctime.store(permissions.ctime, Relaxed);
        self.version.store(version.wrapping_add(1), Release);
    }
}
