//! What others than libgpl's drop-in have to know of its namespace: what its names say, and which segment has an
//! identifier, for the System V drop-in, whose `shmat` and `shmctl` take what `shmId` gave.
//!
//! # Identifiers
//!
//! An identifier is not stored anywhere: it is a function of the inode number of the segment's own file. So it is the
//! same in every process and for all the segment's life, and no crash can leave one that is stale or half entered: who
//! looks for it reads the directory, and finds it where the file is. The inode number's low 14 bits become the low
//! bits of the identifier, of which bit 14 is always set; its next 16 bits become the high ones:
//!
//! ```text
//!   bit 31     30 … 15                    14     13 … 0
//!       0      inode's bits 29 … 14       1      inode's bits 13 … 0
//! ```
//!
//! A filesystem counts inode numbers upwards, or has fewer files than 2^30, so that two segments that live at the same
//! time have different ones. Where that is not so, whoever creates a segment looks at all the others first, and takes
//! another file if its identifier is [taken](is_taken). The drop-in does this with its database locked.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use commons::{Entry, Lifetime, Name, Namespace, OwnerPolicy, Segment, SegmentOptions};

use crate::place::System;

/// What names begin with that the drop-in gave for reasons of its own.
pub const MARK: &str = "~";
/// Shared memory whose name could not be a segment's as it is.
pub const MEMORY: &str = "~shm~";
/// Shared memory whose name is too long: here follow its SHA-256 in hexadecimal, `~`, and the name's beginning.
pub const LONG_MEMORY: &str = "~shm-long~";
/// A named object of `nob_util`.
pub const OBJECT: &str = "~nob~";
/// A named object whose name is too long, as [`LONG_MEMORY`].
pub const LONG_OBJECT: &str = "~nob-long~";
/// The lock of the database.
pub const DATABASE: &str = "~database";

/// Bytes of a hash in a name, with the `~` behind it.
const HASH: usize = 65;

/// How many bits of an inode number are in an identifier.
pub const BITS: u32 = 30;

/// What a segment of the namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory, under the name that its programs know; if that is too long, its beginning and `…`.
    Memory(OsString),
    /// A named object, likewise.
    Object(OsString),
    /// The lock of the database.
    Database,
}

impl Kind {
    /// What a segment of this name is.
    pub fn of(name: &Name) -> Kind {
        let name = name.to_os_string().into_vec();
        let after =
            |mark: &str| name.strip_prefix(mark.as_bytes()).map(<[u8]>::to_vec).map(OsString::from_vec);
        let beginning = |mark: &str| {
            let rest = name.strip_prefix(mark.as_bytes())?;
            let mut beginning = rest.get(HASH..).unwrap_or_default().to_vec();
            beginning.extend_from_slice("…".as_bytes());
            Some(OsString::from_vec(beginning))
        };
        if name == DATABASE.as_bytes() {
            return Kind::Database;
        }
        if let Some(object) = after(OBJECT).or_else(|| beginning(LONG_OBJECT)) {
            return Kind::Object(object);
        }
        let memory = after(MEMORY).or_else(|| beginning(LONG_MEMORY));
        Kind::Memory(memory.unwrap_or_else(|| OsString::from_vec(name.clone())))
    }
}

/// Whose segments may be opened there: only this user's in the private directory; in one that the environment names,
/// whose their modes let.
pub fn owner() -> OwnerPolicy {
    let private = System::Gpl.directory() == System::Gpl.private_directory();
    if private { OwnerPolicy::Me } else { OwnerPolicy::Any }
}

/// The identifier of a segment whose file has this inode number: at least 16384 in its low 15 bits, and never
/// negative.
pub fn id_of(inode: u64) -> i32 {
    let low = (inode & 0x3fff) as i32;
    let high = (inode >> 14 & 0xffff) as i32;
    high << 15 | 1 << 14 | low
}

