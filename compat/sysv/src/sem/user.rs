//! Reading and writing what a program points to, with `EFAULT` where there is nothing.
//!
//! The kernel copies, so that it finds out; a direct access would end the program. Where the kernel is not allowed to
//! do this (`seccomp`), pointers are believed, but for those that cannot be any.

use libc::c_int;

use crate::kernel;

/// Reads so many values.
///
/// # Safety
///
/// What is mapped there, nobody changes meanwhile in a way that a copy may not meet; any bytes are a `T`.
pub(super) unsafe fn read<T: Copy>(from: *const T, count: usize) -> Result<Vec<T>, c_int> {
    let mut values: Vec<T> = Vec::with_capacity(count);
    // SAFETY: room for so many; the kernel reads what can be read.
    unsafe {
        transfer(
            libc::SYS_process_vm_readv,
            from.cast_mut().cast(),
            values.as_mut_ptr().cast(),
            count * size_of::<T>(),
            false,
        )?
    };
    // SAFETY: filled, all of them.
    unsafe { values.set_len(count) };
    Ok(values)
}

/// Writes values.
///
/// # Safety
///
/// What is mapped there, if anything is, may be written over.
pub(super) unsafe fn write<T: Copy>(to: *mut T, values: &[T]) -> Result<(), c_int> {
    // SAFETY: as the caller promises.
    unsafe {
        transfer(
            libc::SYS_process_vm_writev,
            to.cast(),
            values.as_ptr().cast_mut().cast(),
            size_of_val(values),
            true,
        )
    }
}

/// # Safety
///
/// `own` is valid for the bytes.
unsafe fn transfer(
    call: libc::c_long,
    theirs: *mut libc::c_void,
    own: *mut libc::c_void,
    len: usize,
    writes: bool,
) -> Result<(), c_int> {
    if is_bad(theirs.addr()) {
        return Err(libc::EFAULT);
    }
    let local = libc::iovec { iov_base: own, iov_len: len };
    let remote = libc::iovec { iov_base: theirs, iov_len: len };
    let pid = kernel::pid() as usize;
    let arguments = [pid, (&raw const local).addr(), 1, (&raw const remote).addr(), 1, 0];
    // SAFETY: the kernel checks the other side; ours is as the caller promises.
    let done = unsafe { kernel::call(call, arguments) };
    match done {
        Ok(done) if done == len => Ok(()),
        Ok(_) | Err(libc::EFAULT) => Err(libc::EFAULT),
        Err(_) => {
            let (from, to) = if writes { (own, theirs) } else { (theirs, own) };
            // SAFETY: the kernel would not look, so that the program is believed, as by any function of the C library.
            unsafe { std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), len) };
            Ok(())
        }
    }
}

/// Whether nothing of a program can be at this address.
#[inline]
pub(super) fn is_bad(address: usize) -> bool {
    address < 4096 || address as isize <= 0
}
