//! `PR_OpenSemaphore` and its four companions.
//!
//! A semaphore is a segment of its own, with a [`Counter`] at its beginning, whose first value is there before the
//! segment has a name: nobody can find one that is not complete, so nobody has to wait for that.
//!
//! A handle counts its uses, so that one thread may close what another one waits for: the mapping goes when the last
//! of them returns.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;
use std::sync::Arc;

use commons::{Attachment, InitializerResult};

use crate::backing::{Backing, Identity, Kind};
use crate::counter::{Counter, MOST};
use crate::failure::{Failure, Result};
use crate::keyed::{self, Keyed};
use crate::memory::{FAILURE, SUCCESS, open, path};
use crate::permission::{Owner, READ, WRITE};
use crate::report::{answer, initialize};

/// What a handle's memory begins with.
const MAGIC: u64 = 0x636f_6d6d_6f6e_7365;

/// Bytes of a semaphore's segment: more than the word, so that it is seen for what it is.
const SIZE: u64 = 64;

/// A handle: `PRSem`.
#[derive(Debug)]
#[repr(C)]
pub struct Semaphore {
    magic: u64,
    attachment: Attachment,
}

/// The counter in a semaphore's segment.
fn counter(attachment: &Attachment) -> Result<&Counter> {
    if attachment.len() < size_of::<Counter>() || attachment.is_read_only() {
        return Err(Failure::of(libc::EINVAL));
    }
    // SAFETY: long enough, at a page's beginning, mapped for writing as long as the attachment is borrowed; all that
    // access it do so atomically, and every value is one of a counter's. (A file that is made shorter by others faults
    // here as it does for them: its mode says who may.)
    Ok(unsafe { &*attachment.as_ptr().cast::<Counter>() })
}

impl Semaphore {
    /// Another use of the handle behind a program's pointer.
    ///
    /// # Safety
    ///
    /// `handle` is null, or points to 8 bytes that may be read; if these are a handle's, it is not closed before this
    /// returns.
    unsafe fn of(handle: *const Semaphore) -> Result<Arc<Semaphore>> {
        // SAFETY: as the caller promises.
        let valid =
            !handle.is_null() && handle.is_aligned() && unsafe { ptr::read(handle.cast::<u64>()) } == MAGIC;
        if !valid {
            return Err(Failure::of(libc::EINVAL));
        }
        // SAFETY: came from `Arc::into_raw`, and the program's own use keeps it alive; the count of this use is what
        // `from_raw` takes over.
        unsafe {
            Arc::increment_strong_count(handle);
            Ok(Arc::from_raw(handle))
        }
    }
}

fn open_semaphore(path: &CStr, flags: c_int, mode: c_uint, value: u32) -> Result<Arc<Semaphore>> {
    let fill = move |bytes: &mut [u8]| -> InitializerResult {
        bytes[..4].copy_from_slice(&value.to_ne_bytes());
        Ok(())
    };
    let create = |backing: &Backing<'_>| {
        // System V has no larger values. NSPR hands them on in 16 bits, and never returns from some.
        if value > MOST {
            return Err(Failure::of(libc::EINVAL));
        }
        Owner::creator(mode).permits(READ | WRITE)?;
        let made = keyed::create(backing, Kind::Semaphore, SIZE, mode, Some(&fill))?;
        if made.is_none() {
            // One whose deletion ended half way is as if it were gone; any other was made just now.
            if let Some(keyed) = keyed::find(&backing.identity, Kind::Semaphore)? {
                if !is_alive(&keyed)? {
                    keyed::delete(&backing.identity, Kind::Semaphore)?;
                }
            }
        }
        Ok(made)
    };
    let check = |keyed: &Keyed| {
        keyed.owner.permits(READ | WRITE)?;
        if !keyed.is_writable() {
            return Err(Failure::of(libc::EACCES));
        }
        is_alive(keyed)
    };
    let keyed = open(path, Kind::Semaphore, flags, mode, create, check)?;
    let segment = keyed.segment.as_ref().ok_or(Failure::of(libc::EACCES))?;
    let attachment = segment.attach()?;
    counter(&attachment)?;
    Ok(Arc::new(Semaphore { magic: MAGIC, attachment }))
}

