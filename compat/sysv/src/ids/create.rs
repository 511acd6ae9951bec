//! Changes of a table that are for one process at a time: creating, permissions, repair.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use commons::sync::{LockError, LockResult, MutexGuard, SyncError};
use commons_compat::code;
use libc::c_int;

use super::layout::{Entry, Permissions, State, Word};
use super::table::{STEP, Table};
use super::{INDEX_BITS, Kind, SEQUENCES, index};
use crate::kernel::{self, Descriptor, Lock, Range};
use crate::quiet::Quiet;

/// The byte of a table's file that is the lock on disk: below those by which segments are held.
const BYTE: Range = Range { start: commons::slot::GROW - 1, len: 1 };

/// How long who looks for a key waits for one that creates: nanoseconds.
const PATIENCE: u64 = 20_000_000;

/// The index below which ids are given out in turn, however few are used.
const FEW: u32 = 64;

/// What is created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    /// 0 for none.
    pub(crate) key: i32,
    /// Owner and creator.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// Bytes, or semaphores.
    pub(crate) size: u64,
    pub(crate) flags: u32,
}

/// What became of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// It is there, with this id.
    New(i32),
    /// Somebody else created the key.
    Exists(i32),
    /// The table is not the one under its name any more: take [the current one](Table::current) and start again.
    Stale,
}

/// A table that this process has the lock of.
pub(crate) struct Locked<'t> {
    table: &'t Table,
    /// Given back when dropped.
    _lock: TableLock<'t>,
}

/// The lock, taken.
enum TableLock<'t> {
    InMemory(#[allow(dead_code, reason = "for its drop")] MutexGuard<'t, ()>),
    OnDisk(Descriptor),
}

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        if let TableLock::OnDisk(file) = self {
            // Before closing: a program that is being started has a copy of the descriptor.
            let _ = kernel::try_lock(file, Lock::Nothing, BYTE);
        }
    }
}

/// The lock, to be taken.
enum Free<'t> {
    InMemory(&'t Table),
    OnDisk(Descriptor),
}

impl<'t> Free<'t> {
    /// `None` if the table's file is gone.
    fn of(table: &'t Table) -> Result<Option<Free<'t>>, c_int> {
        if table.namespace.is_in_memory() {
            return Ok(Some(Free::InMemory(table)));
        }
        match kernel::open(table.path(), libc::O_RDWR) {
            Err(libc::ENOENT) => Ok(None),
            other => Ok(Some(Free::OnDisk(other?))),
        }
    }

    fn wait(self) -> Result<TableLock<'t>, c_int> {
        match self {
            Free::InMemory(table) => TableLock::whole(table, table.header().lock.lock()),
            Free::OnDisk(file) => {
                kernel::wait_lock(&file, Lock::Write, BYTE)?;
                Ok(TableLock::OnDisk(file))
            }
        }
    }

    /// Takes it, or is given back if another has it.
    fn try_now(self) -> Result<Result<TableLock<'t>, Free<'t>>, c_int> {
        match self {
            Free::InMemory(table) => match table.header().lock.try_lock() {
                Err(LockError::Failed(SyncError::WouldBlock)) => Ok(Err(self)),
                had => TableLock::whole(table, had).map(Ok),
            },
            Free::OnDisk(ref file) if !kernel::try_lock(file, Lock::Write, BYTE)? => Ok(Err(self)),
            Free::OnDisk(file) => Ok(Ok(TableLock::OnDisk(file))),
        }
    }
}

impl<'t> TableLock<'t> {
    /// The lock of memory, also after its owner's death: what that left, `changes` tells.
    fn whole(table: &'t Table, had: LockResult<MutexGuard<'t, ()>>) -> Result<TableLock<'t>, c_int> {
        match had {
            Ok(guard) => Ok(TableLock::InMemory(guard)),
            Err(LockError::OwnerDied(guard)) => Ok(TableLock::InMemory(guard.recover())),
            // Nobody here leaves it like that, but bytes can say so.
            Err(LockError::Failed(SyncError::Unrecoverable)) => {
                let lock = &table.header().lock;
                lock.reset();
                match lock.lock() {
                    Err(LockError::Failed(error)) => Err(error.raw_os_error()),
                    had => TableLock::whole(table, had),
                }
            }
            Err(LockError::Failed(error)) => Err(error.raw_os_error()),
        }
    }
}

