//! What others than the System V drop-in have to know of its namespace: which file is what, and which key it has.
//!
//! Each segment and each set of semaphores is a file named by its id, `shm.5` or `sem.32773`. Beside them stand the
//! tables of ids, `ids.shm` and `ids.sem`, which know the keys. The drop-in takes all this from here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a file of the namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory.
    Memory,
    /// A set of semaphores.
    Semaphores,
}

/// Bytes before the lists of a table.
pub const HEADER: usize = 128;
/// Bytes of an entry of a table: it begins with its word, of 64 bits, and its key, of 32.
pub const ENTRY: usize = 128;
/// What is in the word's upper half if the entry has a key that finds it.
pub const LIVE: u64 = 1;
/// Bits of an id that are the index of its entry; the sequence number is above them.
pub const INDEX_BITS: u32 = 15;

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Memory, Kind::Semaphores];

    /// What the files' names begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Memory => "shm",
            Kind::Semaphores => "sem",
        }
    }

    /// The file with the table of ids.
    pub const fn table_name(self) -> &'static str {
        match self {
            Kind::Memory => "ids.shm",
            Kind::Semaphores => "ids.sem",
        }
    }

    /// How many lists of entries a table has, each of 32 bits: a power of two.
    pub const fn buckets(self) -> u32 {
        match self {
            Kind::Memory => 1024,
            Kind::Semaphores => 4096,
        }
    }

    /// How many there may be: Linux's `SHMMNI` and `SEMMNI`.
    pub const fn limit(self) -> u32 {
        match self {
            Kind::Memory => 4096,
            Kind::Semaphores => 32_000,
        }
    }

    /// How many indices that takes. Segments of other drop-ins have indices from 16384 on.
    pub const fn indices(self) -> u32 {
        match self {
            Kind::Memory => 6144,
            Kind::Semaphores => 1 << INDEX_BITS,
        }
    }

    /// The file of this id.
    pub fn file_name(self, id: i32) -> String {
        format!("{}.{id}", self.prefix())
    }

    /// What a file is, and its id; `None` if it is neither memory nor a set.
    pub fn of(file_name: &str) -> Option<(Kind, i32)> {
        Kind::ALL.into_iter().find_map(|kind| {
            let id = file_name.strip_prefix(kind.prefix())?.strip_prefix('.')?;
            let id: i32 = id.parse().ok()?;
            // Written in one way only.
            (id >= 0 && kind.file_name(id) == file_name).then_some((kind, id))
        })
    }

    /// The key by which programs find this id; `IPC_PRIVATE`, 0, if there is none, or it cannot be read. Takes no lock,
    /// and maps nothing.
    pub fn key(self, directory: &Path, id: i32) -> i32 {
        self.read_key(directory, id).unwrap_or(0)
    }

    fn read_key(self, directory: &Path, id: i32) -> Option<i32> {
        let table = File::open(directory.join(self.table_name())).ok()?;
        let index = id as u32 & ((1 << INDEX_BITS) - 1);
        let at = HEADER + self.buckets() as usize * 4 + index as usize * ENTRY;
        let mut entry = [0; 12];
        table.read_exact_at(&mut entry, at as u64).ok()?;
        let (word, key) = entry.split_first_chunk::<8>()?;
        let live = u64::from_ne_bytes(*word) == LIVE << 32 | u64::from(id as u32);
        live.then(|| key.first_chunk().map_or(0, |key| i32::from_ne_bytes(*key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(Kind::of("shm.5"), Some((Kind::Memory, 5)));
        assert_eq!(Kind::of("sem.32773"), Some((Kind::Semaphores, 32773)));
        for other in ["shm.05", "shm.-1", "shm.", "shm", "ids.shm", "sem.4x", "shm.99999999999"] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }

    #[test]
    fn a_table_that_is_not_there_or_too_short_has_no_keys() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Kind::Memory.key(place.path(), 3), 0);
        std::fs::write(place.path().join("ids.shm"), [1; 4000]).unwrap();
        assert_eq!(Kind::Memory.key(place.path(), 3), 0);
    }
}
