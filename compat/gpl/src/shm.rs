//! `shm_util`: shared memory under a name.

#![allow(
    unreachable_pub,
    non_snake_case,
    non_upper_case_globals,
    reason = "C programs reach them, by these names"
)]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ptr;

use commons::{AttachOptions, Attachment, Segment};
use commons_compat::{code, gpl};

use crate::call::{self, Code, Result};
use crate::handles::{Handles, Node};
use crate::{database, files, object};

/// Set it to anything but 0 for lines on standard error.
#[unsafe(no_mangle)]
pub static mut shm_util_debug: c_int = 0;

fn debug(line: impl FnOnce() -> String) {
    // SAFETY: the variable is there.
    unsafe { call::debug(&raw const shm_util_debug, line) };
}

/// What a `SharedMemory` points to: one attachment, which is one reference.
pub(crate) struct Memory {
    attachment: Attachment,
    id: c_int,
}

type Handle = *mut Node<Memory>;

static MEMORIES: Handles<Memory> = Handles::new();

/// Attaches the shared memory of this name, which adds a reference; makes it first, all zero, if there is none. At
/// `*address`, rounded down to a page, if that is given and not NULL; `*address` is then where it is.
///
/// # Safety
///
/// `name` is NULL or a C string; `address` is NULL or valid for reads and writes; `memory` is NULL or valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmCreate(
    name: *const c_char,
    size: c_long,
    address: *mut *mut c_void,
    memory: *mut Handle,
) -> c_int {
    let mut made = false;
    let status = call::status(|| {
        if memory.is_null() {
            return Err(Code::INVALID);
        }
        // SAFETY: not NULL, and so valid for writes.
        unsafe { memory.write(ptr::null_mut()) };
        // SAFETY: as the caller vouches.
        let name = unsafe { call::text(name)? };
        // SAFETY: as the caller vouches.
        let wanted = unsafe { address.as_ref() }.map_or(0, |address| address.addr());
        let (segment, new) = open(name, size)?;
        let attachment = attach(&segment, wanted)?;
        let id = gpl::id_of(gpl::inode(&segment).ok_or(Code::FAULT)?);
        // The attachment alone holds it from here on, without a descriptor.
        drop(segment);
        made = new;
        debug(|| {
            let what = if new { "Created" } else { "Found" };
            let (at, len) = (attachment.as_ptr(), attachment.len());
            format!("(shmCreate) {what} {}, id {id}, {len} bytes, at {at:?}.", call::shown(name))
        });
        if !address.is_null() {
            // SAFETY: as the caller vouches.
            unsafe { address.write(attachment.as_ptr().cast()) };
        }
        // SAFETY: as above.
        unsafe { memory.write(MEMORIES.insert(Memory { attachment, id })) };
        Ok(())
    });
    if status == 0 && !made {
        // As libgpl leaves it.
        code::set_errno(libc::EEXIST);
    }
    if status != 0 {
        debug(|| format!("(shmCreate) error {status}."));
    }
    status
}

/// The segment, and whether it was made.
fn open(name: &CStr, size: c_long) -> Result<(Segment, bool)> {
    let bytes = u64::try_from(size).unwrap_or(0);
    match database::to_look() {
        Ok(place) => {
            if let Some(segment) = object::find_memory(place, name, bytes)? {
                return Ok((segment, false));
            }
        }
        Err(Code::ABSENT) => {}
        Err(error) => return Err(error),
    }
    if database::is_pending(name) {
        return Err(Code::DEADLOCK);
    }
    if bytes == 0 && !database::to_look().is_ok_and(|place| place.may_be_locked()) {
        return Err(Code::ABSENT);
    }
    let locked = database::lock()?;
    if let Some(segment) = object::find_memory(locked.place(), name, bytes)? {
        return Ok((segment, false));
    }
    if object::is_record(locked.place(), name)? {
        // A named object whose value is no identifier of shared memory.
        return Err(Code::INVALID);
    }
    if bytes == 0 {
        return Err(Code::ABSENT);
    }
    object::make_memory(&locked, name, bytes)
}

