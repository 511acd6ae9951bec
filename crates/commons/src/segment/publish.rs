//! The creating half of the [protocol of names](super::protocol): a file that is complete and held before it has
//! a name, and gets that in one step.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::name::Name;
use super::place::Place;
use super::policy::{Lifetime, OwnerPolicy};
use super::protocol::{Held, Hold, Manner, Present, no_segment, present, remove_orphan, why_not_open};
use super::slot::{Slot, WHOLE};
use crate::error::{Error, Result};
use crate::sys::file::{self, Access, Stat};
use crate::sys::{Errno, lock, process};
use crate::trace;

/// A temporary name; removed when dropped.
#[derive(Debug)]
struct Temporary(Option<CString>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If it is gone, or cannot be removed, that is for a sweep.
            let _ = file::unlink(path);
        }
    }
}

/// A file on its way to be a segment: held, and not yet under its name.
#[derive(Debug)]
pub(crate) struct Unpublished {
    held: Held,
    /// The name that it has meanwhile, where the filesystem has no nameless files.
    temporary: Temporary,
}

/// How a nameless file is made and published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// `O_TMPFILE` and `linkat`.
    Link,
    /// A temporary name and `renameat2`: slower, and a crash leaves that name to a sweep.
    Rename,
}

impl Unpublished {
    /// Makes an empty file and takes its slot, unless whoever makes it is not going to hold it.
    pub(crate) fn new(
        place: &Place,
        mode: u32,
        lifetime: Lifetime,
        means: Means,
        holds: bool,
    ) -> Result<Unpublished> {
        let fail = |error| not_made(place, error);
        let full = mode | lifetime.mark();
        let forks = process::forks();
        let (fd, temporary) = match means {
            Means::Link => match file::create_nameless(place.namespace.c_directory(), full) {
                Ok(fd) => (fd, Temporary(None)),
                Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                    return Self::new(place, mode, lifetime, Means::Rename, holds);
                }
                Err(error) => return Err(fail(error)),
            },
            // For nobody else, until it is complete.
            Means::Rename => create_temporary(place, 0o600).map_err(fail)?,
        };
        // Without a name nobody sees it; who is not going to hold it needs no slot.
        let held = holds || temporary.0.is_some();
        let slot = if held { Slot::next() } else { Slot::NONE };
        let taken = !held || lock::try_read(fd.as_fd(), slot.range()).map_err(fail)?;
        let mut stat = file::stat(fd.as_fd()).map_err(fail)?;
        if temporary.0.is_some() && !(taken && stat.names == 1) {
            // A sweep found the temporary name before its slot was taken.
            return Self::new(place, mode, lifetime, means, holds);
        }
        if temporary.0.is_none() && stat.mode != full {
            // The umask took something away.
            file::set_mode(fd.as_fd(), full).map_err(fail)?;
        }
        stat.mode = full;
        let identity = stat.identity;
        if lifetime == Lifetime::UntilLastDetach {
            place.namespace.check_lifetime(place, "create", identity.device, fd.as_fd())?;
        }
        let access = Access::ReadWrite;
        let hold = Hold { place: place.clone(), identity, slot, lifetime, access, forks, created: true };
        Ok(Unpublished { held: Held { fd, stat, hold: Arc::new(hold) }, temporary })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.held.fd.as_fd()
    }

    pub(crate) fn stat(&self) -> &Stat {
        &self.held.stat
    }

    /// Notes the size that the file was given.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.held.stat.size = size;
    }

    /// Chooses another name than the one it was made for.
    pub(super) fn name(&mut self, name: &OsStr) -> Result<()> {
        // Nobody else has the hold before the segment is published.
        if let Some(hold) = Arc::get_mut(&mut self.held.hold) {
            hold.place = hold.place.namespace.place(name)?;
        }
        Ok(())
    }

    /// What a crash leaves: the file under its temporary name.
    #[cfg(test)]
    pub(crate) fn abandon(mut self) -> (OwnedFd, std::path::PathBuf) {
        use std::os::unix::ffi::OsStringExt;
        let path = self.temporary.0.take().unwrap_or_default();
        (self.held.fd, std::ffi::OsString::from_vec(path.into_bytes()).into())
    }

    /// Gives it its name; `Err` gives it back if that is taken.
    pub(crate) fn publish(mut self) -> Result<Result<Held, Unpublished>> {
        let place = &self.held.hold.place;
        let done = match &self.temporary.0 {
            None => file::link(self.held.fd.as_fd(), place.path()),
            Some(temporary) => file::set_mode(self.held.fd.as_fd(), self.held.stat.mode)
                .and_then(|()| file::rename_new(temporary, place.path())),
        };
        match done {
            Ok(()) => {
                self.temporary.0 = None;
                trace!(name = %place.name(), "created");
                Ok(Ok(self.held))
            }
            Err(Errno::EXIST) => Ok(Err(self)),
            Err(Errno::NOENT | Errno::INVAL) => Err(Error::Unsupported {
                attempt: place.attempt("create"),
                filesystem: place.namespace.filesystem_name(),
                why: "cannot give a finished file its name in one step here; is /proc mounted, and does the directory still exist?",
            }),
            Err(error) => Err(place.error("create", error)),
        }
    }
}

