//! `shm_atime`, `shm_dtime`, `shm_lpid`: who attached and detached last, and when.
//!
//! The kernel notes it also for a process that is killed. Here nobody runs at that moment: whoever looks next sees that
//! fewer hold the segment than had attached it and not detached it, and notes the death as of now. Who it was it knows if
//! it was one of the last two to attach.
//!
//! An entry's `more` counts attachments less detachments, `still_more` has those two. They serve for nothing else: the
//! number of attachments is the kernel's.

use std::sync::atomic::Ordering::Relaxed;

use super::slots;
use crate::ids::Entry;
use crate::kernel;

/// `attacher` has one attachment more; the kernel says that `by` did it.
pub(super) fn attached(entry: &Entry, attacher: i32, by: i32) {
    entry.atime.store(kernel::now(), Relaxed);
    entry.lpid.store(by, Relaxed);
    entry.more.fetch_add(1, Relaxed);
    let last = entry.still_more.load(Relaxed);
    if last as u32 != attacher as u32 {
        entry.still_more.store(last << 32 | u64::from(attacher as u32), Relaxed);
    }
}

/// This process has one attachment less.
pub(super) fn detached(entry: &Entry) {
    entry.dtime.store(kernel::now(), Relaxed);
    entry.lpid.store(kernel::own_pid(), Relaxed);
    let _ = entry.more.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
}

/// Somebody looked, and these are the offsets of the bytes of all that are attached.
pub(super) fn seen(entry: &Entry, holders: &[u64]) {
    let known = entry.more.load(Relaxed);
    let count = holders.len() as u32;
    if known <= count || entry.more.compare_exchange(known, count, Relaxed, Relaxed).is_err() {
        return;
    }
    entry.dtime.store(kernel::now(), Relaxed);
    let last = entry.still_more.load(Relaxed);
    let gone = [last as u32, (last >> 32) as u32]
        .into_iter()
        .find(|pid| *pid != 0 && !holders.iter().any(|slot| slots::pid(*slot) == *pid));
    if let Some(pid) = gone {
        entry.lpid.store(pid as i32, Relaxed);
    }
}
