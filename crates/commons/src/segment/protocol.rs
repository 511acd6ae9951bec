//! The protocol of names: how names come, are found and go, so that no crash between any two steps leaves
//! a half-made segment, a stuck opener, or memory that one sweep does not find. Here is all of it but creating,
//! which [`publish`](super::publish) has.
//!
//! # The locks
//!
//! All are open-file-description locks on the segment's own file; [`slot`](super::slot) says where. The
//! kernel keeps one as long as a descriptor *or a mapping* of its description is left in any process, and
//! drops it when the last goes, however that happens. In short: **slot**, shared, held by every handle with
//! all its attachments; **gate**, exclusive, held by whoever removes the name; **whole**, exclusive, gate and
//! all slots at once: whoever gets it has proved that nobody holds the segment.
//!
//! # The steps
//!
//! - *Create*: a file without a name; its slot; size, memory and first bytes; only then `link`.
//! - *Open*, `UntilDeleted`: open, slot. *Open*, `UntilLastDetach`: open; ask who is there. A holder: take a
//!   slot, and if the file (looked at only then) still has its name: opened. Somebody with whole: start again. Nobody: try whole; got
//!   it, this is an orphan: remove the name; start again in either case. A refused slot: start again.
//! - *Leave* (the last of a handle and its attachments, `UntilLastDetach`): unmap; give the slot back; try
//!   whole. Got it: remove the name. Refused: others remain.
//! - *Delete*: open, gate, remove the name. *Sweep*: open, try whole, remove the name.
//! - *Remove the name*, under gate or whole: if the name still means this file (device and inode; and it
//!   still is `UntilLastDetach`, where that is the reason), unlink.
//!
//! # Why it is right
//!
//! **Nobody sees a half-made segment.** The name comes last, in one step of the kernel's.
//!
//! **What lives keeps its name**, unless somebody deletes it. For reasons of lifetime a name goes only while
//! the remover has *whole*. An opener that took its slot before makes that attempt fail; one that takes it
//! later finds that the file has no name any more and starts again. A creator has its slot before the
//! name exists. Between comparing and unlinking the name cannot come to mean another file: to take it from
//! this one needs this one's gate, and `link` never replaces. An inode number is compared only while a
//! descriptor or a mapping keeps that inode from being given to another file. (The one exception is who
//! leaves after unmapping: should the name mean a new file with the old number, then what it removes is
//! that file only if nobody holds it, which makes it an orphan.)
//!
//! **What nobody holds does not stay.** Of those who leave, take the one that gives back its slot last. Its
//! attempt at *whole* comes after every slot was given back, so it is refused only by (a) an opener, which
//! then is a holder and will leave in turn (every path out of here that took a slot leaves properly), (b)
//! somebody with *gate* or *whole*, who is about to remove the name; whether they may, this one waits to see,
//! for a little; or (c) somebody who gives up because the name is gone already. The slot has to go first: of two that try while they still hold theirs,
//! both would be refused. (A creator tries once with its slot still held, which saves a call when it is alone;
//! refused, it gives the slot back and tries again.)
//!
//! **A crash is harmless at every step.** The kernel drops the dead process's locks. Before `link` the file
//! has no name and goes too. (Where the filesystem has no nameless files it has a temporary name that no
//! segment can have; sweeping removes it once its slot is free.) After `link` and before `unlink` it is
//! either held by others or an orphan, which the next opener, creator or sweep removes. `unlink` is one step.
//!
//! **Nobody waits for ever.** All locks are tried, never waited for; starting again backs off and ends in
//! [`Error::Busy`] after the caller's patience. Only a process that is stopped between two steps can cause it.
//!
//! **Gate and slots are asked about apart**: a gate alone holds nothing, and does not make an orphan live.
//!
//! **After a fork** the description, and with it the slot, belongs to both processes: giving the slot
//! back would take it from the other one too. Who has forked since it opened only closes and unmaps, so
//! that the kernel gives the slot back when the last of them does, and tries *whole* through a new
//! description. The argument above holds with "closed by the last process" for "given back".
//!
//! **Read-only openers** may not take *whole*: they ask whether it could be had, and then say that there
//! is no such segment, removing nothing. When such a handle leaves, it opens the name anew for writing; if
//! the file's mode forbids that, the orphan is left to a sweep.
//!
//! # What this does not cover
//!
//! Who may open a segment for reading can lock its gate and keep those who delete or open it waiting until their
//! patience ends: the file's mode is the boundary of trust.
//!
//! Programs that use `shm_unlink` and `shm_open` on the same names without these locks: one that unlinks
//! and creates anew between compare and unlink loses its new name, and its mappings are not counted as
//! holders. Forks behind libc's back (raw `clone`, `_Fork`): the slot goes when the first of the two
//! leaves. Leaving without a handle opens the name anew; where that fails (no descriptor left, another root
//! directory or user than before), or where the last holder may not unlink (another user's segment in a sticky
//! directory), an orphan is left to whoever may. So it is if another process has a copy of the description just
//! then: a child that was forked and is about to `exec` or exit (leaving waits for it, 2 ms; for one of
//! `posix_spawn`, 50 ms), or a reader of `/proc/PID/maps`. Orphans stay until they are opened, created or swept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::name::Name;
use super::patience::{PATIENCE, Patience};
use super::place::Place;
use super::policy::{Lifetime, OwnerPolicy};
use super::slot::{GATE, SLOTS, Slot, WHOLE};
use crate::error::{Error, NotASegment, Result};
use crate::sys::file::{self, Access, Identity, Kind, Stat};
use crate::sys::{Errno, lock, process};
use crate::trace;

