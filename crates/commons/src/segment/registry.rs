//! Which segment an object lies in, found from its address, and which of the segment's holders still live.
//!
//! An attachment is entered here by [`Attachment::register`](super::Attachment::register), which does no more than
//! fill in a row of a [table](crate::sys::table), and taken out as it is detached. Anonymous segments have no slots
//! and are never entered.
//!
//! # Who lives
//!
//! Whoever wants to be missed takes a [`Seat`]: a slot like that of a handle, but on a file description that belongs
//! to this process alone. The handle's own slot would not do: a forked child shares its description, so that it is
//! locked as long as either lives, and a permit of the parent's would stay out while a child lives, and one of the
//! child's while the parent lives. A seat's description has no descriptor; one page of the file, mapped without any
//! rights, pins it, and that mapping is kept from forked children (`MADV_DONTFORK`). So the kernel drops the lock as
//! this process ends, calls `exec`, or detaches, whatever its children do. A child that needs a seat takes its own:
//! the seat that it inherited is known by the number of the process image ([`process::image`]).
//!
//! A fork while the seat's descriptor is open, for some microseconds, would leave a copy in the child. So that forks
//! are counted before and after; if there was one, the lock is given back for both, and the seat is taken anew. A
//! fork behind libc's back (raw `clone`, `_Fork`) in these microseconds is not seen; then the seat stays until the
//! child ends or executes something.
//!
//! Seats count among the segment's holders, as a second handle of the process would.
//!
//! # Asking
//!
//! Attachments keep no descriptor, so that whoever asks opens the file again: by its name, if that still means the
//! same file, or else through `/proc/self/map_files`, for which the kernel wants `CAP_CHECKPOINT_RESTORE`. Who has
//! neither, since the name was deleted, can take no seat, and gets `None` to every question.
//!
//! Asking goes through a description that has no locks, so that the seats of this process answer as well.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::time::Duration;

use super::holders;
use super::patience::Patience;
use super::protocol::Hold;
use super::slot::Slot;
use crate::sys::file::{self, Access, Identity};
use crate::sys::table::{Blank, Row, Table};
use crate::sys::{Errno, lock, map, process};

/// What is known of an attached range.
pub(super) struct Attached {
    /// What the attachment shares with its handle, and keeps as long as it is here.
    hold: AtomicPtr<Hold>,
    /// Where in the file the range begins.
    offset: AtomicU64,
    /// Bytes in a page of this mapping.
    page: AtomicUsize,
    /// This process's seat, or that of the process that it was forked from, or null.
    seat: AtomicPtr<Seat>,
    /// Another row of the same attachment, or null.
    also: AtomicPtr<Row<Attached>>,
}

impl Blank for Attached {
    const BLANK: Attached = Attached {
        hold: AtomicPtr::new(null_mut()),
        offset: AtomicU64::new(0),
        page: AtomicUsize::new(0),
        seat: AtomicPtr::new(null_mut()),
        also: AtomicPtr::new(null_mut()),
    };
}

static TABLE: Table<Attached> = Table::new();

/// A process's own slot of a segment: locked until it ends, calls `exec` or detaches.
#[derive(Debug)]
pub(crate) struct Seat {
    slot: Slot,
    /// The process image that it belongs to.
    image: u64,
    /// The mapping that pins the lock.
    pin: NonNull<u8>,
    page: usize,
}

// SAFETY: the mapping is never accessed, and unmapped by whoever has the seat alone.
unsafe impl Send for Seat {}
// SAFETY: as above.
unsafe impl Sync for Seat {}

impl Seat {
    /// The slot's number; never 0.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.slot.number()
    }

    /// The [number](process::image) of the process image that it belongs to.
    #[inline]
    pub(crate) fn image(&self) -> u64 {
        self.image
    }

    /// Whether it is this process's, and not that of one that it was forked from.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        process::image_is(self.image)
    }

    fn take(open: impl Fn() -> Option<OwnedFd>, page: usize) -> Option<Seat> {
        /// How long is tried while other threads fork all the time.
        const WAITING: Duration = Duration::from_millis(100);
        let mut patience = Patience::new(WAITING);
        loop {
            let forks = process::forks();
            let image = process::image();
            let slot = Slot::next();
            let fd = open()?;
            if !lock::try_read(fd.as_fd(), slot.range()).ok()? {
                return None;
            }
            let pin = map::pin(fd.as_fd(), page).ok()?;
            if (forks != process::FORKING && forks == process::forks()) || !patience.pause() {
                return Some(Seat { slot, image, pin, page });
            }
            // The child's copy of the descriptor, if there is one, must keep nothing.
            let _ = lock::unlock_all(fd.as_fd());
            // SAFETY: made above, and known to nobody.
            let _ = unsafe { map::unmap(pin, page) };
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A child does not have the mapping: something else may be at its address there.
        if self.is_mine() {
            // SAFETY: made by `take`, of that length, and never accessed.
            let _ = unsafe { map::unmap(self.pin, self.page) };
        }
    }
}