impl Table {
    /// Takes the lock, and repairs what its last owner may have left; `None` if the table is stale.
    pub(crate) fn lock(&self, _: &Quiet) -> Result<Option<Locked<'_>>, c_int> {
        match Free::of(self)? {
            Some(free) => self.locked(free.wait()?),
            None => Ok(None),
        }
    }

    /// What follows when the lock was had.
    fn locked<'t>(&'t self, lock: TableLock<'t>) -> Result<Option<Locked<'t>>, c_int> {
        let locked = Locked { table: self, _lock: lock };
        if !self.is_named()? {
            return Ok(None);
        }
        if self.header().changes.load(Acquire) % 2 != 0 {
            locked.repair()?;
        }
        Ok(Some(locked))
    }

    /// The live entry with a key, where [`find`](Table::find) cannot say whether there is one: somebody is creating, or
    /// died of it. What the dead left is repaired. One that has the lock and does not go on is not waited for: then all
    /// entries are looked at. Not [current](Table::current) tables have none.
    pub(crate) fn find_beside_creator(
        &self,
        key: i32,
        _: &Quiet,
    ) -> Result<Option<(i32, Word, &Entry)>, c_int> {
        let Some(mut free) = Free::of(self)? else { return Ok(None) };
        let begun = kernel::monotonic();
        loop {
            match free.try_now()? {
                Ok(lock) => return Ok(self.locked(lock)?.and_then(|locked| locked.find(key))),
                Err(back) => free = back,
            }
            if kernel::monotonic() - begun > PATIENCE {
                if let Ok(found) = self.find_in_all(key) {
                    return Ok(found);
                }
            }
            kernel::pause();
        }
    }

    /// Creates an entry, unless there is one with its key. `publish` gives the id's file its name, and says whether
    /// that was free.
    pub(crate) fn create(
        &self,
        quiet: &Quiet,
        new: &New,
        publish: &mut dyn FnMut(i32) -> Result<bool, c_int>,
    ) -> Result<Created, c_int> {
        match self.lock(quiet)? {
            Some(locked) => locked.create(new, publish),
            None => Ok(Created::Stale),
        }
    }
}

impl<'t> Locked<'t> {
    fn create(
        &self,
        new: &New,
        publish: &mut dyn FnMut(i32) -> Result<bool, c_int>,
    ) -> Result<Created, c_int> {
        let table = self.table;
        if new.key != 0 {
            if let Some((id, ..)) = table.search(new.key) {
                return Ok(Created::Exists(id));
            }
        }
        let free = self.free_index()?;
        table.header().changes.fetch_add(1, AcqRel);
        let made = self.make(free, new, publish);
        table.header().changes.fetch_add(1, AcqRel);
        made.map(Created::New)
    }

    /// The live entry with a key.
    pub(crate) fn find(&self, key: i32) -> Option<(i32, Word, &'t Entry)> {
        self.table.search(key)
    }

    /// Changes the permissions of an entry.
    pub(crate) fn set_permissions(&self, entry: &Entry, permissions: Permissions) {
        entry.set_permissions(permissions);
    }

    /// The index for the next entry, which is free.
    fn free_index(&self) -> Result<u32, c_int> {
        let (table, kind) = (self.table, self.table.kind);
        let mut used = table.header().used.load(Relaxed);
        if used >= kind.limit() {
            // It may be too high.
            used = self.count();
            if used >= kind.limit() {
                return Err(libc::ENOSPC);
            }
        }
        let end = (used.saturating_mul(3) / 2).max(FEW).min(kind.indices());
        let next = table.header().next.load(Relaxed).min(end);
        let known = table.known_entries();
        let is_free = |index: &u32| {
            *index >= known || table.entry(*index).is_some_and(|entry| entry.word() == Word::FREE)
        };
        let mut all = (next..end).chain(0..next).chain(end..kind.indices());
        let free = all.find(is_free).ok_or(libc::ENOSPC)?;
        if free >= known {
            let entries = ((free / STEP + 1) * STEP).min(kind.indices());
            let bytes = Table::bytes(kind, entries) as u64;
            table.handle()?.grow(bytes).map_err(|error| code::errno(&error))?;
            table.is_named()?;
        }
        Ok(free)
    }

