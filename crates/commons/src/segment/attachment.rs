//! Attachments: mappings of a segment in this process, how they are made and how they end.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, SeqCst},
    fence,
};

use super::attach_options::{AttachOptions, Place};
use super::handle::Segment;
use super::protocol::Hold;
use super::registry::{self, Registration};
use crate::error::{Attempt, Error, Result};
use crate::sync;
use crate::sys::file::Identity;
use crate::sys::map::{self, Request, Where};
use crate::sys::signal::{self, GuardCell};
use crate::sys::{Errno, file, filesystem, limits};

/// A segment, or a range of it, mapped into this process.
///
/// Keeps the segment alive, without a file descriptor. Detached by dropping it. `Send` and `Sync`: any
/// thread may use it, and so may a forked child, which has an attachment of its own then.
///
/// # Whose bytes these are
///
/// Other processes read and write them at any time. So there is no `&[u8]` here: what is safe is copying
/// ([`read_at`](Attachment::read_at), [`write_at`](Attachment::write_at)) and slices of atomics
/// ([`atomics`](Attachment::atomics)). For all else there is a raw pointer.
///
/// # What a foreign truncation does
///
/// Commons never makes a segment smaller. A program with permission to write to it can, by calling
/// `ftruncate`; then touching the bytes that are gone is `SIGBUS`, which ends the process, by whatever way
/// they are touched: the safe methods too. With [`guard`](Attachment::guard) it is an error instead.
/// Memory that was reserved and not truncated never faults.
pub struct Attachment {
    /// Where the mapping begins.
    base: NonNull<u8>,
    /// Bytes of address space, in whole pages.
    mapped: usize,
    /// Bytes from the mapping's beginning to the first byte asked for.
    lead: usize,
    /// Bytes that can be used, from the first one asked for.
    len: AtomicUsize,
    /// Where the first byte lies in the segment.
    offset: u64,
    /// Whether it ends where the range asked for ends, rather than with the segment.
    bounded: bool,
    writable: bool,
    /// Bytes in a page.
    page: usize,
    /// A seal keeps the segment from shrinking.
    sealed: bool,
    guard: GuardCell,
    identity: Identity,
    hold: Option<Arc<Hold>>,
    /// The id of the kernel's System V segment that it is of.
    system_v: Option<i32>,
    /// Its entry in the process's table, if objects in it were asked for.
    registration: Registration,
}

// SAFETY: the mapping belongs to the process, not to a thread; all access through `&self` is by atomics or
// raw pointers.
unsafe impl Send for Attachment {}
// SAFETY: as above.
unsafe impl Sync for Attachment {}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("address", &self.as_ptr())
            .field("len", &self.len())
            .field("offset", &self.offset)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

const VERB: &str = "attach";

impl Attachment {
    /// All of a named segment, right after it was opened and as nearly all attach it: `None` if anything is
    /// out of the ordinary, for [`new`](Attachment::new) to see to.
    #[inline]
    pub(crate) fn plain(segment: &Segment) -> Option<Attachment> {
        let (fd, len, writable) = segment.plainly()?;
        let page = map::page_size();
        let mapped = len.checked_next_multiple_of(page).filter(|mapped| *mapped <= map::LONGEST)?;
        let request = Request { len: mapped, offset: 0, writable, place: Where::Anywhere };
        // SAFETY: nothing is replaced.
        let base = unsafe { map::map(fd, request) }.ok()?;
        Some(Attachment {
            base,
            mapped,
            lead: 0,
            len: AtomicUsize::new(len),
            offset: 0,
            bounded: false,
            writable,
            page,
            sealed: false,
            guard: GuardCell::new(),
            identity: segment.identity(),
            hold: segment.hold().cloned(),
            system_v: None,
            registration: Registration::none(),
        })
    }

    pub(crate) fn new(segment: &Segment, options: &AttachOptions) -> Result<Attachment> {
        let attempt = || segment.attempt(VERB);
        let mut size = segment.size_to_attach(VERB)?;
        if options.end.is_some_and(|end| end > size) {
            size = segment.stat(VERB)?.size;
        }
        let end = options.end.unwrap_or(size);
        if end > size || options.start >= end {
            let len = end.saturating_sub(options.start);
            return Err(Error::OutOfRange { offset: options.start, len, size });
        }
        let own = segment.fd(VERB)?;
        let twin = if options.read_only && !segment.is_read_only() {
            Some(segment.read_only_twin(VERB)?)
        } else {
            None
        };
        let (fd, hold): (BorrowedFd<'_>, _) = match &twin {
            Some((fd, _)) => (fd.as_fd(), None),
            None => (own, segment.hold().cloned()),
        };
        let result = Attachment::map(segment, options, fd, end);
        let hold = match twin {
            None => hold,
            Some((fd, twin)) => keep_twin(fd, twin, result.is_ok()),
        };
        let mut attachment = result?;
        attachment.hold = hold;
        attachment.prepare(options, &attempt)?;
        Ok(attachment)
    }

