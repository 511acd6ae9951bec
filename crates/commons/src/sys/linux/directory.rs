//! Reading directories. Not by `std::fs::read_dir`, which panics where closing one fails: a filesystem may report there
//! what it could not write before.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::super::Result;

/// A directory's entries, one after the other: the name, and whether it is a regular file's.
#[derive(Debug)]
pub(crate) struct Directory {
    read: Dir,
}

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Directory { read: Dir::new(fd)? })
    }

    fn is_regular(&self, name: &std::ffi::CStr, kind: FileType) -> bool {
        match kind {
            // Not all filesystems tell kinds with names.
            FileType::Unknown => self
                .read
                .fd()
                .and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW))
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            kind => kind == FileType::RegularFile,
        }
    }
}

impl Iterator for Directory {
    type Item = Result<(OsString, bool)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.read.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let regular = self.is_regular(name, entry.file_type());
            return Some(Ok((OsStr::from_bytes(name.to_bytes()).to_owned(), regular)));
        }
    }
}
