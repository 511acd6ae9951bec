//! A segment's file: who holds it, and the end of it.

use std::ffi::CStr;

use libc::c_int;

use super::slots;
use crate::ids::{Entry, State, Table, Word};
use crate::kernel::{self, Descriptor, Lock, Range};

/// How often who wants a lock looks again, if the one in the way is about to go.
const TRIES: u32 = 200;

/// What a look at a removed segment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is no removed segment.
    Live,
    /// Somebody holds it.
    Held,
    /// It is gone.
    Gone,
}

/// Finishes the removal of a segment, if it is removed and nobody holds it. `left` is the slot that this process has
/// just given back by unmapping, which the kernel may show a moment longer.
pub(super) fn finish(table: &Table, entry: &Entry, word: Word, left: Option<u64>) -> Fate {
    let Some((id, State::Removed)) = word.get() else { return Fate::Live };
    let path = table.file(id);
    let path = path.as_c_str();
    let file = match open_to_remove(path, entry) {
        Ok(file) => file,
        Err(libc::ENOENT) if is_gone(path) => {
            table.free(entry, word);
            return Fate::Gone;
        }
        Err(_) => return Fate::Held,
    };
    for _ in 0..TRIES {
        match kernel::try_lock(&file, Lock::Write, slots::WHOLE) {
            Ok(true) => {
                if kernel::unlink(path).is_err() {
                    // It has to stay for now: an orphan, which a sweep of whoever may remove it knows by the mark.
                    let _ = kernel::set_mode(path, entry.permissions().mode | super::DEST);
                }
                table.free(entry, word);
                return Fate::Gone;
            }
            Ok(false) => {}
            Err(_) => return Fate::Held,
        }
        let in_the_way = kernel::conflict(&file, slots::WHOLE);
        match (left, in_the_way) {
            (_, Ok(None)) => {}
            (Some(slot), Ok(Some(lock))) if lock.start == slot => kernel::pause(),
            _ => return Fate::Held,
        }
    }
    Fate::Held
}

/// Whether a file that could not be opened is really not there, so that its entry may be freed: asked again, since that
/// cannot be undone.
#[cold]
pub(super) fn is_gone(path: &CStr) -> bool {
    kernel::stat_path(path) == Err(libc::ENOENT)
}

/// Opens the file of a segment that is removed, whose mode may keep even its owner out.
fn open_to_remove(path: &CStr, entry: &Entry) -> Result<Descriptor, c_int> {
    match kernel::open(path, libc::O_RDWR) {
        Err(libc::EACCES) => {
            kernel::set_mode(path, entry.permissions().mode | super::DEST | 0o600)?;
            kernel::open(path, libc::O_RDWR)
        }
        other => other,
    }
}

/// Opens a segment's file to look at its locks, whatever its mode, if it is the caller's.
pub(super) fn open_to_look(path: &CStr) -> Result<Descriptor, c_int> {
    match kernel::open(path, libc::O_RDONLY) {
        Err(libc::EACCES) => {}
        other => return other,
    }
    match kernel::open(path, libc::O_WRONLY) {
        Err(libc::EACCES) => {}
        other => return other,
    }
    // For as long as it takes. The entry says what the mode is, should this process die in between.
    let mode = kernel::stat_path(path)?.mode;
    kernel::set_mode(path, mode | 0o400)?;
    let file = kernel::open(path, libc::O_RDONLY);
    let _ = kernel::set_mode(path, mode);
    file
}

/// The offsets of the bytes of all that hold a segment.
pub(super) fn holders(file: &Descriptor) -> Result<Vec<u64>, c_int> {
    let mut found = Vec::new();
    // The kernel names some lock in a range: look on both sides of it.
    let mut ranges = vec![slots::ALL];
    while let Some(range) = ranges.pop() {
        let Some(lock) = kernel::conflict(file, range)? else { continue };
        if lock.len != 1 {
            // Somebody has the whole range: nobody holds it.
            return Ok(Vec::new());
        }
        found.push(lock.start);
        if lock.start > range.start {
            ranges.push(Range { start: range.start, len: lock.start - range.start });
        }
        let (behind, end) = (lock.start + 1, range.start + range.len);
        if behind < end {
            ranges.push(Range { start: behind, len: end - behind });
        }
    }
    Ok(found)
}

/// A description of a segment's file that holds it, with the offset of its byte.
///
/// `EINVAL` if it is gone, or removed and held by nobody.
pub(super) fn hold(
    table: &Table,
    entry: &Entry,
    id: c_int,
    access: c_int,
) -> Result<(Descriptor, u64), c_int> {
    let path = table.file(id);
    for _ in 0..TRIES * 10 {
        let word = entry.word();
        let state = match word.get() {
            Some((found, state)) if found == id => state,
            _ => return Err(libc::EINVAL),
        };
        let file = match kernel::open(path.as_c_str(), access) {
            Err(libc::ENOENT) if is_gone(path.as_c_str()) => {
                // Removed behind our back.
                table.free(entry, word);
                return Err(libc::EINVAL);
            }
            other => other?,
        };
        if state == State::Removed && kernel::conflict(&file, slots::ALL)?.is_none() {
            drop(file);
            finish(table, entry, word, None);
            return Err(libc::EINVAL);
        }
        let slot = slots::next();
        if !kernel::try_lock(&file, Lock::Read, slot)? {
            // Somebody has the whole range, to remove the file.
            kernel::pause();
            continue;
        }
        match entry.word().get() {
            Some((found, State::Live)) if found == id => return Ok((file, slot.start)),
            Some((found, State::Removed)) if found == id && kernel::stat(&file)?.names > 0 => {
                return Ok((file, slot.start));
            }
            _ => return Err(libc::EINVAL),
        }
    }
    Err(libc::EIDRM)
}
