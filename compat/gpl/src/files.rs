//! Files that shared memory is loaded from and saved to: their names, and the bytes.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use commons::Attachment;

use crate::call::{Code, Result};

/// A file's name with its environment variables, `$NAME` and `${NAME}`, replaced by their values. What is no variable
/// stays as it is, so that a file may have a `$` in its name.
pub(crate) fn expand(name: &CStr) -> PathBuf {
    expand_with(name.to_bytes(), |variable| std::env::var_os(variable))
}

fn expand_with(name: &[u8], value: impl Fn(&OsStr) -> Option<OsString>) -> PathBuf {
    let mut path = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let variable = if *first == b'$' { variable(behind) } else { None };
        match variable.and_then(|(variable, length)| Some((value(OsStr::from_bytes(variable))?, length))) {
            Some((value, length)) => {
                path.extend_from_slice(value.as_bytes());
                rest = &behind[length..];
            }
            None => {
                path.push(*first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// The variable's name behind a `$`, and how many bytes it takes with its braces.
fn variable(behind: &[u8]) -> Option<(&[u8], usize)> {
    if let Some(braced) = behind.strip_prefix(b"{") {
        let length = braced.iter().position(|byte| *byte == b'}')?;
        return (length > 0).then(|| (&braced[..length], length + 2));
    }
    let length = behind.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    (length > 0).then(|| (&behind[..length], length))
}

/// Reads the file to the memory's beginning, as much as there is and fits; how many bytes.
pub(crate) fn load(path: &Path, memory: &Attachment) -> Result<usize> {
    let file = File::open(path)?;
    let mut done = 0;
    while done < memory.len() {
        let at = memory.as_ptr().wrapping_add(done);
        // SAFETY: so many bytes of the attachment are left from there on; it is writable, and others may change its
        // bytes at any time. Should they be gone, the kernel says so.
        match unsafe { libc::read(file.as_raw_fd(), at.cast(), memory.len() - done) } {
            0 => break,
            bytes if bytes > 0 => done += bytes as usize,
            _ => interrupted()?,
        }
    }
    if done == 0 { Err(Code::DATA) } else { Ok(done) }
}

/// An error, unless the last call was only interrupted.
fn interrupted() -> io::Result<()> {
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

/// Writes the memory's bytes to a file. A regular file gets them whole or not at all: they go into a new file, which then
/// takes the name, with the permissions of the old one. What cannot be replaced in this way, since it is a device or a
/// fifo, has other names too, is another user's, or lies where no file may be made, is written to as it is.
pub(crate) fn save(path: &Path, memory: &Attachment) -> Result<()> {
    let target = match fs::symlink_metadata(path) {
        // To where the link leads; one that leads nowhere makes a file there, as for other programs.
        Ok(found) if found.is_symlink() => fs::canonicalize(path).unwrap_or_default(),
        _ => path.to_owned(),
    };
    let there = if target.as_os_str().is_empty() { None } else { Some(fs::metadata(&target)) };
    let old = match there {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Some(Ok(found)) if is_replaceable(&found) => Some(found),
        _ => return write_in_place(path, memory),
    };
    match replace(&target, old.as_ref(), memory) {
        // No file can be made there, or none without a name.
        Err(Unable::ToMake) => write_in_place(path, memory),
        Err(Unable::ToSave(code)) => Err(code),
        Ok(()) => Ok(()),
    }
}

fn is_replaceable(found: &fs::Metadata) -> bool {
    // SAFETY: has no preconditions.
    let user = unsafe { libc::geteuid() };
    // It has no name any more if another process has replaced it since it was looked up.
    found.is_file() && found.nlink() <= 1 && found.uid() == user
}

enum Unable {
    /// Nothing was done.
    ToMake,
    ToSave(Code),
}

impl<E: Into<Code>> From<E> for Unable {
    fn from(error: E) -> Unable {
        Unable::ToSave(error.into())
    }
}

fn replace(target: &Path, old: Option<&fs::Metadata>, memory: &Attachment) -> Result<(), Unable> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let nameless = OpenOptions::new().write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory);
    let file = nameless.map_err(|_| Unable::ToMake)?;
    if let Some(old) = old {
        // Who may not write to a file may not replace it by saving.
        OpenOptions::new().write(true).open(target)?;
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    write(&file, memory)?;
    if old.is_none() {
        match link(&file, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return Ok(result?),
        }
    }
    // Between these two calls the whole file has a name of its own. The lock tells that somebody works on it.
    let _ = lock(&file);
    let name = target.file_name().unwrap_or_default();
    remove_leftovers(directory, name);
    let other = directory.join(part(name, &std::process::id().to_string()));
    let _ = fs::remove_file(&other);
    link(&file, &other)?;
    fs::rename(&other, target).inspect_err(|_| drop(fs::remove_file(&other)))?;
    Ok(())
}

/// What the name ends with that a file has on its way to another's.
const PART: &str = ".gpl-part";

fn part(name: &OsStr, number: &str) -> OsString {
    let beginning = &name.as_bytes()[..name.len().min(200)];
    OsString::from_vec([beginning, b".", number.as_bytes(), PART.as_bytes()].concat())
}

/// Locks a file, if nobody else has; where the filesystem knows no locks, leftovers stay.
fn lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Removes what those left who were killed between naming and renaming, saving to a file of this name.
fn remove_leftovers(directory: &Path, name: &OsStr) {
    let beginning = part(name, "");
    let beginning = &beginning.as_bytes()[..beginning.len() - PART.len()];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let number = file_name.as_bytes().strip_prefix(beginning);
        let number = number.and_then(|rest| rest.strip_suffix(PART.as_bytes()));
        if !number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| lock(&file).is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives a file without a name this one.
fn link(file: &File, path: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both are C strings, which outlive the call.
    match unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn write_in_place(path: &Path, memory: &Attachment) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o666).open(path)?;
    write(&file, memory)
}

fn write(file: &File, memory: &Attachment) -> Result<()> {
    let mut done = 0;
    while done < memory.len() {
        let at = memory.as_ptr().wrapping_add(done);
        // SAFETY: so many bytes of the attachment are left from there on, and the kernel reads them. Should they be gone,
        // it says so.
        match unsafe { libc::write(file.as_raw_fd(), at.cast(), memory.len() - done) } {
            bytes if bytes >= 0 => done += bytes as usize,
            _ => interrupted()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_replace_meanwhile_is_replaced_too() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let (path, other) = (place.path().join("saved"), place.path().join("other"));
        let file = File::create(&path)?;
        assert!(is_replaceable(&file.metadata()?));
        fs::hard_link(&path, &other)?;
        assert!(!is_replaceable(&file.metadata()?), "other names would keep the old bytes");
        fs::remove_file(&path)?;
        fs::remove_file(&other)?;
        assert!(is_replaceable(&file.metadata()?), "found by its name just before that went");
        Ok(())
    }

    #[test]
    fn variables_are_replaced_and_nothing_else() {
        let value = |name: &OsStr| match name.to_str() {
            Some("A") => Some("/tmp".into()),
            Some("LONG_1") => Some("x$A".into()),
            _ => None,
        };
        let expand = |name: &str| expand_with(name.as_bytes(), value).into_os_string().into_string().unwrap();
        for (name, path) in [
            ("plain", "plain"),
            ("$A/x", "/tmp/x"),
            ("${A}x", "/tmpx"),
            ("$A$A", "/tmp/tmp"),
            ("$LONG_1.y", "x$A.y"),
            ("$Ab", "$Ab"),
            ("$NONE/x", "$NONE/x"),
            ("${NONE}x", "${NONE}x"),
            ("a$", "a$"),
            ("${}", "${}"),
            ("${A", "${A"),
            ("$$A", "$/tmp"),
            ("cost$5", "cost$5"),
            ("", ""),
        ] {
            assert_eq!(expand(name), path);
        }
    }
}
