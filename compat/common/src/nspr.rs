//! How NSPR's segments lie in their namespace: what the drop-in writes and the command reads.

use std::fs;
use std::path::{Path, PathBuf};

/// The ending of the symbolic link beside a segment that says for which path it was made.
pub const PATH: &str = ".path";

/// What the names of semaphores' segments end with.
const SEMAPHORE: &str = "-sem";

/// The path for which the segment of this name was made, if it is known.
pub fn path_of(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_link(directory.join(format!("{name}{PATH}"))).ok()
}

/// Whether the segment of this name is a semaphore.
pub fn is_semaphore(name: &str) -> bool {
    name.ends_with(SEMAPHORE)
}

/// Removes the links whose segments are gone: what a program leaves that ends in the middle of making one. Gives how
/// many there were.
///
/// A program that is just making a segment may lose its link by this; the segment is then seen without its path.
pub fn sweep_links(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut swept = 0;
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(segment) = file_name.to_str().and_then(|name| name.strip_suffix(PATH)) else { continue };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && fs::symlink_metadata(directory.join(segment)).is_err() {
            swept += u64::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    swept
}
