//! How NSPR's segments lie in their namespace: what the drop-in writes and the command reads.

use std::fs;
use std::path::{Path, PathBuf};

/// The ending of the symbolic link beside a segment that says for which path it was made.
pub const PATH: &str = ".path";

/// What the names of semaphores' segments end with.
const SEMAPHORE: &str = "-sem";

/// Whether a segment of NSPR's can have this name: hexadecimal numbers, the device's two, the inode, and the two of
/// the birth time, as `fe.0-98c0d0-6b064080.30c7ad94`.
pub fn is_segment(name: &str) -> bool {
    let parts: Vec<&str> = name.strip_suffix(SEMAPHORE).unwrap_or(name).split('-').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let are_two =
        |text: &str| text.split_once('.').is_some_and(|(one, other)| is_number(one) && is_number(other));
    matches!(parts[..], [device, inode, born] if are_two(device) && is_number(inode) && are_two(born))
}

/// The path for which the segment of this name was made, if it is known.
pub fn path_of(directory: &Path, name: &str) -> Option<PathBuf> {
    if !is_segment(name) {
        return None;
    }
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
        if !is_segment(segment) {
            continue;
        }
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && fs::symlink_metadata(directory.join(segment)).is_err() {
            swept += u64::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    swept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_ours_without_a_segment_are_swept() {
        let place = tempfile::tempdir().unwrap();
        let link = |name: &str| std::os::unix::fs::symlink("/absent", place.path().join(name)).unwrap();
        link("fe.0-98c0d0-6b064080.30c7ad94.path");
        link("fe.0-98c0d1-6b064080.30c7ad94-sem.path");
        link("fe.0-98c0d2-6b064080.30c7ad94.path");
        link("notes.path");
        fs::write(place.path().join("fe.0-98c0d2-6b064080.30c7ad94"), "").unwrap();
        assert_eq!(path_of(place.path(), "fe.0-98c0d2-6b064080.30c7ad94"), Some(PathBuf::from("/absent")));
        assert_eq!(path_of(place.path(), "notes"), None);
        assert_eq!(sweep_links(place.path()), 2);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
    }
}
