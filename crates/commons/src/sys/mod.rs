//! The only floor that speaks to the operating system.
//!
//! One module for each system, all of the same shape; the floors above name none of them. Functions
//! here translate between Rust and one system call (or a few that belong together) and report the
//! system's own error code; what the code means for a segment is decided above.

pub(crate) mod table;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{
    barrier, directory, extent, file, filesystem, futex, limits, lock, map, process, robust, signal, watch,
    who,
};

#[cfg(target_os = "linux")]
pub(crate) use linux::sysv;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!("Commons runs on Linux; another system is one more module beside `sys/linux`");

pub(crate) use rustix::io::Errno;

/// The result of a system call: a value, or the system's error code.
pub(crate) type Result<T> = core::result::Result<T, Errno>;