/// Why no file could be made.
fn not_made(place: &Place, error: Errno) -> Error {
    match error {
        Errno::NOSPC | Errno::DQUOT => place.namespace.no_space(place.attempt("create"), 0),
        Errno::NOENT => Error::Unsupported {
            attempt: place.attempt("create"),
            filesystem: place.namespace.filesystem_name(),
            why: "lets no file be made here; does the directory still exist?",
        },
        error => place.error("create", error),
    }
}

/// A new, empty file that has its name at once; `None` if that is taken. Removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct InPlace<'p> {
    place: &'p Place,
    fd: OwnedFd,
    device: u64,
    kept: bool,
}

impl<'p> InPlace<'p> {
    pub(super) fn new(place: &'p Place, mode: u32) -> Result<Option<InPlace<'p>>> {
        let fail = |error| not_made(place, error);
        let fd = match file::create_new(place.path(), mode) {
            Err(Errno::EXIST) => return Ok(None),
            other => other.map_err(fail)?,
        };
        let mut made = InPlace { place, fd, device: 0, kept: false };
        let stat = file::stat(made.fd()).map_err(fail)?;
        if stat.mode != mode {
            // The umask took something away.
            file::set_mode(made.fd(), mode).map_err(fail)?;
        }
        made.device = stat.identity.device;
        Ok(Some(made))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = file::unlink(self.place.path());
        }
    }
}

fn create_temporary(place: &Place, mode: u32) -> Result<(OwnedFd, Temporary), Errno> {
    let mut number = process::random() ^ Slot::next().offset().rotate_left(32);
    loop {
        let temporary = Place::new(&place.namespace, &Name::unfinished(number));
        match file::create_new(temporary.path(), mode) {
            Ok(fd) => return Ok((fd, Temporary(Some(temporary.path().to_owned())))),
            Err(Errno::EXIST) => number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1),
            Err(error) => return Err(error),
        }
    }
}

/// Makes way for a creator whose name is taken: removes an orphan. An error if something else is there.
pub(crate) fn make_way(place: &Place) -> Result<()> {
    let verb = "create";
    let exists = || Error::Exists(place.attempt(verb));
    let fd = match file::open(place.path(), Access::ReadWrite) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(code) => {
            let manner =
                Manner { access: Access::ReadWrite, owner: OwnerPolicy::Any, size: 0, verb, counted: true };
            return Err(match why_not_open(place, manner, code) {
                Error::PermissionDenied { .. } => exists(),
                error => error,
            });
        }
    };
    let stat = file::stat(fd.as_fd()).map_err(|error| place.error(verb, error))?;
    if let Some(what) = no_segment(&stat) {
        return Err(Error::NotASegment { attempt: place.attempt(verb), what });
    }
    if stat.names == 0 {
        return Ok(());
    }
    if !stat.is_sticky() {
        return Err(exists());
    }
    let fail = |error| place.error(verb, error);
    match present(fd.as_fd()).map_err(fail)? {
        Present::Holder(_) => Err(exists()),
        // It is about to go, or about to stay: the caller tries again.
        Present::Remover => Ok(()),
        Present::Nobody if lock::try_write(fd.as_fd(), WHOLE).map_err(fail)? => {
            remove_orphan(place, verb, fd.as_fd(), &stat)
        }
        Present::Nobody => Ok(()),
    }
}
