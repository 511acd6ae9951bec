//! Which sets there are: keys, ids and permissions from the [table](crate::ids), the memory from each set's own file.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use commons::{Attachment, Error, Lifetime, OwnerPolicy, SegmentOptions};
use commons_compat::code;
use libc::{c_int, key_t};

use super::cache;
use super::set::{Layout, MOST_SEMAPHORES, Set};
use crate::ids::{self, Created, Entry, Kind, New, Permissions, State, Table, Word, access};
use crate::kernel;
use crate::quiet::Quiet;

/// What the table says of a set.
pub(super) struct Known {
    pub(super) id: i32,
    pub(super) key: i32,
    pub(super) permissions: Permissions,
    pub(super) cuid: u32,
    pub(super) cgid: u32,
    pub(super) count: u32,
    table: &'static Table,
    entry: &'static Entry,
    word: Word,
}

impl Known {
    fn of(table: &'static Table, (word, state, entry): (Word, State, &'static Entry)) -> Option<Known> {
        let (id, _) = word.get()?;
        let known = Known {
            id,
            key: entry.key.load(Relaxed),
            permissions: entry.permissions(),
            cuid: entry.cuid.load(Relaxed),
            cgid: entry.cgid.load(Relaxed),
            count: u32::try_from(entry.size.load(Relaxed)).ok()?,
            table,
            entry,
            word,
        };
        (state == State::Live && entry.is_still(word)).then_some(known)
    }

    /// Whether the caller has what these permission bits ask for.
    pub(super) fn allows(&self, bits: u32) -> bool {
        access::check(self.entry, &self.permissions, bits).is_ok()
    }

    /// Whether the caller may change it and remove it.
    pub(super) fn is_mine(&self) -> bool {
        access::check_owner(self.entry, &self.permissions).is_ok()
    }

    pub(super) fn sequence(&self) -> u32 {
        self.id as u32 >> ids::INDEX_BITS
    }

    fn name(&self) -> String {
        name(self.id)
    }
}

fn name(id: i32) -> String {
    format!("{}.{id}", Kind::Semaphores.prefix())
}

fn table() -> Option<&'static Table> {
    Table::of(Kind::Semaphores).ok()
}

/// The set with this id.
pub(super) fn find(id: i32) -> Option<Known> {
    let table = table()?;
    Known::of(table, table.get(id)?)
}

/// The set at this index.
pub(super) fn find_index(index: i32) -> Option<Known> {
    let table = table()?;
    let (word, entry) = table.at(u32::try_from(index).ok()?)?;
    let (_, state) = word.get()?;
    Known::of(table, (word, state, entry))
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// The highest index; -1 if there are none.
    pub(super) highest: i32,
    pub(super) sets: u32,
    pub(super) semaphores: u64,
}

pub(super) fn usage() -> Usage {
    let mut usage = Usage { highest: -1, ..Usage::default() };
    let entries = table().map_or(0, Table::entries);
    for index in 0..entries as i32 {
        if let Some(known) = find_index(index) {
            usage.highest = index;
            usage.sets += 1;
            usage.semaphores += u64::from(known.count);
        }
    }
    usage
}

/// `semget`.
pub(super) fn get(key: key_t, count: c_int, flags: c_int) -> Result<c_int, c_int> {
    let count = u32::try_from(count).ok().filter(|count| *count <= MOST_SEMAPHORES).ok_or(libc::EINVAL)?;
    loop {
        let table = Table::of(Kind::Semaphores)?;
        finish_removals(table);
        if key != libc::IPC_PRIVATE {
            let found = match table.find(key) {
                Ok(found) => found.and_then(|(_, word, entry)| Known::of(table, (word, State::Live, entry))),
                Err(()) => find_locked(table, key)?,
            };
            match found {
                Some(known) => match existing(&known, count, flags) {
                    Some(result) => return result,
                    None => continue,
                },
                None if flags & libc::IPC_CREAT == 0 => {
                    if std::ptr::eq(Table::current(Kind::Semaphores)?, table) {
                        return Err(libc::ENOENT);
                    }
                    continue;
                }
                None => {}
            }
        }
        if count == 0 {
            return Err(libc::EINVAL);
        }
        let table = Table::current(Kind::Semaphores)?;
        match create(table, key, count, flags as u32 & 0o777)? {
            Created::New(id) => return Ok(id),
            // Looked at again, as one that was there.
            Created::Exists(_) | Created::Stale => {}
        }
    }
}

fn find_locked(table: &'static Table, key: key_t) -> Result<Option<Known>, c_int> {
    let quiet = Quiet::new();
    let found = table.find_beside_creator(key, &quiet)?.and_then(|(id, ..)| table.get(id));
    Ok(found.and_then(|found| Known::of(table, found)))
}

/// What `semget` says of a set that is there; `None` if its removal was not done whole, and is now.
fn existing(known: &Known, count: u32, flags: c_int) -> Option<Result<c_int, c_int>> {
    if let Ok(using) = cache::using(known.id) {
        if using.set().is_removed() {
            // Who removed it died before it gave key and id up.
            let _ = remove(known);
            using.gone(0);
            return None;
        }
    } else if find(known.id).is_none() {
        return None;
    }
    let exclusive = libc::IPC_CREAT | libc::IPC_EXCL;
    Some(if flags & exclusive == exclusive {
        Err(libc::EEXIST)
    } else if count > known.count {
        Err(libc::EINVAL)
    } else if !known.allows(flags as u32 & 0o777) {
        Err(libc::EACCES)
    } else {
        Ok(known.id)
    })
}

