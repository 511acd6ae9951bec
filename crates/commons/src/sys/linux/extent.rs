//! Where a file has data and where it has holes, and files that are on their way to a name.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom};

use super::super::{Errno, Result};

/// What lies at some place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next data begins here.
    At(u64),
    /// There is none.
    None,
    /// The filesystem does not tell data from holes.
    Unknown,
}

/// Where the next data at or behind `from` begins. Memory that was reserved and never touched is no data.
pub(crate) fn next_data(fd: BorrowedFd<'_>, from: u64) -> Result<Next> {
    seek(fd, SeekFrom::Data(from))
}

/// Where the hole at or behind `from` begins; the end of the file counts as one.
pub(crate) fn next_hole(fd: BorrowedFd<'_>, from: u64) -> Result<Next> {
    seek(fd, SeekFrom::Hole(from))
}

fn seek(fd: BorrowedFd<'_>, to: SeekFrom) -> Result<Next> {
    match rustix::fs::seek(fd, to) {
        Ok(at) => Ok(Next::At(at)),
        Err(Errno::NXIO) => Ok(Next::None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Next::Unknown),
        Err(error) => Err(error),
    }
}

/// Reads at an offset; 0 at the end of the file.
pub(crate) fn read_at(fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *bytes, offset))
}

/// Gives back the memory of a range, which reads as zeros then.
pub(crate) fn make_hole(fd: BorrowedFd<'_>, from: u64, len: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(fd, flags, from, len))
}

/// Waits until a file, or a directory's names, are on disk.
pub(crate) fn sync(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::fsync(fd))
}

/// Opens a directory, to sync it.
pub(crate) fn open_directory(path: &CStr) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Where a symbolic link leads, as the kernel follows it.
pub(crate) fn led_to(path: &CStr) -> std::io::Result<PathBuf> {
    use rustix::fs::{Mode, OFlags};
    let target = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd()))
}

/// Renames `from` to `to`, in the place of what has that name.
pub(crate) fn rename_over(from: &CStr, to: &CStr) -> Result<()> {
    rustix::fs::rename(from, to)
}

/// Marks a file as being worked on, until its description is closed; `false` if somebody else has.
pub(crate) fn try_mark(fd: BorrowedFd<'_>) -> Result<bool> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}
