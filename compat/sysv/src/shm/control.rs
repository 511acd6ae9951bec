//! `shmctl`.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use libc::{c_int, c_void};

use super::file::{self, Fate};
use super::get::{LARGEST, look_up};
use super::{DEST, LOCKED, PAGE, foreign, memory_lock, slots, times};
use crate::ids::{Entry, INDEX_BITS, Kind, Permissions, State, Table, Word, access};
use crate::kernel;
use crate::quiet::Quiet;

const SHM_LOCK: c_int = 11;
const SHM_UNLOCK: c_int = 12;
const SHM_STAT: c_int = 13;
const SHM_INFO: c_int = 14;
const SHM_STAT_ANY: c_int = 15;

/// `struct ipc64_perm` of 64-bit systems.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IpcPerm {
    pub(crate) key: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) cuid: u32,
    pub(crate) cgid: u32,
    pub(crate) mode: u32,
    pub(crate) seq: u16,
    pad: [u16; 3],
    unused: [u64; 2],
}

/// `struct shmid64_ds`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Status {
    pub(super) perm: IpcPerm,
    pub(super) segsz: u64,
    pub(super) atime: i64,
    pub(super) dtime: i64,
    pub(super) ctime: i64,
    pub(super) cpid: i32,
    pub(super) lpid: i32,
    pub(super) nattch: u64,
    pub(super) unused: [u64; 2],
}

/// `struct shminfo64`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    max: u64,
    min: u64,
    mni: u64,
    seg: u64,
    all: u64,
    unused: [u64; 4],
}

/// `struct shm_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    used_ids: i32,
    pad: i32,
    total: u64,
    resident: u64,
    swapped: u64,
    swap_attempts: u64,
    swap_successes: u64,
}

const _: () = assert!(size_of::<Status>() == 112 && size_of::<Limits>() == 72 && size_of::<Usage>() == 48);

/// What `shmctl` does.
pub(crate) fn control(id: c_int, command: c_int, buffer: *mut c_void) -> Result<c_int, c_int> {
    if id < 0 || command < 0 {
        return Err(libc::EINVAL);
    }
    let by_id = !matches!(command, libc::IPC_INFO | SHM_INFO | SHM_STAT | SHM_STAT_ANY);
    if by_id && foreign::is(id) {
        return foreign::control(id, command, buffer);
    }
    match command {
        libc::IPC_INFO => {
            let table = every()?;
            let mni = Kind::Memory.limit().into();
            let limits = Limits { max: LARGEST, min: 1, mni, seg: mni, all: LARGEST, unused: [0; 4] };
            kernel::copy_out(&limits, buffer.cast())?;
            Ok(highest(table))
        }
        SHM_INFO => {
            let table = every()?;
            kernel::copy_out(&usage(table), buffer.cast())?;
            Ok(highest(table))
        }
        libc::IPC_STAT => {
            let (table, word, entry) = look_up(id)?;
            stat(table, word, entry, buffer, true).map(|_| 0)
        }
        SHM_STAT | SHM_STAT_ANY => {
            let table = every()?;
            let (word, entry) = table.at(crate::ids::index(id)).ok_or(libc::EINVAL)?;
            stat(table, word, entry, buffer, command == SHM_STAT)
        }
        libc::IPC_SET => {
            // SAFETY: all bits are values of this structure of numbers.
            let new = unsafe { kernel::copy_in(buffer.cast::<Status>())? };
            let (table, word, entry) = look_up(id)?;
            set(table, word, entry, &new.perm).map(|()| 0)
        }
        libc::IPC_RMID => remove(id).map(|()| 0),
        SHM_LOCK | SHM_UNLOCK => {
            let (table, _, entry) = look_up(id)?;
            let quiet = Quiet::new();
            if command == SHM_LOCK {
                memory_lock::lock(table, entry, id, &quiet)?;
            } else {
                memory_lock::unlock(table, entry, id, &quiet)?;
            }
            Ok(0)
        }
        _ => Err(libc::EINVAL),
    }
}

/// The table as it is under its name now, without removed segments that nobody holds.
fn every() -> Result<&'static Table, c_int> {
    let table = Table::current(Kind::Memory)?;
    super::finish_all(table, table.entries());
    Ok(table)
}

/// The highest index that is used; 0 if none is.
fn highest(table: &Table) -> c_int {
    (0..table.entries()).rev().find(|index| table.at(*index).is_some()).unwrap_or(0) as c_int
}

fn usage(table: &Table) -> Usage {
    let mut usage = Usage::default();
    for index in 0..table.entries() {
        let Some((word, entry)) = table.at(index) else { continue };
        let Some((id, _)) = word.get() else { continue };
        usage.used_ids += 1;
        usage.total += entry.size.load(Relaxed).div_ceil(PAGE as u64);
        let file = kernel::stat_path(table.file(id).as_c_str());
        usage.resident += file.map_or(0, |file| file.allocated / PAGE as u64);
    }
    usage
}

/// `IPC_STAT` and its like: the id.
fn stat(table: &Table, word: Word, entry: &Entry, buffer: *mut c_void, check: bool) -> Result<c_int, c_int> {
    if check {
        access::check(entry, &entry.permissions(), access::READ)?;
    }
    let (id, status) = status(table, word, entry)?;
    kernel::copy_out(&status, buffer.cast())?;
    Ok(id)
}

