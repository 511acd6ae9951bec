//! Who may do what: the rules of `ipcperms` and its like.

use libc::c_int;

use super::{Entry, Permissions};
use crate::kernel;

/// What lets a process use what is not its own.
const CAP_IPC_OWNER: u32 = 15;
/// What lets it change and remove that.
const CAP_SYS_ADMIN: u32 = 21;
/// What lets it lock memory.
pub(crate) const CAP_IPC_LOCK: u32 = 14;

/// May read; to be combined.
pub(crate) const READ: u32 = 0o444;
/// May write.
pub(crate) const WRITE: u32 = 0o222;
/// May execute.
pub(crate) const EXECUTE: u32 = 0o111;

/// The effective user.
#[inline]
pub(crate) fn user() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { kernel::call(libc::SYS_geteuid, [0; 6]) }.map_or(u32::MAX, |user| user as u32)
}

/// The effective group.
pub(crate) fn group() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { kernel::call(libc::SYS_getegid, [0; 6]) }.map_or(u32::MAX, |group| group as u32)
}

/// Whether the caller has what the permission bits of `flags` ask for: those of all three classes together, as
/// `shmget` and `semget` have them. `EACCES` otherwise.
#[inline]
pub(crate) fn check(entry: &Entry, permissions: &Permissions, flags: u32) -> Result<(), c_int> {
    let asked = (flags >> 6 | flags >> 3 | flags) & 0o7;
    let mode = permissions.mode;
    // What everybody has is given without asking who the caller is.
    if asked & !(mode >> 6 & mode >> 3 & mode) == 0 || granted(entry, permissions, asked) {
        return Ok(());
    }
    if has_capability(CAP_IPC_OWNER) { Ok(()) } else { Err(libc::EACCES) }
}

#[inline]
fn granted(entry: &Entry, permissions: &Permissions, asked: u32) -> bool {
    use std::sync::atomic::Ordering::Relaxed;
    let user = user();
    let mode = if user == permissions.uid || user == entry.cuid.load(Relaxed) {
        permissions.mode >> 6
    } else if is_in_group(permissions.gid) || is_in_group(entry.cgid.load(Relaxed)) {
        permissions.mode >> 3
    } else {
        permissions.mode
    };
    asked & !mode == 0
}

/// Whether the caller may change or remove it: owner, creator, administrator. `EPERM` otherwise.
pub(crate) fn check_owner(entry: &Entry, permissions: &Permissions) -> Result<(), c_int> {
    use std::sync::atomic::Ordering::Relaxed;
    let user = user();
    let own = user == permissions.uid || user == entry.cuid.load(Relaxed);
    if own || has_capability(CAP_SYS_ADMIN) { Ok(()) } else { Err(libc::EPERM) }
}

#[cold]
fn is_in_group(wanted: u32) -> bool {
    if wanted == group() {
        return true;
    }
    let mut groups = [0_u32; 256];
    let arguments = [groups.len(), groups.as_mut_ptr().addr(), 0, 0, 0, 0];
    // SAFETY: the kernel writes so many at most.
    match unsafe { kernel::call(libc::SYS_getgroups, arguments) } {
        Ok(count) => groups.iter().take(count).any(|group| *group == wanted),
        // Only with more groups than that.
        Err(_) => {
            let mut groups = vec![0_u32; 65_536];
            let arguments = [groups.len(), groups.as_mut_ptr().addr(), 0, 0, 0, 0];
            // SAFETY: as above.
            let count = unsafe { kernel::call(libc::SYS_getgroups, arguments) }.unwrap_or(0);
            groups.iter().take(count).any(|group| *group == wanted)
        }
    }
}

/// Whether the calling thread has a capability in effect.
#[cold]
pub(crate) fn has_capability(number: u32) -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`, of `linux/capability.h`.
    const VERSION: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION, pid: 0 };
    // Effective, permitted, inheritable; the lower 32 of each, then the upper.
    let mut sets = [[0_u32; 3]; 2];
    let arguments = [(&raw mut header).addr(), (&raw mut sets).addr(), 0, 0, 0, 0];
    // SAFETY: the kernel reads the one structure and fills the other, of the layout of that version.
    let done = unsafe { kernel::call(libc::SYS_capget, arguments) };
    done.is_ok() && sets[number as usize / 32][0] >> (number % 32) & 1 != 0
}
