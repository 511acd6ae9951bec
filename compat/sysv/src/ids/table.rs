//! A table in this process: found, made and mapped once; looking up.

use std::ffi::{CStr, CString};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};

use commons::{AttachOptions, Attachment, Lifetime, Namespace, OwnerPolicy, Segment, SegmentOptions};
use commons_compat::{code, place};
use libc::c_int;

use super::layout::{BUCKETS, ENTRY, Entry, Header, State, Word};
use super::{Kind, index};
use crate::kernel;
use crate::quiet::Quiet;

/// Entries by which a table grows.
pub(super) const STEP: u32 = 64;

/// A table of ids, mapped into this process for good.
pub(crate) struct Table {
    pub(crate) kind: Kind,
    /// The namespace that all files lie in.
    pub(crate) namespace: Namespace,
    attachment: ManuallyDrop<Attachment>,
    /// Which file it is.
    device: u64,
    inode: u64,
    path: CString,
    /// Entries that the file is known to have.
    entries: AtomicU32,
}

/// The tables that were opened last. What they point to is never freed.
static TABLES: [AtomicPtr<Table>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

impl Table {
    /// The table of this kind, opened or made if this process has not done so yet. Not to be called while
    /// [quiet](Quiet).
    #[inline]
    pub(crate) fn of(kind: Kind) -> Result<&'static Table, c_int> {
        // SAFETY: what is there was leaked by `renew`.
        match unsafe { TABLES[kind as usize].load(Acquire).as_ref() } {
            Some(table) => Ok(table),
            None => Table::renew(kind),
        }
    }

    /// The same, after making sure that the file is still the one under its name. Not to be called while quiet.
    pub(crate) fn current(kind: Kind) -> Result<&'static Table, c_int> {
        let table = Table::of(kind)?;
        match table.is_named() {
            Ok(true) => Ok(table),
            _ => Table::renew(kind),
        }
    }

    /// Opens it anew.
    #[cold]
    fn renew(kind: Kind) -> Result<&'static Table, c_int> {
        let _quiet = Quiet::new();
        let before = TABLES[kind as usize].load(Acquire);
        let made = Box::into_raw(Box::new(Table::open(kind)?));
        match TABLES[kind as usize].compare_exchange(before, made, AcqRel, Acquire) {
            // SAFETY: never freed from now on.
            Ok(_) => Ok(unsafe { &*made }),
            Err(other) => {
                // Another thread was first. Its table serves; this one stays mapped, in vain.
                // SAFETY: what is there is never freed, and not null once it was not.
                Ok(unsafe { &*other })
            }
        }
    }

    fn open(kind: Kind) -> Result<Table, c_int> {
        let of_io = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let directory = place::System::SystemV.prepare().map_err(of_io)?;
        Table::open_in(kind, &directory)
    }

    /// The table in a directory, opened or made.
    pub(super) fn open_in(kind: Kind, directory: &std::path::Path) -> Result<Table, c_int> {
        let namespace = Namespace::at(directory).map_err(|error| code::errno(&error))?;
        let path = kernel::c_string(namespace.directory().join(kind.table_name()).as_os_str().as_bytes())?;
        let directory = kernel::c_string(namespace.directory().as_os_str().as_bytes())?;
        // Whoever may make files there may use the table.
        let mode = kernel::stat_path(&directory)?.mode & 0o666 | 0o600;
        let table = SegmentOptions::new()
            .namespace(&namespace)
            .owner(OwnerPolicy::Any)
            .mode(mode)
            .lifetime(Lifetime::UntilDeleted)
            .size(Table::bytes(kind, STEP) as u64)
            .open_or_create(kind.table_name())
            .map_err(|error| code::errno(&error))?;
        let all = Table::bytes(kind, kind.indices());
        let attachment = table.attach_with(&AttachOptions::new().reserve(all));
        let attachment = attachment.map_err(|error| code::errno(&error))?;
        let stat = kernel::stat_of(&table)?;
        Ok(Table {
            kind,
            namespace,
            attachment: ManuallyDrop::new(attachment),
            device: stat.device,
            inode: stat.inode,
            path,
            entries: AtomicU32::new(Table::entries_in(kind, stat.size)),
        })
    }

    /// Bytes of a table with so many entries.
    pub(super) fn bytes(kind: Kind, entries: u32) -> usize {
        BUCKETS + kind.buckets() as usize * size_of::<AtomicU32>() + entries as usize * ENTRY
    }

    fn entries_in(kind: Kind, bytes: u64) -> u32 {
        let entries = bytes.saturating_sub(Table::bytes(kind, 0) as u64) / ENTRY as u64;
        entries.min(kind.indices().into()) as u32
    }

    pub(super) fn path(&self) -> &CStr {
        &self.path
    }

    /// A handle of the table's file.
    pub(super) fn handle(&self) -> Result<Segment, c_int> {
        SegmentOptions::new()
            .namespace(&self.namespace)
            .owner(OwnerPolicy::Any)
            .open(self.kind.table_name())
            .map_err(|error| code::errno(&error))
    }

    /// Whether the table's name still means its file: else whoever comes next makes a new one. Notes how many entries
    /// it has by now.
    pub(super) fn is_named(&self) -> Result<bool, c_int> {
        let stat = match kernel::stat_path(&self.path) {
            Err(libc::ENOENT) => return Ok(false),
            other => other?,
        };
        let is = (stat.device, stat.inode) == (self.device, self.inode);
        if is {
            self.entries.fetch_max(Table::entries_in(self.kind, stat.size), Relaxed);
        }
        Ok(is)
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        // SAFETY: the file begins with it; its fields are atomics, for which all bits are values, and a page's
        // beginning is aligned for them.
        unsafe { &*self.attachment.as_ptr().cast::<Header>() }
    }

    #[inline]
    pub(super) fn buckets(&self) -> &[AtomicU32] {
        let first = self.attachment.as_ptr().wrapping_add(BUCKETS).cast::<AtomicU32>();
        // SAFETY: the file has them from its creation on.
        unsafe { std::slice::from_raw_parts(first, self.kind.buckets() as usize) }
    }

    /// How many entries there are, of whatever state.
    pub(crate) fn entries(&self) -> u32 {
        // Another process may have added some.
        if let Ok(stat) = kernel::stat_path(&self.path) {
            if (stat.device, stat.inode) == (self.device, self.inode) {
                self.entries.fetch_max(Table::entries_in(self.kind, stat.size), Relaxed);
            }
        }
        self.entries.load(Relaxed)
    }

    /// How many it is known to have.
    pub(crate) fn known_entries(&self) -> u32 {
        self.entries.load(Relaxed)
    }

    /// The entry at an index, of whatever state.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        if index >= self.entries.load(Relaxed) && index >= self.entries() {
            return None;
        }
        let entry = self.attachment.as_ptr().wrapping_add(Table::bytes(self.kind, index)).cast::<Entry>();
        // SAFETY: within what the file has, and so within what is mapped; its fields are atomics; entries are aligned.
        Some(unsafe { &*entry })
    }

    /// The entry at an index, unless it is free.
    pub(crate) fn at(&self, index: u32) -> Option<(Word, &Entry)> {
        let entry = self.entry(index)?;
        let word = entry.word();
        word.get().map(|_| (word, entry))
    }

    /// The entry of an id.
    #[inline]
    pub(crate) fn get(&self, id: i32) -> Option<(Word, State, &Entry)> {
        if id < 0 {
            return None;
        }
        let entry = self.entry(index(id))?;
        let word = entry.word();
        match word.get() {
            Some((found, state)) if found == id => Some((word, state, entry)),
            _ => None,
        }
    }

    /// The list that a key's entry is in.
    #[inline]
    pub(super) fn bucket_of(&self, key: i32) -> u32 {
        (key as u32).wrapping_mul(0x9e37_79b9) >> (32 - self.kind.buckets().trailing_zeros())
    }

    /// The live entry with a key, as its list has it.
    #[inline]
    pub(super) fn search(&self, key: i32) -> Option<(i32, Word, &Entry)> {
        let mut link = self.buckets()[self.bucket_of(key) as usize].load(Acquire);
        // No list is longer than the table, unless somebody scribbled over it.
        for _ in 0..self.kind.indices() {
            let entry = self.entry(link.checked_sub(1)?)?;
            let word = entry.word();
            if let Some((id, State::Live)) = word.get() {
                if entry.key.load(Relaxed) == key && entry.is_still(word) {
                    return Some((id, word, entry));
                }
            }
            link = entry.next.load(Acquire);
        }
        None
    }

    /// The live entry with a key; `Err` if that cannot be said without the lock.
    #[inline]
    pub(crate) fn find(&self, key: i32) -> Result<Option<(i32, Word, &Entry)>, ()> {
        let before = self.header().changes.load(Acquire);
        if let Some(found) = self.search(key) {
            return Ok(Some(found));
        }
        fence(Acquire);
        let settled = before % 2 == 0 && self.header().changes.load(Relaxed) == before;
        if settled { Ok(None) } else { Err(()) }
    }

    /// The same, from all entries and no list, so that it can be said while somebody is in the middle of creating, too:
    /// an entry is there from the step that publishes it. `Err` if one was created, or its creation begun or given up,
    /// meanwhile.
    ///
    /// Whoever creates this key has seen, before it said that it creates, that there is none. So a key that is nowhere
    /// met while one creator stays the same was, at some time in between, not there.
    #[cold]
    pub(crate) fn find_in_all(&self, key: i32) -> Result<Option<(i32, Word, &Entry)>, ()> {
        let before = self.header().changes.load(Acquire);
        let found = (0..self.entries()).find_map(|index| {
            let (word, entry) = self.at(index)?;
            let (id, State::Live) = word.get()? else { return None };
            let same = entry.key.load(Relaxed) == key && entry.is_still(word);
            same.then_some((id, word, entry))
        });
        fence(Acquire);
        let settled = self.header().changes.load(Relaxed) == before;
        if settled || found.is_some() { Ok(found) } else { Err(()) }
    }

    /// Takes a live entry out of its key's reach, in one step: its id works until it is [freed](Table::free). Whether
    /// this call did it.
    pub(crate) fn remove(&self, entry: &Entry, word: Word) -> bool {
        let Some((id, State::Live)) = word.get() else { return false };
        // Before, in case that this process ends right after the step; after, in case that somebody looked in between.
        self.header().removed.store(1, SeqCst);
        let done = entry.change(word, Word::new(id, State::Removed));
        self.header().removed.store(1, SeqCst);
        done
    }

    /// Frees an entry, in one step. Whether this call did it.
    pub(crate) fn free(&self, entry: &Entry, word: Word) -> bool {
        let done = entry.change(word, Word::FREE);
        if done {
            let _ = self.header().used.fetch_update(Relaxed, Relaxed, |used| used.checked_sub(1));
        }
        done
    }

    /// Whether it is time to look for removed entries that nobody holds. The answer is yes to one caller, who calls
    /// [`looked`](Table::looked) afterwards.
    #[inline]
    pub(crate) fn is_time_to_look(&self) -> bool {
        self.header().removed.load(Relaxed) != 0 && self.take_turn()
    }

    #[cold]
    fn take_turn(&self) -> bool {
        /// In which the one who looks is expected to be done; after that another one looks.
        const TURN: u64 = 10_000_000;
        let (now, look) = (kernel::monotonic(), self.header().look.load(Relaxed));
        // The clock begins anew when the machine does.
        let due = now >= look || look - now > 100 * TURN;
        if !due || self.header().look.compare_exchange(look, now + TURN, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.header().removed.store(0, SeqCst);
        true
    }

    /// Notes that somebody looked, for how many nanoseconds, and whether removed entries were left: then others look
    /// again, but spend no more than a twentieth of their time with it.
    pub(crate) fn looked(&self, took: u64, left: bool) {
        if left {
            self.header().removed.store(1, SeqCst);
        }
        let took = if left { took } else { 0 };
        self.header().look.store(kernel::monotonic() + took.min(50_000_000) * 20, Relaxed);
    }

    /// The path of an id's file.
    pub(crate) fn file(&self, id: i32) -> Path {
        Path::new(self.namespace.directory().as_os_str().as_bytes(), self.kind, id)
    }
}

/// A path of a file in the namespace, made without allocating.
pub(crate) struct Path {
    bytes: [MaybeUninit<u8>; libc::PATH_MAX as usize],
    len: usize,
}

impl Path {
    pub(crate) fn new(directory: &[u8], kind: Kind, id: i32) -> Path {
        let mut path = Path { bytes: [MaybeUninit::uninit(); libc::PATH_MAX as usize], len: 0 };
        path.push(directory);
        path.push(b"/");
        path.push(kind.prefix().as_bytes());
        path.push(b".");
        let (mut digits, mut at, mut rest) = ([0; 10], 10, id as u32);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        path.push(&digits[at..]);
        path.bytes[path.len] = MaybeUninit::new(0);
        path
    }

    /// What does not fit, with a NUL byte behind it, is left out: the kernel has no such paths.
    fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.len() - 1 - self.len;
        for byte in &bytes[..bytes.len().min(room)] {
            self.bytes[self.len] = MaybeUninit::new(*byte);
            self.len += 1;
        }
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        // SAFETY: `new` filled so many, and put the one NUL byte behind them: directories and digits have none.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), self.len + 1);
            CStr::from_bytes_with_nul_unchecked(bytes)
        }
    }
}
