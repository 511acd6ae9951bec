//! Which errors a system call can give: after the sections `ERRORS` of the manual's pages, five at least for each.

use libc::{
    EACCES, EAGAIN, EBADF, EBUSY, EDEADLK, EDQUOT, EEXIST, EFAULT, EFBIG, EINTR, EINVAL, EIO, EISDIR, ELOOP,
    EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOLCK, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENXIO, EOPNOTSUPP,
    EOVERFLOW, EPERM, EROFS, ESRCH, ETIMEDOUT, EXDEV,
};

type Row = (i64, &'static str, &'static [i32]);

/// Those that are met, or may be.
const TABLE: &[Row] = &[
    (
        libc::SYS_openat,
        "openat",
        &[ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR, EIO, ELOOP, EEXIST, ENOSPC, EOPNOTSUPP],
    ),
    (libc::SYS_openat2, "openat2", &[ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN, EXDEV, ENOSYS]),
    (libc::SYS_open, "open", &[ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, EINTR, ENOSPC]),
    (libc::SYS_close, "close", &[EINTR, EIO, ENOSPC, EDQUOT, EFBIG]),
    (libc::SYS_fcntl, "fcntl", &[EAGAIN, ENOLCK, EINTR, EDEADLK, EBADF, EINVAL, EACCES]),
    (libc::SYS_fstat, "fstat", &[EBADF, ENOMEM, EIO, EOVERFLOW, EACCES]),
    (libc::SYS_newfstatat, "newfstatat", &[ENOENT, EACCES, ENOMEM, EIO, ELOOP, EOVERFLOW]),
    (libc::SYS_statx, "statx", &[ENOENT, EACCES, ENOMEM, EIO, ENOSYS, EPERM]),
    (libc::SYS_statfs, "statfs", &[EACCES, EINTR, EIO, ENOMEM, ENOSYS]),
    (libc::SYS_fstatfs, "fstatfs", &[EBADF, EINTR, EIO, ENOMEM, ENOSYS]),
    (libc::SYS_fchmod, "fchmod", &[EIO, EPERM, EROFS, ENOMEM, EINTR]),
    (libc::SYS_fchown, "fchown", &[EIO, EPERM, EROFS, ENOMEM, EINTR]),
    (libc::SYS_ftruncate, "ftruncate", &[EINTR, EFBIG, EIO, EPERM, ENOSPC, EINVAL]),
    (libc::SYS_fallocate, "fallocate", &[ENOSPC, EINTR, EFBIG, EIO, ENOMEM, EOPNOTSUPP, EPERM]),
    (libc::SYS_linkat, "linkat", &[EEXIST, EACCES, EIO, ENOSPC, ENOENT, ENOMEM, EPERM, EROFS]),
    (libc::SYS_unlink, "unlink", &[EACCES, EBUSY, EIO, ENOENT, ENOMEM, EPERM, EROFS]),
    (libc::SYS_unlinkat, "unlinkat", &[EACCES, EBUSY, EIO, ENOENT, ENOMEM, EPERM, EROFS]),
    (libc::SYS_renameat2, "renameat2", &[EEXIST, EACCES, EIO, ENOSPC, ENOMEM, EINVAL, ENOSYS]),
    (libc::SYS_renameat, "renameat", &[EACCES, EIO, ENOSPC, ENOMEM, EROFS, EISDIR]),
    (libc::SYS_rename, "rename", &[EACCES, EIO, ENOSPC, ENOMEM, EROFS, EISDIR]),
    (libc::SYS_mmap, "mmap", &[ENOMEM, EACCES, EAGAIN, ENFILE, EPERM, ENODEV]),
    (libc::SYS_munmap, "munmap", &[ENOMEM, EINVAL, EINTR, EAGAIN, EPERM]),
    (libc::SYS_mremap, "mremap", &[ENOMEM, EAGAIN, EFAULT, EINVAL, EPERM]),
    (libc::SYS_mprotect, "mprotect", &[ENOMEM, EACCES, EINVAL, EAGAIN, EPERM]),
    (libc::SYS_madvise, "madvise", &[ENOMEM, EINVAL, EAGAIN, EIO, EBADF]),
    // Gives no errors, but the break that there was; only the allocator calls it, and what that does then is its matter.
    (libc::SYS_brk, "brk", &[]),
    (libc::SYS_futex, "futex", &[EAGAIN, EINTR, ETIMEDOUT, EINVAL, EFAULT, ENOSYS, ENOMEM]),
    (libc::SYS_futex_waitv, "futex_waitv", &[EAGAIN, EINTR, ETIMEDOUT, EINVAL, EFAULT, ENOSYS, ENOMEM]),
    (libc::SYS_get_robust_list, "get_robust_list", &[EPERM, ESRCH, EFAULT, ENOSYS, EINVAL]),
    (libc::SYS_set_robust_list, "set_robust_list", &[EINVAL, EPERM, EFAULT, ENOSYS, ENOMEM]),
    (libc::SYS_read, "read", &[EINTR, EIO, EAGAIN, EINVAL, EBADF, EISDIR]),
    (libc::SYS_pread64, "pread64", &[EINTR, EIO, EAGAIN, EINVAL, EBADF, ENXIO]),
    (libc::SYS_preadv, "preadv", &[EINTR, EIO, EAGAIN, EINVAL, EBADF]),
    (libc::SYS_readv, "readv", &[EINTR, EIO, EAGAIN, EINVAL, EBADF]),
    (libc::SYS_write, "write", &[EINTR, EIO, ENOSPC, EFBIG, EAGAIN, EBADF]),
    (libc::SYS_writev, "writev", &[EINTR, EIO, ENOSPC, EFBIG, EAGAIN]),
    (libc::SYS_pwrite64, "pwrite64", &[EINTR, EIO, ENOSPC, EFBIG, EAGAIN]),
    (libc::SYS_pwritev, "pwritev", &[EINTR, EIO, ENOSPC, EFBIG, EAGAIN]),
    // Not ENXIO, which is an answer: that there is no more data.
    (libc::SYS_lseek, "lseek", &[EINVAL, EOVERFLOW, EBADF, EIO, ENOMEM]),
    (libc::SYS_fsync, "fsync", &[EIO, ENOSPC, EINTR, EROFS, EINVAL]),
    (libc::SYS_fdatasync, "fdatasync", &[EIO, ENOSPC, EINTR, EROFS, EINVAL]),
    (libc::SYS_flock, "flock", &[EAGAIN, EINTR, ENOLCK, EBADF, EINVAL]),
    // Not ENOENT: that the directory is gone would be a lie, and means that nothing is left in it.
    (libc::SYS_getdents64, "getdents64", &[ENOMEM, ENOTDIR, EINVAL, EBADF, EIO]),
    (libc::SYS_readlink, "readlink", &[EACCES, EIO, ENOENT, ENOMEM, ENAMETOOLONG]),
    (libc::SYS_readlinkat, "readlinkat", &[EACCES, EIO, ENOENT, ENOMEM, ENAMETOOLONG]),
    (libc::SYS_memfd_create, "memfd_create", &[EMFILE, ENFILE, ENOMEM, EINVAL, EPERM]),
    (libc::SYS_inotify_init1, "inotify_init1", &[EMFILE, ENFILE, ENOMEM, EINVAL, ENOSYS]),
    (libc::SYS_inotify_add_watch, "inotify_add_watch", &[EACCES, ENOENT, ENOMEM, ENOSPC, EINVAL]),
    (libc::SYS_poll, "poll", &[EINTR, EINVAL, ENOMEM, EFAULT, EAGAIN]),
    (libc::SYS_ppoll, "ppoll", &[EINTR, EINVAL, ENOMEM, EFAULT, EAGAIN]),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", &[EINTR, EINVAL, EFAULT, EOPNOTSUPP, ENOSYS]),
    (libc::SYS_nanosleep, "nanosleep", &[EINTR, EINVAL, EFAULT, ENOMEM, ENOSYS]),
    (libc::SYS_clock_gettime, "clock_gettime", &[EINVAL, EFAULT, EACCES, EPERM, ENOSYS]),
    (libc::SYS_getrandom, "getrandom", &[EINTR, EAGAIN, EFAULT, EINVAL, ENOSYS]),
    (libc::SYS_prlimit64, "prlimit64", &[EINVAL, EPERM, EFAULT, ESRCH, ENOSYS]),
    (libc::SYS_getrlimit, "getrlimit", &[EINVAL, EPERM, EFAULT, ESRCH, ENOSYS]),
    (libc::SYS_sysinfo, "sysinfo", &[EFAULT, EINVAL, ENOSYS, EPERM, ENOMEM]),
    (libc::SYS_dup, "dup", &[EMFILE, EBADF, ENOMEM, EINTR, EBUSY]),
    (libc::SYS_dup3, "dup3", &[EMFILE, EBADF, ENOMEM, EINTR, EBUSY]),
    // Not ESRCH, which would be a lie, and a process that is lied to about others' lives can do nothing.
    (libc::SYS_kill, "kill", &[EPERM, EINVAL, ENOSYS, EACCES, ENOMEM]),
    (libc::SYS_tgkill, "tgkill", &[EPERM, EINVAL, ENOSYS, EACCES, EAGAIN]),
    // Cannot fail.
    (libc::SYS_gettid, "gettid", &[]),
    (libc::SYS_getpid, "getpid", &[]),
    (libc::SYS_getppid, "getppid", &[]),
    (libc::SYS_getuid, "getuid", &[]),
    (libc::SYS_geteuid, "geteuid", &[]),
    (libc::SYS_getgid, "getgid", &[]),
    (libc::SYS_getegid, "getegid", &[]),
    (libc::SYS_shmget, "shmget", &[EACCES, EEXIST, EINVAL, ENFILE, ENOENT, ENOMEM, ENOSPC]),
    (libc::SYS_semop, "semop", &[EAGAIN, EINTR, ENOSPC, ENOMEM, EFBIG, EACCES]),
];

/// What any call may be refused with: by a filter, or for want of something.
const ANY: &[i32] = &[EPERM, EINVAL, ENOMEM, ENOSYS, EINTR];

/// The errors of the call with this number. That a file is not there is a lie if it is, unless it belongs to the kernel,
/// which may not show it; one who is told so takes it for removed, and is right.
pub(crate) fn of(number: i64, kernels: bool) -> Vec<i32> {
    let errors = TABLE.iter().find(|row| row.0 == number).map_or(ANY, |row| row.2);
    let opens = number == libc::SYS_openat || number == libc::SYS_open;
    errors.iter().copied().filter(|error| kernels || !opens || *error != ENOENT).collect()
}

/// What the call with this number is called.
pub(crate) fn name(number: i64) -> String {
    TABLE
        .iter()
        .find(|row| row.0 == number)
        .map_or_else(|| format!("number {number}"), |row| row.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_five_errors_and_none_twice() {
        for (number, name, errors) in TABLE {
            assert!(errors.len() >= 5 || errors.is_empty(), "{name} has too few");
            let mut unique = errors.to_vec();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), errors.len(), "{name} has one twice");
            assert_eq!(TABLE.iter().filter(|row| row.0 == *number).count(), 1, "{name} is there twice");
        }
    }
}
