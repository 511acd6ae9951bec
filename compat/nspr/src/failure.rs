//! Errors as NSPR has them: its own code beside the operating system's.

use std::io;

use commons::Error;
use commons_compat::code;

/// What a failed call tells: `PR_GetError` and `PR_GetOSError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// NSPR's code.
    pub(crate) code: i32,
    /// The operating system's.
    pub(crate) system: i32,
}

/// A result of this library.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The failure for an `errno`.
    pub(crate) fn of(system: i32) -> Failure {
        Failure { code: nspr_code(system), system }
    }

    /// What this thread's last system call failed with.
    pub(crate) fn last() -> Failure {
        Failure::of(code::last_errno())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::of(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::of(code::errno(&error))
    }
}

/// NSPR's code for an `errno`, as libnspr4 4.35 was seen to translate each of them.
fn nspr_code(system: i32) -> i32 {
    match system {
        libc::ENOMEM => -6000,
        libc::EBADF => -5999,
        libc::EAGAIN => -5998,
        libc::EFAULT => -5997,
        libc::ESPIPE | libc::ERANGE => -5996,
        libc::EINTR => -5993,
        libc::ENOSYS => -5992,
        libc::EIO | libc::EPROTO | libc::EBADMSG => -5991,
        libc::ETIMEDOUT => -5990,
        libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT => -5987,
        libc::EADDRNOTAVAIL => -5986,
        libc::EPROTOTYPE | libc::EAFNOSUPPORT => -5985,
        libc::EISCONN => -5984,
        libc::EADDRINUSE => -5982,
        libc::ECONNREFUSED => -5981,
        libc::ENETUNREACH => -5980,
        libc::ENOTCONN => -5978,
        libc::ENOSR | libc::ENOBUFS => -5974,
        libc::EMFILE => -5971,
        libc::ENFILE => -5970,
        libc::ENOTSOCK => -5969,
        libc::EOPNOTSUPP => -5968,
        libc::EPERM | libc::EACCES => -5966,
        libc::EPROTONOSUPPORT => -5964,
        libc::ENOLINK | libc::EMULTIHOP => -5963,
        libc::EOVERFLOW => -5962,
        libc::EPIPE | libc::ECONNRESET => -5961,
        libc::EDEADLK => -5959,
        libc::ENOLCK => -5958,
        libc::EFBIG => -5957,
        libc::ENOSPC | libc::EDQUOT => -5956,
        libc::EISDIR => -5953,
        libc::ELOOP => -5952,
        libc::ENAMETOOLONG => -5951,
        libc::ENOENT | libc::ENXIO | libc::ENODEV => -5950,
        libc::ENOTDIR => -5949,
        libc::EROFS => -5948,
        libc::EBUSY => -5946,
        libc::EXDEV => -5945,
        libc::EEXIST => -5943,
        libc::EMLINK => -5942,
        libc::EINPROGRESS => -5934,
        libc::EALREADY => -5933,
        libc::ECONNABORTED => -5928,
        libc::EHOSTDOWN | libc::EHOSTUNREACH => -5927,
        _ => -5994,
    }
}
