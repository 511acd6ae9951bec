//! Linux.

pub(crate) mod barrier;
pub(crate) mod directory;
pub(crate) mod extent;
pub(crate) mod file;
pub(crate) mod filesystem;
pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod process;
pub(crate) mod robust;
pub(crate) mod signal;
#[cfg(not(target_os = "android"))]
pub(crate) mod sysv;
pub(crate) mod watch;
pub(crate) mod who;