/// How long who leaves waits for a program that another thread is starting, or for another remover.
const WAITING: Duration = Duration::from_millis(50);

/// How long who leaves waits after a fork, in case that the child is just about to `exec`; it may as well mean
/// to hold the segment.
const FORKED: Duration = Duration::from_millis(2);

/// One open file description that holds a segment: what a handle and its attachments share.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) place: Place,
    pub(crate) identity: Identity,
    pub(crate) slot: Slot,
    pub(super) lifetime: Lifetime,
    pub(super) access: Access,
    /// How many forks there had been before the file was opened.
    pub(super) forks: u64,
    pub(super) created: bool,
}

/// A descriptor with the slot that its description holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) hold: Arc<Hold>,
}

impl Hold {
    /// What an opener fills in as it goes.
    #[inline]
    pub(crate) fn of(place: Place) -> Arc<Hold> {
        let identity = Identity { device: 0, inode: 0 };
        let (slot, lifetime, access) = (Slot::NONE, Lifetime::UntilDeleted, Access::ReadOnly);
        Arc::new(Hold { place, identity, slot, lifetime, access, forks: 0, created: false })
    }

    /// Leaves through the descriptor, which it closes: to be called when no attachment is left.
    pub(crate) fn leave_with(self, fd: OwnedFd) {
        if self.lifetime == Lifetime::UntilDeleted {
            return;
        }
        if self.access == Access::ReadOnly || self.forked() {
            drop(fd);
            self.leave();
            return;
        }
        if self.created && lock::try_write(fd.as_fd(), WHOLE).unwrap_or(false) {
            self.remove_name(fd.as_fd());
            return;
        }
        if lock::unlock_all(fd.as_fd()).is_ok() {
            self.remove_if_last(fd.as_fd());
        }
    }

    /// Leaves when descriptor and attachments are gone already; whether it was the last, and removed the name.
    pub(crate) fn leave(self) -> bool {
        if self.lifetime == Lifetime::UntilDeleted {
            return false;
        }
        let Ok(fd) = file::open(self.place.path(), Access::ReadWrite) else { return false };
        is_same(fd.as_fd(), self.identity) && self.remove_if_last(fd.as_fd())
    }

    /// Removes the name if nobody holds the segment, and says whether it did; this holder's slot is given back
    /// already.
    fn remove_if_last(&self, fd: BorrowedFd<'_>) -> bool {
        let mut patience = Patience::new(if self.forked() { FORKED } else { WAITING });
        loop {
            // Asking costs less than trying in vain, and mostly others remain.
            match present(fd) {
                // Our own slot: another thread is starting a program, and until that runs, its process has a copy
                // of the descriptor; or it has forked.
                Ok(Present::Holder(slot)) if slot == self.slot => {}
                Ok(Present::Holder(_)) | Err(_) => return false,
                Ok(Present::Nobody) => match lock::try_write(fd, WHOLE) {
                    Ok(true) => return self.remove_name(fd),
                    Ok(false) => {} // somebody came, or has the gate
                    Err(_) => return false,
                },
                // Who is removing the name may find that it may not: then it is still for us to do.
                Ok(Present::Remover) => {}
            }
            if !patience.pause() {
                return false;
            }
        }
    }

