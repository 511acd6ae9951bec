//! Size and memory of a segment: had in full, or an error, before anybody touches a byte.

use std::os::fd::BorrowedFd;

use crate::error::{Attempt, Error, Limit, Result};
use crate::sys::map::{self, Request, Where};
use crate::sys::{Errno, file, filesystem, limits};

/// What is to be reserved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sparse: bool,
    pub(crate) huge_pages: bool,
    pub(crate) kind: filesystem::Kind,
    /// Bytes in a page on hugetlbfs.
    pub(crate) block: u64,
}

impl Plan {
    /// The size that the file can have: whole huge pages on hugetlbfs.
    pub(crate) fn rounded(self) -> u64 {
        if self.kind == filesystem::Kind::Hugetlbfs {
            self.size.checked_next_multiple_of(self.block.max(1)).unwrap_or(u64::MAX)
        } else {
            self.size
        }
    }
}

/// Looks at the limits whose breach would be a signal instead of an error. `more` is how many bytes would be
/// allocated, at once or later.
pub(crate) fn check_limits(plan: Plan, more: u64, attempt: &dyn Fn() -> Box<Attempt>) -> Result<()> {
    check_file_size(plan.rounded(), attempt)?;
    if plan.kind.is_memory() && !plan.sparse { check_memory(more, attempt) } else { Ok(()) }
}

/// Whether this process may write to a file up to `size`.
pub(crate) fn check_file_size(size: u64, attempt: &dyn Fn() -> Box<Attempt>) -> Result<()> {
    match limits::file_size(size) {
        Some(most) if size > most => Err(Error::BeyondLimit {
            attempt: attempt(),
            wanted: size,
            most,
            available: most,
            limit: Limit::FileSize,
        }),
        _ => Ok(()),
    }
}

/// Whether so many bytes of memory can be had.
pub(crate) fn check_memory(bytes: u64, attempt: &dyn Fn() -> Box<Attempt>) -> Result<()> {
    limits::memory(bytes).map_err(|short| Error::BeyondLimit {
        attempt: attempt(),
        wanted: bytes,
        most: short.limit,
        available: short.available,
        limit: short.cgroup.map_or(Limit::Machine, Limit::Cgroup),
    })
}

/// Gives a new, empty file its size and memory; the size that it got.
pub(crate) fn fill(
    fd: BorrowedFd<'_>,
    plan: Plan,
    attempt: &dyn Fn() -> Box<Attempt>,
    no_space: &dyn Fn() -> Error,
) -> Result<u64> {
    let size = plan.rounded();
    check_limits(plan, size, attempt)?;
    let failed = |error: Errno| match error {
        Errno::NOSPC | Errno::DQUOT => no_space(),
        Errno::NOMEM if plan.kind == filesystem::Kind::Hugetlbfs => no_space(),
        Errno::FBIG => {
            Error::BadOption { attempt: attempt(), why: "the filesystem has no files of that size" }
        }
        error => Error::Os { attempt: attempt(), source: error.into() },
    };
    if plan.sparse {
        let total = filesystem::of_file(fd).map_or(0, |filesystem| filesystem.total);
        if total != 0 && size > total {
            return Err(no_space());
        }
        file::set_size(fd, size).map_err(failed)?;
        return Ok(size);
    }
    if plan.huge_pages && plan.kind.is_memory() {
        file::set_size(fd, size).map_err(failed)?;
        touch_in_huge_pages(fd, size);
    }
    match file::reserve(fd, 0, size, false) {
        // A filesystem that cannot reserve can still be written to.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(fd, size),
        other => other,
    }
    .map_err(|error| {
        // What was had in part is given back first, so that the error tells what others would find free.
        let _ = file::set_size(fd, 0);
        failed(error)
    })?;
    Ok(size)
}

/// Best effort: what it does not reach is reserved in small pages afterwards.
fn touch_in_huge_pages(fd: BorrowedFd<'_>, size: u64) {
    const HUGE: usize = 2 << 20;
    let Ok(len) = usize::try_from(size) else { return };
    let len = len - len % HUGE;
    if len == 0 {
        return;
    }
    let request = Request { len, offset: 0, writable: true, place: Where::Aligned(HUGE) };
    // SAFETY: nothing is replaced.
    let Ok(address) = (unsafe { map::map(fd, request) }) else { return };
    if map::ask_for_huge_pages(address, len).is_ok() {
        let _ = map::populate(address, len, true);
    }
    // SAFETY: made above, and nothing refers to it.
    let _ = unsafe { map::unmap(address, len) };
}

fn write_zeros(fd: BorrowedFd<'_>, size: u64) -> Result<(), Errno> {
    let zeros = [0_u8; 1 << 16];
    let mut at = 0;
    while at < size {
        let now = usize::try_from(size - at).unwrap_or(usize::MAX).min(zeros.len());
        at += file::write_at(fd, &zeros[..now], at)? as u64;
    }
    Ok(())
}

/// Lets `use_bytes` at all bytes of a file that nobody else can reach yet.
pub(crate) fn with_bytes(
    fd: BorrowedFd<'_>,
    size: u64,
    attempt: &dyn Fn() -> Box<Attempt>,
    use_bytes: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    struct Unmap(std::ptr::NonNull<u8>, usize);
    impl Drop for Unmap {
        fn drop(&mut self) {
            // SAFETY: mapped below, and the slice made from it has ended.
            let _ = unsafe { map::unmap(self.0, self.1) };
        }
    }
    let too_large =
        || Error::BadOption { attempt: attempt(), why: "it does not fit into this process's address space" };
    let size = usize::try_from(size).map_err(|_| too_large())?;
    let len = size
        .checked_next_multiple_of(map::page_size())
        .filter(|len| *len <= map::LONGEST)
        .ok_or_else(too_large)?;
    let request = Request { len, offset: 0, writable: true, place: Where::Anywhere };
    // SAFETY: nothing is replaced.
    let address = unsafe { map::map(fd, request) }
        .map_err(|error| Error::Os { attempt: attempt(), source: error.into() })?;
    let _unmap = Unmap(address, len);
    // SAFETY: `size` bytes are mapped, readable and writable, until `_unmap` goes. The file's descriptor was handed
    // to nobody, and it has no name, or one that Commons never opens and whose mode keeps out other users: so the
    // slice is the only way to these bytes while it lives.
    use_bytes(unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), size) })
}
