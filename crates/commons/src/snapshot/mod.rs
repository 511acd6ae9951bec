//! Snapshots: a segment saved to a file, or to anything that takes bytes, and loaded again.
//!
//! ```
//! use commons::{Segment, snapshot};
//!
//! # let name = &format!("doc-snapshot-{}", std::process::id());
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("jobs.snapshot");
//! let jobs = Segment::create(name, 1 << 20)?;
//! snapshot::save(&jobs, &path)?;
//! drop(jobs); // gone, with its last holder
//!
//! let jobs = snapshot::load(&path)?;
//! assert_eq!(jobs.name().unwrap().to_string(), *name);
//! # Ok::<(), commons::Error>(())
//! ```
//!
//! # What is promised
//!
//! - A saved file appears whole or not at all, whatever happens; after a power failure too, unless it was not to be
//!   [waited](SaveOptions::sync) until it is on disk.
//! - A load into a new name publishes the segment once everything was checked. A load into a segment that is
//!   there checks everything before it changes a byte. Damage, another size, no room for it: nothing changed.
//! - Holes are neither read nor written, in framed and raw files; on hugetlbfs, which knows none, all is read.
//! - Memory is constant: some MiB, whatever the size.
//!
//! Saving a large segment reads in a second thread, which blocks all signals, while the caller's writes.
//!
//! # What is not
//!
//! **A save of a segment in use is no point in time.** Blocks are read one after the other, while others write.
//! Whoever needs one stops the writers: by a lock that they follow, or from outside, `commons save --pause`.
//! Each block is whole in the sense that its checksum is that of the bytes saved.
//!
//! **A load into a segment that is there is not one step for those who have it attached**: they see bytes
//! change while it copies. Killed just then, it leaves a part of either, cut at any byte; load again.
//!
//! On filesystems that copy on write (btrfs, ZFS) room that was made may not be there when it is written to: a load
//! into a segment can run out of space in its middle there.
//!
//! Checksums find damage. They are no proof of who wrote the file.
//!
//! # The form
//!
//! Framed, the default: a header (name, size, mode, lifetime, time), then a checksum with every block of at
//! most 1 MiB, each compressed on its own if that is asked for. Raw: exactly the bytes. What is loaded has to be
//! framed, unless it is said to be raw: otherwise a damaged beginning would make a snapshot pass for raw bytes.

mod batches;
mod extents;
mod format;
mod load;
mod out;
mod read;
mod save;
mod sink;
mod spool;
mod whole;

use std::io::Read;
use std::path::Path;

use crate::error::{Attempt, Result};
use crate::segment::Segment;

pub use format::Header;
pub use load::{LoadOptions, Loaded};
pub use save::{SaveOptions, Saved};

/// What an error is about, when it comes to that.
type About<'a> = dyn Fn() -> Box<Attempt> + Sync + 'a;

/// Told the bytes that are done, and those that there are.
type Progress<'p> = dyn Fn(u64, u64) + 'p;

/// What is written where a hole is not to be had.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Saves a segment to a file, framed and with checksums.
///
/// # Errors
///
/// As [`SaveOptions::save_file`].
pub fn save(segment: &Segment, path: impl AsRef<Path>) -> Result<Saved> {
    SaveOptions::new().save_file(segment, path)
}

/// Loads a saved segment under the name that it had, with the mode and lifetime that it had.
///
/// # Errors
///
/// As [`LoadOptions::load_file`].
pub fn load(path: impl AsRef<Path>) -> Result<Segment> {
    Ok(LoadOptions::new().load_file(path)?.segment)
}

/// Checks all of a snapshot, and says what it is of.
///
/// # Errors
///
/// [`Error::Damaged`](crate::Error::Damaged); [`Error::Os`](crate::Error::Os) if it cannot be read.
pub fn check(from: impl Read) -> Result<Header> {
    LoadOptions::new().check(from)
}

/// What a snapshot's header says; the blocks are not looked at.
///
/// # Errors
///
/// As for [`check`].
pub fn header(path: impl AsRef<Path>) -> Result<Header> {
    LoadOptions::new().header_of(path.as_ref())
}