    /// The same for another description of the file, for reading only.
    pub(crate) fn twin(&self, slot: Slot, forks: u64) -> Hold {
        let (place, identity, lifetime) = (self.place.clone(), self.identity, self.lifetime);
        Hold { place, identity, slot, lifetime, access: Access::ReadOnly, forks, created: false }
    }

    /// Whether another process may share the description by now.
    #[inline]
    pub(crate) fn forked(&self) -> bool {
        self.forks == process::FORKING || self.forks != process::forks()
    }

    #[inline]
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    #[inline]
    pub(crate) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Removes the name, with the whole range locked; whether it still meant this file.
    fn remove_name(&self, fd: BorrowedFd<'_>) -> bool {
        let removed = remove_name(&self.place, self.identity, Why::Lifetime);
        trace!(name = %self.place.name(), ?removed, "last one out");
        if removed.is_err() {
            unlock_failed(fd);
        }
        removed.unwrap_or(false)
    }
}

/// Gives a lock back that did not serve. Closing would do, but for a child that is forked this moment and keeps
/// a copy of the descriptor.
#[cold]
fn unlock_failed(fd: BorrowedFd<'_>) {
    let _ = lock::unlock_all(fd);
}

/// Who has locked a file, other than through this description.
pub(super) enum Present {
    /// Nobody; or somebody with the gate alone.
    Nobody,
    /// A holder, among others perhaps.
    Holder(Slot),
    /// Somebody with the whole range.
    Remover,
}

pub(super) fn present(fd: BorrowedFd<'_>) -> Result<Present, Errno> {
    Ok(match lock::conflict(fd, SLOTS)? {
        None => Present::Nobody,
        Some(lock) => match Slot::from_offset(lock.start) {
            Some(slot) if lock.len == 1 => Present::Holder(slot),
            _ => Present::Remover,
        },
    })
}

fn is_same(fd: BorrowedFd<'_>, identity: Identity) -> bool {
    file::stat(fd).is_ok_and(|stat| stat.identity == identity)
}

/// Why a name is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Nobody holds it: right only while it is marked `UntilLastDetach`.
    Lifetime,
    /// Somebody asked for it.
    Request,
}

/// Removes the name if it still means that file; the caller holds the file's gate. `false` if it does not.
fn remove_name(place: &Place, identity: Identity, why: Why) -> Result<bool, Errno> {
    let now = match file::stat_path(place.path()) {
        Ok(now) => now,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error),
    };
    if now.identity != identity || why == Why::Lifetime && !now.is_sticky() {
        return Ok(false);
    }
    match file::unlink(place.path()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How a segment is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) access: Access,
    pub(crate) owner: OwnerPolicy,
    /// Bytes that it must have.
    pub(crate) size: u64,
    pub(crate) verb: &'static str,
    /// Whether a segment `UntilDeleted`, whose life no slot decides, gets one all the same, for people to see.
    pub(crate) counted: bool,
}

/// What one attempt to open came to.
pub(crate) enum Step {
    Open(Held),
    /// There is no such segment.
    Absent(Arc<Hold>),
    /// It was between two states: back off and start again.
    Again(Arc<Hold>),
}

/// Whether the segment that was opened last was `UntilLastDetach`: most programs use one kind, and knowing it
/// saves a call. Decides the order of the steps only.
static EXPECTS_HOLDERS: AtomicBool = AtomicBool::new(true);

