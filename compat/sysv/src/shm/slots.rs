//! Which byte an attachment locks: as [`commons::slot`] has it.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::records;
use crate::kernel::{self, Range};

/// Gate and slots: who has this for writing knows that nobody is attached.
pub(super) const WHOLE: Range = Range { start: commons::slot::BASE, len: 0 };
/// The slots alone.
pub(super) const ALL: Range = Range { start: commons::slot::BASE + 1, len: 1 << 60 };
/// A byte that is locked while a process keeps the segment's memory locked for `SHM_LOCK`.
pub(super) const LOCKER: Range = Range { start: commons::slot::GROW - 2, len: 1 };

const PARTS: u32 = 22;
const COUNTER: u32 = 16;

/// The upper bits of this process's slots; 0 when they are not known.
static PROCESS: AtomicU64 = AtomicU64::new(0);
/// Counts attachments, from a random number on.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// In a forked child: it is another process, perhaps in another pid namespace.
pub(super) fn forget_process() {
    PROCESS.store(0, SeqCst);
}

fn process() -> u64 {
    let known = PROCESS.load(Relaxed);
    if known != 0 {
        return known;
    }
    let low = |value: u64| value & ((1 << PARTS) - 1);
    // The link's target, whose inode number names the namespace.
    let namespace = kernel::stat_following(c"/proc/self/ns/pid").map_or(0, |stat| stat.inode);
    let process = low(namespace) << (PARTS + COUNTER) | low(kernel::pid() as u64) << COUNTER;
    PROCESS.store(process, Relaxed);
    process
}

/// The process in the offset of a slot.
pub(super) fn pid(slot: u64) -> u32 {
    (slot.wrapping_sub(ALL.start) >> COUNTER) as u32 & ((1 << PARTS) - 1)
}

/// A byte for one more attachment of this process: no other one of its has it.
pub(super) fn next() -> Range {
    if NEXT.load(Relaxed) == 0 {
        // SAFETY: only reads the auxiliary vector.
        let random = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u8; 16];
        // SAFETY: null, or 16 bytes that are there as long as the program is.
        let start = unsafe { random.as_ref() }
            .map_or(1, |random| u64::from(u16::from_le_bytes([random[4], random[6]])));
        NEXT.store(start | 1 << 32, Relaxed);
    }
    loop {
        let counter = NEXT.fetch_add(1, Relaxed) & ((1 << COUNTER) - 1);
        let start = ALL.start + (process() | counter);
        if !records::has_slot(start) {
            return Range { start, len: 1 };
        }
    }
}
