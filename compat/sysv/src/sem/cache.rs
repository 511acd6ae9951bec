//! The sets that this process has mapped, found by their ids.
//!
//! A set is mapped when it is first used, and stays so until it is found to be removed. Finding it costs some loads and
//! stores: a table has, for each index, what was mapped for it last.
//!
//! # Why nobody uses what is unmapped
//!
//! What stands in the table is never freed, only used for another set later. Whoever uses it first says so
//! ([`presence`](super::presence)), then reads the id again; whoever gives it up first changes the id, then looks whether anybody is there. If
//! so it stays until somebody gives up or maps another set, and looks again.

use std::cell::UnsafeCell;
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};

use commons::Attachment;

use super::catalog;
use super::life;
use super::presence::{self, Present};
use super::set::{Layout, Set};
use crate::quiet::Quiet;

const INDEXES: usize = 32_768;
/// Not mapped; to be had by who changes it.
const FREE: i32 = -1;
/// Being mapped.
const CLAIMED: i32 = -2;
/// Given up, and perhaps still used.
const GIVEN_UP: i32 = -3;

const MAY_READ: u32 = 1;
const MAY_ALTER: u32 = 2;

/// A place for a mapped set.
struct Cached {
    id: AtomicI32,
    base: AtomicPtr<u8>,
    layout: UnsafeCell<Layout>,
    attachment: AtomicPtr<Attachment>,
    read_only: AtomicU32,
    /// What this process may do, and as of which change of the permissions.
    access: AtomicU32,
    permissions: AtomicU32,
    /// Where this process's undo values were found last.
    slot: AtomicU32,
    next: *const Cached,
}

// SAFETY: the layout changes only while the place is claimed, and is read only by who is counted and has found the id; the
// rest is atomic, or never changes.
unsafe impl Sync for Cached {}

static TABLE: [AtomicPtr<Cached>; INDEXES] = [const { AtomicPtr::new(null_mut()) }; INDEXES];
static ALL: AtomicPtr<Cached> = AtomicPtr::new(null_mut());

/// A mapped set, while it is used.
pub(super) struct Using {
    cached: &'static Cached,
    _present: Present,
}

impl Cached {
    /// Uses it, if it is that set's.
    #[inline]
    fn enter(&'static self, id: i32) -> Option<Using> {
        let present = Present::at(ptr::from_ref(self).cast())?;
        // What was written before the id is read after it.
        (self.id.load(Acquire) == id).then_some(Using { cached: self, _present: present })
    }

    /// Unmaps it, if it was given up and nobody uses it. To be called while quiet: one thread at a time does this.
    fn try_unmap(&self) {
        if self.id.load(SeqCst) == GIVEN_UP && presence::is_unused(ptr::from_ref(self).cast()) {
            let attachment = self.attachment.swap(null_mut(), AcqRel);
            if !attachment.is_null() {
                // SAFETY: made by `map`; nobody uses it, and nobody will, since the id is given up.
                drop(unsafe { Box::from_raw(attachment) });
                self.id.store(FREE, SeqCst);
            }
        }
    }
}

/// Unmaps what was given up.
fn collect() {
    if all().any(|cached| cached.id.load(Relaxed) == GIVEN_UP) {
        let _quiet = Quiet::new();
        all().for_each(Cached::try_unmap);
    }
}

fn index(id: i32) -> usize {
    id as usize % INDEXES
}

/// The set with this id, mapped if it is not yet.
///
/// # Errors
///
/// `EINVAL` if there is none; what opening and mapping it fails with.
#[inline]
pub(super) fn using(id: i32) -> Result<Using, i32> {
    // SAFETY: what stands in the table is never freed.
    if let Some(cached) = unsafe { TABLE[index(id)].load(Acquire).as_ref() } {
        if let Some(using) = cached.enter(id) {
            return Ok(using);
        }
    }
    map(id)
}

fn all() -> impl Iterator<Item = &'static Cached> {
    let mut next: *const Cached = ALL.load(Acquire);
    std::iter::from_fn(move || {
        // SAFETY: places are never freed.
        let cached = unsafe { next.as_ref() }?;
        next = cached.next;
        Some(cached)
    })
}

