//! Files that appear whole or not at all.
//!
//! The bytes go into a file without a name (where the filesystem has none such: with a temporary one), which
//! gets its name once all of them are there and, unless that is waived, on disk. Where the name is taken, the
//! file has a temporary name between two calls, until it is renamed. A crash there leaves that name; the file
//! was marked by a lock before it had it, so that the next save to the same file can tell that nobody works on
//! it any more, and removes it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sys::directory::Directory;
use crate::sys::file::Access;
use crate::sys::{Errno, extent, file, process};

/// What a temporary name ends with.
const SUFFIX: &str = ".commons-part";
/// Bytes of the file's own name that a temporary one repeats, so that it is not too long.
const KEPT: usize = 200;

/// A file on its way.
#[derive(Debug)]
pub(super) struct WholeFile {
    pub(super) file: File,
    target: PathBuf,
    directory: PathBuf,
    temporary: Option<CString>,
    /// The directory, if its names are to be on disk in the end.
    opened: Option<OwnedFd>,
}

impl WholeFile {
    /// Begins a file that will be `path`, whose permissions are `mode` without the umask's; `sync`: that is to be on
    /// disk when it is finished.
    pub(super) fn begin(path: &Path, mode: u32, sync: bool) -> io::Result<WholeFile> {
        let target = resolved(path)?;
        if target.file_name().is_none() {
            return Err(Errno::ISDIR.into());
        }
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        remove_leftovers(&directory, &target);
        let c_directory = c_path(&directory)?;
        // Now, so that it is no error once the file has its name.
        let opened = if sync { Some(extent::open_directory(&c_directory)?) } else { None };
        let (fd, temporary) = match file::create_nameless(&c_directory, mode) {
            Ok(fd) => {
                // Where the filesystem knows no locks, leftovers stay.
                let _ = extent::try_mark(fd.as_fd());
                (fd, None)
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let (fd, path) = create_temporary(&directory, &target, mode)?;
                (fd, Some(path))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(WholeFile { file: fd.into(), target, directory, temporary, opened })
    }

    /// Gives it its name, in the place of what had it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.opened.is_some() {
            extent::sync(self.file.as_fd())?;
        }
        let target = c_path(&self.target)?;
        let linked = match self.temporary {
            None => file::link(self.file.as_fd(), &target),
            Some(_) => Err(Errno::EXIST),
        };
        match linked {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if self.temporary.is_none() {
                    let path = temporary(&self.directory, &self.target)?;
                    file::link(self.file.as_fd(), &path)?;
                    self.temporary = Some(path);
                }
                if let Some(path) = &self.temporary {
                    extent::rename_over(path, &target)?;
                    self.temporary = None;
                }
            }
            Err(error) => return Err(error.into()),
        }
        match self.opened.as_ref().map(|directory| extent::sync(directory.as_fd())) {
            // A filesystem that does not know how keeps its names in some way of its own.
            None | Some(Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            let _ = file::unlink(path);
        }
    }
}

/// Where a path leads: in the place of a link's target, as other programs write to it. The kernel follows the link,
/// so that one that it would not follow for other programs is an error here too.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => extent::led_to(&c_path(path)?),
        Ok(_) => Ok(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// What the temporary names for `target` begin with.
fn prefix(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(&name[..name.len().min(KEPT)]));
    prefix.push(".");
    prefix
}

fn temporary(directory: &Path, target: &Path) -> io::Result<CString> {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = prefix(target);
    // Told apart from those of other processes, in other pid namespaces too.
    let (random, count) = (process::random(), COUNTER.fetch_add(1, Relaxed));
    name.push(format!("{:x}-{random:x}-{count:x}{SUFFIX}", process::id()));
    c_path(&directory.join(name))
}

/// A marked file under a temporary name.
fn create_temporary(directory: &Path, target: &Path, mode: u32) -> io::Result<(OwnedFd, CString)> {
    loop {
        let path = temporary(directory, target)?;
        let fd = file::create_new(&path, mode)?;
        // Before it was marked it looked like what a crash leaves: who took it for that has marked it, and may have
        // removed it. Where the filesystem knows no locks, nobody does.
        let ours = extent::try_mark(fd.as_fd()).unwrap_or(true);
        if ours && file::stat_path(&path).is_ok() {
            return Ok((fd, path));
        }
        let _ = file::unlink(&path);
    }
}

/// Best effort: removes what crashed saves to the same file have left.
fn remove_leftovers(directory: &Path, target: &Path) {
    let prefix = prefix(target);
    for (name, _) in Directory::open(directory).into_iter().flatten().flatten() {
        let bytes = name.as_bytes();
        if !bytes.starts_with(prefix.as_bytes()) || !bytes.ends_with(SUFFIX.as_bytes()) {
            continue;
        }
        let Ok(path) = c_path(&directory.join(&name)) else { continue };
        let Ok(fd) = file::open(&path, Access::ReadOnly) else { continue };
        // Marked by who works on it; and what was opened is what the name means, for nobody else takes it away.
        if extent::try_mark(fd.as_fd()) == Ok(true) {
            let _ = file::unlink(&path);
        }
    }
}
