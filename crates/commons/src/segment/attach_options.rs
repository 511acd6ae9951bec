//! How a segment is attached: what of it, where, and what becomes of its pages.

use std::ops::{Bound, RangeBounds};

/// How a segment is attached.
///
/// ```
/// use commons::{AttachOptions, Segment};
///
/// # let name = format!("doc-attach-{}", std::process::id());
/// let segment = Segment::create(name, 1 << 20)?;
/// let window = segment.attach_with(&AttachOptions::new().range(4096..8192).read_only(true).prefault(true))?;
/// assert_eq!(window.len(), 4096);
/// # Ok::<(), commons::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    pub(crate) start: u64,
    /// Exclusive; `None` for the end of the segment.
    pub(crate) end: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) place: Place,
    pub(crate) prefault: bool,
    pub(crate) lock: bool,
    pub(crate) huge_pages: bool,
    pub(crate) reserve: usize,
}

/// Where an attachment goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Anywhere,
    At(usize),
    Replacing(usize),
}

impl AttachOptions {
    /// The defaults: the whole segment, as writable as the handle, wherever there is room.
    pub fn new() -> AttachOptions {
        AttachOptions::default()
    }

    /// Only these bytes of the segment. They need not begin or end at a page, but whole pages are mapped.
    pub fn range(mut self, bytes: impl RangeBounds<u64>) -> AttachOptions {
        self.start = match bytes.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        self.end = match bytes.end_bound() {
            Bound::Included(end) => Some(end.saturating_add(1)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self
    }

    /// For reading only, from a description that is open for reading only: nothing in this process, not
    /// even `mprotect`, makes it writable.
    #[doc(alias = "SHM_RDONLY")]
    #[doc(alias = "PR_SHM_READONLY")]
    pub fn read_only(mut self, read_only: bool) -> AttachOptions {
        self.read_only = read_only;
        self
    }

    /// At this address, a multiple of the page size, if nothing is mapped there.
    pub fn at(mut self, address: usize) -> AttachOptions {
        self.place = Place::At(address);
        self
    }

    /// At this address, a multiple of the page size, in place of whatever is mapped there.
    ///
    /// # Safety
    ///
    /// Each time the options are used, nothing may still use what is mapped in the range: not Rust objects, not
    /// code, not a thread's stack. Detaching unmaps the range, whoever has mapped something there by then.
    #[doc(alias = "MAP_FIXED")]
    #[doc(alias = "SHM_REMAP")]
    pub unsafe fn at_replacing(mut self, address: usize) -> AttachOptions {
        self.place = Place::Replacing(address);
        self
    }

    /// Brings all pages into memory and into the page table now, so that touching them later costs no fault.
    #[doc(alias = "MAP_POPULATE")]
    pub fn prefault(mut self, prefault: bool) -> AttachOptions {
        self.prefault = prefault;
        self
    }

    /// Locks the pages in memory, brought in now: they are never swapped out while attached.
    #[doc(alias = "mlock")]
    #[doc(alias = "SHM_LOCK")]
    pub fn lock_in_memory(mut self, lock: bool) -> AttachOptions {
        self.lock = lock;
        self
    }

    /// Maps at a multiple of 2 MiB and asks for huge pages, where machine and filesystem have them; small ones
    /// otherwise. A segment's own pages are made huge or small when they are reserved or first touched: see
    /// [`SegmentOptions::huge_pages`](crate::SegmentOptions::huge_pages).
    #[doc(alias = "MADV_HUGEPAGE")]
    pub fn huge_pages(mut self, huge_pages: bool) -> AttachOptions {
        self.huge_pages = huge_pages;
        self
    }

    /// Reserves address space for so many bytes from the start of the range, for a segment that is going to
    /// [grow](crate::Segment::grow): new bytes then come to be seen ([`Attachment::refresh`](crate::Attachment::refresh)) without the
    /// attachment moving. Address space alone costs no memory.
    pub fn reserve(mut self, bytes: usize) -> AttachOptions {
        self.reserve = bytes;
        self
    }
}