/// Whether a segment in this directory, alive or an orphan, has that identifier.
///
/// # Errors
///
/// Those of reading a directory.
pub fn is_taken(directory: &Path, id: i32) -> std::io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        if id_of(entry?.ino()) == id {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The bits that are set in any inode number in this directory.
pub fn inode_bits(directory: &Path) -> std::io::Result<u64> {
    fs::read_dir(directory)?.try_fold(0, |bits, entry| Ok(bits | entry?.ino()))
}

/// The shared memory that has this identifier, in the namespace that this process's environment says; `None` if there
/// is none that somebody holds. Takes no lock and waits for nobody.
pub fn find(id: i32) -> Option<Entry> {
    find_in(&System::Gpl.directory(), id)
}

/// The same in a directory.
pub fn find_in(directory: &Path, id: i32) -> Option<Entry> {
    if id < 0 || id & 1 << 14 == 0 {
        return None;
    }
    let mut namespace = None;
    for entry in fs::read_dir(directory).ok()?.flatten() {
        if id_of(entry.ino()) != id {
            continue;
        }
        if namespace.is_none() {
            namespace = Some(Namespace::at(directory).ok()?);
        }
        if let Some(found) =
            namespace.as_ref().and_then(|namespace| living(namespace, &entry.file_name(), id))
        {
            return Some(found);
        }
    }
    None
}

/// The entry, if it is shared memory that somebody holds, and of that identifier before and after looking.
fn living(namespace: &Namespace, file_name: &OsStr, id: i32) -> Option<Entry> {
    let name = Name::from_file_name(file_name).ok()?;
    if !matches!(Kind::of(&name), Kind::Memory(_)) {
        return None;
    }
    let entry = namespace.entry(name.to_os_string()).ok()?;
    let look = entry.look()?;
    let same = fs::symlink_metadata(namespace.directory().join(file_name)).ok()?.ino();
    (look.info.lifetime == Lifetime::UntilLastDetach && look.holders > 0 && id_of(same) == id)
        .then_some(entry)
}

/// Opens the shared memory that has this identifier; `None` if there is none.
///
/// # Errors
///
/// As [`SegmentOptions::open`].
pub fn open(id: i32, read_only: bool) -> commons::Result<Option<Segment>> {
    open_in(&System::Gpl.directory(), owner(), id, read_only)
}

/// The same in a directory.
///
/// # Errors
///
/// As [`SegmentOptions::open`].
pub fn open_in(
    directory: &Path,
    owner: OwnerPolicy,
    id: i32,
    read_only: bool,
) -> commons::Result<Option<Segment>> {
    let Some(entry) = find_in(directory, id) else { return Ok(None) };
    match SegmentOptions::new().owner(owner).read_only(read_only).open_entry(&entry) {
        // The name may have come to mean another segment since.
        Ok(segment) => Ok(inode(&segment).is_some_and(|inode| id_of(inode) == id).then_some(segment)),
        Err(commons::Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The inode number of a segment's file.
pub fn inode(segment: &Segment) -> Option<u64> {
    use std::os::fd::AsRawFd;
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open while it is borrowed, and the call fills the structure, which outlives it.
    let done = unsafe { libc::fstat(segment.as_fd().as_raw_fd(), &raw mut stat) };
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs by architecture")]
    (done == 0).then_some(stat.st_ino as u64)
}

/// Whether a name can be a segment's as it is, without a mark.
pub fn is_plain(name: &[u8]) -> bool {
    let reserved = [b"/".as_slice(), b".", MARK.as_bytes(), b"sem."];
    !name.is_empty() && !reserved.iter().any(|reserved| name.starts_with(reserved))
}

/// Bytes that a name has in the file system.
pub fn encoded_len(name: &[u8]) -> usize {
    name.iter().map(|byte| if matches!(byte, b'/' | b'%') { 3 } else { 1 }).sum()
}

/// A name as text of the operating system.
pub fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Namespace) {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        (directory, namespace)
    }

    #[test]
    fn identifiers_are_positive_differ_and_are_no_kernels() {
        let inodes = [0, 1, 0x3fff, 0x4000, 0x4001, 0x3fff_ffff];
        let mut ids: Vec<i32> = inodes.into_iter().map(id_of).collect();
        assert!(ids.iter().all(|id| *id >= 0 && id & 0x7fff >= 16384));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), inodes.len());
        assert_eq!(id_of(5), id_of(5 + (1 << BITS)), "what creating has to look out for");
    }

    #[test]
    fn what_lives_is_found_and_nothing_else() {
        let (directory, namespace) = place();
        let options = SegmentOptions::new().size(5).namespace(&namespace);
        let memory = options.create("a/b").unwrap();
        let id = id_of(inode(&memory).unwrap());
        assert!(is_taken(directory.path(), id).unwrap());
        assert_eq!(find_in(directory.path(), id).unwrap().name().to_string(), "a/b");
        let opened = open_in(directory.path(), OwnerPolicy::Me, id, true).unwrap().unwrap();
        assert_eq!(opened.size().unwrap(), 5);
        drop(opened);
        for other in [id - 1, id + 1, id & !(1 << 14), -1, 0, i32::MIN] {
            assert!(find_in(directory.path(), other).is_none(), "{other}");
        }
        drop(memory);
        assert!(find_in(directory.path(), id).is_none());
        assert!(open_in(directory.path(), OwnerPolicy::Me, id, false).unwrap().is_none());
        assert!(!is_taken(directory.path(), id).unwrap());

        // Named objects have no identifiers, nor has what nobody holds, nor what is no segment of the drop-in's.
        let object = options.create(format!("{OBJECT}x")).unwrap();
        assert!(find_in(directory.path(), id_of(inode(&object).unwrap())).is_none());
        let file = directory.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(find_in(directory.path(), id_of(file.metadata().unwrap().ino())).is_none());
        let mut permissions = file.metadata().unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o1600);
        fs::set_permissions(&file, permissions).unwrap();
        assert!(find_in(directory.path(), id_of(file.metadata().unwrap().ino())).is_none(), "an orphan");
        assert!(find_in(Path::new("/nowhere"), id).is_none());
    }

    #[test]
    fn names_say_what_they_are() {
        let kind = |name: &str| Kind::of(&Name::new(name).unwrap());
        let hash = "0".repeat(64);
        assert_eq!(kind("jobs"), Kind::Memory("jobs".into()));
        assert_eq!(kind("~shm~/jobs"), Kind::Memory("/jobs".into()));
        assert_eq!(kind("~shm~"), Kind::Memory("".into()));
        assert_eq!(kind("~nob~jobs"), Kind::Object("jobs".into()));
        assert_eq!(kind(&format!("~nob-long~{hash}~jobs")), Kind::Object("jobs…".into()));
        assert_eq!(kind(&format!("~shm-long~{hash}~jobs")), Kind::Memory("jobs…".into()));
        assert_eq!(kind("~shm-long~"), Kind::Memory("…".into()));
        assert_eq!(kind("~database"), Kind::Database);
    }
}
