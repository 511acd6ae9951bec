//! `/proc/sysvipc`, for `ipcs` and `lsipc`, which read it with `fopen` before they ask `shmctl`.
//!
//! `/proc/sysvipc/shm` reads as the kernel would have it. `/proc/sysvipc/sem` is not there, so that they ask `semctl`.

use std::ffi::{CStr, c_char, c_void};

use commons_compat::code;

use crate::intercept::Next;
use crate::shm;

type Open = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;

static FOPEN: Next = Next::new();
static FOPEN64: Next = Next::new();

/// `fopen(3)`.
///
/// # Safety
///
/// As for that function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: as the caller promises.
    unsafe { open(FOPEN.find(c"fopen"), path, mode) }
}

/// The same, under the name that programs with large offsets use.
///
/// # Safety
///
/// As for [`fopen`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: as the caller promises.
    unsafe { open(FOPEN64.find(c"fopen64"), path, mode) }
}

/// # Safety
///
/// As for `fopen`; `next` is such a function, or null.
unsafe fn open(next: *mut c_void, path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: a path that ends with a NUL byte, or null.
    if !path.is_null() && unsafe { ours(CStr::from_ptr(path)) } {
        return text(path);
    }
    if next.is_null() {
        code::set_errno(libc::ENOSYS);
        return std::ptr::null_mut();
    }
    // SAFETY: as the caller promises.
    unsafe { std::mem::transmute::<*mut c_void, Open>(next)(path, mode) }
}

fn ours(path: &CStr) -> bool {
    let bytes = path.to_bytes();
    bytes.starts_with(b"/proc/sysvipc/") && matches!(&bytes[14..], b"shm" | b"sem")
}

/// A stream with the text.
fn text(path: *const c_char) -> *mut libc::FILE {
    // SAFETY: the caller of `open` looked at it.
    let shared = unsafe { CStr::from_ptr(path) }.to_bytes().ends_with(b"/shm");
    let text = std::panic::catch_unwind(|| if shared { shm::table_text() } else { Err(libc::ENOENT) });
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            code::set_errno(error);
            return std::ptr::null_mut();
        }
        Err(_) => {
            code::set_errno(libc::EIO);
            return std::ptr::null_mut();
        }
    };
    // SAFETY: with a null buffer the stream has memory of its own, for writing first and reading then.
    unsafe {
        let stream = libc::fmemopen(std::ptr::null_mut(), text.len(), c"w+".as_ptr());
        if !stream.is_null() {
            libc::fwrite(text.as_ptr().cast(), 1, text.len(), stream);
            libc::rewind(stream);
        }
        stream
    }
}
