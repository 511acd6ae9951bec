//! The kernel's list of the locks that a thread holds, which it walks when the thread ends: `set_robust_list(2)`,
//! and `Documentation/locking/robust-futex-ABI.rst` in the kernel's sources.
//!
//! With `--cfg commons_no_list`, for tests under emulators that have no such list, a thread has one that nobody walks: locks
//! work, and no death is told of.

use std::ptr;

use super::super::{Errno, Result};

/// The thread's list head, as the kernel defines it. In a C library's memory, mostly.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Head {
    /// Address of the first node, or of this field if there is none. Its lowest bit says something about the node.
    pub(crate) next: usize,
    /// What to add to a node's address for its futex word's.
    pub(crate) futex_offset: isize,
    /// Address of the node that is just being put in or taken out; 0 for none.
    pub(crate) pending: usize,
}

/// Where the calling thread's list begins; null if it has none.
pub(crate) fn list() -> Result<*mut Head> {
    if cfg!(commons_no_list) {
        return Ok(ptr::null_mut());
    }
    let mut head: *mut Head = ptr::null_mut();
    let mut len: usize = 0;
    // SAFETY: the kernel writes an address and a length to two variables that outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if done != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS));
    }
    if !head.is_null() && len != size_of::<Head>() {
        return Err(Errno::INVAL);
    }
    Ok(head)
}

/// Makes `head` the calling thread's list.
///
/// # Safety
///
/// It stays where it is, and its list is sound, until the thread ends or has another list.
pub(crate) unsafe fn set_list(head: *mut Head) -> Result<()> {
    if cfg!(commons_no_list) {
        return Ok(());
    }
    // SAFETY: as the caller promises.
    let done = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
    }
}

/// The calling thread's id, as the kernel writes it into locks, in its own pid namespace.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: the call cannot fail and touches no memory.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Whether there is a thread, of any process, with this id in this pid namespace.
pub(crate) fn thread_exists(id: u32) -> bool {
    // SAFETY: sends nothing.
    asked(id, |id| unsafe { libc::kill(id, 0) }.into())
}

/// Whether this process has such a thread.
pub(crate) fn thread_exists_here(id: u32) -> bool {
    // SAFETY: sends nothing.
    asked(id, |id| unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) })
}

/// Whether `send`, which sends signal 0, finds the thread.
fn asked(id: u32, send: impl FnOnce(libc::pid_t) -> libc::c_long) -> bool {
    let Ok(id) = libc::pid_t::try_from(id) else { return false };
    // Signal 0 is none: only whether there is such a thread is found out, and any thread's id will do.
    // One error says that there is none. Any other, a filter's say, leaves it open: then it is not taken for dead.
    id > 0 && (send(id) == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH))
}
