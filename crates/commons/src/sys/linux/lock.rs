//! Byte-range locks that belong to an open file description (OFD locks).
//!
//! The kernel keeps such a lock while the description lives: as long as a descriptor, in this process
//! or a forked child, or a mapping made from one refers to it. See `fcntl(2)`, "Open file description
//! locks".

use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::{Errno, Result};

#[cfg(target_pointer_width = "64")]
use libc::flock as Flock;
#[cfg(not(target_pointer_width = "64"))]
use libc::flock64 as Flock;

/// A range of offsets: `len` of 0 means "to the end of all offsets".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

#[derive(Clone, Copy)]
enum What {
    Read,
    Write,
    Nothing,
}

#[inline]
fn flock(what: What, range: Range) -> Flock {
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut lock: Flock = unsafe { std::mem::zeroed() };
    lock.l_type = match what {
        What::Read => libc::F_RDLCK,
        What::Write => libc::F_WRLCK,
        What::Nothing => libc::F_UNLCK,
    } as _;
    lock.l_whence = libc::SEEK_SET as _;
    // Offsets of locks stay below 2^62, so that both fit their signed fields.
    lock.l_start = range.start as _;
    lock.l_len = range.len as _;
    lock
}

/// `fcntl` with a lock, by the shortest way into the kernel: libc's looks through all its commands first.
///
/// # Safety
///
/// `command` is one that takes a `Flock`; `lock` is valid for reads, and for writes if the command fills it.
#[inline]
unsafe fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, lock: *mut Flock) -> Result<()> {
    let fd = fd.as_raw_fd();
    #[cfg(target_pointer_width = "64")]
    // SAFETY: as the caller promises; here the kernel's structure is libc's.
    let done = unsafe { libc::syscall(libc::SYS_fcntl, fd, command, lock) == 0 };
    #[cfg(not(target_pointer_width = "64"))]
    // SAFETY: as the caller promises.
    let done = unsafe { libc::fcntl(fd, command, lock) == 0 };
    if done {
        return Ok(());
    }
    // SAFETY: the address of this thread's `errno` is valid for reads.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}

#[inline]
fn set(fd: BorrowedFd<'_>, what: What, range: Range) -> Result<bool> {
    let lock = flock(what, range);
    loop {
        // SAFETY: `F_OFD_SETLK` reads the structure, which outlives the call.
        match unsafe { fcntl(fd, libc::F_OFD_SETLK, (&raw const lock).cast_mut()) } {
            Ok(()) => return Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes a shared lock, without waiting; `false` if somebody's exclusive lock is in the way.
#[inline]
pub(crate) fn try_read(fd: BorrowedFd<'_>, range: Range) -> Result<bool> {
    set(fd, What::Read, range)
}

/// Takes an exclusive lock, without waiting; `false` if any other description's lock is in the way.
/// `EBADF` if `fd` is not open for writing.
#[inline]
pub(crate) fn try_write(fd: BorrowedFd<'_>, range: Range) -> Result<bool> {
    set(fd, What::Write, range)
}

/// Gives back whatever this description holds in `range`.
#[inline]
pub(crate) fn unlock(fd: BorrowedFd<'_>, range: Range) -> Result<()> {
    set(fd, What::Nothing, range).map(|_| ())
}

/// Gives back all that this description holds: cheaper than one range, for which the kernel prepares to split
/// others.
#[inline]
pub(crate) fn unlock_all(fd: BorrowedFd<'_>) -> Result<()> {
    unlock(fd, Range { start: 0, len: 0 })
}

/// Some lock of another description that an exclusive lock on `range` would meet, if there is one.
/// Takes nothing, and `fd` may be open for reading only.
#[inline]
pub(crate) fn conflict(fd: BorrowedFd<'_>, range: Range) -> Result<Option<Range>> {
    let mut lock = flock(What::Write, range);
    // SAFETY: `F_OFD_GETLK` reads and fills the structure, which outlives the call.
    unsafe { fcntl(fd, libc::F_OFD_GETLK, &raw mut lock)? };
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    Ok(Some(Range { start: lock.l_start as u64, len: lock.l_len as u64 }))
}
