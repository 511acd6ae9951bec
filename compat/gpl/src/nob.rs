//! `nob_util`: the database of named objects.
//!
//! What `nobCreate` found, what `nobExists` gives, and what `nobCommit` makes of the creator's handle, is one reference
//! each. Between `nobCreate` of a new name and `nobCommit` there is nothing of it anywhere but the lock on the database,
//! which its thread has: so a creator that dies has never been, and those who wait go on at once.

#![allow(
    unreachable_pub,
    non_snake_case,
    non_upper_case_globals,
    reason = "C programs reach them, by these names"
)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use crate::call::{self, Code, Result};
use crate::database;
use crate::handles::{Handles, Node};
use crate::object::{self, Reference};

/// Set it to anything but 0 for lines on standard error.
#[unsafe(no_mangle)]
pub static mut nob_util_debug: c_int = 0;

fn debug(line: impl FnOnce() -> String) {
    // SAFETY: the variable is there.
    unsafe { call::debug(&raw const nob_util_debug, line) };
}

/// What a `NamedObject` points to.
pub(crate) struct Object {
    name: CString,
    state: State,
}

enum State {
    /// Between `nobCreate` and `nobCommit`, by this thread.
    Pending(i32),
    /// `nobCommit` failed: there is nothing left but the handle.
    Failed,
    Committed(Reference),
}

type Handle = *mut Node<Object>;

static OBJECTS: Handles<Object> = Handles::new();

fn refer(name: CString, reference: Reference) -> Handle {
    OBJECTS.insert(Object { name, state: State::Committed(reference) })
}

/// Finds a named object, which adds a reference: `EEXIST`. Or begins a new one, and locks the database until
/// [`nobCommit`] or [`nobAbort`]: 0. The scope does not matter.
///
/// # Safety
///
/// `name` is NULL or a C string; `object` is NULL or valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobCreate(name: *const c_char, _scope: c_int, object: *mut Handle) -> c_int {
    call::status(|| {
        if object.is_null() {
            return Err(Code::INVALID);
        }
        // SAFETY: not NULL, and so valid for writes.
        unsafe { object.write(ptr::null_mut()) };
        // SAFETY: as the caller vouches.
        let name = unsafe { call::text(name)? };
        let found = |reference: Reference| {
            debug(|| {
                format!("(nobCreate) Found named object {}, value {:#x}.", call::shown(name), reference.value)
            });
            // SAFETY: as above.
            unsafe { object.write(refer(name.to_owned(), reference)) };
            Err(Code::EXISTS)
        };
        // What is there needs no lock. What is not may be in the making.
        if let Some(reference) = look(name).map_err(not_found)? {
            return found(reference);
        }
        if database::is_pending(name) {
            return Err(Code::DEADLOCK);
        }
        let locked = database::lock().map_err(not_found)?;
        if let Some(reference) = object::find(locked.place(), name).map_err(not_found)? {
            drop(locked);
            return found(reference);
        }
        locked.keep_for(name).map_err(not_found)?;
        let state = State::Pending(database::thread());
        // SAFETY: as above.
        unsafe { object.write(OBJECTS.insert(Object { name: name.to_owned(), state })) };
        debug(|| format!("(nobCreate) New named object {}; the database is locked.", call::shown(name)));
        Ok(())
    })
}

/// An error on the way is not the one that says that the object was found, with no object.
fn not_found(error: Code) -> Code {
    if error == Code::EXISTS { Code::FAULT } else { error }
}

