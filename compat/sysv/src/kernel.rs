//! Calls into the kernel that libc would make otherwise than a drop-in for calls of the kernel's needs: without
//! touching `errno`, without being a place at which a thread can be cancelled, without going through functions that
//! this library itself stands in for, and in a forked child.

use std::ffi::CStr;

use libc::c_int;

/// A descriptor for as long as a call needs one. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Descriptor(c_int);

impl Descriptor {
    pub(crate) fn number(&self) -> c_int {
        self.0
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's own.
        let _ = unsafe { call(libc::SYS_close, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A call of the kernel's: what it gives, or the code of its error.
///
/// # Safety
///
/// The kernel does what the arguments say; they have to be right for it.
#[inline]
pub(crate) unsafe fn call(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: as the caller promises.
    let result = unsafe { raw(number, arguments) };
    if result > -4096_isize as usize { Err((result as isize).wrapping_neg() as c_int) } else { Ok(result) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn raw(number: libc::c_long, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: the convention of the architecture: these registers, and `rcx` and `r11` are lost.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as usize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn raw(number: libc::c_long, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: the convention of the architecture.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as usize,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// A lock's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Read,
    Write,
    Nothing,
}

/// A range of a file's offsets; a length of 0 goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

fn flock(lock: Lock, range: Range) -> libc::flock {
    // SAFETY: zeros are a value of this structure of numbers.
    let mut flock: libc::flock = unsafe { std::mem::zeroed() };
    flock.l_type = match lock {
        Lock::Read => libc::F_RDLCK,
        Lock::Write => libc::F_WRLCK,
        Lock::Nothing => libc::F_UNLCK,
    } as _;
    flock.l_whence = libc::SEEK_SET as _;
    (flock.l_start, flock.l_len) = (range.start as _, range.len as _);
    flock
}

/// Opens a file that is there, for a moment: not followed through a symbolic link, closed in programs that are executed.
pub(crate) fn open(path: &CStr, access: c_int) -> Result<Descriptor, c_int> {
    let flags = access | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), flags as usize, 0, 0, 0];
    // SAFETY: the path ends with a NUL byte and outlives the call.
    unsafe { call(libc::SYS_openat, arguments) }.map(|number| Descriptor(number as c_int))
}

/// Sets a lock of the open file description, or gives it back; `false` if another's is in the way.
pub(crate) fn try_lock(file: &Descriptor, lock: Lock, range: Range) -> Result<bool, c_int> {
    match set_lock(file, libc::F_OFD_SETLK, lock, range) {
        Ok(()) => Ok(true),
        Err(libc::EAGAIN | libc::EACCES) => Ok(false),
        Err(code) => Err(code),
    }
}

/// The same, waiting for it.
pub(crate) fn wait_lock(file: &Descriptor, lock: Lock, range: Range) -> Result<(), c_int> {
    loop {
        match set_lock(file, libc::F_OFD_SETLKW, lock, range) {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

fn set_lock(file: &Descriptor, command: c_int, lock: Lock, range: Range) -> Result<(), c_int> {
    let flock = flock(lock, range);
    let arguments = [file.number() as usize, command as usize, (&raw const flock).addr(), 0, 0, 0];
    // SAFETY: the kernel reads the structure, which outlives the call.
    unsafe { call(libc::SYS_fcntl, arguments) }.map(|_| ())
}

/// Some lock of another description that a lock for writing on `range` would meet.
pub(crate) fn conflict(file: &Descriptor, range: Range) -> Result<Option<Range>, c_int> {
    let mut flock = flock(Lock::Write, range);
    let arguments = [file.number() as usize, libc::F_OFD_GETLK as usize, (&raw mut flock).addr(), 0, 0, 0];
    // SAFETY: the kernel reads and fills the structure, which outlives the call.
    unsafe { call(libc::SYS_fcntl, arguments) }?;
    if c_int::from(flock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    Ok(Some(Range { start: flock.l_start as u64, len: flock.l_len as u64 }))
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) names: u64,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    /// Bytes that are allocated.
    pub(crate) allocated: u64,
}

impl Stat {
    #[allow(clippy::unnecessary_cast, reason = "some are narrower on other targets")]
    fn of(stat: &libc::stat) -> Stat {
        Stat {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            names: stat.st_nlink as u64,
            mode: stat.st_mode & 0o7777,
            size: stat.st_size as u64,
            allocated: stat.st_blocks as u64 * 512,
        }
    }
}

/// The metadata of an open file.
pub(crate) fn stat(file: &Descriptor) -> Result<Stat, c_int> {
    stat_number(file.number())
}

fn stat_number(number: c_int) -> Result<Stat, c_int> {
    // SAFETY: zeros are a value of this structure of numbers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let arguments = [number as usize, (&raw mut stat).addr(), 0, 0, 0, 0];
    // SAFETY: libc's structure is the kernel's on 64-bit systems, and is filled.
    unsafe { call(libc::SYS_fstat, arguments) }?;
    Ok(Stat::of(&stat))
}

/// The metadata of what a path names, without following a symbolic link.
pub(crate) fn stat_path(path: &CStr) -> Result<Stat, c_int> {
    stat_at(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW)
}

fn stat_at(directory: c_int, path: &CStr, flags: c_int) -> Result<Stat, c_int> {
    // SAFETY: zeros are a value of this structure of numbers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let arguments = [directory as usize, path.as_ptr().addr(), (&raw mut stat).addr(), flags as usize, 0, 0];
    // SAFETY: the path ends with a NUL byte; libc's structure is the kernel's on 64-bit systems, and is filled.
    unsafe { call(libc::SYS_newfstatat, arguments) }?;
    Ok(Stat::of(&stat))
}

/// Removes a name.
pub(crate) fn unlink(path: &CStr) -> Result<(), c_int> {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), 0, 0, 0, 0];
    // SAFETY: the path ends with a NUL byte and outlives the call.
    unsafe { call(libc::SYS_unlinkat, arguments) }.map(|_| ())
}

/// Sets the mode of what a path names.
pub(crate) fn set_mode(path: &CStr, mode: u32) -> Result<(), c_int> {
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), mode as usize, 0, 0, 0];
    // SAFETY: the path ends with a NUL byte and outlives the call.
    unsafe { call(libc::SYS_fchmodat, arguments) }.map(|_| ())
}

/// Gives what a path names to another user and group.
pub(crate) fn set_owner(path: &CStr, user: u32, group: u32) -> Result<(), c_int> {
    let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), user as usize, group as usize, flags, 0];
    // SAFETY: the path ends with a NUL byte and outlives the call.
    unsafe { call(libc::SYS_fchownat, arguments) }.map(|_| ())
}

/// Seconds of the real-time clock.
pub(crate) fn now() -> i64 {
    clock(libc::CLOCK_REALTIME_COARSE).0
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn monotonic() -> u64 {
    let (seconds, nanoseconds) = clock(libc::CLOCK_MONOTONIC);
    seconds as u64 * 1_000_000_000 + nanoseconds as u64
}

fn clock(clock: libc::clockid_t) -> (i64, i64) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure; these clocks are always there, so that `errno` stays.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec, now.tv_nsec)
}

/// This process's id, in its pid namespace.
pub(crate) fn pid() -> i32 {
    // SAFETY: has no preconditions.
    unsafe { call(libc::SYS_getpid, [0; 6]) }.map_or(0, |pid| pid as i32)
}

/// The metadata of an open segment's file.
pub(crate) fn stat_of(file: &impl std::os::fd::AsFd) -> Result<Stat, c_int> {
    stat_number(std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()))
}

