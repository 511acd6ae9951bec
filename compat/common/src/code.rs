//! Errors as the codes that C programs know.

use commons::Error;

/// The `errno` for an error; `EIO` for one that the operating system has no code for.
pub fn errno(error: &Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Sets the calling thread's `errno`.
pub fn set_errno(code: i32) {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() = code };
}

/// The calling thread's `errno`.
pub fn last_errno() -> i32 {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() }
}
