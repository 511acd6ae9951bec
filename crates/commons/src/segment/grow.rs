//! Making a segment larger while others are attached.

use std::os::fd::{AsFd, BorrowedFd};

use super::handle::Segment;
use super::patience::{PATIENCE, Patience};
use super::policy::{MOST, TOO_LARGE};
use super::reserve::{self, Plan};
use super::slot::GROWING;
use crate::error::{Error, Result};
use crate::sys::file::{self, Access};
use crate::sys::{Errno, filesystem, lock};

impl Segment {
    /// Makes the segment larger: `size` bytes in all. The new bytes are zero, and reserved unless this handle
    /// was made with [`sparse`](crate::SegmentOptions::sparse). Others may be attached meanwhile: they see the new
    /// bytes once they attach anew, or at once if they had
    /// [reserved address space](crate::AttachOptions::reserve). Growing to a size that it has already does nothing.
    ///
    /// On an error the segment is as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Shrink`] if it is larger already; [`Error::NoSpace`]; [`Error::BeyondLimit`];
    /// [`Error::ReadOnly`]; [`Error::Busy`] if another process has been growing it for a second;
    /// [`Error::HandleClosed`].
    #[doc(alias = "ftruncate")]
    pub fn grow(&self, size: u64) -> Result<()> {
        let verb = "grow";
        if self.is_read_only() {
            return Err(Error::ReadOnly(self.attempt(verb)));
        }
        self.stat(verb)?;
        let fail = |error| self.error(verb, error);
        // One at a time, across threads and processes, so that giving back after a failure takes nothing from
        // another. A description of its own, for a lock keeps out only other descriptions, and a forked child
        // shares this handle's.
        let own = file::reopen(self.fd(verb)?, Access::ReadWrite).map_err(fail)?;
        let mut patience = Patience::new(PATIENCE);
        while !lock::try_write(own.as_fd(), GROWING).map_err(fail)? {
            if !patience.pause() {
                return Err(Error::Busy { attempt: self.attempt(verb), waited: PATIENCE });
            }
        }
        let done = self.grow_locked(own.as_fd(), size);
        // Before closing: a child that is forked this moment keeps a copy of the descriptor.
        let _ = lock::unlock(own.as_fd(), GROWING);
        done
    }

    fn grow_locked(&self, fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        let verb = "grow";
        let fail = |error| self.error(verb, error);
        let attempt = || self.attempt(verb);
        let stat = self.stat(verb)?;
        let filesystem = filesystem::of_file(fd).map_err(fail)?;
        let plan = Plan {
            size,
            sparse: self.sparse,
            huge_pages: false,
            kind: filesystem.kind,
            block: filesystem.block,
        };
        let (old, new) = (stat.size, plan.rounded());
        if size > MOST {
            return Err(Error::BadOption { attempt: attempt(), why: TOO_LARGE });
        }
        if new < old {
            return Err(Error::Shrink { attempt: attempt(), size: old, wanted: size });
        }
        if new == old {
            return Ok(());
        }
        let more = new - old;
        reserve::check_limits(plan, more, &attempt)?;
        let no_space = || {
            let (free, total) = (filesystem.free, filesystem.total);
            Error::NoSpace { attempt: attempt(), wanted: more, free, total, free_files: None }
        };
        if self.sparse {
            if filesystem.total != 0 && new > filesystem.total {
                return Err(no_space());
            }
            return file::set_size(fd, new).map_err(fail);
        }
        // Memory first, past the end, then the size in one step: who looks meanwhile sees the one or the other.
        let reserve = || file::reserve(fd, old, more, true);
        let mut reserved = reserve();
        if reserved == Err(Errno::NOSPC) && filesystem.kind.is_memory() {
            // Orphans may give some back.
            let swept = self.namespace().and_then(|namespace| namespace.sweep().ok());
            if swept.is_some_and(|sweep| sweep.segments > 0) {
                reserved = reserve();
            }
        }
        match reserved.and_then(|()| file::set_size(fd, new)) {
            Ok(()) => Ok(()),
            Err(error) => {
                // Gives back what was reserved past the end.
                let _ = file::set_size(fd, old);
                Err(match error {
                    Errno::NOSPC | Errno::DQUOT => no_space(),
                    error => fail(error),
                })
            }
        }
    }
}
