//! From Rust to C: errors as codes, `errno`, panics, and lines for debugging.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use commons::Error;
use commons_compat::code;

/// An error as C programs know it: a value of `errno`, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

impl Code {
    pub(crate) const INVALID: Code = Code(libc::EINVAL);
    pub(crate) const ABSENT: Code = Code(libc::ENOENT);
    pub(crate) const EXISTS: Code = Code(libc::EEXIST);
    pub(crate) const OTHERS_REMAIN: Code = Code(libc::EWOULDBLOCK);
    pub(crate) const DEADLOCK: Code = Code(libc::EDEADLK);
    pub(crate) const NOT_MINE: Code = Code(libc::EPERM);
    pub(crate) const DATA: Code = Code(libc::ENODATA);
    pub(crate) const RANGE: Code = Code(libc::ERANGE);
    pub(crate) const REMOVED: Code = Code(libc::EIDRM);
    pub(crate) const FAULT: Code = Code(libc::EIO);
}

impl From<Error> for Code {
    fn from(error: Error) -> Code {
        match error {
            // What `shmat` says.
            Error::AddressInUse { .. } => Code::INVALID,
            error => Code(code::errno(&error)),
        }
    }
}

impl From<std::io::Error> for Code {
    fn from(error: std::io::Error) -> Code {
        Code(error.raw_os_error().filter(|code| *code != 0).unwrap_or(libc::EIO))
    }
}

pub(crate) type Result<T, E = Code> = std::result::Result<T, E>;

/// What a function returns that gives 0 or a code; `errno` is the code, and after success what it was.
pub(crate) fn status(body: impl FnOnce() -> Result<()>) -> c_int {
    match value(body) {
        Ok(()) => 0,
        Err(Code(code)) => code,
    }
}

/// What a function gives, without letting a panic out; `errno` as for [`status`].
pub(crate) fn value<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = code::last_errno();
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(Code::FAULT));
    code::set_errno(match &result {
        Ok(_) => before,
        Err(Code(code)) => *code,
    });
    result
}

/// The bytes of a C string; an error for NULL.
///
/// # Safety
///
/// `text` is NULL or a C string that stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Result<&'a CStr> {
    if text.is_null() {
        return Err(Code::INVALID);
    }
    // SAFETY: not NULL, and a C string, as the caller vouches.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Writes a line to standard error if the variable is set. Formats into memory of its own, and writes at once: no lock
/// of this process's is taken, which a forked child could find locked.
///
/// # Safety
///
/// `variable` is valid for reads.
pub(crate) unsafe fn debug(variable: *const c_int, line: impl FnOnce() -> String) {
    // SAFETY: as the caller vouches. The program may set it at any time, from any thread.
    if unsafe { variable.read_volatile() } == 0 {
        return;
    }
    let mut line = line();
    line.push('\n');
    // SAFETY: the bytes are there for the length given.
    let _ = unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// A name for a line for debugging: what is no text shows as such.
pub(crate) fn shown(name: &CStr) -> String {
    format!("{:?}", name.to_string_lossy())
}