fn attach(segment: &Segment, wanted: usize) -> Result<Attachment> {
    if wanted == 0 {
        return Ok(segment.attach()?);
    }
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    Ok(segment.attach_with(&AttachOptions::new().at(wanted / page * page))?)
}

/// Detaches, gives up the reference and the handle; the last one deletes. 0, also for NULL and when others remain.
///
/// # Safety
///
/// `memory` is NULL or a handle; nobody uses the memory at its address any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmDestroy(memory: Handle) -> c_int {
    call::status(|| {
        if memory.is_null() {
            return Ok(());
        }
        // SAFETY: as the caller vouches.
        let Memory { attachment, id } = unsafe { MEMORIES.take(memory) }.ok_or(Code::INVALID)?;
        let last = attachment.detach_and_tell();
        debug(|| {
            let rest = if matches!(last, Ok(true)) { "It is gone" } else { "Others remain" };
            format!("(shmDestroy) Detached id {id}. {rest}.")
        });
        // That it could not be unmapped is, as in libgpl, not told.
        Ok(())
    })
}

/// Where it is attached; NULL for NULL.
///
/// # Safety
///
/// `memory` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmAddress(memory: Handle) -> *mut c_void {
    // SAFETY: as the caller vouches.
    unsafe { MEMORIES.get(memory) }.map_or(ptr::null_mut(), |memory| memory.attachment.as_ptr().cast())
}

/// Its identifier, which `shmat` and `shmctl` take under the System V drop-in; -1 for NULL.
///
/// # Safety
///
/// `memory` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmId(memory: Handle) -> c_int {
    // SAFETY: as the caller vouches.
    unsafe { MEMORIES.get(memory) }.map_or(-1, |memory| memory.id)
}

/// How many bytes it has, exactly; -1 for NULL.
///
/// # Safety
///
/// `memory` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmSizeOf(memory: Handle) -> c_long {
    // SAFETY: as the caller vouches.
    let size = unsafe { MEMORIES.get(memory) }.map(|memory| memory.attachment.len());
    size.and_then(|size| size.try_into().ok()).unwrap_or(-1)
}

/// Reads a file to the memory's beginning, as much as fits; what the file does not reach stays. `ENODATA` if the file is
/// empty.
///
/// # Safety
///
/// `memory` is NULL or a handle; `file` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmLoad(memory: Handle, file: *const c_char) -> c_int {
    call::status(|| {
        // SAFETY: as the caller vouches.
        let (memory, file) = unsafe { (MEMORIES.get(memory).ok_or(Code::INVALID)?, call::text(file)?) };
        let path = files::expand(file);
        let loaded = files::load(&path, &memory.attachment);
        debug(|| match loaded {
            Ok(bytes) if bytes == memory.attachment.len() => {
                format!("(shmLoad) {bytes} bytes from {path:?}.")
            }
            Ok(bytes) => {
                format!("(shmLoad) {bytes} bytes from {path:?}; the memory has {}.", memory.attachment.len())
            }
            Err(Code(code)) => format!("(shmLoad) {path:?}: error {code}."),
        });
        loaded.map(|_| ())
    })
}

/// Writes the memory's bytes, and nothing else, to a file.
///
/// # Safety
///
/// `memory` is NULL or a handle; `file` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmSave(memory: Handle, file: *const c_char) -> c_int {
    call::status(|| {
        // SAFETY: as the caller vouches.
        let (memory, file) = unsafe { (MEMORIES.get(memory).ok_or(Code::INVALID)?, call::text(file)?) };
        let path = files::expand(file);
        let saved = files::save(&path, &memory.attachment);
        debug(|| match saved {
            Ok(()) => format!("(shmSave) {} bytes to {path:?}.", memory.attachment.len()),
            Err(Code(code)) => format!("(shmSave) {path:?}: error {code}."),
        });
        saved
    })
}