    fn map(segment: &Segment, options: &AttachOptions, fd: BorrowedFd<'_>, end: u64) -> Result<Attachment> {
        let attempt = || segment.attempt(VERB);
        let bad = |why| Error::BadOption { attempt: attempt(), why };
        let too_large = || bad("it does not fit into this process's address space");
        let page = match segment.huge_page_size(fd) {
            Some(_) if options.reserve > 0 => {
                return Err(Error::Unsupported {
                    attempt: attempt(),
                    filesystem: filesystem::Kind::Hugetlbfs.name(),
                    why: "extends a file to whatever is mapped, so that no address space can be reserved past its end",
                });
            }
            Some(huge) => huge,
            None => map::page_size(),
        };
        let lead = usize::try_from(options.start % page as u64).map_err(|_| too_large())?;
        let len = usize::try_from(end - options.start).map_err(|_| too_large())?;
        let mapped =
            len.max(options.reserve).checked_add(lead).and_then(|sum| sum.checked_next_multiple_of(page));
        let mapped = mapped.filter(|mapped| *mapped <= map::LONGEST).ok_or_else(too_large)?;
        let place = match options.place {
            Place::Anywhere if options.huge_pages && mapped >= HUGE => Where::Aligned(HUGE.max(page)),
            Place::Anywhere => Where::Anywhere,
            Place::At(address) => Where::At(address),
            Place::Replacing(address) => Where::Replacing(address),
        };
        if let Where::At(address) | Where::Replacing(address) = place {
            if address % page != 0 || lead != 0 || address == 0 {
                return Err(bad(
                    "an address asked for, and the start of the range, are multiples of the page size",
                ));
            }
        }
        let writable = !options.read_only && !segment.is_read_only();
        let request = Request { len: mapped, offset: options.start - lead as u64, writable, place };
        // SAFETY: the options replace something only if the caller vouched for that.
        let base = unsafe { map::map(fd, request) }.map_err(|error| match error {
            Errno::EXIST => match place {
                Where::At(address) => Error::AddressInUse { attempt: attempt(), address },
                _ => segment.error(VERB, error),
            },
            Errno::NOMEM if limits::mappings_are_exhausted() => {
                Error::TooManyMappings { attempt: attempt(), limit: limits::mappings().unwrap_or(0) }
            }
            Errno::NOMEM if place != Where::Anywhere || mapped as u64 > 1 << 40 => too_large(),
            error => segment.error(VERB, error),
        })?;
        Ok(Attachment {
            base,
            mapped,
            lead,
            len: AtomicUsize::new(len),
            offset: options.start,
            bounded: options.end.is_some(),
            writable,
            page,
            // A file with a name can be truncated, and never be sealed against it.
            sealed: segment.hold().is_none() && file::cannot_shrink(fd),
            guard: GuardCell::new(),
            identity: segment.identity(),
            hold: None,
            system_v: None,
            registration: Registration::none(),
        })
    }

    /// All or a range of a System V segment of the kernel's that was just mapped at `base`, in whole pages.
    ///
    /// # Safety
    ///
    /// From `base` on `size` bytes are mapped, nobody else uses that mapping, and `options` lie within.
    pub(crate) unsafe fn of_system_v(
        id: i32,
        base: NonNull<u8>,
        size: usize,
        options: &AttachOptions,
    ) -> Result<Attachment> {
        let start = options.start as usize;
        let end = options.end.map_or(size, |end| end as usize);
        let page = map::page_size();
        let attachment = Attachment {
            base,
            mapped: size.next_multiple_of(page),
            lead: start,
            len: AtomicUsize::new(end - start),
            offset: options.start,
            bounded: true,
            writable: !options.read_only,
            page,
            // The kernel never makes one smaller.
            sealed: true,
            guard: GuardCell::new(),
            identity: Identity { device: 0, inode: 0 },
            hold: None,
            system_v: Some(id),
            registration: Registration::none(),
        };
        attachment.prepare(options, &|| attachment.attempt(VERB))?;
        Ok(attachment)
    }