/// An attachment's row, if it is entered. Of threads that enter it for the first time at once each makes a row, and all
/// stay: what was found in one of them is in use.
pub(super) struct Registration(AtomicPtr<Row<Attached>>);

/// What is entered for an attachment.
pub(super) struct Range<'h> {
    pub(super) start: usize,
    pub(super) len: usize,
    /// Where in the file `start` lies.
    pub(super) offset: u64,
    pub(super) page: usize,
    pub(super) hold: &'h Hold,
}

impl Registration {
    pub(super) const fn none() -> Registration {
        Registration(AtomicPtr::new(null_mut()))
    }

    /// Enters the range, if it is not entered already.
    ///
    /// # Safety
    ///
    /// The range is mapped, and `hold` stays where it is, until [`end`](Registration::end).
    pub(super) unsafe fn begin(&self, range: &Range<'_>) {
        if !self.0.load(Acquire).is_null() {
            return;
        }
        let row = TABLE.claim();
        row.write(range.start, range.len, |of| {
            of.hold.store(ptr::from_ref(range.hold).cast_mut(), Relaxed);
            of.offset.store(range.offset, Relaxed);
            of.page.store(range.page, Relaxed);
        });
        let new = ptr::from_ref(row).cast_mut();
        let mut others = null_mut();
        while let Err(now) = self.0.compare_exchange(others, new, AcqRel, Acquire) {
            row.of.also.store(now, Relaxed);
            others = now;
        }
    }

    /// Takes it out; its seat is given up. To be called before the range is unmapped, as its last use.
    pub(super) fn end(&mut self) {
        let mut next = std::mem::replace(self.0.get_mut(), null_mut());
        // SAFETY: rows live for ever.
        while let Some(row) = unsafe { next.as_ref() } {
            next = row.of.also.swap(null_mut(), Relaxed);
            take_out(row);
        }
    }
}

fn take_out(row: &Row<Attached>) {
    let mut seat = null_mut();
    row.write(0, 0, |of| {
        of.hold.store(null_mut(), Relaxed);
        seat = of.seat.swap(null_mut(), AcqRel);
    });
    if let Some(seat) = NonNull::new(seat) {
        // SAFETY: made by `Registered::seat`; what borrows it borrows an object in the range, of which none is left.
        drop(unsafe { Box::from_raw(seat.as_ptr()) });
    }
    row.release();
}

/// An object's segment, as long as the object is borrowed.
///
/// Whoever made a reference into a mapping has to see to it that the mapping stays as long as the reference; the row
/// stays as long as the mapping does, and so does what the row points to.
#[derive(Clone, Copy)]
pub(crate) struct Registered<'o> {
    row: &'static Row<Attached>,
    /// Where the object begins.
    #[allow(dead_code, reason = "as `offset`")]
    address: usize,
    borrowed: PhantomData<&'o ()>,
}

thread_local! {
    /// The row that this thread found last.
    static LAST: std::cell::Cell<Option<&'static Row<Attached>>> = const { std::cell::Cell::new(None) };
}

/// The registered attachment that the object lies in.
#[inline]
pub(crate) fn find<T: ?Sized>(object: &T) -> Option<Registered<'_>> {
    let address = ptr::from_ref(object).cast::<()>().addr();
    let row = match LAST.get() {
        Some(row) if row.covering(address, |_| ()).is_some() => row,
        _ => search(address)?,
    };
    Some(Registered { row, address, borrowed: PhantomData })
}

#[cold]
fn search(address: usize) -> Option<&'static Row<Attached>> {
    let found = TABLE.rows().find(|row| row.covering(address, |_| ()).is_some())?;
    LAST.set(Some(found));
    Some(found)
}