/// Opens, once. `hold` says where, nobody else has it yet, and it is given back if it is not open.
#[inline]
pub(crate) fn try_open(hold: Arc<Hold>, manner: Manner) -> Result<Step> {
    let Manner { access, verb, .. } = manner;
    let place = &hold.place;
    // Before the file is opened: a fork that is under way then, or begins later, may share what is opened.
    let forks = process::forks();
    let fd = match file::open(place.path(), access) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Step::Absent(hold)),
        Err(Errno::AGAIN) => return Ok(Step::Again(hold)), // somebody has a lease on it
        Err(error) => return Err(why_not_open(place, manner, error)),
    };
    let fail = |error| place.error(verb, error);
    // What the file is, is looked at afterwards, once.
    if manner.counted
        && EXPECTS_HOLDERS.load(Relaxed)
        && matches!(present(fd.as_fd()), Ok(Present::Holder(_)))
    {
        return enter(hold, manner, fd, forks);
    }
    let stat = file::stat(fd.as_fd()).map_err(fail)?;
    check(place, manner, &stat)?;
    if stat.names == 0 {
        return Ok(Step::Again(hold));
    }
    let lifetime = Lifetime::of(&stat);
    if lifetime == Lifetime::UntilLastDetach {
        place.namespace.check_lifetime(place, verb, stat.identity.device, fd.as_fd())?;
        // Asking costs less than trying in vain, and mostly somebody lives.
        match present(fd.as_fd()).map_err(fail)? {
            Present::Holder(_) => {}
            Present::Remover => return Ok(Step::Again(hold)),
            Present::Nobody if access == Access::ReadOnly => return Ok(Step::Absent(hold)),
            Present::Nobody => {
                if lock::try_write(fd.as_fd(), WHOLE).map_err(fail)? {
                    remove_orphan(place, verb, fd.as_fd(), &stat)?;
                }
                return Ok(Step::Again(hold));
            }
        }
    }
    if lifetime == Lifetime::UntilLastDetach {
        return enter(hold, manner, fd, forks);
    }
    EXPECTS_HOLDERS.store(false, Relaxed);
    if !manner.counted {
        return Ok(opened(hold, manner, fd, &stat, Slot::NONE, forks));
    }
    let slot = Slot::next();
    if !lock::try_read(fd.as_fd(), slot.range()).map_err(fail)? {
        return Ok(Step::Again(hold));
    }
    Ok(opened(hold, manner, fd, &stat, slot, forks))
}

/// The second half, for a file that somebody was seen to hold: takes a slot, and only then looks whether the
/// file has its name, and whether it is what the caller wants.
#[inline]
fn enter(hold: Arc<Hold>, manner: Manner, fd: OwnedFd, forks: u64) -> Result<Step> {
    let slot = Slot::next();
    match lock::try_read(fd.as_fd(), slot.range()) {
        Ok(true) => {}
        Ok(false) => return Ok(Step::Again(hold)),
        Err(error) => return Err(hold.place.error(manner.verb, error)),
    }
    let looked = file::stat(fd.as_fd()).map_err(|error| hold.place.error(manner.verb, error));
    let stat = match looked.and_then(|stat| check(&hold.place, manner, &stat).map(|()| stat)) {
        Ok(stat) if stat.names == 0 => return Ok(Step::Again(hold)),
        Ok(stat) => stat,
        Err(error) => {
            leave_unseen(hold, manner, fd, slot, forks);
            return Err(error);
        }
    };
    let lifetime = Lifetime::of(&stat);
    EXPECTS_HOLDERS.store(lifetime == Lifetime::UntilLastDetach, Relaxed);
    if lifetime == Lifetime::UntilLastDetach {
        let (namespace, device) = (&hold.place.namespace, stat.identity.device);
        namespace.check_lifetime(&hold.place, manner.verb, device, fd.as_fd())?;
    }
    Ok(opened(hold, manner, fd, &stat, slot, forks))
}

#[inline]
fn opened(mut hold: Arc<Hold>, manner: Manner, fd: OwnedFd, stat: &Stat, slot: Slot, forks: u64) -> Step {
    if let Some(hold) = Arc::get_mut(&mut hold) {
        (hold.identity, hold.slot, hold.lifetime) = (stat.identity, slot, Lifetime::of(stat));
        (hold.access, hold.forks) = (manner.access, forks);
    }
    Step::Open(Held { fd, stat: *stat, hold })
}

/// Gives back a slot of a file that will not do. Meanwhile the last of its holders may have seen this slot, and
/// have left the name to it.
#[cold]
fn leave_unseen(hold: Arc<Hold>, manner: Manner, fd: OwnedFd, slot: Slot, forks: u64) {
    // What is no segment, or keeps no count of who has it mapped, is only closed.
    let stat = file::stat(fd.as_fd()).ok().filter(|stat| stat.kind == Kind::Regular);
    if let Some(stat) = stat {
        if let Step::Open(Held { fd, hold, .. }) = opened(hold, manner, fd, &stat, slot, forks) {
            if let Some(hold) = Arc::into_inner(hold) {
                hold.leave_with(fd);
            }
        }
    }
}

pub(super) fn remove_orphan(
    place: &Place,
    verb: &'static str,
    fd: BorrowedFd<'_>,
    stat: &Stat,
) -> Result<()> {
    let removed = remove_name(place, stat.identity, Why::Lifetime);
    trace!(name = %place.name(), ?removed, "orphan");
    if removed.is_err() {
        unlock_failed(fd);
    }
    match removed {
        Ok(_) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => {
            Err(Error::ForeignOrphan { attempt: place.attempt(verb), owner: stat.uid })
        }
        Err(error) => Err(place.error(verb, error)),
    }
}

