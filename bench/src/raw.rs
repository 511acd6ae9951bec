//! What a program does without Commons: the same works by plain POSIX calls, as the floor to compare with.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::ptr::null_mut;

/// Creates a segment of `size` bytes, maps it, touches its first byte, unmaps and deletes it.
pub(crate) fn create_touch_delete(name: &CStr, size: usize) -> Result<()> {
    // SAFETY: `name` ends with NUL; the call touches no other memory.
    let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600) };
    check(fd)?;
    let length = libc::off_t::try_from(size).map_err(Error::other)?;
    // SAFETY: touches no memory.
    check(unsafe { libc::ftruncate(fd, length) })?;
    let address = map(fd, size)?;
    // SAFETY: `map` gave `size` bytes, at least one, that are readable and writable.
    unsafe { address.write_volatile(1) };
    unmap(address, size)?;
    close(fd)?;
    // SAFETY: `name` ends with NUL.
    check(unsafe { libc::shm_unlink(name.as_ptr()) })
}

/// Creates a segment of `size` bytes, maps it, unmaps and deletes it.
pub(crate) fn create_attach_delete(name: &CStr, size: usize) -> Result<()> {
    create(name, size)?;
    let opened = open_attach_detach(name);
    // SAFETY: `name` ends with NUL.
    check(unsafe { libc::shm_unlink(name.as_ptr()) })?;
    opened
}

/// Opens a segment that exists, maps all of it and unmaps it again.
pub(crate) fn open_attach_detach(name: &CStr) -> Result<()> {
    // SAFETY: `name` ends with NUL.
    let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_RDWR, 0) };
    check(fd)?;
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills the structure, which outlives it.
    check(unsafe { libc::fstat(fd, &raw mut stat) })?;
    let size = usize::try_from(stat.st_size).map_err(Error::other)?;
    let address = map(fd, size)?;
    unmap(address, size)?;
    close(fd)
}

/// Creates a segment of `size` bytes, not reserved, and leaves it there.
pub(crate) fn create(name: &CStr, size: usize) -> Result<()> {
    // SAFETY: `name` ends with NUL.
    let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600) };
    check(fd)?;
    let length = libc::off_t::try_from(size).map_err(Error::other)?;
    // SAFETY: touches no memory.
    check(unsafe { libc::ftruncate(fd, length) })?;
    close(fd)
}

/// The same, with memory reserved for all of it.
pub(crate) fn reserve_attach_delete(name: &CStr, size: usize) -> Result<()> {
    create(name, size)?;
    // SAFETY: `name` ends with NUL.
    let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_RDWR, 0) };
    check(fd)?;
    let length = libc::off_t::try_from(size).map_err(Error::other)?;
    // SAFETY: touches no memory.
    let reserved = check(unsafe { libc::fallocate(fd, 0, 0, length) });
    let address = reserved.and_then(|()| map(fd, size));
    close(fd)?;
    // SAFETY: `name` ends with NUL.
    check(unsafe { libc::shm_unlink(name.as_ptr()) })?;
    unmap(address?, size)
}

/// Opens a file, maps all of it and unmaps it again.
pub(crate) fn map_file(path: &std::path::Path) -> anyhow::Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    let size = usize::try_from(file.metadata()?.len())?;
    let address = map(std::os::fd::AsRawFd::as_raw_fd(&file), size)?;
    Ok(unmap(address, size)?)
}

fn map(fd: libc::c_int, size: usize) -> Result<*mut u8> {
    // SAFETY: without `MAP_FIXED` a new mapping replaces nothing.
    let address =
        unsafe { libc::mmap(null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0) };
    if address == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(address.cast()) }
}

fn unmap(address: *mut u8, size: usize) -> Result<()> {
    // SAFETY: the callers pass what `map` gave them, once, and use it no more.
    check(unsafe { libc::munmap(address.cast(), size) })
}

fn close(fd: libc::c_int) -> Result<()> {
    // SAFETY: the callers opened it, and close it once.
    check(unsafe { libc::close(fd) })
}

fn check(returned: libc::c_int) -> Result<()> {
    if returned < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