fn look(name: &std::ffi::CStr) -> Result<Option<Reference>> {
    match database::to_look() {
        Ok(place) => object::find(place, name),
        Err(Code::ABSENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a new object its value and its name, with one reference, the caller's; unlocks the database.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobCommit(object: Handle, value: *mut c_void) -> c_int {
    let commit = |object: Object| {
        let Object { name, state } = object;
        match state {
            State::Pending(thread) if thread == database::thread() => {
                // Entered once more: the lock is this thread's.
                let made =
                    database::lock().and_then(|locked| object::make_record(&locked, &name, value.addr()));
                database::finish(&name);
                debug(|| {
                    let outcome =
                        made.as_ref().map_or_else(|code| format!("error {}", code.0), |_| "done".into());
                    format!("(nobCommit) Named object {}, value {value:?}: {outcome}.", call::shown(&name))
                });
                match made {
                    Ok(reference) => (Some(Object { name, state: State::Committed(reference) }), Ok(())),
                    Err(code) => (Some(Object { name, state: State::Failed }), Err(code)),
                }
            }
            State::Pending(_) => (Some(Object { name, state }), Err(Code::NOT_MINE)),
            _ => (Some(Object { name, state }), Err(Code::INVALID)),
        }
    };
    // SAFETY: as the caller vouches.
    call::status(|| unsafe { OBJECTS.change(object, commit) }.unwrap_or(Err(Code::INVALID)))
}

/// Gives up a new object before it is committed: there never was one. Frees the handle, unlocks the database.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobAbort(object: Handle) -> c_int {
    // SAFETY: as the caller vouches.
    call::status(|| unsafe { OBJECTS.change(object, abort) }.unwrap_or(Err(Code::INVALID)))
}

fn abort(object: Object) -> (Option<Object>, Result<()>) {
    match object.state {
        State::Pending(thread) if thread == database::thread() => {
            database::finish(&object.name);
            debug(|| format!("(nobAbort) Named object {} given up.", call::shown(&object.name)));
            (None, Ok(()))
        }
        State::Pending(_) => (Some(object), Err(Code::NOT_MINE)),
        State::Failed => (None, Ok(())),
        State::Committed(_) => (Some(object), Err(Code::INVALID)),
    }
}

/// How many references there are, in all processes; 0 before [`nobCommit`]. -1 on an error: no handle, or a name that was
/// removed by hand.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobCount(object: Handle) -> c_int {
    let count = call::value(|| {
        // SAFETY: as the caller vouches.
        let object = unsafe { OBJECTS.get(object) }.ok_or(Code::INVALID)?;
        match &object.state {
            State::Committed(reference) => reference.count(),
            _ => Ok(0),
        }
    });
    count.ok().and_then(|count| count.try_into().ok()).unwrap_or(-1)
}

/// Gives up a reference, and frees the handle: 0 if it was the last, and the object is gone; `EWOULDBLOCK` if others
/// remain.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobDestroy(object: Handle) -> c_int {
    let destroy = |object: Object| match object.state {
        State::Committed(reference) => {
            let last = reference.give_up();
            debug(|| {
                let rest = if last == Ok(true) { "It is gone" } else { "Others remain" };
                format!("(nobDestroy) Named object {} given up. {rest}.", call::shown(&object.name))
            });
            let result = match last {
                Ok(true) => Ok(()),
                Ok(false) => Err(Code::OTHERS_REMAIN),
                Err(error) => Err(error),
            };
            (None, result)
        }
        _ => abort(object),
    };
    // SAFETY: as the caller vouches.
    call::status(|| unsafe { OBJECTS.change(object, destroy) }.unwrap_or(Err(Code::INVALID)))
}

/// The named object of this name, which adds a reference, to be given up with [`nobDestroy`]. NULL if there is none, with
/// `ENOENT` in `errno`. Waits while somebody is about to make one.
///
/// # Safety
///
/// `name` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobExists(name: *const c_char, _scope: c_int) -> Handle {
    let found = call::value(|| {
        // SAFETY: as the caller vouches.
        let name = unsafe { call::text(name)? };
        let reference = match look(name)? {
            Some(reference) => reference,
            // In the making by this thread: to itself too it is not there yet.
            None if database::is_pending(name) => return Err(Code::ABSENT),
            None if !database::to_look()?.may_be_locked() => return Err(Code::ABSENT),
            None => object::find(database::lock()?.place(), name)?.ok_or(Code::ABSENT)?,
        };
        debug(|| format!("(nobExists) Found named object {}.", call::shown(name)));
        Ok(refer(name.to_owned(), reference))
    });
    found.unwrap_or(ptr::null_mut())
}

/// The object's name, for as long as the handle lives; `<nil>` for NULL.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobName(object: Handle) -> *const c_char {
    // SAFETY: as the caller vouches.
    unsafe { OBJECTS.get(object) }.map_or(c"<nil>".as_ptr(), |object| object.name.as_ptr())
}

/// The object's value, as it was when the handle was made or committed; NULL before that, and for NULL. For shared memory
/// it is the identifier.
///
/// # Safety
///
/// `object` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nobValue(object: Handle) -> *mut c_void {
    // SAFETY: as the caller vouches.
    let value = unsafe { OBJECTS.get(object) }.map_or(0, |object| match &object.state {
        State::Committed(reference) => reference.value,
        _ => 0,
    });
    ptr::without_provenance_mut(value)
}