/// Whether the file can be a segment for a caller of this manner.
#[inline]
fn check(place: &Place, manner: Manner, stat: &Stat) -> Result<()> {
    let fine = stat.kind == Kind::Regular && stat.names <= 1 && stat.size >= manner.size;
    if fine && manner.owner.allows(stat) { Ok(()) } else { refuse(place, manner, stat) }
}

#[cold]
fn refuse(place: &Place, manner: Manner, stat: &Stat) -> Result<()> {
    let verb = manner.verb;
    if let Some(what) = no_segment(stat) {
        return Err(Error::NotASegment { attempt: place.attempt(verb), what });
    }
    if !manner.owner.allows(stat) {
        return Err(Error::ForeignOwner { attempt: place.attempt(verb), owner: stat.uid });
    }
    if stat.size < manner.size {
        return Err(Error::TooSmall { attempt: place.attempt(verb), size: stat.size, wanted: manner.size });
    }
    Ok(())
}

/// What the file is, if no segment.
pub(crate) fn no_segment(stat: &Stat) -> Option<NotASegment> {
    match stat.kind {
        Kind::Regular if stat.names > 1 => Some(NotASegment::HardLinked),
        Kind::Regular => None,
        Kind::Directory => Some(NotASegment::Directory),
        Kind::Symlink => Some(NotASegment::Symlink),
        Kind::Fifo => Some(NotASegment::Fifo),
        Kind::Socket => Some(NotASegment::Socket),
        Kind::Device => Some(NotASegment::Device),
    }
}

/// Why a file could not be opened: what it is says more than the system's code.
#[cold]
pub(super) fn why_not_open(place: &Place, manner: Manner, code: Errno) -> Error {
    if let Ok(stat) = file::stat_path(place.path()) {
        let owner = match manner.owner {
            // It was not opened, so that nothing follows from its mode.
            OwnerPolicy::Me => OwnerPolicy::User(process::user()),
            other => other,
        };
        let manner = Manner { size: 0, owner, ..manner };
        if let Err(error) = check(place, manner, &stat) {
            return error;
        }
    }
    place.error(manner.verb, code)
}

/// Opens, patiently; `Err` gives back what was to be filled in if there is no such segment.
pub(crate) fn open(
    mut hold: Arc<Hold>,
    manner: Manner,
    patience: Duration,
) -> Result<Result<Held, Arc<Hold>>> {
    let mut patience = Patience::new(patience);
    loop {
        hold = match try_open(hold, manner)? {
            Step::Open(held) => return Ok(Ok(held)),
            Step::Absent(hold) => return Ok(Err(hold)),
            Step::Again(hold) if patience.pause() => hold,
            Step::Again(hold) => return Err(patience.busy(&hold.place, manner.verb)),
        }
    }
}

/// Opens a file for its gate: reading will do where writing is not permitted.
pub(crate) fn open_to_delete(place: &Place) -> Result<OwnedFd, Errno> {
    match file::open(place.path(), Access::ReadWrite) {
        Err(Errno::ACCESS) => file::open(place.path(), Access::ReadOnly),
        other => other,
    }
}

/// Deletes whatever segment has that name.
pub(crate) fn delete(place: &Place, patience: Duration) -> Result<()> {
    let verb = "delete";
    let fail = |error| place.error(verb, error);
    let mut patience = Patience::new(patience);
    loop {
        let fd = match open_to_delete(place) {
            Ok(fd) => fd,
            Err(Errno::ACCESS) => return delete_unopened(place),
            Err(error) => {
                let manner = Manner {
                    access: Access::ReadWrite,
                    owner: OwnerPolicy::Any,
                    size: 0,
                    verb,
                    counted: true,
                };
                return Err(why_not_open(place, manner, error));
            }
        };
        let stat = file::stat(fd.as_fd()).map_err(fail)?;
        match no_segment(&stat) {
            // Taking one of several names away harms nobody.
            None | Some(NotASegment::HardLinked) => {}
            Some(what) => return Err(Error::NotASegment { attempt: place.attempt(verb), what }),
        }
        if delete_file(place, fd.as_fd(), stat.identity).map_err(fail)? == Some(true) {
            return Ok(());
        }
        if !patience.pause() {
            return Err(patience.busy(place, verb));
        }
    }
}