/// All that is known of a segment; `EINVAL` if it has gone.
fn status(table: &Table, word: Word, entry: &Entry) -> Result<(c_int, Status), c_int> {
    let (id, state) = word.get().ok_or(libc::EINVAL)?;
    let (nattch, locked) = attachments(table, word, entry, id)?;
    let Permissions { uid, gid, mode, ctime } = entry.permissions();
    let removed = state == State::Removed;
    let mode = mode | if removed { DEST } else { 0 } | if locked { LOCKED } else { 0 };
    let status = Status {
        perm: IpcPerm {
            key: if removed { 0 } else { entry.key.load(Relaxed) },
            uid,
            gid,
            cuid: entry.cuid.load(Relaxed),
            cgid: entry.cgid.load(Relaxed),
            mode,
            seq: (id >> INDEX_BITS) as u16,
            ..IpcPerm::default()
        },
        segsz: entry.size.load(Relaxed),
        atime: entry.atime.load(Relaxed),
        dtime: entry.dtime.load(Relaxed),
        ctime,
        cpid: entry.cpid.load(Relaxed),
        lpid: entry.lpid.load(Relaxed),
        nattch,
        unused: [0; 2],
    };
    // What was read is of that segment only if it still is there.
    match entry.word().get() {
        Some((now, _)) if now == id => Ok((id, status)),
        _ => Err(libc::EINVAL),
    }
}

/// How many attachments it has, and whether its memory is locked.
fn attachments(table: &Table, word: Word, entry: &Entry, id: c_int) -> Result<(u64, bool), c_int> {
    // The descriptor would outlive a fork.
    let _quiet = Quiet::new();
    let path = table.file(id);
    let file = match file::open_to_look(path.as_c_str()) {
        Ok(file) => file,
        Err(libc::ENOENT) if file::is_gone(path.as_c_str()) => {
            // Removed behind our back, or just now.
            table.free(entry, word);
            return Err(libc::EINVAL);
        }
        // Another user's, which says nothing.
        Err(_) => return Ok((entry.more.load(Relaxed).into(), entry.flags.load(Relaxed) & LOCKED != 0)),
    };
    let holders = file::holders(&file)?;
    times::seen(entry, &holders);
    let mut locked = entry.flags.load(Relaxed) & LOCKED != 0;
    if locked && kernel::conflict(&file, slots::LOCKER)?.is_none() {
        locked = false;
        entry.flags.fetch_and(!LOCKED, Relaxed);
    }
    drop(file);
    // Removed and held by nobody is gone, also where somebody else is just about to finish that.
    if holders.is_empty() && file::finish(table, entry, word, None) != Fate::Live {
        return Err(libc::EINVAL);
    }
    Ok((holders.len() as u64, locked))
}

fn set(table: &Table, word: Word, entry: &Entry, new: &IpcPerm) -> Result<(), c_int> {
    let (id, state) = word.get().ok_or(libc::EINVAL)?;
    let quiet = Quiet::new();
    let locked = table.lock(&quiet)?.ok_or(libc::EIDRM)?;
    let old = entry.permissions();
    access::check_owner(entry, &old)?;
    if new.uid == u32::MAX || new.gid == u32::MAX {
        return Err(libc::EINVAL);
    }
    let mode = new.mode & 0o777;
    let path = table.file(id);
    if (new.uid, new.gid) != (old.uid, old.gid) {
        kernel::set_owner(path.as_c_str(), new.uid, new.gid)?;
    }
    let mark = if state == State::Removed { DEST } else { 0 };
    if mode != old.mode || (new.uid, new.gid) != (old.uid, old.gid) {
        kernel::set_mode(path.as_c_str(), mode | mark)?;
    }
    if !entry.is_still(word) && !matches!(entry.word().get(), Some((now, _)) if now == id) {
        return Err(libc::EIDRM);
    }
    let permissions = Permissions { uid: new.uid, gid: new.gid, mode, ctime: kernel::now() };
    locked.set_permissions(entry, permissions);
    Ok(())
}

fn remove(id: c_int) -> Result<(), c_int> {
    let (table, word, entry) = look_up(id)?;
    let permissions = entry.permissions();
    access::check_owner(entry, &permissions)?;
    let quiet = Quiet::new();
    let done = table.remove(entry, word);
    let removed = Word::new(id, State::Removed);
    let fate = file::finish(table, entry, removed, None);
    memory_lock::forget_gone(&quiet);
    match fate {
        Fate::Held if done => {
            // A mark by which `commons sweep` knows it, too.
            let _ = kernel::set_mode(table.file(id).as_c_str(), permissions.mode | DEST);
            Ok(())
        }
        Fate::Held => Ok(()),
        // It was removed before, and its last holder is gone: there was nothing to remove.
        Fate::Gone | Fate::Live if !done => Err(libc::EINVAL),
        Fate::Gone | Fate::Live => Ok(()),
    }
}

/// What `/proc/sysvipc/shm` would say.
pub(crate) fn table_text() -> Result<String, c_int> {
    let table = every()?;
    let mut text = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
    );
    for index in 0..table.entries() {
        let Some((word, entry)) = table.at(index) else { continue };
        let Ok((id, status)) = status(table, word, entry) else { continue };
        let file = kernel::stat_path(table.file(id).as_c_str());
        let Status { perm, .. } = status;
        let _ = writeln!(
            text,
            "{:10} {id:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            perm.key,
            perm.mode,
            status.segsz,
            status.cpid,
            status.lpid,
            status.nattch,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            status.atime,
            status.dtime,
            status.ctime,
            file.map_or(0, |file| file.allocated),
            0,
        );
    }
    Ok(text)
}
