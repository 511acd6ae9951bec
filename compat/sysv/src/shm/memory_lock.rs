//! `SHM_LOCK`: a segment's memory kept from being swapped out, for as long as the process that asked for it lives.
//!
//! The kernel locks pages by mappings: so this process keeps one that is no attachment, and locks it. Its description
//! has a byte of its own locked, by which others see that the segment is locked still.

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::Relaxed;

use libc::c_int;

use super::{LOCKED, PAGE, slots};
use crate::ids::access::{self, CAP_IPC_LOCK};
use crate::ids::{Entry, Table};
use crate::kernel::{self, Lock};
use crate::quiet::Quiet;

struct Locked {
    table: &'static Table,
    id: c_int,
    address: usize,
    len: usize,
}

struct All(UnsafeCell<Vec<Locked>>);
// SAFETY: used only while quiet, or in a forked child, where there is one thread.
unsafe impl Sync for All {}
static ALL: All = All(UnsafeCell::new(Vec::new()));

#[expect(clippy::mut_from_ref, reason = "being quiet is what gives one thread at a time access")]
fn all(_: &Quiet) -> &mut Vec<Locked> {
    // SAFETY: one thread at a time is quiet, and no caller has two of these at once.
    unsafe { &mut *ALL.0.get() }
}

/// `SHM_LOCK`.
pub(super) fn lock(table: &'static Table, entry: &Entry, id: c_int, quiet: &Quiet) -> Result<(), c_int> {
    may_lock(entry, true)?;
    if all(quiet).iter().any(|locked| locked.id == id && std::ptr::eq(locked.table, table)) {
        return Ok(());
    }
    let file = kernel::open(table.file(id).as_c_str(), libc::O_RDONLY)?;
    kernel::try_lock(&file, Lock::Read, slots::LOCKER)?;
    let len = (entry.size.load(Relaxed) as usize).next_multiple_of(PAGE);
    let address = kernel::map(0, len, libc::PROT_READ, libc::MAP_SHARED, &file, 0)?;
    if let Err(code) = kernel::lock_in_memory(address, len) {
        let _ = kernel::unmap(address, len);
        return Err(if code == libc::EAGAIN { libc::ENOMEM } else { code });
    }
    all(quiet).push(Locked { table, id, address, len });
    entry.flags.fetch_or(LOCKED, Relaxed);
    Ok(())
}

/// `SHM_UNLOCK`.
pub(super) fn unlock(table: &Table, entry: &Entry, id: c_int, quiet: &Quiet) -> Result<(), c_int> {
    may_lock(entry, false)?;
    drop_those(quiet, |locked| locked.id == id && std::ptr::eq(locked.table, table));
    entry.flags.fetch_and(!LOCKED, Relaxed);
    Ok(())
}

/// Gives up the memory of segments that are gone.
pub(super) fn forget_gone(quiet: &Quiet) {
    drop_those(quiet, |locked| locked.table.get(locked.id).is_none());
}

fn drop_those(quiet: &Quiet, which: impl Fn(&Locked) -> bool) {
    all(quiet).retain(|locked| {
        let goes = which(locked);
        if goes {
            let _ = kernel::unmap(locked.address, locked.len);
        }
        !goes
    });
}

/// In a forked child, which has locked nothing.
pub(super) fn forget_all() {
    // SAFETY: there is no other thread; the one that forked was quiet.
    let all = unsafe { &mut *ALL.0.get() };
    for locked in all.iter() {
        let _ = kernel::unmap(locked.address, locked.len);
    }
    // Nothing in it has to be dropped, and its memory stays.
    all.clear();
}

fn may_lock(entry: &Entry, locks: bool) -> Result<(), c_int> {
    if access::has_capability(CAP_IPC_LOCK) {
        return Ok(());
    }
    let user = access::user();
    let own = user == entry.permissions().uid || user == entry.cuid.load(Relaxed);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if own && (!locks || limit.rlim_cur > 0) { Ok(()) } else { Err(libc::EPERM) }
}
