//! `PR_OpenSharedMemory` and its four companions.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use crate::attached;
use crate::backing::{Backing, Identity, Kind};
use crate::failure::{Failure, Result};
use crate::handle::Memory;
use crate::keyed::{self, Keyed};
use crate::report::{answer, initialize};

pub(crate) const FAILURE: c_int = -1;
pub(crate) const SUCCESS: c_int = 0;

/// Flags of opening: to be made if there is none; and to be new.
pub(crate) const CREATE: c_int = 1;
pub(crate) const EXCLUSIVE: c_int = 2;

/// Flag of attaching.
const READ_ONLY: c_int = 1;

/// Bytes beyond which no segment can be mapped, on any machine.
const LARGEST: usize = usize::MAX >> 8;

/// Bytes of a name, its NUL counted, that NSPR has room for.
const LONGEST: usize = 1024;

/// The path behind a program's pointer.
///
/// # Safety
///
/// `name` is null or a string.
pub(crate) unsafe fn path<'n>(name: *const c_char) -> Result<&'n CStr> {
    if name.is_null() {
        return Err(Failure::of(libc::EINVAL));
    }
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(name) };
    let fits = path.count_bytes() < LONGEST;
    if fits { Ok(path) } else { Err(Failure::of(libc::ENAMETOOLONG)) }
}

/// Opens the segment that belongs to the file at `path`, or makes both as `flags` say. An existing one is given to
/// `check`, a missing one made by `create`, under the file's lock.
pub(crate) fn open(
    path: &CStr,
    kind: Kind,
    flags: c_int,
    mode: c_uint,
    create: impl Fn(&Backing<'_>) -> Result<Option<Keyed>>,
    check: impl Fn(&Keyed) -> Result<bool>,
) -> Result<Keyed> {
    let create_it = flags & CREATE != 0;
    if !create_it {
        let found = keyed::find(&Identity::of_path(path)?, kind)?;
        return match found {
            Some(keyed) if check(&keyed)? => Ok(keyed),
            _ => Err(Failure::of(libc::ENOENT)),
        };
    }
    let found = |identity: &Identity| match keyed::find(identity, kind)? {
        Some(_) if flags & EXCLUSIVE != 0 => Err(Failure::of(libc::EEXIST)),
        Some(keyed) if check(&keyed)? => Ok(Some(keyed)),
        _ => Ok(None),
    };
    // Each round but the last means that another made or deleted one just then.
    for _ in 0..10_000 {
        let backing = Backing::open_or_create(path, mode)?;
        if let Some(keyed) = found(&backing.identity)? {
            return Ok(keyed);
        }
        if !backing.lock()? {
            continue;
        }
        match create(&backing) {
            Ok(Some(keyed)) => return Ok(keyed),
            Ok(None) => {}
            Err(failure) => {
                // Another may have made it in this file before the lock was had here, or the other kind's: then the file is
                // not this call's to remove, or no path would lead to that segment.
                let sibling = keyed::find(&backing.identity, kind.sibling());
                match (found(&backing.identity), sibling) {
                    (Ok(Some(keyed)), _) => return Ok(keyed),
                    (Ok(None), Ok(None)) => backing.remove_if_created(),
                    _ => {}
                }
                return Err(failure);
            }
        }
    }
    Err(Failure::of(libc::EBUSY))
}

fn open_memory(path: &CStr, size: usize, flags: c_int, mode: c_uint) -> Result<Box<Memory>> {
    let create = |backing: &Backing<'_>| {
        if size == 0 {
            return Err(Failure::of(libc::EINVAL));
        }
        if size > LARGEST {
            return Err(Failure::of(libc::ENOMEM));
        }
        keyed::create(backing, Kind::Memory, size as u64, mode, None)
    };
    let check = |keyed: &Keyed| {
        if size as u64 > keyed.size {
            return Err(Failure::of(libc::EINVAL));
        }
        keyed.owner.permits_mode(mode)?;
        Ok(true)
    };
    Memory::new(open(path, Kind::Memory, flags, mode, create, check)?, mode)
}

fn delete_memory(path: &CStr) -> Result<()> {
    for _ in 0..10_000 {
        let backing = Backing::open(path)?;
        if !backing.lock()? {
            continue;
        }
        if !keyed::delete(&backing.identity, Kind::Memory)? {
            return Err(Failure::of(libc::ENOENT));
        }
        backing.remove();
        keyed::abandon(&backing.identity, Kind::Memory.sibling());
        return Ok(());
    }
    Err(Failure::of(libc::EBUSY))
}

/// Opens a segment by the path of its file; with the flag 1 it is made if there is none, with 3 it has to be new.
/// `size` is in bytes. Null on failure. Takes some microseconds; may wait for others that create or delete the same
/// path, at most a second or so.
///
/// # Safety
///
/// `name` is null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_OpenSharedMemory(
    name: *const c_char,
    size: usize,
    flags: c_int,
    mode: c_uint,
) -> *mut Memory {
    answer(ptr::null_mut(), || {
        initialize();
        // SAFETY: as the caller promises.
        let path = unsafe { path(name) }?;
        Ok(Box::into_raw(open_memory(path, size, flags, mode)?))
    })
}

/// Maps the whole segment, for reading only with the flag 1. Null on failure.
///
/// # Safety
///
/// `memory` is null or a handle that is not closed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_AttachSharedMemory(memory: *mut Memory, flags: c_int) -> *mut c_void {
    answer(ptr::null_mut(), || {
        // SAFETY: as the caller promises.
        let memory = unsafe { Memory::of(memory) }?;
        memory.attach(flags & READ_ONLY != 0)
    })
}

/// Unmaps what an attachment, of this handle or another, gave the address of.
///
/// # Safety
///
/// Nothing uses the memory at `address` any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_DetachSharedMemory(_memory: *mut Memory, address: *mut c_void) -> c_int {
    answer(FAILURE, || attached::detach(address).map(|()| SUCCESS))
}

/// Gives a handle up. What is attached stays so.
///
/// # Safety
///
/// `memory` is null or a handle, which nothing uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_CloseSharedMemory(memory: *mut Memory) -> c_int {
    // SAFETY: as the caller promises.
    answer(FAILURE, || unsafe { Memory::close(memory) }.map(|()| SUCCESS))
}

/// Deletes the segment and the file at the path. Who has it open or attached keeps it.
///
/// # Safety
///
/// `name` is null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PR_DeleteSharedMemory(name: *const c_char) -> c_int {
    answer(FAILURE, || {
        initialize();
        // SAFETY: as the caller promises.
        delete_memory(unsafe { path(name) }?).map(|()| SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_to_make_what_another_has_made_meanwhile_opens_it() {
        let home = tempfile::tempdir().unwrap();
        let name = home.path().join("file").into_os_string().into_encoded_bytes();
        let path = std::ffi::CString::new(name).unwrap();
        let namespace = home.path().join("namespace");
        // SAFETY: no other test of this program reads the environment, or opens a segment.
        unsafe { std::env::set_var(commons_compat::place::System::Nspr.variable(), &namespace) };
        let create = |backing: &Backing<'_>| {
            // As if another had done it just before, and now there is no memory left.
            keyed::create(backing, Kind::Memory, 8192, 0o600, None)?;
            Err(Failure::of(libc::ENOSPC))
        };
        let keyed = open(&path, Kind::Memory, CREATE, 0o600, create, |_| Ok(true)).unwrap();
        assert_eq!(keyed.size, 8192);
        assert!(Backing::open(&path).is_ok(), "the file is gone, and its segment is not");
    }
}