impl<'o> Registered<'o> {
    fn hold(&self) -> Option<&'o Hold> {
        // SAFETY: null, or what the attachment has; see the type.
        unsafe { self.row.of.hold.load(Acquire).as_ref() }
    }

    /// Which file it is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.hold().map(|hold| hold.identity)
    }

    /// Where in the segment the object begins.
    #[allow(dead_code, reason = "for those who show objects")]
    pub(crate) fn offset(&self) -> u64 {
        self.row.of.offset.load(Relaxed) + (self.address - self.row.range().0) as u64
    }

    /// This process's seat, taken if it has none yet; `None` if it cannot be had.
    #[inline]
    pub(crate) fn seat(self) -> Option<&'o Seat> {
        // SAFETY: null, or a seat that stays as long as the row; see the type.
        match unsafe { self.row.of.seat.load(Acquire).as_ref() } {
            Some(seat) if seat.is_mine() => Some(seat),
            _ => self.take_seat(),
        }
    }

    #[cold]
    fn take_seat(self) -> Option<&'o Seat> {
        let place = &self.row.of.seat;
        let seen = place.load(Acquire);
        // SAFETY: as in `seat`.
        match unsafe { seen.as_ref() } {
            Some(seat) if seat.is_mine() => return Some(seat),
            // A seat from before a fork stays in memory: what the child inherited may still point to it.
            _ => {}
        }
        let seat = Box::new(Seat::take(|| self.open(), self.row.of.page.load(Relaxed))?);
        let new = Box::into_raw(seat);
        match place.compare_exchange(seen, new, AcqRel, Acquire) {
            // SAFETY: stays until the row is given up.
            Ok(_) => Some(unsafe { &*new }),
            Err(others) => {
                // SAFETY: made above, and shown to nobody.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: what another thread of this process put there, just now; as in `seat`.
                unsafe { others.as_ref() }
            }
        }
    }

    /// Another description of the segment's file, for reading.
    fn open(&self) -> Option<OwnedFd> {
        let hold = self.hold()?;
        let same = |fd: &OwnedFd| file::stat(fd.as_fd()).is_ok_and(|stat| stat.identity == hold.identity);
        let by_name = file::open(hold.place.path(), Access::ReadOnly).ok().filter(same);
        by_name.or_else(|| {
            let (start, len) = self.row.range();
            file::reopen_mapped(start, len, Access::ReadOnly).ok().filter(same)
        })
    }

    /// For asking who lives; `None` if that cannot be found out.
    pub(crate) fn look(&self) -> Option<Look> {
        self.open().map(|file| Look { file })
    }

    /// Whether somebody holds the slot of this number; `None` if that cannot be found out.
    #[allow(dead_code, reason = "for those who ask once")]
    pub(crate) fn alive(&self, number: u64) -> Option<bool> {
        self.look()?.alive(number)
    }

    /// Whether all holders of the segment opened it in this process's pid namespace; `None` if that cannot be found
    /// out.
    ///
    /// A child that was forked into another pid namespace holds what its parent opened, and counts as its parent.
    pub(crate) fn all_holders_in_my_pid_namespace(&self) -> Option<bool> {
        let slots = holders::slots(self.open()?.as_fd(), self.identity()?, None).ok()?;
        // Our own is among them, unless the locks do not mean what they should.
        (!slots.is_empty()).then(|| slots.iter().all(|slot| slot.is_in_my_namespace()))
    }
}

/// Asks who lives.
#[derive(Debug)]
pub(crate) struct Look {
    file: OwnedFd,
}

impl Look {
    /// Whether somebody holds the slot of this number; `None` if that cannot be found out.
    pub(crate) fn alive(&self, number: u64) -> Option<bool> {
        match Slot::from_number(number) {
            Some(slot) => {
                let conflict: Result<_, Errno> = lock::conflict(self.file.as_fd(), slot.range());
                Some(conflict.ok()?.is_some())
            }
            // No process ever held that.
            None => Some(false),
        }
    }
}

#[cfg(all(test, not(commons_model)))]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::{AttachOptions, Attachment, Namespace, SegmentOptions};

    fn word(attachment: &Attachment) -> &AtomicU64 {
        &attachment.atomics::<AtomicU64>(8..16).unwrap()[0]
    }

    #[test]
    fn an_object_finds_its_segment_and_who_lives() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        let page = map::page_size() as u64;
        let segment = SegmentOptions::new().size(2 * page).namespace(&namespace).create("x").unwrap();
        let attachment = segment.attach_with(&AttachOptions::new().range(page + 16..)).unwrap();
        assert!(find(word(&attachment)).is_none(), "nobody asked for it");
        attachment.register();
        attachment.register();
        let found = find(word(&attachment)).unwrap();
        assert_eq!(found.offset(), attachment.offset() + 8);
        let seat = found.seat().unwrap();
        assert!(seat.is_mine() && ptr::eq(seat, found.seat().unwrap()));
        assert_eq!(found.alive(seat.number()), Some(true));
        assert_eq!(found.alive(seat.number() ^ 1 << 15), Some(false));
        assert_eq!(found.alive(u64::MAX), Some(false));
        assert_eq!(found.all_holders_in_my_pid_namespace(), Some(true));
        let gone = seat.number();

        // Another attachment has another seat, and the first one's goes with it.
        let other = segment.attach().unwrap();
        other.register();
        attachment.detach().unwrap();
        let found = find(word(&other)).unwrap();
        assert_eq!(found.alive(gone), Some(false));
        let seat = found.seat().unwrap().number();

        // Without its name, only who may look into processes finds the file.
        segment.delete().unwrap();
        assert!(matches!(found.alive(seat), Some(true) | None));
        assert!(matches!(found.alive(gone), Some(false) | None));
    }
}