#[cold]
fn map(id: i32) -> Result<Using, i32> {
    if id < 0 {
        return Err(libc::EINVAL);
    }
    let known = catalog::find(id).ok_or(libc::EINVAL)?;
    let (attachment, layout, read_only) = catalog::attach(&known)?;
    let place = &TABLE[index(id)];
    // SAFETY: what stands in the table is never freed.
    let before = unsafe { place.load(Acquire).as_ref() };
    if let Some(before) = before {
        if let Some(using) = before.enter(id) {
            // Another thread was faster.
            return Ok(using);
        }
    }
    collect();
    let cached = claim();
    // SAFETY: claimed by this thread; nobody reads it before the id is there.
    unsafe { *cached.layout.get() = layout };
    cached.base.store(attachment.as_ptr(), Relaxed);
    cached.read_only.store(read_only.into(), Relaxed);
    cached.slot.store(u32::MAX, Relaxed);
    cached.access.store(0, Relaxed);
    let version = if read_only { 0 } else { cached_set(cached).header().permissions.load(Acquire) };
    cached.permissions.store(version.wrapping_sub(1), Relaxed);
    cached.attachment.store(Box::into_raw(Box::new(attachment)), Release);
    let present = Present::at(ptr::from_ref(cached).cast());
    cached.id.store(id, SeqCst);
    let old = place.swap(ptr::from_ref(cached).cast_mut(), AcqRel);
    // SAFETY: as above.
    if let Some(old) = unsafe { old.as_ref() } {
        let was = old.id.load(SeqCst);
        if was >= 0 && index(was) == index(id) {
            give_up(old, was);
        }
    }
    present.map(|present| Using { cached, _present: present }).ok_or(libc::EAGAIN)
}

/// A place that nobody has.
fn claim() -> &'static Cached {
    for cached in all() {
        if cached.id.load(Relaxed) == FREE
            && cached.id.compare_exchange(FREE, CLAIMED, AcqRel, Relaxed).is_ok()
        {
            return cached;
        }
    }
    let new = Box::into_raw(Box::new(Cached {
        id: AtomicI32::new(CLAIMED),
        base: AtomicPtr::new(null_mut()),
        layout: UnsafeCell::new(Layout::of(1)),
        attachment: AtomicPtr::new(null_mut()),
        read_only: AtomicU32::new(0),
        access: AtomicU32::new(0),
        permissions: AtomicU32::new(0),
        slot: AtomicU32::new(u32::MAX),
        next: ptr::null(),
    }));
    let mut first = ALL.load(Relaxed);
    loop {
        // SAFETY: nobody knows it yet.
        unsafe { (*new).next = first };
        match ALL.compare_exchange_weak(first, new, Release, Relaxed) {
            // SAFETY: never freed.
            Ok(_) => return unsafe { &*new },
            Err(now) => first = now,
        }
    }
}

/// Gives a place up, to be unmapped when nobody uses it.
fn give_up(cached: &Cached, id: i32) {
    let _ = cached.id.compare_exchange(id, GIVEN_UP, SeqCst, Relaxed);
}

fn cached_set(cached: &'static Cached) -> Set {
    // SAFETY: the layout is the mapping's, and stays while the place is claimed or somebody is counted.
    unsafe { Set::at(cached.base.load(Relaxed), &*cached.layout.get()) }
}

impl Using {
    /// The set. Not to be used longer than this value.
    #[inline]
    pub(super) fn set(&self) -> Set {
        cached_set(self.cached)
    }

    pub(super) fn id(&self) -> i32 {
        self.cached.id.load(Relaxed)
    }

    /// The same set, for one who changes it. What a process may do can have changed since it mapped the set: one that
    /// may only read it asks again.
    ///
    /// # Errors
    ///
    /// `EACCES`, and those of mapping it anew.
    #[inline]
    pub(super) fn into_changing(self) -> Result<Using, i32> {
        if self.is_read_only() { self.asked_again() } else { Ok(self) }
    }

    #[cold]
    fn asked_again(self) -> Result<Using, i32> {
        let id = self.id();
        self.gone(0);
        drop(self);
        let anew = using(id)?;
        if anew.is_read_only() { Err(libc::EACCES) } else { Ok(anew) }
    }