/// Whether it is not deleted.
fn is_alive(keyed: &Keyed) -> Result<bool> {
    let Some(segment) = keyed.segment.as_ref().filter(|segment| !segment.is_read_only()) else {
        return Ok(true);
    };
    let attachment = segment.attach()?;
    Ok(!counter(&attachment)?.is_deleted())
}

fn delete_semaphore(path: &CStr) -> Result<()> {
    for _ in 0..10_000 {
        let backing = Backing::open(path)?;
        if !backing.lock()? {
            continue;
        }
        let identity: &Identity = &backing.identity;
        if let Some(Keyed { segment: Some(segment), .. }) = keyed::find(identity, Kind::Semaphore)? {
            if !segment.is_read_only() {
                counter(&segment.attach()?)?.delete();
            }
        }
        let deleted = keyed::delete(identity, Kind::Semaphore)?;
        backing.remove();
        keyed::abandon(identity, Kind::Semaphore.sibling());
        return if deleted { Ok(()) } else { Err(Failure::of(libc::ENOENT)) };
    }
    Err(Failure::of(libc::EBUSY))
}

/// Opens a semaphore by the path of its file; with the flag 1 it is made with this value, 32,767 at most, if there is
/// none, with 3 it has to be new. Null on failure.
///
/// # Safety
///
/// `name` is null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_OpenSemaphore(
    name: *const c_char,
    flags: c_int,
    mode: c_uint,
    value: c_uint,
) -> *const Semaphore {
    answer(ptr::null(), || {
        initialize();
        // SAFETY: as the caller promises.
        let path = unsafe { path(name) }?;
        Ok(Arc::into_raw(open_semaphore(path, flags, mode, value)?))
    })
}

/// Takes one from the count, and sleeps while it is 0. A handled signal ends it, which is a failure.
///
/// # Safety
///
/// `semaphore` is null or a handle; it may be closed once this waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_WaitSemaphore(semaphore: *const Semaphore) -> c_int {
    answer(FAILURE, || {
        // SAFETY: as the caller promises.
        let semaphore = unsafe { Semaphore::of(semaphore) }?;
        counter(&semaphore.attachment)?.wait().map(|()| SUCCESS)
    })
}

/// Adds one to the count, and wakes whoever waits for it.
///
/// # Safety
///
/// `semaphore` is null or a handle that is not closed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_PostSemaphore(semaphore: *const Semaphore) -> c_int {
    answer(FAILURE, || {
        // SAFETY: as the caller promises.
        let semaphore = unsafe { Semaphore::of(semaphore) }?;
        counter(&semaphore.attachment)?.post().map(|()| SUCCESS)
    })
}

/// Gives a handle up.
///
/// # Safety
///
/// `semaphore` is null or a handle, which no call is given any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_CloseSemaphore(semaphore: *const Semaphore) -> c_int {
    answer(FAILURE, || {
        // SAFETY: as the caller promises.
        let semaphore = unsafe { Semaphore::of(semaphore) }?;
        // SAFETY: the program's own use, which ends.
        drop(unsafe { Arc::from_raw(Arc::as_ptr(&semaphore)) });
        Ok(SUCCESS)
    })
}

/// Deletes the semaphore and the file at the path. Who waits for it is woken, with a failure.
///
/// # Safety
///
/// `name` is null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_DeleteSemaphore(name: *const c_char) -> c_int {
    answer(FAILURE, || {
        initialize();
        // SAFETY: as the caller promises.
        delete_semaphore(unsafe { path(name) }?).map(|()| SUCCESS)
    })
}
