//! `sem_util`: counting semaphores without a name, for a process and those that it forks.
//!
//! In libgpl each is a private System V set of one. Here it is a [`Semaphore`] in memory of its own, which forked
//! children inherit and use as their parent does.
//!
//! # Why a crash is safe
//!
//! Giving and taking are one step each. Deleting is too: it adds more units than a semaphore can have, which is how all
//! others see that it is gone, and wakes those who wait. A process that dies after that step and before it has woken
//! them leaves them to wake by themselves, within a second.

#![allow(
    unreachable_pub,
    non_snake_case,
    non_upper_case_globals,
    reason = "C programs reach them, by these names"
)]

use std::ffi::{c_char, c_double, c_int};
use std::ptr;
use std::time::Duration;

use commons::sync::{Semaphore, SyncError};
use commons::{Attachment, Segment};
use commons_compat::gpl;

use crate::call::{self, Code, Result};
use crate::handles::{Handles, Node};

/// Set it to anything but 0 for lines on standard error.
#[unsafe(no_mangle)]
pub static mut sem_util_debug: c_int = 0;

fn debug(line: impl FnOnce() -> String) {
    // SAFETY: the variable is there.
    unsafe { call::debug(&raw const sem_util_debug, line) };
}

/// The most units that a semaphore has: the kernel's limit.
const MOST: u32 = 32767;
/// Units that are added to a semaphore that is deleted: beyond what any number of threads takes before it sees them.
const DELETED: u32 = 1 << 30;

/// What a `Semaphore` points to.
pub(crate) struct Private {
    memory: Attachment,
    id: c_int,
}

impl Private {
    /// The semaphore; `EINVAL` if it is deleted, as the kernel says of a set that is gone.
    fn semaphore(&self) -> Result<&Semaphore> {
        let semaphore = self.memory.object::<Semaphore>(0)?;
        if is_deleted(semaphore) { Err(Code::INVALID) } else { Ok(semaphore) }
    }
}

fn is_deleted(semaphore: &Semaphore) -> bool {
    semaphore.value() >= DELETED / 2
}

type Handle = *mut Node<Private>;

static SEMAPHORES: Handles<Private> = Handles::new();

/// # Safety
///
/// `semaphore` is NULL or a handle.
unsafe fn get<'a>(semaphore: Handle) -> Result<&'a Private> {
    // SAFETY: as the caller vouches.
    unsafe { SEMAPHORES.get(semaphore) }.ok_or(Code::INVALID)
}

/// Makes a semaphore with so many units. The name is a label: two of one name are two.
///
/// # Safety
///
/// `name` is NULL or a C string; `semaphore` is NULL or valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_create(name: *const c_char, initial: c_int, semaphore: *mut Handle) -> c_int {
    call::status(|| {
        if semaphore.is_null() {
            return Err(Code::INVALID);
        }
        // SAFETY: not NULL, and so valid for writes.
        unsafe { semaphore.write(ptr::null_mut()) };
        let initial = u32::try_from(initial).map_err(|_| Code::INVALID)?;
        if initial > MOST {
            return Err(Code::RANGE);
        }
        let segment = Segment::anonymous(size_of::<Semaphore>() as u64)?;
        let id = gpl::id_of(gpl::inode(&segment).ok_or(Code::FAULT)?);
        let memory = segment.attach()?;
        memory.object::<Semaphore>(0)?.post(initial).map_err(code)?;
        debug(|| {
            // SAFETY: as the caller vouches.
            let name = unsafe { call::text(name) }.map_or_else(|_| "without a name".into(), call::shown);
            format!("(sem_create) Semaphore {name}, id {id}, value {initial}.")
        });
        // SAFETY: as above.
        unsafe { semaphore.write(SEMAPHORES.insert(Private { memory, id })) };
        Ok(())
    })
}

/// Deletes it, for all processes that have it, and frees the handle. Who waits for it gets `EIDRM`; who comes later,
/// `EINVAL`.
///
/// # Safety
///
/// `semaphore` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_delete(semaphore: Handle) -> c_int {
    call::status(|| {
        // SAFETY: as the caller vouches.
        let private = unsafe { SEMAPHORES.take(semaphore) }.ok_or(Code::INVALID)?;
        debug(|| format!("(sem_delete) Semaphore {}.", private.id));
        // Two that delete at once add twice that, which is still a number; more are told that there are too many.
        private.semaphore()?.post(DELETED).or(Ok(()))
    })
}

/// Adds a unit, and wakes one who waits.
///
/// # Safety
///
/// `semaphore` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_give(semaphore: Handle) -> c_int {
    call::status(|| {
        // SAFETY: as the caller vouches.
        let private = unsafe { get(semaphore)? };
        let semaphore = private.semaphore()?;
        if semaphore.value() >= MOST {
            return Err(Code::RANGE);
        }
        semaphore.post(1).map_err(code)?;
        debug(|| format!("(sem_give) Semaphore {}.", private.id));
        Ok(())
    })
}

/// Its identifier, which is no System V set's; -1 for NULL.
///
/// # Safety
///
/// `semaphore` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_id(semaphore: Handle) -> c_int {
    // SAFETY: as the caller vouches.
    unsafe { get(semaphore) }.map_or(-1, |private| private.id)
}

/// Takes a unit, waiting so many seconds at most: below 0 for ever, 0 not at all. `EWOULDBLOCK` if there was none in time.
///
/// # Safety
///
/// `semaphore` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_take(semaphore: Handle, timeout: c_double) -> c_int {
    call::status(|| {
        // SAFETY: as the caller vouches.
        let private = unsafe { get(semaphore)? };
        let semaphore = private.semaphore()?;
        if timeout.is_nan() {
            return Err(Code::INVALID);
        }
        // What is too long for a duration is for ever.
        match Duration::try_from_secs_f64(timeout) {
            Err(_) => semaphore.wait(),
            Ok(Duration::ZERO) => semaphore.try_wait().map_err(code)?,
            Ok(timeout) => semaphore.wait_timeout(timeout).map_err(code)?,
        }
        if is_deleted(semaphore) {
            return Err(Code::REMOVED);
        }
        debug(|| format!("(sem_take) Semaphore {}.", private.id));
        Ok(())
    })
}

/// How many units there are; -1 for NULL.
///
/// # Safety
///
/// `semaphore` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sem_value(semaphore: Handle) -> c_int {
    let value = call::value(|| {
        // SAFETY: as the caller vouches.
        Ok(unsafe { get(semaphore)? }.semaphore()?.value())
    });
    value.ok().and_then(|value| value.try_into().ok()).unwrap_or(-1)
}

fn code(error: SyncError) -> Code {
    match error {
        SyncError::TimedOut | SyncError::WouldBlock => Code(libc::EWOULDBLOCK),
        SyncError::Mismatch(_) => Code::RANGE,
        error => Code(error.raw_os_error()),
    }
}