    /// Whether its lock cannot be taken, since this process may only read it.
    pub(super) fn is_read_only(&self) -> bool {
        self.cached.read_only.load(Relaxed) != 0
    }

    /// Whether this process may alter the set, or read it.
    ///
    /// # Errors
    ///
    /// `EACCES`.
    #[inline]
    pub(super) fn check(&self, alter: bool) -> Result<(), i32> {
        let wanted = if alter { MAY_ALTER } else { MAY_READ };
        let version = self.set().header().permissions.load(Relaxed);
        if version == self.cached.permissions.load(Relaxed) && self.cached.access.load(Relaxed) & wanted != 0
        {
            return Ok(());
        }
        self.check_anew(version, wanted)
    }

    #[cold]
    fn check_anew(&self, version: u32, wanted: u32) -> Result<(), i32> {
        let known = catalog::find(self.id()).ok_or_else(|| self.gone(libc::EINVAL))?;
        let mut access = 0;
        if known.allows(0o444) {
            access |= MAY_READ;
        }
        if known.allows(0o222) {
            access |= MAY_ALTER;
        }
        self.cached.access.store(access, Relaxed);
        self.cached.permissions.store(version, Relaxed);
        if access & wanted != 0 { Ok(()) } else { Err(libc::EACCES) }
    }

    /// Gives the set up, which is removed; gives the error back.
    #[cold]
    pub(super) fn gone(&self, error: i32) -> i32 {
        let id = self.id();
        if id >= 0 {
            let _ = TABLE[index(id)].compare_exchange(
                ptr::from_ref(self.cached).cast_mut(),
                null_mut(),
                AcqRel,
                Relaxed,
            );
            give_up(self.cached, id);
        }
        error
    }

    #[inline]
    pub(super) fn hint(&self) -> u32 {
        self.cached.slot.load(Relaxed)
    }

    #[inline]
    pub(super) fn set_hint(&self, slot: u32) {
        if self.hint() != slot {
            self.cached.slot.store(slot, Relaxed);
        }
    }

    /// Has memory for more slots: how many there are then.
    pub(super) fn more_slots(&self, missing: std::ops::Range<u32>) -> Option<u32> {
        let layout = self.set().layout;
        let piece = (4096 / layout.stride()).max(1) as u32;
        let end = missing.end.min(missing.start + piece);
        catalog::reserve(self.id(), layout.slots(missing.start..end)).ok().map(|()| end)
    }

    /// The same for waiters.
    pub(super) fn more_waiters(&self, missing: std::ops::Range<u32>) -> Option<u32> {
        let layout = self.set().layout;
        let end = missing.end.min(missing.start + 32);
        catalog::reserve(self.id(), layout.waiters(missing.start..end)).ok().map(|()| end)
    }
}

/// Each mapped set, one after the other.
fn each(mut look: impl FnMut(&Using) -> bool) -> bool {
    all().any(|cached| match cached.id.load(Acquire) {
        id if id >= 0 => cached.enter(id).is_some_and(|using| look(&using)),
        _ => false,
    })
}

/// In a forked child, which is likely to become another user: what it may do is looked at anew.
pub(super) fn in_child() {
    for cached in all() {
        cached.access.store(0, Relaxed);
    }
}

/// Whether this process owes anything, or may.
pub(super) fn owes_anything() -> bool {
    let mine = life::known_owner();
    mine != 0
        && (life::is_adopted()
            || each(|using| {
                let slot = using.set().slot(using.hint());
                slot.is_some_and(|slot| slot.owner.load(Relaxed) == mine && slot.owing.load(Relaxed) != 0)
            }))
}

/// Applies what this process owes, as it ends.
pub(super) fn pay_all() {
    let mine = life::known_owner();
    if mine == 0 {
        return;
    }
    each(|using| {
        let owes = using.set().slot(using.hint()).is_some_and(|slot| slot.owner.load(Relaxed) == mine);
        if owes && !using.set().is_removed() {
            if let Ok(mut locked) = using.set().lock() {
                locked.pay(mine);
            }
        }
        false
    });
}
