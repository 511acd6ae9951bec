//! The functions that programs call: errors become `errno`, panics stay here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use commons_compat::code;
use libc::{c_int, c_void, key_t};

use crate::shm;

/// What the C function returns, with `errno` set, or as it was.
#[inline]
pub(crate) fn answer<T>(function: impl FnOnce() -> Result<T, c_int>, failed: T) -> T {
    let before = code::last_errno();
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(value)) => {
            code::set_errno(before);
            value
        }
        Ok(Err(error)) => {
            code::set_errno(error);
            failed
        }
        Err(_) => {
            code::set_errno(libc::EIO);
            failed
        }
    }
}

/// `shmget(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn shmget(key: key_t, size: usize, flags: c_int) -> c_int {
    answer(|| shm::get(key, size, flags), -1)
}

/// `shmat(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn shmat(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    let attach = || shm::attach(id, address.addr(), flags);
    answer(|| attach().map(|address| address as *mut c_void), usize::MAX as *mut c_void)
}

/// `shmdt(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn shmdt(address: *const c_void) -> c_int {
    answer(|| shm::detach(address.addr()).map(|()| 0), -1)
}

/// `shmctl(2)`.
///
/// # Safety
///
/// `buffer` is what the command needs, or not memory of the program's at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmctl(id: c_int, command: c_int, buffer: *mut c_void) -> c_int {
    answer(|| shm::control(id, command, buffer), -1)
}