/// The mode of the file of a set with this mode. Who may alter it has to read it, too; its owner has to be able to remove it.
fn file_mode(mode: u32) -> u32 {
    let class = |bits: u32| match bits & 0o6 {
        0o2 | 0o6 => 0o6,
        bits => bits,
    };
    0o600 | class(mode >> 3) << 3 | class(mode)
}

fn create(table: &'static Table, key: key_t, count: u32, mode: u32) -> Result<Created, c_int> {
    let layout = Layout::of(count);
    let now = kernel::now();
    let initialize = |bytes: &mut [u8]| {
        // SAFETY: a new set's bytes, aligned to a page, that nobody else sees.
        let (counted, changed) = unsafe {
            let base = bytes.as_mut_ptr();
            (&*base.add(Set::COUNT_AT).cast::<AtomicU32>(), &*base.add(Set::CHANGED_AT).cast::<AtomicI64>())
        };
        counted.store(count, Relaxed);
        changed.store(now, Relaxed);
        Ok(())
    };
    let options = SegmentOptions::new()
        .namespace(&table.namespace)
        .owner(OwnerPolicy::Any)
        .lifetime(Lifetime::UntilDeleted)
        .mode(file_mode(mode))
        .sparse(true)
        .size(layout.size as u64)
        .initialize(initialize);
    let new = New { key, uid: access::user(), gid: access::group(), mode, size: count.into(), flags: 0 };
    let mut publish = |id: i32| match options.create(name(id)) {
        Ok(segment) => {
            let had = allocate(std::os::fd::AsRawFd::as_raw_fd(&segment.as_fd()), 0..layout.dense());
            if had.is_err() {
                let _ = segment.delete();
            }
            had.map(|()| true)
        }
        Err(Error::Exists { .. }) => Ok(false),
        Err(error) => Err(code::errno(&error)),
    };
    let quiet = Quiet::new();
    table.create(&quiet, &new, &mut publish)
}

/// Has memory for these bytes of a file.
fn allocate(file: c_int, bytes: Range<usize>) -> Result<(), c_int> {
    let keep = libc::FALLOC_FL_KEEP_SIZE as usize;
    let arguments = [file as usize, keep, bytes.start, bytes.len(), 0, 0];
    // SAFETY: a descriptor and numbers.
    match unsafe { kernel::call(libc::SYS_fallocate, arguments) } {
        Ok(_) => Ok(()),
        // Filesystems that cannot: pages come as they are touched.
        Err(libc::EOPNOTSUPP) => Ok(()),
        Err(code) => Err(code),
    }
}

/// Has memory for these bytes of a set.
pub(super) fn reserve(id: i32, bytes: Range<usize>) -> Result<(), c_int> {
    let table = table().ok_or(libc::EINVAL)?;
    let _quiet = Quiet::new();
    let file = kernel::open(table.file(id).as_c_str(), libc::O_RDWR)?;
    allocate(file.number(), bytes)
}

/// Maps a set; whether only for reading.
pub(super) fn attach(known: &Known) -> Result<(Attachment, Layout, bool), c_int> {
    let layout = Layout::of(known.count);
    let options = || {
        let options = SegmentOptions::new().namespace(&known.table.namespace);
        options.owner(OwnerPolicy::Any).size(layout.size as u64)
    };
    let _quiet = Quiet::new();
    let (segment, read_only) = match options().open(known.name()) {
        Err(Error::PermissionDenied { .. }) => (options().read_only(true).open(known.name()), true),
        other => (other, false),
    };
    let segment = match segment {
        Ok(segment) => segment,
        Err(Error::NotFound(_)) => return Err(libc::EINVAL),
        Err(Error::TooSmall { .. }) => return Err(libc::EIO),
        Err(error) => return Err(code::errno(&error)),
    };
    let attachment = segment.attach().map_err(|error| code::errno(&error))?;
    attachment.register();
    Ok((attachment, layout, read_only))
}

/// Changes owner, group and mode.
pub(super) fn set_permissions(known: &Known, uid: u32, gid: u32, mode: u32) -> Result<(), c_int> {
    let quiet = Quiet::new();
    let locked = known.table.lock(&quiet)?.ok_or(libc::EINVAL)?;
    locked.set_permissions(known.entry, Permissions { uid, gid, mode, ctime: kernel::now() });
    let path = known.table.file(known.id);
    // Who may not give a file away leaves it as it is.
    let _ = kernel::set_owner(path.as_c_str(), uid, gid);
    let _ = kernel::set_mode(path.as_c_str(), file_mode(mode));
    Ok(())
}

/// Gives up key and id of a set that says that it is removed, and removes its file.
///
/// The key goes first, in one step; what is left after a crash is done by whoever looks for a set next.
pub(super) fn remove(known: &Known) -> Result<(), c_int> {
    let _quiet = Quiet::new();
    if known.table.remove(known.entry, known.word) {
        finish(known.table, known.id, known.entry);
    }
    Ok(())
}

/// The mode of a set's file that goes with its last holder, or a sweep.
const ORPHAN: u32 = 0o1600;

fn finish(table: &Table, id: i32, entry: &Entry) {
    let path = table.file(id);
    if kernel::unlink(path.as_c_str()).is_err() {
        // It has to stay for now: an orphan, which a sweep of whoever may remove it knows by the mark.
        let _ = kernel::set_mode(path.as_c_str(), ORPHAN);
    }
    table.free(entry, Word::new(id, State::Removed));
}

/// Finishes removals that were not done whole.
fn finish_removals(table: &'static Table) {
    if !table.is_time_to_look() {
        return;
    }
    let began = kernel::monotonic();
    for index in 0..table.entries() {
        if let Some((word, entry)) = table.at(index) {
            if let Some((id, State::Removed)) = word.get() {
                finish(table, id, entry);
            }
        }
    }
    table.looked(kernel::monotonic() - began, false);
}
