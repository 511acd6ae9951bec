//! Who holds a segment, as far as the kernel tells.
//!
//! Two sources: the slots that handles lock tell who opened it, and `/proc/PID/maps` tells who has it mapped:
//! forked children and programs without Commons as well. Both only look.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};

use super::protocol::Hold;
use super::slot::{SLOTS, Slot};
use crate::sys::file::{self, Access, Identity};
use crate::sys::lock::{self, Range};
use crate::sys::{Errno, who};

/// Who holds a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holders {
    /// The processes that are known, by pid.
    pub processes: Vec<Holder>,
    /// Handles opened in other pid namespaces, whose pids mean nothing here.
    pub elsewhere: usize,
    /// Handles whose opener has ended, so that only something it forked can still hold them.
    pub inherited: usize,
    /// Processes that could not be looked into (other users'), any of which may have it mapped.
    pub hidden: usize,
    /// The ids of these.
    pub hidden_pids: Vec<u32>,
}

/// A process that holds a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its command; `None` if that is hidden.
    pub command: Option<String>,
    /// How many handles it opened that still hold the segment, themselves or by an attachment.
    pub handles: usize,
    /// Whether it has the segment mapped.
    pub mapped: bool,
}

/// From how many holders on the list of all locks is faster than asking for one after the other, each
/// time of which costs the kernel a walk over all.
const MANY: usize = 64;

/// The slots that are locked, by other descriptions than `fd`'s, and `own`.
pub(crate) fn slots(fd: BorrowedFd<'_>, file: Identity, own: Option<Slot>) -> Result<Vec<Slot>, Errno> {
    let mut found: Vec<Slot> = own.into_iter().collect();
    // The kernel names some lock in the range, not the lowest: look on both sides of it.
    let mut ranges = vec![SLOTS];
    while let Some(range) = ranges.pop() {
        let Some(lock) = lock::conflict(fd, range)? else { continue };
        let end = range.start + range.len;
        let lock_end = if lock.len == 0 { u64::MAX } else { lock.start + lock.len };
        if lock.len == 1 {
            found.extend(Slot::from_offset(lock.start));
        }
        if lock.start > range.start {
            ranges.push(Range { start: range.start, len: lock.start - range.start });
        }
        if lock_end < end {
            ranges.push(Range { start: lock_end, len: end - lock_end });
        }
        if found.len() > MANY && add_all(file, &mut found) {
            break;
        }
    }
    found.sort_by_key(|slot| slot.offset());
    found.dedup();
    Ok(found)
}

/// Adds all slots from the kernel's list of locks; `false` if there is no such list.
fn add_all(file: Identity, found: &mut Vec<Slot>) -> bool {
    let mut all: BTreeSet<u64> = found.iter().map(|slot| slot.offset()).collect();
    // Read page by page while others come and go, the list may skip some: read until nothing new shows.
    let (mut quiet, mut reads) = (0, 0);
    while quiet < 2 && reads < 8 {
        let Some(offsets) = who::locked_bytes(file) else { return false };
        let before = all.len();
        all.extend(offsets);
        quiet = if all.len() == before { quiet + 1 } else { 0 };
        reads += 1;
    }
    *found = all.into_iter().filter_map(Slot::from_offset).collect();
    true
}

/// Whether somebody in another pid namespace than this process's holds the segment. A few calls, however many hold it.
pub(crate) fn any_elsewhere(hold: &Hold) -> Result<bool, Errno> {
    // Through a description of its own: the hold's has perhaps no descriptor any more, and shows its own slot to nobody,
    // which is a foreign one in a child that was forked into another namespace.
    let named = file::open(hold.place.path(), Access::ReadOnly)
        .ok()
        .filter(|fd| file::stat(fd.as_fd()).is_ok_and(|stat| stat.identity == hold.identity));
    let Some(fd) = named else {
        // The name is gone, and with it the way to the file: only the list of all locks is left.
        let slots = who::locked_bytes(hold.identity).unwrap_or_default();
        return Ok(slots.into_iter().filter_map(Slot::from_offset).any(|slot| !slot.is_in_my_namespace()));
    };
    // This process's slot keeps out whoever wants the whole range, so that what is met is a slot.
    for range in Slot::elsewhere() {
        // An empty range would mean all that is behind it.
        if range.len > 0 && lock::conflict(fd.as_fd(), range)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who holds it.
pub(crate) fn find(fd: BorrowedFd<'_>, file: Identity, own: Option<Slot>) -> Result<Holders, Errno> {
    let mut holders = Holders::default();
    let mut processes: BTreeMap<u32, Holder> = BTreeMap::new();
    let mappers = who::mappers(file);
    let holder = |pid| Holder { pid, command: who::command(pid), handles: 0, mapped: false };
    for pid in mappers.pids {
        processes.entry(pid).or_insert_with(|| holder(pid)).mapped = true;
    }
    for slot in slots(fd, file, own)? {
        if !slot.is_in_my_namespace() {
            holders.elsewhere += 1;
        } else if who::exists(slot.pid()) {
            processes.entry(slot.pid()).or_insert_with(|| holder(slot.pid())).handles += 1;
        } else {
            holders.inherited += 1;
        }
    }
    holders.processes = processes.into_values().collect();
    holders.hidden = mappers.hidden.len();
    holders.hidden_pids = mappers.hidden;
    Ok(holders)
}
