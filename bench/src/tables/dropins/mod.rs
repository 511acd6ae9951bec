//! The drop-ins beside what they stand in for: the same calls, made by the same program, once with the real thing
//! and once with Commons in its place.

mod gpl;
mod nspr;
mod systemv;

use std::ffi::{CString, c_char, c_void};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Table;

pub(super) static TABLE: Table = Table {
    name: "dropins",
    about: "what programs for the older systems take on Commons, and on the real thing",
    works: &[
        ("System V semaphores", systemv::semaphores),
        ("System V shared memory", systemv::memory),
        ("NSPR", nspr::measure),
        ("libgpl", gpl::measure),
    ],
    roles: &[(systemv::ROLE, systemv::act), (nspr::ROLE, nspr::act), (gpl::ROLE, gpl::act)],
};

/// Finds a function in a library that is loaded for it; it stays loaded.
///
/// # Safety
///
/// `F` is the type of a function pointer, and the function's.
unsafe fn function<F: Copy>(library: *mut c_void, name: &str) -> Result<F> {
    let name = CString::new(name)?;
    // SAFETY: the library is open, the name ends with NUL.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    ensure!(!address.is_null(), "there is no {name:?}");
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: both are pointers of one size; the caller vouches for the type.
    Ok(unsafe { std::mem::transmute_copy(&address) })
}

fn open_library(path: &str) -> Result<*mut c_void> {
    let name = CString::new(path)?;
    // SAFETY: the name ends with NUL; what the library does when it is loaded is its own affair.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        // SAFETY: after a failure it gives a text that ends with NUL.
        let why = unsafe { std::ffi::CStr::from_ptr(libc::dlerror().cast_const().cast::<c_char>()) };
        return Err(anyhow::anyhow!("{}", why.to_string_lossy()));
    }
    Ok(library)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// Splits `WORK COUNT`.
fn question(text: &str) -> Result<(&str, u32)> {
    let (work, count) = text.split_once(' ').context("ask WORK COUNT")?;
    Ok((work, count.parse()?))
}
