//! Making, finding and deleting the segment that belongs to the file at a path.
//!
//! A segment is `UntilDeleted`: as with System V, it stays until it is deleted. Beside it, in the same directory, a
//! symbolic link with the ending `.path` says which path it was made for, so that people find it: `commons ls` reads
//! it, nothing here does. A link is made whole in one step, needs no extended attributes (which a tmpfs has only
//! since Linux 6.6), and leaves the segment its exact bytes. It comes before the segment and goes after it, always
//! under the file's lock: what a crash leaves is a link without a segment, and the next creator or deleter of that
//! path takes it over or away.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use commons::{Error, InitializerResult, Lifetime, Namespace, OwnerPolicy, Segment, SegmentOptions};

use crate::backing::{Backing, Identity, Kind};
use crate::failure::Result;
use crate::permission::{Owner, READ, WRITE};
use crate::place;

/// What fills a new segment.
pub(crate) type Fill<'f> = &'f dyn Fn(&mut [u8]) -> InitializerResult;

/// A segment that was found or made.
pub(crate) struct Keyed {
    /// `None` if its mode lets this user neither read nor write it.
    pub(crate) segment: Option<Segment>,
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
    pub(crate) owner: Owner,
    /// Bytes.
    pub(crate) size: u64,
    /// Device and inode of the segment's own file.
    pub(crate) file: (u64, u64),
}

impl Keyed {
    fn new(namespace: Namespace, name: String, segment: Segment) -> Keyed {
        let info = segment.info_when_opened();
        let granted = match (segment.was_created(), segment.is_read_only()) {
            (true, _) => 0,
            (_, true) => READ,
            (_, false) => READ | WRITE,
        };
        Keyed {
            owner: Owner { user: info.uid, group: info.gid, mode: info.mode, granted },
            size: info.size,
            file: segment.file_id(),
            segment: Some(segment),
            name,
            namespace,
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.segment.as_ref().is_some_and(|segment| !segment.is_read_only())
    }
}

fn options<'i>(namespace: &Namespace) -> SegmentOptions<'i> {
    SegmentOptions::new()
        .namespace(namespace)
        .lifetime(Lifetime::UntilDeleted)
        .owner(OwnerPolicy::Any)
        .counted(false)
}

/// The segment, if there is one.
pub(crate) fn find(identity: &Identity, kind: Kind) -> Result<Option<Keyed>> {
    let Some(namespace) = place::existing()? else { return Ok(None) };
    let name = identity.segment(kind);
    for read_only in [false, true] {
        match options(&namespace).read_only(read_only).open(&name) {
            Ok(segment) => return Ok(Some(Keyed::new(namespace, name, segment))),
            Err(Error::NotFound(_)) => return Ok(None),
            Err(Error::PermissionDenied { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // It may not be opened; what it is can be seen all the same.
    let Ok(Some(info)) = namespace.entry(&name).map(|entry| entry.info().ok().flatten()) else {
        return Ok(None);
    };
    let owner = Owner { user: info.uid, group: info.gid, mode: info.mode, granted: 0 };
    Ok(Some(Keyed { segment: None, name, namespace, owner, size: info.size, file: (0, 0) }))
}

/// The same segment as `file` through a new description, if its name still means it.
pub(crate) fn find_named(
    namespace: &Namespace,
    name: &str,
    file: (u64, u64),
    read_only: bool,
) -> Option<Segment> {
    let segment = options(namespace).read_only(read_only).open(name).ok()?;
    (segment.file_id() == file).then_some(segment)
}

/// Makes the segment; the caller has the file's lock. `None` if there is one.
pub(crate) fn create(
    backing: &Backing<'_>,
    kind: Kind,
    size: u64,
    mode: u32,
    fill: Option<Fill<'_>>,
) -> Result<Option<Keyed>> {
    let name = backing.identity.segment(kind);
    let mut namespace = match place::existing()? {
        Some(namespace) => namespace,
        None => place::prepared()?,
    };
    if !namespace.directory().is_dir() {
        // Somebody removed it.
        namespace = place::prepared()?;
    }
    let link = link_path(&namespace, &name);
    // That it is there already, from an attempt that ended in between, or cannot be made, changes nothing but what
    // people see.
    let _ = std::os::unix::fs::symlink(backing.absolute_path(), &link);
    let mut options = options(&namespace).size(size).mode(mode & 0o777);
    if let Some(fill) = fill {
        options = options.initialize(fill);
    }
    match options.create(&name) {
        Ok(segment) => Ok(Some(Keyed::new(namespace, name, segment))),
        Err(Error::Exists(_)) => Ok(None),
        Err(error) => {
            // Unless it is that of a segment that another has made meanwhile.
            if !namespace.directory().join(&name).exists() {
                let _ = fs::remove_file(&link);
            }
            Err(error.into())
        }
    }
}

/// Removes the segment; the caller has the file's lock. `false` if there is none.
pub(crate) fn delete(identity: &Identity, kind: Kind) -> Result<bool> {
    let Some(namespace) = place::existing()? else { return Ok(false) };
    let name = identity.segment(kind);
    let deleted = match namespace.delete(&name) {
        Ok(()) => true,
        Err(Error::NotFound(_)) => false,
        Err(error) => return Err(error.into()),
    };
    let _ = fs::remove_file(link_path(&namespace, &name));
    Ok(deleted)
}

/// Says that no path leads to the segment any more: from now on it goes with its last holder, or a sweep. The file
/// has just been removed for the other kind's sake, which NSPR does too; there the segment would stay for ever.
pub(crate) fn abandon(identity: &Identity, kind: Kind) {
    let Ok(Some(namespace)) = place::existing() else { return };
    let path = namespace.directory().join(identity.segment(kind));
    let Ok(metadata) = fs::symlink_metadata(&path) else { return };
    if metadata.is_file() && namespace.keeps_count_of_holders() {
        let mode = metadata.permissions().mode() & 0o7777 | 0o1600;
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
    }
}

fn link_path(namespace: &Namespace, name: &str) -> PathBuf {
    let mut file = OsString::from(name);
    file.push(commons_compat::nspr::PATH);
    namespace.directory().join(file)
}
