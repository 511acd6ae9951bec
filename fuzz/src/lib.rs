//! What the fuzz targets share: checksums put right, so that they do not hide everything behind them from a fuzzer,
//! and a place to load into.
//!
//! The form is the one that `crates/commons/src/snapshot/format.rs` documents, written anew here: what it says is
//! tested too.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

use commons::{Error, Namespace, Segment};

/// Bytes of a header without the name.
const HEADER: usize = 64;
/// Bytes in front of a block's.
const BLOCK: usize = 24;
/// Bytes that a block describes at most.
const LARGEST: usize = 1 << 20;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Bytes of the segment, as the header says.
pub fn claimed_size(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?))
}

/// Puts all checksums right, as far as there is something that looks like blocks.
pub fn mend(bytes: &mut [u8]) {
    let _ = try_mend(bytes);
}

fn try_mend(bytes: &mut [u8]) -> Option<()> {
    let end = HEADER.checked_add(u32_at(bytes, 40)? as usize)?;
    let name = bytes.get(HEADER..end)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..60]);
    hasher.update(name);
    let mut chain = hasher.finalize();
    bytes[60..64].copy_from_slice(&chain.to_le_bytes());
    let mut at = end;
    while at + BLOCK <= bytes.len() {
        let len = u32_at(bytes, at + 8)? as usize;
        let stored = u32_at(bytes, at + 12)? as usize;
        let body = at + BLOCK;
        let next = body.checked_add(stored)?;
        if let Some(body) = bytes.get(body..next) {
            let sum = match stored == len || len > LARGEST {
                true => Some(crc32fast::hash(body)),
                false => zstd::bulk::decompress(body, len).ok().map(|bytes| crc32fast::hash(&bytes)),
            };
            if let (Some(sum), false) = (sum, len == 0) {
                bytes[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
            }
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(chain);
        hasher.update(&bytes[at..at + 20]);
        chain = hasher.finalize();
        bytes[at + 20..at + 24].copy_from_slice(&chain.to_le_bytes());
        at = next;
    }
    Some(())
}

/// An empty namespace, which goes with this.
#[derive(Debug)]
pub struct Place {
    directory: tempfile::TempDir,
    /// The namespace.
    pub namespace: Namespace,
}

impl Place {
    /// In shared memory, or where `COMMONS_FUZZ_DIRECTORY` says: so that who runs this can remove what a crash leaves.
    ///
    /// # Panics
    ///
    /// If no directory can be made there.
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Place {
        let parent = std::env::var_os("COMMONS_FUZZ_DIRECTORY").map_or("/dev/shm".into(), PathBuf::from);
        let directory = tempfile::Builder::new().prefix("commons-fuzz.").tempdir_in(parent).unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        Place { directory, namespace }
    }

    /// A path beside the segments.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How many files there are.
    ///
    /// # Panics
    ///
    /// If the directory is gone.
    pub fn files(&self) -> usize {
        self.directory.path().read_dir().unwrap().count()
    }
}

/// A segment's bytes.
///
/// # Panics
///
/// If they cannot be read.
pub fn bytes_of(segment: &Segment) -> Vec<u8> {
    use std::io::Seek;
    let mut file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// An error has to be one line.
///
/// # Panics
///
/// If it is not.
pub fn assert_one_line(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(['\n', '\r', '\x1b', '\0']), "{text:?}");
}
