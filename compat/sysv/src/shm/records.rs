//! What this process has attached.
//!
//! Records are made and dropped while [quiet](crate::quiet); they are read without it, too: in a forked child, and by
//! the functions that look whether a change of the address space concerns an attachment ([`touch`]), which a memory
//! allocator may call at any time. So they are atomics that are never freed.
//!
//! A record that such a change concerns is *dirty*: what is mapped there has to be asked of the kernel from then on.

use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::ids::Table;

/// For reading only.
pub(super) const READ_ONLY: u32 = 1;
/// `SHM_EXEC`.
pub(super) const EXECUTABLE: u32 = 2;
/// Something was mapped, unmapped, moved or protected in its range.
const DIRTY: u32 = 4;

/// An attachment as it was made.
#[derive(Clone, Copy)]
pub(super) struct Attached {
    pub(super) address: usize,
    /// Bytes, in whole pages.
    pub(super) len: usize,
    pub(super) id: i32,
    pub(super) flags: u32,
    /// The offset of the byte that it locks.
    pub(super) slot: u64,
    pub(super) table: &'static Table,
}

impl Attached {
    pub(super) fn is_dirty(&self) -> bool {
        self.flags & DIRTY != 0
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.flags & READ_ONLY != 0
    }

    /// What it was mapped for.
    pub(super) fn protection(&self) -> i32 {
        let write = if self.flags & READ_ONLY != 0 { 0 } else { libc::PROT_WRITE };
        let execute = if self.flags & EXECUTABLE != 0 { libc::PROT_EXEC } else { 0 };
        libc::PROT_READ | write | execute
    }
}

struct Record {
    /// The address and one: so that an empty record is zero, and an attachment may begin at zero.
    address: AtomicUsize,
    len: AtomicUsize,
    id: AtomicI32,
    flags: AtomicU32,
    slot: AtomicU64,
    table: AtomicPtr<Table>,
}

const IN_CHUNK: usize = 64;

struct Chunk {
    records: [Record; IN_CHUNK],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn empty() -> Chunk {
        Chunk { records: [const { Record::empty() }; IN_CHUNK], next: AtomicPtr::new(std::ptr::null_mut()) }
    }
}

static FIRST: Chunk = Chunk::empty();

/// All attachments lie within, and perhaps none any more.
static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);
/// How many records there may be: one behind the last that was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Record {
    const fn empty() -> Record {
        Record {
            address: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            id: AtomicI32::new(0),
            flags: AtomicU32::new(0),
            slot: AtomicU64::new(0),
            table: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn get(&self) -> Option<Attached> {
        let address = self.address.load(Acquire).checked_sub(1)?;
        // SAFETY: a record that is not empty has one, and tables are never freed.
        let table = unsafe { self.table.load(Relaxed).as_ref() }?;
        Some(Attached {
            address,
            len: self.len.load(Relaxed),
            id: self.id.load(Relaxed),
            flags: self.flags.load(Relaxed),
            slot: self.slot.load(Relaxed),
            table,
        })
    }

    fn put(&self, attached: &Attached) {
        self.len.store(attached.len, Relaxed);
        self.id.store(attached.id, Relaxed);
        self.flags.store(attached.flags, Relaxed);
        self.slot.store(attached.slot, Relaxed);
        self.table.store(std::ptr::from_ref(attached.table).cast_mut(), Relaxed);
        self.address.store(attached.address + 1, Release);
    }
}

fn records() -> impl Iterator<Item = &'static Record> {
    let mut chunk = &FIRST;
    (0..USED.load(Acquire)).map_while(move |number| {
        if number > 0 && number % IN_CHUNK == 0 {
            // SAFETY: chunks are never freed, and there is one for each number below `USED`.
            chunk = unsafe { chunk.next.load(Acquire).as_ref() }?;
        }
        Some(&chunk.records[number % IN_CHUNK])
    })
}

/// All attachments.
pub(super) fn all() -> impl Iterator<Item = Attached> {
    records().filter_map(Record::get)
}

/// How many there are.
pub(super) fn count() -> usize {
    COUNT.load(Relaxed)
}

/// The one that began at an address.
pub(super) fn find(address: usize) -> Option<Attached> {
    all().find(|attached| attached.address == address)
}

/// Whether any has this slot.
pub(super) fn has_slot(slot: u64) -> bool {
    all().any(|attached| attached.slot == slot)
}

/// Whether any is dirty.
pub(super) fn any_dirty() -> bool {
    all().any(|attached| attached.is_dirty())
}

/// Adds one, in place of whatever was said to begin at its address. While quiet.
pub(super) fn add(attached: &Attached) {
    LOWEST.fetch_min(attached.address, AcqRel);
    HIGHEST.fetch_max(attached.address + attached.len, AcqRel);
    remove(attached.address);
    let empty = records().find(|record| record.address.load(Relaxed) == 0);
    let record = empty.unwrap_or_else(append);
    COUNT.fetch_add(1, Relaxed);
    record.put(attached);
}

fn append() -> &'static Record {
    let number = USED.load(Relaxed);
    let mut chunk = &FIRST;
    for _ in 0..number / IN_CHUNK {
        let mut next = chunk.next.load(Acquire);
        if next.is_null() {
            next = Box::into_raw(Box::new(Chunk::empty()));
            chunk.next.store(next, Release);
        }
        // SAFETY: never freed.
        chunk = unsafe { &*next };
    }
    USED.store(number + 1, Release);
    &chunk.records[number % IN_CHUNK]
}

/// Drops the record of what began at an address. While quiet.
pub(super) fn remove(address: usize) {
    for record in records() {
        if record.address.load(Relaxed) == address + 1 {
            record.address.store(0, Release);
            COUNT.fetch_sub(1, Relaxed);
        }
    }
}

/// Notes the byte that an attachment locks by now.
pub(super) fn set_slot(address: usize, slot: u64) {
    if let Some(record) = records().find(|record| record.address.load(Relaxed) == address + 1) {
        record.slot.store(slot, Relaxed);
    }
}

/// Notes that a range of the address space is about to change other than by this library.
#[inline]
pub(crate) fn touch(address: usize, len: usize) {
    if address < HIGHEST.load(Acquire) && address.saturating_add(len) > LOWEST.load(Acquire) {
        touch_records(address, len);
    }
}

#[cold]
fn touch_records(address: usize, len: usize) {
    for record in records() {
        let Some(start) = record.address.load(Acquire).checked_sub(1) else { continue };
        if address < start + record.len.load(Relaxed) && address.saturating_add(len) > start {
            record.flags.fetch_or(DIRTY, AcqRel);
        }
    }
}
