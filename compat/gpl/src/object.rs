//! What has a name: shared memory, and the records of named objects. Finding, making, counting.
//!
//! libgpl has both in one database, and so it is here: a name is one or the other. They are segments of different
//! names, of which one is looked for after the other; with the database locked nobody makes either.

use std::ffi::{CStr, OsString};
use std::os::unix::fs::MetadataExt;

use commons::{AttachOptions, Attachment, Error, Name, Segment};
use commons_compat::gpl;

use crate::call::{Code, Result};
use crate::database::{Locked, Place};
use crate::names;

/// What a record begins with.
const MAGIC: u64 = u64::from_ne_bytes(*b"\x7fnob\0\0\0\x01");
/// Bytes of a record: what it begins with, and the value.
const RECORD: usize = 16;

/// How often is tried to make a name that others make and remove, without the lock, at the same time.
const TRIES: usize = 16;

/// A reference: a hold of its own on what has a name.
pub(crate) struct Reference {
    hold: Attachment,
    place: &'static Place,
    segment: OsString,
    inode: u64,
    /// The value: what was committed, or shared memory's identifier.
    pub(crate) value: usize,
}

impl Reference {
    fn new(
        place: &'static Place,
        segment: &Segment,
        hold: Attachment,
        value: Option<u64>,
    ) -> Result<Reference> {
        let inode = gpl::inode(segment).ok_or(Code::FAULT)?;
        let name = segment.name().ok_or(Code::FAULT)?.to_os_string();
        let value = match value {
            Some(value) => value as usize,
            None => gpl::id_of(inode) as usize,
        };
        Ok(Reference { hold, place, segment: name, inode, value })
    }

    /// How many references there are; `ENOENT` if the name was removed by hand, or means another by now.
    pub(crate) fn count(&self) -> Result<usize> {
        let looked = self.place.namespace.entry(&self.segment)?.look();
        let path = self.place.namespace.directory().join(Name::new(&self.segment)?.file_name());
        let same = std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == self.inode);
        looked.filter(|_| same).map(|look| look.holders).ok_or(Code::ABSENT)
    }

    /// Gives it up; whether it was the last, and the name is gone.
    pub(crate) fn give_up(self) -> Result<bool> {
        Ok(self.hold.detach_and_tell()?)
    }
}

/// The shared memory of this name, of at least `size` bytes if that is above 0.
pub(crate) fn find_memory(place: &Place, name: &CStr, size: u64) -> Result<Option<Segment>> {
    let options = if size > 0 { place.options().size(size) } else { place.options() };
    found(options.open(names::memory(name.to_bytes())))
}

fn found(opened: commons::Result<Segment>) -> Result<Option<Segment>> {
    match opened {
        Ok(segment) => Ok(Some(segment)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A reference to whatever has this name.
pub(crate) fn find(place: &'static Place, name: &CStr) -> Result<Option<Reference>> {
    if let Some(segment) = find_memory(place, name, 0)? {
        // One byte of it pins the hold.
        let hold = segment.attach_with(&AttachOptions::new().range(0..1))?;
        return Reference::new(place, &segment, hold, None).map(Some);
    }
    let Some(segment) = find_record(place, name)? else { return Ok(None) };
    let hold = segment.attach()?;
    let mut record = [0; RECORD];
    hold.read_at(0, &mut record)?;
    let (magic, value) = record.split_at(RECORD / 2);
    // Something else has its name: it was not made here.
    if magic != MAGIC.to_ne_bytes() {
        return Err(Code::INVALID);
    }
    let value = value.try_into().map(u64::from_ne_bytes).map_err(|_| Code::FAULT)?;
    Reference::new(place, &segment, hold, Some(value)).map(Some)
}

fn find_record(place: &Place, name: &CStr) -> Result<Option<Segment>> {
    found(place.options().size(RECORD as u64).open(names::object(name.to_bytes())))
}

/// Whether there is a named object of this name that is no shared memory.
pub(crate) fn is_record(place: &Place, name: &CStr) -> Result<bool> {
    Ok(find_record(place, name)?.is_some())
}

/// Makes the record of a named object; nobody sees it before its value is in it.
pub(crate) fn make_record(locked: &Locked, name: &CStr, value: usize) -> Result<Reference> {
    let place = locked.place();
    let segment = names::object(name.to_bytes());
    let options = place.options().size(RECORD as u64).initialize(|bytes| {
        bytes[..RECORD / 2].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[RECORD / 2..].copy_from_slice(&(value as u64).to_ne_bytes());
        Ok(())
    });
    let segment = options.create(segment)?;
    let hold = segment.attach()?;
    Reference::new(place, &segment, hold, Some(value as u64))
}

/// Makes shared memory, all zero, with an identifier of its own; or opens it, if somebody who does not lock the database
/// has made it meanwhile. Whether it was made.
pub(crate) fn make_memory(locked: &Locked, name: &CStr, size: u64) -> Result<(Segment, bool)> {
    let place = locked.place();
    let options = place.options().size(size).inode(|inode| locked.fits(inode));
    for _ in 0..TRIES {
        match options.create(names::memory(name.to_bytes())) {
            Ok(segment) => return Ok((segment, true)),
            Err(Error::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(segment) = find_memory(place, name, size)? {
            return Ok((segment, false));
        }
    }
    Err(Code(libc::EBUSY))
}
