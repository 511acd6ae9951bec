//! Files: made without a name, looked at, published, renamed, removed.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};

use super::super::{Errno, Result};

/// The file-mode bit that marks a segment as `UntilLastDetach` (the sticky bit).
pub(crate) const STICKY: u32 = 0o1000;

/// What tells one file from every other that exists at the same time.
///
/// Filesystems give the number of an inode that is gone to a new one: so this is compared only while
/// something (a descriptor, a mapping) keeps the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What kind of thing a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
}

/// A file's metadata, as far as segments need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky bits: `0o7777`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// How many names the file has.
    pub(crate) names: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of storage that are allocated to it.
    pub(crate) allocated: u64,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) modified: (i64, u32),
}

impl Stat {
    pub(crate) fn is_sticky(&self) -> bool {
        self.mode & STICKY != 0
    }
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ by architecture")]
#[inline]
fn read(stat: &rustix::fs::Stat) -> Stat {
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => Kind::Regular,
        rustix::fs::FileType::Directory => Kind::Directory,
        rustix::fs::FileType::Symlink => Kind::Symlink,
        rustix::fs::FileType::Fifo => Kind::Fifo,
        rustix::fs::FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    };
    Stat {
        identity: Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
        kind,
        mode: stat.st_mode as u32 & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        names: stat.st_nlink as u32,
        size: stat.st_size as u64,
        allocated: stat.st_blocks as u64 * 512,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
    }
}

/// The metadata of an open file.
#[inline]
pub(crate) fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    rustix::fs::fstat(fd).map(|stat| read(&stat))
}

/// The metadata of what `path` names, without following a symbolic link.
#[inline]
pub(crate) fn stat_path(path: &CStr) -> Result<Stat> {
    rustix::fs::lstat(path).map(|stat| read(&stat))
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Access::ReadOnly => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        }
    }
}

/// Opens what `path` names. Never follows a symbolic link, and never waits: not for the other end of a
/// fifo, not for a lease to be given back (`EAGAIN`), and a terminal does not become the controlling one.
#[inline]
pub(crate) fn open(path: &CStr, access: Access) -> Result<OwnedFd> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(CWD, path, access.flags() | flags, Mode::empty())
}

/// A new description of the file behind `fd`, whoever may have renamed or removed it. Needs `/proc`.
pub(crate) fn reopen(fd: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::openat(CWD, path, access.flags() | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

/// A new description of the file that is mapped at exactly these addresses, whoever may have renamed or removed it.
/// Needs `/proc`, and the right to look into processes in this way (`CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`).
pub(crate) fn reopen_mapped(start: usize, len: usize, access: Access) -> Result<OwnedFd> {
    let path = format!("/proc/self/map_files/{start:x}-{:x}", start.saturating_add(len));
    rustix::fs::openat(CWD, path, access.flags() | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

/// A new regular file in `directory` that has no name yet. `mode` may still be narrowed by the umask.
///
/// `EOPNOTSUPP` (or `EISDIR`, from old kernels) where the filesystem has no such files.
pub(crate) fn create_nameless(directory: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::from_raw_mode(mode))
}

/// A new regular file under a name that did not exist.
pub(crate) fn create_new(path: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(mode))
}

/// Gives a nameless file its name; `EEXIST` if the name is taken.
///
/// Kernels before 6.10 let only privileged processes link by descriptor; `/proc` serves the others.
/// `ENOENT` where neither way is open.
pub(crate) fn link(fd: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    match rustix::fs::linkat(fd, c"", CWD, path, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let through = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::linkat(CWD, through, CWD, path, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// Renames `from` to `to`; `EEXIST` if that name is taken.
pub(crate) fn rename_new(from: &CStr, to: &CStr) -> Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE)
}

/// Removes a name.
pub(crate) fn unlink(path: &CStr) -> Result<()> {
    rustix::fs::unlinkat(CWD, path, AtFlags::empty())
}

/// Sets permission bits and sticky bit exactly, whatever the umask.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
}

/// Sets the size in bytes; new bytes are a hole.
pub(crate) fn set_size(fd: BorrowedFd<'_>, size: u64) -> Result<()> {
    rustix::fs::ftruncate(fd, size)
}

/// Allocates storage for `from .. from + len` and, unless `keep_size`, extends the file to there.
///
/// A process that gets signals all the time would see `EINTR` for ever, since the kernel starts from
/// the beginning each time: after the first, goes on in pieces that get smaller until they pass.
pub(crate) fn reserve(fd: BorrowedFd<'_>, from: u64, len: u64, keep_size: bool) -> Result<()> {
    let flags = if keep_size { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
    let (mut done, mut piece) = (0, len);
    while done < len {
        let now = piece.min(len - done);
        match rustix::fs::fallocate(fd, flags, from + done, now) {
            Ok(()) => done += now,
            Err(Errno::INTR) => piece = (piece / 2).max(4096).min(piece),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes at an offset; how many bytes it wrote.
pub(crate) fn write_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, bytes, offset))
}

/// An anonymous file in memory, which can be sealed. `label` shows in `/proc`, for people only.
///
/// If it is not to be `executable`, that is sealed too.
pub(crate) fn create_memory(label: &CStr, executable: bool) -> Result<OwnedFd> {
    use rustix::fs::MemfdFlags;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if executable {
        return rustix::fs::memfd_create(label, flags);
    }
    match rustix::fs::memfd_create(label, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(label, flags),
        other => other,
    }
}

/// Forbids for ever that the file shrinks, and that further seals are added.
pub(crate) fn seal_size(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::SEAL)
}

/// Whether a seal forbids that the file shrinks.
pub(crate) fn cannot_shrink(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::SHRINK))
}

/// Whether `fd` may be written through.
pub(crate) fn is_writable(fd: BorrowedFd<'_>) -> Result<bool> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(flags & OFlags::RWMODE == OFlags::RDWR)
}

/// Lets the descriptor of this number live on in a program that is executed next. Safe to call between
/// `fork` and `exec`.
pub(crate) fn keep_over_exec(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
}

/// Bytes of the file that are in memory; `None` where the kernel does not say.
pub(crate) fn resident(fd: BorrowedFd<'_>) -> Option<u64> {
    #[repr(C)]
    struct Range {
        offset: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Cached {
        pages: u64,
        others: [u64; 4],
    }
    /// The number of `cachestat`, the same on every architecture that uses the common table.
    const CACHESTAT: libc::c_long = 451;
    let whole = Range { offset: 0, len: 0 };
    let mut cached = Cached::default();
    // SAFETY: `cachestat(fd, range, answer, flags)` reads the one structure and fills the other; both
    // have the layout of `linux/mman.h` and outlive the call.
    let done =
        unsafe { libc::syscall(CACHESTAT, fd.as_fd().as_raw_fd(), &raw const whole, &raw mut cached, 0) };
    (done == 0).then(|| cached.pages * super::map::page_size() as u64)
}
