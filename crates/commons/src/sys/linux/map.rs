//! Mappings: made, advised, unmapped.

use std::ffi::c_void;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::mm::{Advice, MapFlags, MlockFlags, MsyncFlags, ProtFlags};

use super::super::{Errno, Result};

/// Bytes in a page.
#[inline]
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    match SIZE.load(Relaxed) {
        0 => {
            // SAFETY: asks for a constant of the system.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).unwrap_or(4096);
            SIZE.store(size, Relaxed);
            size
        }
        size => size,
    }
}

/// Bytes that a mapping has at most: no object of Rust's is larger.
pub(crate) const LONGEST: usize = isize::MAX as usize;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Wherever the kernel finds room.
    Anywhere,
    /// Anywhere, at a multiple of this many bytes (a power of two, and of the page size).
    Aligned(usize),
    /// At this address, if nothing is mapped there (`EEXIST` otherwise).
    At(usize),
    /// At this address, in place of whatever is mapped there.
    Replacing(usize),
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Bytes of address space, a multiple of the page size; may reach past the end of the file.
    pub(crate) len: usize,
    /// Where in the file, a multiple of the page size.
    pub(crate) offset: u64,
    pub(crate) writable: bool,
    pub(crate) place: Where,
}

/// Maps a file, shared.
///
/// # Safety
///
/// With `Where::Replacing`, nothing may use what is mapped there now.
#[inline]
pub(crate) unsafe fn map(fd: BorrowedFd<'_>, request: Request) -> Result<NonNull<u8>> {
    let protection = if request.writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    let (address, flags) = match request.place {
        Where::Anywhere => (0, MapFlags::SHARED),
        Where::Aligned(alignment) => match find_aligned(request.len, alignment)? {
            // The hole may be gone again by now: then an unaligned place has to do.
            Some(address) => (address, MapFlags::SHARED),
            None => (0, MapFlags::SHARED),
        },
        Where::At(address) => (address, MapFlags::SHARED | MapFlags::FIXED_NOREPLACE),
        Where::Replacing(address) => (address, MapFlags::SHARED | MapFlags::FIXED),
    };
    let wanted = ptr::without_provenance_mut::<c_void>(address);
    // SAFETY: without `FIXED` the kernel overlays no mapping; with it, the caller vouches for the range.
    let got = unsafe { rustix::mm::mmap(wanted, request.len, protection, flags, fd, request.offset)? };
    if matches!(request.place, Where::At(_)) && got != wanted {
        // Kernels before 4.17 take the flag for a mere hint.
        // SAFETY: the range was mapped just now, and nobody knows of it.
        unsafe { rustix::mm::munmap(got, request.len)? };
        return Err(Errno::EXIST);
    }
    NonNull::new(got.cast()).ok_or(Errno::INVAL)
}

/// An address, a multiple of `alignment`, where `len` bytes are free at this moment.
#[cold]
fn find_aligned(len: usize, alignment: usize) -> Result<Option<usize>> {
    let Some(span) = len.checked_add(alignment) else { return Ok(None) };
    // SAFETY: a fresh private mapping that overlays nothing.
    let found = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            span,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )?
    };
    // SAFETY: made just above, and nobody knows of it.
    unsafe { rustix::mm::munmap(found, span)? };
    Ok(found.addr().checked_next_multiple_of(alignment))
}

/// Ends a mapping.
///
/// # Safety
///
/// `address .. address + len` is one that `map` gave, and nothing uses it any more.
pub(crate) unsafe fn unmap(address: NonNull<u8>, len: usize) -> Result<()> {
    // SAFETY: as the caller promises.
    unsafe { rustix::mm::munmap(address.as_ptr().cast(), len) }
}

/// Whether the mapping that the address lies in is shared with whoever else maps the same; `None` without `/proc`, or if
/// nothing is mapped there.
///
/// Allocates nothing: in a child that `_Fork` made of a threaded program, the allocator may stay locked for ever.
pub(crate) fn is_shared(address: usize) -> Option<bool> {
    let mut maps = fs::File::open("/proc/self/maps").ok()?;
    let mut buffer = [0; 4096];
    // Of each line, the beginning.
    let (mut line, mut len) = ([0; RANGE_AND_PERMISSIONS], 0);
    loop {
        let read = match maps.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        for byte in &buffer[..read] {
            match (byte, line.get_mut(len)) {
                (b'\n', _) => match shared_if_within(&line[..len], address) {
                    None => len = 0,
                    found => return found,
                },
                (byte, Some(place)) => (*place, len) = (*byte, len + 1),
                (_, None) => {}
            }
        }
    }
}

/// As many bytes as two addresses and the permissions behind them take at most.
const RANGE_AND_PERMISSIONS: usize = 38;