    /// Fills a free entry and publishes it; its id.
    fn make(
        &self,
        free: u32,
        new: &New,
        publish: &mut dyn FnMut(i32) -> Result<bool, c_int>,
    ) -> Result<i32, c_int> {
        let (table, header) = (self.table, self.table.header());
        let entry = table.entry(free).ok_or(libc::ENOSPC)?;
        let mut sequence = header.sequence.load(Relaxed) % SEQUENCES;
        if free < header.last.load(Relaxed) {
            sequence = (sequence + 1) % SEQUENCES;
            header.sequence.store(sequence, Relaxed);
        }
        // After the sequence number: who dies in between makes the next one count up once more.
        header.last.store(free + 1, Release);
        header.next.store(free + 1, Release);
        self.unlink(free, entry);
        let id = (sequence << INDEX_BITS | free) as i32;
        let now = kernel::now();
        entry.key.store(new.key, Relaxed);
        entry.set_permissions(Permissions { uid: new.uid, gid: new.gid, mode: new.mode, ctime: now });
        entry.cuid.store(new.uid, Relaxed);
        entry.cgid.store(new.gid, Relaxed);
        entry.cpid.store(kernel::own_pid(), Relaxed);
        entry.lpid.store(0, Relaxed);
        entry.size.store(new.size, Relaxed);
        entry.atime.store(0, Relaxed);
        entry.dtime.store(0, Relaxed);
        entry.flags.store(new.flags, Relaxed);
        entry.more.store(0, Relaxed);
        entry.still_more.store(0, Relaxed);
        if !publish(id)? {
            // Left by a table that is gone.
            kernel::unlink(table.file(id).as_c_str())?;
            if !publish(id)? {
                return Err(libc::EEXIST);
            }
        }
        entry.publish(Word::new(id, State::Live));
        if new.key != 0 {
            self.link(free, entry, new.key);
        }
        header.used.fetch_add(1, Relaxed);
        Ok(id)
    }

    fn link(&self, index: u32, entry: &Entry, key: i32) {
        let bucket = self.table.bucket_of(key);
        let head = &self.table.buckets()[bucket as usize];
        entry.next.store(head.load(Relaxed), Relaxed);
        entry.bucket.store(bucket + 1, Relaxed);
        head.store(index + 1, Release);
    }

    /// Takes an entry out of the list that it was in when it was last used.
    fn unlink(&self, index: u32, entry: &Entry) {
        let Some(bucket) = entry.bucket.load(Relaxed).checked_sub(1) else { return };
        let Some(mut link) = self.table.buckets().get(bucket as usize) else { return };
        for _ in 0..self.table.kind.indices() {
            let here = link.load(Relaxed);
            if here == index + 1 {
                link.store(entry.next.load(Relaxed), Release);
                break;
            }
            match here.checked_sub(1).and_then(|index| self.table.entry(index)) {
                Some(before) => link = &before.next,
                None => break,
            }
        }
        entry.bucket.store(0, Relaxed);
    }

    /// Counts the entries that are not free, and notes it.
    fn count(&self) -> u32 {
        let table = self.table;
        let used = (0..table.known_entries()).filter(|index| table.at(*index).is_some()).count() as u32;
        table.header().used.store(used, Relaxed);
        used
    }

    /// Makes good what a creation left that did not come to its end. After an error it is still to be done.
    #[cold]
    fn repair(&self) -> Result<(), c_int> {
        let table = self.table;
        for bucket in table.buckets() {
            bucket.store(0, Relaxed);
        }
        for index in 0..table.known_entries() {
            let Some(entry) = table.entry(index) else { break };
            entry.bucket.store(0, Relaxed);
            let key = entry.key.load(Relaxed);
            if key != 0 && matches!(entry.word().get(), Some((_, State::Live))) {
                self.link(index, entry, key);
            }
        }
        self.count();
        self.remove_stray_files()?;
        table.header().removed.store(1, Relaxed);
        table.header().look.store(0, Relaxed);
        table.header().changes.fetch_add(1, AcqRel);
        Ok(())
    }

    /// Removes the files whose ids no entry has.
    fn remove_stray_files(&self) -> Result<(), c_int> {
        let table = self.table;
        for file in table.namespace.list().map_err(|error| code::errno(&error))? {
            let file = file.map_err(|error| code::errno(&error))?;
            let Some(id) = id_of(table.kind, file.name().file_name()) else { continue };
            if table.get(id).is_none() {
                let path = table.file(id);
                // Nobody comes back for what is left here: so it is tried twice.
                match kernel::unlink(path.as_c_str()).or_else(|_| kernel::unlink(path.as_c_str())) {
                    // Another user's has to stay.
                    Ok(()) | Err(libc::ENOENT | libc::EPERM | libc::EACCES) => {}
                    Err(code) => return Err(code),
                }
            }
        }
        Ok(())
    }
}

/// The id whose file has this name.
fn id_of(kind: Kind, name: &std::ffi::OsStr) -> Option<i32> {
    let (what, id) = Kind::of(name.to_str()?)?;
    (what == kind && index(id) < kind.indices()).then_some(id)
}
