//! Who may do what with a segment, by the rule of System V, which NSPR's programs know: the bits that are asked for
//! must be among those that the caller's class (owner, group, others) has; root has all.
//!
//! The file's own mode, which the kernel checks when it is opened, is the boundary: what it granted is not asked again.
//! This makes the answers the same for who could open it for another reason, its creator, and for what is not opened.

use crate::failure::{Failure, Result};

/// To be read.
pub(crate) const READ: u32 = 4;
/// To be written, or a semaphore to be waited for.
pub(crate) const WRITE: u32 = 2;

/// Whose a segment is, and its permission bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) mode: u32,
    /// What the kernel has granted this process by opening it, which it keeps, as a descriptor does. Nothing to its
    /// creator, who can open it whatever the mode.
    pub(crate) granted: u32,
}

impl Owner {
    /// Whose a segment would be that this process makes.
    pub(crate) fn creator(mode: u32) -> Owner {
        // SAFETY: has no preconditions.
        let user = unsafe { libc::geteuid() };
        // SAFETY: as above.
        Owner { user, group: unsafe { libc::getegid() }, mode: mode & 0o777, granted: 0 }
    }

    /// An error unless the caller has all these bits: `READ`, `WRITE`, 1 to be executed.
    pub(crate) fn permits(&self, wanted: u32) -> Result<()> {
        // What was granted, or what everybody may, need not be asked for.
        let everybody = self.mode & self.mode >> 3 & self.mode >> 6;
        if [self.granted, everybody].iter().any(|granted| wanted & 7 & !granted == 0) {
            return Ok(());
        }
        // SAFETY: has no preconditions.
        let user = unsafe { libc::geteuid() };
        let granted = match user {
            0 => 7,
            _ if user == self.user => self.mode >> 6,
            _ if is_member(self.group) => self.mode >> 3,
            _ => self.mode,
        };
        if wanted & !granted & 7 == 0 { Ok(()) } else { Err(Failure::of(libc::EACCES)) }
    }

    /// The same for a mode, any of whose classes may ask.
    pub(crate) fn permits_mode(&self, mode: u32) -> Result<()> {
        self.permits(mode >> 6 | mode >> 3 | mode)
    }
}

fn is_member(group: u32) -> bool {
    // SAFETY: has no preconditions.
    if unsafe { libc::getegid() } == group {
        return true;
    }
    // SAFETY: writes nothing when it is given no room.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: room for as many as it is told.
    let count = unsafe { libc::getgroups(count.max(0), groups.as_mut_ptr()) };
    groups.iter().take(usize::try_from(count).unwrap_or(0)).any(|member| *member == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_callers_class() {
        // SAFETY: has no preconditions.
        let user = unsafe { libc::geteuid() };
        if user != 0 {
            let mine = Owner { user, group: 0, mode: 0o460, granted: 0 };
            assert!(mine.permits(READ).is_ok());
            assert!(mine.permits(WRITE).is_err());
            return;
        }
        // Root has all, whatever the mode.
        assert!(Owner { user: 1, group: 1, mode: 0, granted: 0 }.permits(7).is_ok());
    }
}