/// If the mapping of this line has the address: whether it is shared.
fn shared_if_within(line: &[u8], address: usize) -> Option<bool> {
    // FROM-TO permissions offset device inode path, see proc(5); the last of the permissions is s or p.
    let (range, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    (number(from)?..number(to)?).contains(&address).then(|| rest.as_bytes().get(3) == Some(&b's'))
}

/// One more mapping of the page at `address`, which nothing can be read or written through: it keeps what the
/// mapping's file description keeps.
pub(crate) fn anchor(address: NonNull<u8>, page: usize) -> Result<NonNull<u8>> {
    let flags = rustix::mm::MremapFlags::MAYMOVE;
    // SAFETY: an old size of 0 leaves a shared mapping as it is and maps the same page again elsewhere, see
    // mremap(2).
    let twin = unsafe { rustix::mm::mremap(address.as_ptr().cast(), 0, page, flags)? };
    // SAFETY: made just now, and nobody knows of it.
    unsafe { rustix::mm::mprotect(twin, page, rustix::mm::MprotectFlags::empty())? };
    NonNull::new(twin.cast()).ok_or(Errno::INVAL)
}

/// A mapping of a file's first page that nothing can be read or written through, and that a forked child does not
/// get: it keeps what the file description keeps, for this process alone.
pub(crate) fn pin(fd: BorrowedFd<'_>, page: usize) -> Result<NonNull<u8>> {
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: without `FIXED` the kernel overlays no mapping.
    let pin = unsafe { rustix::mm::mmap(ptr::null_mut(), page, ProtFlags::empty(), flags, fd, 0)? };
    let pin = NonNull::new(pin.cast()).ok_or(Errno::INVAL)?;
    if let Err(error) = advise(pin, page, Advice::LinuxDontFork) {
        // SAFETY: made just now, and nobody knows of it.
        unsafe { unmap(pin, page)? };
        return Err(error);
    }
    Ok(pin)
}

/// Brings every page into memory and into the page table now; `EFAULT` where there is no room for one.
/// `EINVAL` from kernels before 5.14.
pub(crate) fn populate(address: NonNull<u8>, len: usize, writable: bool) -> Result<()> {
    let advice = if writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
    advise(address, len, advice)
}

/// Asks for huge pages in this range; `EINVAL` where the kernel was built without them.
pub(crate) fn ask_for_huge_pages(address: NonNull<u8>, len: usize) -> Result<()> {
    advise(address, len, Advice::LinuxHugepage)
}

fn advise(address: NonNull<u8>, len: usize, advice: Advice) -> Result<()> {
    loop {
        // SAFETY: none of the advices used here changes what the bytes of a shared mapping are.
        match unsafe { rustix::mm::madvise(address.as_ptr().cast(), len, advice) } {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Brings the pages in and keeps them in memory.
pub(crate) fn lock_in_memory(address: NonNull<u8>, len: usize) -> Result<()> {
    // SAFETY: locking pages changes no bytes.
    match unsafe { rustix::mm::mlock_with(address.as_ptr().cast(), len, MlockFlags::empty()) } {
        // SAFETY: as above.
        Err(Errno::NOSYS) => unsafe { rustix::mm::mlock(address.as_ptr().cast(), len) },
        other => other,
    }
}

/// Writes changed pages to the file's storage and waits until they are there.
pub(crate) fn flush(address: NonNull<u8>, len: usize) -> Result<()> {
    // SAFETY: writing pages back changes no bytes.
    unsafe { rustix::mm::msync(address.as_ptr().cast(), len, MsyncFlags::SYNC) }
}

/// Private zeroed memory that a forked child finds zeroed again, and whether the kernel does the latter.
pub(crate) fn zeroed_in_children(len: usize) -> Result<(NonNull<u8>, bool)> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh private mapping that overlays nothing.
    let got = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
    // SAFETY: made just above; nothing is lost in this process.
    let wiped = unsafe { rustix::mm::madvise(got, len, Advice::LinuxWipeOnFork) }.is_ok();
    Ok((NonNull::new(got.cast()).ok_or(Errno::INVAL)?, wiped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_understood() {
        let line = b"7f1200001000-7f1200003000 rw-s 00000000 ";
        assert_eq!(shared_if_within(&line[..RANGE_AND_PERMISSIONS], 0x7f12_0000_1000), Some(true));
        assert_eq!(shared_if_within(line, 0x7f12_0000_2fff), Some(true));
        assert_eq!(shared_if_within(line, 0x7f12_0000_3000), None);
        assert_eq!(shared_if_within(b"08048000-08049000 r-xp 00000000 08:02", 0x0804_8000), Some(false));
        for nonsense in [&b""[..], b"-", b"7f-", b"7f-80", b"x-y r--s", b"\xff\xff"] {
            assert_eq!(shared_if_within(nonsense, 0x7f), None);
        }
    }

    #[test]
    fn shared_mappings_are_told_apart() {
        let page = page_size();
        // So many that the list is read in several pieces.
        let pages: Vec<_> = (0..300)
            .map(|index| {
                let kind = if index % 2 == 0 { MapFlags::SHARED } else { MapFlags::PRIVATE };
                // SAFETY: overlays nothing.
                unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), page, ProtFlags::READ, kind) }.unwrap()
            })
            .collect();
        for (index, address) in pages.iter().enumerate() {
            assert_eq!(is_shared(address.addr() + page - 1), Some(index % 2 == 0));
        }
        for address in pages {
            // SAFETY: made above, and nobody uses it.
            unsafe { rustix::mm::munmap(address, page) }.unwrap();
        }
        let on_the_stack = 1;
        assert_eq!(is_shared(ptr::from_ref(&on_the_stack).addr()), Some(false));
        assert_eq!(is_shared(0), None);
    }
}
