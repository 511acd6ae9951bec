//! Segments of libgpl's drop-in, whose `shmId` gives identifiers that `shmat` and `shmctl` take here.
//!
//! They lie in a namespace of their own and live until their last holder leaves; the low 15 bits of their identifiers are
//! 16384 or more, which those of this drop-in's segments never are. Attaching one holds it as `shmCreate` does.
//!
//! Which of them this process has attached is in a table of places: an address, and what is attached there. A place is
//! taken by one compare-and-exchange of its address from 0, and given up by one from the address; in between, `BUSY`
//! keeps others away.

use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use commons::{AttachOptions, Attachment, Entry, Error};
use commons_compat::{code, gpl};
use libc::{c_int, c_void};

use super::control::Status;
use super::{FOREIGN, PAGE};
use crate::ids::{INDEX_BITS, index};
use crate::kernel;

/// What a process can have attached at a time.
const PLACES: usize = 1024;
/// A place that is just being taken or given up.
const BUSY: usize = 1;

struct Place {
    address: AtomicUsize,
    attachment: AtomicPtr<Attachment>,
}

static ALL: [Place; PLACES] =
    [const { Place { address: AtomicUsize::new(0), attachment: AtomicPtr::new(std::ptr::null_mut()) } };
        PLACES];

/// Whether an id is that of another drop-in's segment.
#[inline]
pub(super) fn is(id: c_int) -> bool {
    id >= 0 && index(id) >= FOREIGN
}

/// Maps one; the address.
pub(super) fn attach(
    id: c_int,
    place: Option<usize>,
    read_only: bool,
    replace: bool,
) -> Result<usize, c_int> {
    if replace {
        // Whatever is mapped there may be anything of the program's.
        return Err(libc::EINVAL);
    }
    let segment = gpl::open(id, read_only).map_err(|error| code::errno(&error))?.ok_or(libc::EINVAL)?;
    let free = ALL.iter().find(|place| {
        place.address.load(Relaxed) == 0 && place.address.compare_exchange(0, BUSY, AcqRel, Relaxed).is_ok()
    });
    let free = free.ok_or(libc::EMFILE)?;
    let options = AttachOptions::new().read_only(read_only);
    let options = place.map_or(options.clone(), |address| options.at(address));
    match segment.attach_with(&options) {
        Ok(attachment) => {
            let address = attachment.as_ptr().addr();
            free.attachment.store(Box::into_raw(Box::new(attachment)), Release);
            free.address.store(address, Release);
            Ok(address)
        }
        Err(error) => {
            free.address.store(0, Release);
            Err(match error {
                Error::AddressInUse { .. } | Error::Misaligned { .. } => libc::EINVAL,
                error => code::errno(&error),
            })
        }
    }
}

/// Unmaps what was attached at an address; whether anything was.
pub(super) fn detach(address: usize) -> bool {
    if address < PAGE {
        return false;
    }
    let taken = ALL.iter().find(|place| {
        place.address.load(Relaxed) == address
            && place.address.compare_exchange(address, BUSY, AcqRel, Relaxed).is_ok()
    });
    let Some(place) = taken else { return false };
    let attachment = place.attachment.swap(std::ptr::null_mut(), Acquire);
    // SAFETY: put there by `attach` out of a box, and taken out by whoever made the place busy: this thread alone.
    drop(unsafe { Box::from_raw(attachment) });
    place.address.store(0, Release);
    true
}

/// `shmctl` for one: what can be asked and done without the drop-in that made it.
pub(super) fn control(id: c_int, command: c_int, buffer: *mut c_void) -> Result<c_int, c_int> {
    let entry = gpl::find(id).ok_or(libc::EINVAL)?;
    match command {
        libc::IPC_STAT => {
            kernel::copy_out(&status(id, &entry)?, buffer.cast())?;
            Ok(0)
        }
        libc::IPC_RMID => {
            // The name goes at once, the memory with its last holder.
            entry.delete().map_err(|error| match error {
                Error::NotFound(_) => libc::EINVAL,
                Error::ForeignOwner { .. } | Error::PermissionDenied { .. } => libc::EPERM,
                error => code::errno(&error),
            })?;
            Ok(0)
        }
        _ => Err(libc::EINVAL),
    }
}

fn status(id: c_int, entry: &Entry) -> Result<Status, c_int> {
    let look = entry.look().ok_or(libc::EINVAL)?;
    let mut status = Status { segsz: look.info.size, nattch: look.holders as u64, ..Status::default() };
    (status.perm.uid, status.perm.gid) = (look.info.uid, look.info.gid);
    (status.perm.cuid, status.perm.cgid) = (look.info.uid, look.info.gid);
    status.perm.mode = look.info.mode;
    status.perm.seq = (id >> INDEX_BITS) as u16;
    Ok(status)
}