/// Deletes the name if it still means the file behind `fd`; `None` if somebody else has the gate.
pub(crate) fn delete_file(
    place: &Place,
    fd: BorrowedFd<'_>,
    identity: Identity,
) -> Result<Option<bool>, Errno> {
    let gate = match lock::try_write(fd, GATE) {
        // Not open for writing: a shared lock keeps out all who have it exclusively, and whoever else has it
        // shared shows.
        Err(Errno::BADF) => lock::try_read(fd, GATE)? && lock::conflict(fd, GATE)?.is_none(),
        other => other?,
    };
    if !gate {
        lock::unlock(fd, GATE)?;
        return Ok(None);
    }
    let removed = remove_name(place, identity, Why::Request);
    // Whether that works changes nothing about what was done: what keeps the gate is a name that is gone, until the
    // description is closed.
    let _ = lock::unlock(fd, GATE);
    removed.map(Some)
}

/// The same, waiting for the gate; `false` if the name does not mean that file.
pub(crate) fn delete_file_patiently(place: &Place, fd: BorrowedFd<'_>, identity: Identity) -> Result<bool> {
    let verb = "delete";
    let mut patience = Patience::new(PATIENCE);
    loop {
        match delete_file(place, fd, identity).map_err(|error| place.error(verb, error))? {
            Some(deleted) => return Ok(deleted),
            None if patience.pause() => {}
            None => return Err(patience.busy(place, verb)),
        }
    }
}

/// Deletes a segment whose mode keeps even its owner from opening it, so without the gate. The directory's mode
/// decides. Should the name come to mean another segment in between, that one is deleted: as if the caller had
/// asked a moment later.
fn delete_unopened(place: &Place) -> Result<()> {
    let fail = |error| place.error("delete", error);
    let stat = file::stat_path(place.path()).map_err(fail)?;
    if let Some(what) = no_segment(&stat) {
        return Err(Error::NotASegment { attempt: place.attempt("delete"), what });
    }
    if stat.is_sticky() {
        // Others may rely on the gate, which cannot be had.
        return Err(fail(Errno::ACCESS));
    }
    file::unlink(place.path()).map_err(fail)
}

/// What a sweep did with one name.
#[derive(Debug)]
pub(crate) enum Swept {
    /// It was no orphan.
    Kept,
    /// It was removed, or would have been; with the bytes of storage that it had.
    Orphan(Stat),
}

/// Whether a name that has this metadata can be an orphan at all.
pub(crate) fn can_be_orphan(place: &Place, stat: &Stat) -> bool {
    stat.kind == Kind::Regular && (stat.is_sticky() || Name::is_unfinished(place.file_name()))
}

/// Removes the name if it is an orphan's; with `dry`, only looks.
pub(crate) fn sweep(place: &Place, dry: bool) -> Result<Swept> {
    let verb = "sweep";
    let fail = |error| place.error(verb, error);
    let access = if dry { Access::ReadOnly } else { Access::ReadWrite };
    let fd = match file::open(place.path(), access) {
        Ok(fd) => fd,
        // What cannot be opened for that reason was no segment, or is none any more.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::AGAIN) => {
            return Ok(Swept::Kept);
        }
        Err(error) => return Err(fail(error)),
    };
    let stat = file::stat(fd.as_fd()).map_err(fail)?;
    if !can_be_orphan(place, &stat) || stat.names == 0 {
        return Ok(Swept::Kept);
    }
    if dry {
        let nobody = matches!(present(fd.as_fd()).map_err(fail)?, Present::Nobody);
        return Ok(if nobody { Swept::Orphan(stat) } else { Swept::Kept });
    }
    if !lock::try_write(fd.as_fd(), WHOLE).map_err(fail)? {
        return Ok(Swept::Kept);
    }
    let why = if stat.is_sticky() { Why::Lifetime } else { Why::Request };
    let removed = remove_name(place, stat.identity, why);
    if removed.is_err() {
        unlock_failed(fd.as_fd());
    }
    match removed {
        Ok(true) => Ok(Swept::Orphan(stat)),
        Ok(false) => Ok(Swept::Kept),
        Err(Errno::PERM | Errno::ACCESS) => {
            Err(Error::ForeignOrphan { attempt: place.attempt(verb), owner: stat.uid })
        }
        Err(error) => Err(fail(error)),
    }
}