/// Bytes as a path.
pub(crate) fn c_string(bytes: &[u8]) -> Result<std::ffi::CString, c_int> {
    std::ffi::CString::new(bytes).map_err(|_| libc::EINVAL)
}

/// The metadata of what a path leads to.
pub(crate) fn stat_following(path: &CStr) -> Result<Stat, c_int> {
    stat_at(libc::AT_FDCWD, path, 0)
}

/// Opens a file of the system's.
pub(crate) fn open_following(path: &CStr, access: c_int) -> Result<Descriptor, c_int> {
    let flags = access | libc::O_CLOEXEC;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), flags as usize, 0, 0, 0];
    // SAFETY: the path ends with a NUL byte and outlives the call.
    unsafe { call(libc::SYS_openat, arguments) }.map(|number| Descriptor(number as c_int))
}

/// Reads what comes next; how many bytes.
pub(crate) fn read(file: &Descriptor, buffer: &mut [u8]) -> Result<usize, c_int> {
    loop {
        let arguments = [file.number() as usize, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0];
        // SAFETY: the kernel writes into the buffer, as much as it has room for.
        match unsafe { call(libc::SYS_read, arguments) } {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// Maps a file, in whole pages.
pub(crate) fn map(
    address: usize,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: &Descriptor,
    offset: usize,
) -> Result<usize, c_int> {
    let arguments = [address, len, protection as usize, flags as usize, file.number() as usize, offset];
    // SAFETY: what is replaced, if anything, the caller of `shmat` or of `fork` asked to have replaced.
    unsafe { call(libc::SYS_mmap, arguments) }
}

/// Unmaps what this library mapped.
pub(crate) fn unmap(address: usize, len: usize) -> Result<(), c_int> {
    // SAFETY: the caller has made sure that it is an attachment's, whose user gives it up.
    unsafe { call(libc::SYS_munmap, [address, len, 0, 0, 0, 0]) }.map(|_| ())
}

/// Keeps pages in memory, bringing them in.
pub(crate) fn lock_in_memory(address: usize, len: usize) -> Result<(), c_int> {
    // SAFETY: changes no bytes.
    unsafe { call(libc::SYS_mlock, [address, len, 0, 0, 0, 0]) }.map(|_| ())
}

/// Lets others run for a moment.
pub(crate) fn pause() {
    let moment = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    // SAFETY: the kernel reads the structure.
    let _ = unsafe { call(libc::SYS_nanosleep, [(&raw const moment).addr(), 0, 0, 0, 0, 0]) };
}

/// This process's id when it was last asked for; 0 after a fork.
static PID: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

/// This process's id, without asking every time.
pub(crate) fn own_pid() -> i32 {
    use std::sync::atomic::Ordering::Relaxed;
    match PID.load(Relaxed) {
        0 => {
            let pid = pid();
            PID.store(pid, Relaxed);
            pid
        }
        pid => pid,
    }
}

/// In a forked child.
pub(crate) fn forget_pid() {
    PID.store(0, std::sync::atomic::Ordering::Relaxed);
}

/// The id of the process that this one was forked from.
pub(crate) fn parent() -> i32 {
    // SAFETY: has no preconditions.
    unsafe { call(libc::SYS_getppid, [0; 6]) }.map_or(0, |pid| pid as i32)
}

/// Copies a value to where a program wants it, as the kernel does: `EFAULT` if it cannot be written there.
pub(crate) fn copy_out<T>(value: &T, to: *mut T) -> Result<(), c_int> {
    // SAFETY: the value is initialised memory of this size; where it goes the kernel checks.
    match unsafe { copy(libc::SYS_process_vm_writev, std::ptr::from_ref(value).cast_mut(), to) } {
        Err(libc::EPERM | libc::ENOSYS) => {
            // SAFETY: where the call is forbidden, a bad pointer is a fault, as in most functions of libc.
            unsafe { to.write_unaligned(std::ptr::read(value)) };
            Ok(())
        }
        other => other,
    }
}

/// Copies a value from where a program has it: `EFAULT` if it cannot be read there.
///
/// # Safety
///
/// All bits are values of the type.
pub(crate) unsafe fn copy_in<T>(from: *const T) -> Result<T, c_int> {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the value has room for it; where it comes from the kernel checks.
    match unsafe { copy(libc::SYS_process_vm_readv, value.as_mut_ptr(), from.cast_mut()) } {
        // SAFETY: as in `copy_out`.
        Err(libc::EPERM | libc::ENOSYS) => unsafe { Ok(from.read_unaligned()) },
        // SAFETY: the kernel filled it, and the caller vouches for the type.
        other => other.map(|()| unsafe { value.assume_init() }),
    }
}

/// # Safety
///
/// `own` is memory of this library's, to be read or written.
unsafe fn copy<T>(number: libc::c_long, own: *mut T, theirs: *mut T) -> Result<(), c_int> {
    let own = libc::iovec { iov_base: own.cast(), iov_len: size_of::<T>() };
    let theirs = libc::iovec { iov_base: theirs.cast(), iov_len: size_of::<T>() };
    let arguments = [own_pid() as usize, (&raw const own).addr(), 1, (&raw const theirs).addr(), 1, 0];
    // SAFETY: as the caller promises.
    let copied = unsafe { call(number, arguments) }?;
    if copied == size_of::<T>() { Ok(()) } else { Err(libc::EFAULT) }
}
