//! Looking at what is in a namespace, without holding any of it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::holders;
use super::name::Name;
use super::namespace::Namespace;
use super::patience::PATIENCE;
use super::place::Place;
use super::policy::Lifetime;
use super::protocol;
use crate::error::{Attempt, Error, Result};
use crate::sys::Errno;
use crate::sys::directory::Directory;
use crate::sys::file::{self, Access, Stat};

/// The segments of a namespace, one after the other; made by [`Namespace::list`].
///
/// An item is an error where the system could not go on reading the directory.
#[derive(Debug)]
pub struct Entries {
    places: Places,
}

impl Entries {
    pub(crate) fn new(namespace: &Namespace) -> Result<Entries> {
        let read = Directory::open(namespace.directory()).map_err(|error| failed(namespace, error.into()))?;
        Ok(Entries { places: Places { namespace: namespace.clone(), read } })
    }

    /// All regular files, half-made ones as well.
    pub(crate) fn all_places(self) -> Places {
        self.places
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.places.find_map(|place| match place {
            Ok(place) if Name::is_unfinished(place.file_name()) => None,
            Ok(place) => Some(Ok(Entry::new(place))),
            Err(error) => Some(Err(error)),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Places {
    namespace: Namespace,
    read: Directory,
}

impl Iterator for Places {
    type Item = Result<Place>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The kind usually comes with the name, so that this costs no call.
            let (file_name, regular) = match self.read.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(failed(&self.namespace, error.into()))),
            };
            if !regular || self.namespace.is_semaphore(&file_name) {
                continue;
            }
            if let Ok(name) = Name::from_file_name(file_name) {
                return Some(Ok(Place::new(&self.namespace, &name)));
            }
        }
    }
}

fn failed(namespace: &Namespace, source: std::io::Error) -> Error {
    let attempt = Attempt::directory("list", namespace.directory());
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => Error::PermissionDenied { attempt, source },
        std::io::ErrorKind::NotFound => Error::NotFound(attempt),
        _ => Error::Os { attempt, source },
    }
}

/// A segment that was seen in a namespace. It may be gone by now.
#[derive(Clone, Debug)]
pub struct Entry {
    place: Place,
    name: Name,
}

impl Entry {
    pub(crate) fn new(place: Place) -> Entry {
        let name = place.name();
        Entry { place, name }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Its metadata; `None` if it is gone, or is no segment any more.
    ///
    /// # Errors
    ///
    /// [`Error::PermissionDenied`] if the directory may not be searched.
    pub fn info(&self) -> Result<Option<Info>> {
        match file::stat_path(self.place.path()) {
            Ok(stat) if stat.kind == file::Kind::Regular => Ok(Some(Info::new(&stat))),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.place.error("look at", error)),
        }
    }

    /// Who holds it and how much of it is in memory; `None` if it is gone or may not be opened for reading.
    /// Takes no lock, and is nobody's holder meanwhile.
    pub fn look(&self) -> Option<Look> {
        let fd = file::open(self.place.path(), Access::ReadOnly).ok()?;
        let stat = file::stat(fd.as_fd()).ok().filter(|stat| stat.kind == file::Kind::Regular)?;
        let slots = holders::slots(fd.as_fd(), stat.identity, None).ok()?;
        Some(Look {
            info: Info::new(&stat),
            holders: slots.len(),
            elsewhere: slots.iter().filter(|slot| !slot.is_in_my_namespace()).count(),
            resident: file::resident(fd.as_fd()),
        })
    }

    /// Its file, open for reading, and how large it is. Takes no lock, and is nobody's holder meanwhile.
    pub(crate) fn open_to_read(&self) -> Result<(OwnedFd, u64)> {
        let verb = "look at";
        let fail = |error| self.place.error(verb, error);
        let fd = file::open(self.place.path(), Access::ReadOnly).map_err(fail)?;
        let stat = file::stat(fd.as_fd()).map_err(fail)?;
        match protocol::no_segment(&stat) {
            Some(what) => Err(Error::NotASegment { attempt: self.place.attempt(verb), what }),
            None => Ok((fd, stat.size)),
        }
    }

    /// Which processes hold it; see [`Segment::holders`](crate::Segment::holders).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] if it may not be opened for reading.
    pub fn holders(&self) -> Result<holders::Holders> {
        let fail = |error| self.place.error("look at", error);
        let fd = file::open(self.place.path(), Access::ReadOnly).map_err(fail)?;
        let stat = file::stat(fd.as_fd()).map_err(fail)?;
        holders::find(fd.as_fd(), stat.identity, None).map_err(fail)
    }

    /// Deletes it, as [`Namespace::delete`].
    ///
    /// # Errors
    ///
    /// As [`Namespace::delete`].
    pub fn delete(&self) -> Result<()> {
        protocol::delete(&self.place, PATIENCE)
    }
}

/// A segment's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Bytes.
    pub size: u64,
    /// Bytes of memory or disk that are allocated to it, touched or not.
    pub reserved: u64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Permission bits: `0o777` at most.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// When it was last created, grown, or written to by `write`; writing through an attachment on tmpfs does
    /// not show.
    pub modified: SystemTime,
}

impl Info {
    pub(crate) fn new(stat: &Stat) -> Info {
        let (seconds, nanoseconds) = stat.modified;
        let since = Duration::new(seconds.unsigned_abs(), nanoseconds.min(999_999_999));
        let modified =
            if seconds >= 0 { UNIX_EPOCH.checked_add(since) } else { UNIX_EPOCH.checked_sub(since) };
        Info {
            size: stat.size,
            reserved: stat.allocated,
            lifetime: Lifetime::of(stat),
            mode: stat.mode & 0o777,
            uid: stat.uid,
            gid: stat.gid,
            modified: modified.unwrap_or(UNIX_EPOCH),
        }
    }
}

/// What a look at a segment showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Look {
    /// Its metadata.
    pub info: Info,
    /// How many handles hold it, each counted once with all its attachments and forked copies. Foreign
    /// mappings, made without Commons, are not counted.
    pub holders: usize,
    /// How many of these were opened in other pid namespaces, whose process and thread ids mean nothing here.
    pub elsewhere: usize,
    /// Bytes of it that are in memory; `None` where the kernel does not say (before 6.5, or on hugetlbfs).
    pub resident: Option<u64>,
}

impl Look {
    /// Whether it is an orphan: to live as long as somebody holds it, and held by nobody.
    pub fn is_orphan(&self) -> bool {
        self.info.lifetime == Lifetime::UntilLastDetach && self.holders == 0
    }
}