    /// What is asked of the pages, once the mapping stands.
    fn prepare(&self, options: &AttachOptions, attempt: &dyn Fn() -> Box<Attempt>) -> Result<()> {
        let os = |error: Errno| Error::Os { attempt: attempt(), source: error.into() };
        // Only the pages that the file has: past its end there is nothing to bring in.
        let present = (self.lead + self.len()).next_multiple_of(self.page).min(self.mapped);
        if options.huge_pages {
            // Without huge pages in the kernel it is as if there were none free.
            let _ = map::ask_for_huge_pages(self.base, self.mapped);
        }
        if options.prefault || options.lock {
            match map::populate(self.base, present, self.writable) {
                // Older kernels cannot; then pages come as they are touched.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(Errno::FAULT | Errno::HWPOISON) => {
                    return Err(Error::NoSpace {
                        attempt: attempt(),
                        wanted: present as u64,
                        free: 0,
                        total: 0,
                        free_files: None,
                    });
                }
                Err(error) => return Err(os(error)),
            }
        }
        if options.lock {
            map::lock_in_memory(self.base, present).map_err(|error| {
                match (error, limits::locked_memory()) {
                    (Errno::NOMEM | Errno::PERM | Errno::AGAIN, Some(limit)) => {
                        Error::LockedMemoryLimit { attempt: attempt(), limit }
                    }
                    _ => os(error),
                }
            })?;
        }
        Ok(())
    }

    /// Where the bytes are. Valid for [`len`](Attachment::len) bytes, for reading, and for writing unless the
    /// attachment is [read-only](Attachment::is_read_only), as long as it lives. Other processes may access
    /// them at any time: use atomics, volatile or copying access, or a lock that all follow.
    #[doc(alias = "shmAddress")]
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(self.lead)
    }

    /// How many bytes there are, exactly.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Never: an attachment has at least one byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its first byte lies in the segment.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether it may not be written through.
    #[inline]
    pub fn is_read_only(&self) -> bool {
        !self.writable
    }

    /// Turns a truncation of the segment by a foreign program from a `SIGBUS` into an error.
    ///
    /// Bytes that are gone read as zeros from then on (after many faults, all that lie behind the last one do),
    /// what is written to them is lost, and
    /// [`check`](Attachment::check), [`read_at`](Attachment::read_at) and [`write_at`](Attachment::write_at)
    /// say [`Error::Truncated`]. The same for a page of a [sparse](crate::SegmentOptions::sparse)
    /// segment for which there is no room. Free where a seal makes that impossible
    /// ([`Segment::anonymous`]).
    ///
    /// Puts a handler for `SIGBUS` in place, once in a process. Faults elsewhere go on to the handler that was
    /// there before. A handler that the program puts in place later has to pass on to the one that it finds.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses the handler.
    pub fn guard(&self) -> Result<()> {
        if self.sealed || self.guard.state().is_some() {
            return Ok(());
        }
        let guarded = signal::guard(self.base.addr().get(), self.mapped, self.page)
            .map_err(|error| Error::Os { attempt: self.attempt("guard"), source: error.into() })?;
        self.guard.set(guarded);
        Ok(())
    }

    /// Whether all bytes are still the segment's, as far as a [guard](Attachment::guard) has found out. Costs one
    /// load. Ask after using what was read through [`atomics`](Attachment::atomics) or the raw pointer.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`].
    #[inline]
    pub fn check(&self) -> Result<()> {
        // What was read before is ordered before this: the handler marks the range before it puts zeros there,
        // so that who has read those finds the mark.
        fence(Acquire);
        match self.guard.state() {
            Some(true) => Err(Error::Truncated(self.attempt("use"))),
            _ => Ok(()),
        }
    }

    /// The same after writing.
    #[inline]
    pub(crate) fn check_written(&self) -> Result<()> {
        if self.guard.state().is_some() {
            // A store and the load behind it are ordered by nothing less.
            fence(SeqCst);
        }
        self.check()
    }

    /// Takes in bytes that [`grow`](Segment::grow) added since, as far as address space was
    /// [reserved](AttachOptions::reserve); how many bytes there are now. Nothing moves, and views made
    /// before stay valid. `segment` is a handle of the same segment.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if it is another segment's; [`Error::HandleClosed`].
    pub fn refresh(&self, segment: &Segment) -> Result<usize> {
        let verb = "refresh";
        let stat = segment.stat(verb)?;
        if stat.identity != self.identity {
            let why = "the attachment is of another segment; use a handle of the same";
            return Err(Error::BadOption { attempt: segment.attempt(verb), why });
        }
        if self.bounded {
            return Ok(self.len());
        }
        let there = usize::try_from(stat.size.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let usable = there.min(self.mapped - self.lead);
        Ok(self.len.fetch_max(usable, Relaxed).max(usable))
    }

    /// Writes changed bytes to storage and waits until they are there, for namespaces on disk. On tmpfs there
    /// is nothing to do.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the storage fails.
    #[doc(alias = "msync")]
    pub fn flush(&self) -> Result<()> {
        let present = (self.lead + self.len()).next_multiple_of(self.page).min(self.mapped);
        map::flush(self.base, present)
            .map_err(|error| Error::Os { attempt: self.attempt("flush"), source: error.into() })
    }

    /// Detaches, as dropping does, and tells if the system refused.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    #[doc(alias = "munmap")]
    #[doc(alias = "shmdt")]
    #[doc(alias = "PR_DetachSharedMemory")]
    pub fn detach(self) -> Result<()> {
        self.detach_and_tell().map(|_| ())
    }

    /// The same; whether it was the last to hold the segment, and deleted it. Of several that leave together, one is
    /// told so; or none, if somebody who opened the segment then was first to see that nobody held it.
    ///
    /// # Errors
    ///
    /// As [`detach`](Attachment::detach).
    #[doc(hidden)]
    pub fn detach_and_tell(self) -> Result<bool> {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used again.
        unsafe { this.end() }
    }

    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.hold.as_deref()
    }

    /// Lets objects in this attachment find their segment from their address: for permits, and for owners that the
    /// kernel did not tell of. Costs no system call, and nothing the second time. Does nothing for a segment without
    /// a name.
    #[doc(hidden)]
    pub fn register(&self) {
        let Some(hold) = &self.hold else { return };
        let range = registry::Range {
            start: self.base.addr().get(),
            len: self.mapped,
            offset: self.offset - self.lead as u64,
            page: self.page,
            hold,
        };
        // SAFETY: `end` takes it out before it unmaps and gives up the hold. Where it does neither, for the sake of a
        // forgotten guard, all three stay.
        unsafe { self.registration.begin(&range) };
    }

    pub(crate) fn attempt(&self, verb: &'static str) -> Box<Attempt> {
        match (&self.hold, self.system_v) {
            (Some(hold), _) => hold.place.attempt(verb),
            (None, Some(id)) => Attempt::system_v(verb, id),
            (None, None) => Attempt::anonymous(verb),
        }
    }

    /// Unmaps, and leaves if it was the last of its hold; whether that was the segment's last, and deleted it.
    ///
    /// # Safety
    ///
    /// To be called once, as the last use.
    unsafe fn end(&mut self) -> Result<bool> {
        if sync::any_held_within(self.base.addr().get(), self.mapped) {
            // A guard was forgotten: the kernel's list of that thread leads through these bytes. So they stay, and
            // with them what holds the segment, until the process ends.
            std::mem::forget(self.hold.take());
            return Ok(false);
        }
        self.registration.end();
        drop(self.guard.take());
        // SAFETY: the mapping was made for this attachment, and all that borrows it has ended with it.
        let done = unsafe { self.unmap() }
            .map_err(|error| Error::Os { attempt: self.attempt("detach"), source: error.into() });
        // The mapping first: it is what holds the slot when the handle is gone.
        let last = self.hold.take().and_then(Arc::into_inner).is_some_and(Hold::leave);
        done.map(|()| last)
    }
}

impl Attachment {
    /// # Safety
    ///
    /// As for [`end`](Attachment::end).
    unsafe fn unmap(&self) -> Result<(), Errno> {
        #[cfg(target_os = "linux")]
        if self.system_v.is_some() {
            // The kernel knows how much it mapped, which for huge pages is more than is known here.
            // SAFETY: as the caller promises.
            return unsafe { crate::sys::sysv::detach(self.base) };
        }
        // SAFETY: as the caller promises.
        unsafe { map::unmap(self.base, self.mapped) }
    }
}

/// Bytes in a transparent huge page.
const HUGE: usize = 2 << 20;

/// Closes a read-only twin's descriptor; its hold, if a mapping was made to carry it.
fn keep_twin(fd: OwnedFd, twin: Option<super::protocol::Hold>, mapped: bool) -> Option<Arc<Hold>> {
    drop(fd);
    // Without a mapping the slot went with the descriptor; the handle's own is there, so it was not the last.
    twin.filter(|_| mapped).map(Arc::new)
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: the last use.
        let _ = unsafe { self.end() };
    }
}
