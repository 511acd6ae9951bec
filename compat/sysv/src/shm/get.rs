//! `shmget`.

use std::sync::atomic::Ordering::Relaxed;

use commons::{Error, Lifetime, OwnerPolicy, SegmentOptions, Unnamed};
use commons_compat::code;
use libc::c_int;

use crate::ids::{Created, Entry, Kind, New, Table, Word, access};
use crate::quiet::Quiet;

/// Linux's `SHMMAX`.
pub(super) const LARGEST: u64 = u64::MAX - (1 << 24);

/// Up to so many bytes a segment is made under the table's lock, and others wait until its memory is had.
const SMALL: u64 = 64 << 10;

const SHM_HUGETLB: c_int = 0o4000;
const SHM_NORESERVE: c_int = 0o10000;
/// Where flags have the size of huge pages: its logarithm.
const HUGE_SHIFT: c_int = 26;
const HUGE_MASK: c_int = 0x3f;

/// The id for a key, as `shmget` gives it.
#[inline]
pub(crate) fn get(key: c_int, size: usize, flags: c_int) -> Result<c_int, c_int> {
    let mut table = Table::of(Kind::Memory)?;
    super::look_for_removed(table);
    loop {
        if key != libc::IPC_PRIVATE {
            match find(table, key, size, flags)? {
                Found::Id(id) => return Ok(id),
                Found::Nothing if flags & libc::IPC_CREAT == 0 => {
                    let current = Table::current(Kind::Memory)?;
                    if std::ptr::eq(current, table) {
                        return Err(libc::ENOENT);
                    }
                    table = current;
                    continue;
                }
                Found::Nothing => {}
                Found::Changed => continue,
            }
        }
        match create(table, key, size as u64, flags)? {
            Created::New(id) => return Ok(id),
            Created::Exists(_) => {}
            Created::Stale => table = Table::current(Kind::Memory)?,
        }
    }
}

enum Found {
    Id(c_int),
    Nothing,
    /// It changed while it was looked at.
    Changed,
}

#[inline]
fn find(table: &Table, key: c_int, size: usize, flags: c_int) -> Result<Found, c_int> {
    let found = match table.find(key) {
        Ok(found) => found,
        Err(()) => {
            let quiet = Quiet::new();
            // Of a table that is not the current one, nothing: creating finds that out, too, and looking starts again.
            table.find_beside_creator(key, &quiet)?
        }
    };
    let Some((id, word, entry)) = found else { return Ok(Found::Nothing) };
    let answer = existing(entry, size, flags);
    if !entry.is_still(word) {
        return Ok(Found::Changed);
    }
    answer.map(|()| Found::Id(id))
}

/// Whether a segment that is there is what was asked for.
#[inline]
fn existing(entry: &Entry, size: usize, flags: c_int) -> Result<(), c_int> {
    let only_new = libc::IPC_CREAT | libc::IPC_EXCL;
    if flags & only_new == only_new {
        return Err(libc::EEXIST);
    }
    if size as u64 > entry.size.load(Relaxed) {
        return Err(libc::EINVAL);
    }
    access::check(entry, &entry.permissions(), flags as u32 & 0o777)
}

#[cold]
fn create(table: &Table, key: c_int, size: u64, flags: c_int) -> Result<Created, c_int> {
    if size == 0 || size > LARGEST {
        return Err(libc::EINVAL);
    }
    let huge = flags & SHM_HUGETLB != 0;
    if huge && !matches!(flags >> HUGE_SHIFT & HUGE_MASK, 0 | 21 | 30) {
        return Err(libc::EINVAL);
    }
    let mode = flags as u32 & 0o777;
    let new = New { key, uid: access::user(), gid: access::group(), mode, size, flags: 0 };
    // A child that is forked meanwhile would keep the file's descriptor.
    let quiet = Quiet::new();
    super::memory_lock::forget_gone(&quiet);
    let options = SegmentOptions::new()
        .namespace(&table.namespace)
        .owner(OwnerPolicy::Any)
        .lifetime(Lifetime::UntilDeleted)
        .mode(mode)
        .size(size)
        .sparse(flags & SHM_NORESERVE != 0)
        .huge_pages(huge);
    if size <= SMALL && !huge && table.namespace.is_in_memory() {
        let made = table.create(&quiet, &new, &mut |id| {
            options.create_in_place(file_name(id)).map_err(|error| code_of(&error))
        });
        // What fails is tried the other way, which sweeps to make room, and fails with the right code.
        if made.is_ok() {
            return made;
        }
    }
    let mut unnamed = Some(options.create_unnamed().map_err(|error| code_of(&error))?);
    table.create(&quiet, &new, &mut |id| publish(&mut unnamed, id))
}

/// Gives the file its name; whether that was free.
fn publish(unnamed: &mut Option<Unnamed>, id: c_int) -> Result<bool, c_int> {
    let Some(complete) = unnamed.take() else { return Err(libc::EIO) };
    match complete.publish(file_name(id)) {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(back)) => {
            *unnamed = Some(back);
            Ok(false)
        }
        Err(error) => Err(code_of(&error)),
    }
}

fn file_name(id: c_int) -> String {
    Kind::Memory.file_name(id)
}

/// The code that `shmget` has for an error.
fn code_of(error: &Error) -> c_int {
    match error {
        Error::NoSpace { free_files: Some(0), .. } => libc::ENOSPC,
        Error::NoSpace { .. } | Error::BeyondLimit { .. } | Error::BadOption { .. } => libc::ENOMEM,
        error => match code::errno(error) {
            libc::EMFILE => libc::ENFILE,
            other => other,
        },
    }
}

/// What is known of an id: as `shmctl` and `shmat` look it up.
pub(super) fn look_up(id: c_int) -> Result<(&'static Table, Word, &'static Entry), c_int> {
    let table = Table::of(Kind::Memory)?;
    super::look_for_removed(table);
    if let Some((word, _, entry)) = table.get(id) {
        return Ok((table, word, entry));
    }
    if id < 0 {
        return Err(libc::EINVAL);
    }
    let table = Table::current(Kind::Memory)?;
    let (word, _, entry) = table.get(id).ok_or(libc::EINVAL)?;
    Ok((table, word, entry))
}
