//! Freeing locks that their owners left behind: for administrators, who know a lock by its place only.
//!
//! The kernel marks the locks of a thread that ends, and the next owner is told. Left behind is what it did not mark (see
//! the module `sync::owner`), what was given up unmended, and permits that nobody has asked back yet.
//!
//! Each word is changed by compare-and-swap from one that names the thread that was looked at; so a lock that was given
//! back and taken by another thread meanwhile stays that thread's. (Unless that one has got the id of the other, which
//! must have ended, been freed by somebody else, and its id been used again, between the two looks.)

use super::description::LockPlace;
use crate::error::{Error, Result};
use crate::segment::Attachment;
use crate::sync::{self, LockReport, LockState, Semaphore};
use crate::sys::robust::thread_exists;

/// What a lock was like before it was freed, and what it is like now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released {
    /// Before.
    pub before: LockReport,
    /// Afterwards. Threads that have it still are alive, or have just taken it.
    pub after: LockReport,
}

/// Frees what threads left behind that are no more: whoever locks it next is told that its owner died. An unrecoverable
/// lock is reset, and the permits of dead processes go back to a semaphore. What a thread has that exists stays as it is;
/// of a barrier, the place of a member that is gone is marked, so that the others are told.
///
/// Of an [`RwLock`](crate::sync::RwLock) that only readers had, their places are free afterwards, and nobody is told: a
/// reader leaves nothing half changed.
///
/// The attachment is of the whole segment. `None` for a lock whose kind is not known here. Blocks nobody, and wakes who
/// waits for the lock.
///
/// ```
/// use commons::{Shared, shared, sync::{LockState, Mutex}};
///
/// # let name = format!("doc-release-{}", std::process::id());
/// let jobs = Shared::<Mutex<u64>>::create(name)?;
/// # /*
/// // … whose owner died, and whoever was told did not mend the data …
/// # */ jobs.attachment().write_at(0, &0x4000_0000_u32.to_ne_bytes())?; // as the kernel would have
/// # drop(jobs.lock()); // told, and not mended
/// assert_eq!(jobs.state(), LockState::Unrecoverable);
/// let description = shared::describe(jobs.attachment()).unwrap();
/// for lock in description.locks() {
///     shared::release_abandoned(jobs.attachment(), &lock)?;
/// }
/// let jobs = jobs.lock_or_recover(|jobs| *jobs = 0)?;
/// # Ok::<(), commons::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::OtherPidNamespace`] if it is held and a process of another pid namespace holds the segment, since a thread id
/// means another thread there; [`Error::ReadOnly`]; [`Error::OutOfRange`] if the attachment is not of the whole segment;
/// [`Error::Truncated`] if a [guard](Attachment::guard) has found bytes gone.
#[doc(alias = "pthread_mutex_consistent")]
pub fn release_abandoned(attachment: &Attachment, lock: &LockPlace) -> Result<Option<Released>> {
    let release = |before: &LockReport| {
        if before.threads().next().is_some() {
            attachment.refuse_other_pid_namespaces(VERB)?;
        }
        Ok(())
    };
    released(attachment, lock, release, |thread| !thread_exists(thread))
}

/// Frees a lock, whoever has it: whoever locks it next is told that its owner died. An unrecoverable lock is reset. The
/// permits of processes that live stay theirs.
///
/// The attachment is of the whole segment. `None` for a lock whose kind is not known here.
///
/// # Safety
///
/// No thread of any process that has the lock uses its data any more: it has the data for itself until it gives the
/// lock back, and the next one has it too. Nor is it just giving the lock back: if it has begun to, it may free the lock of
/// whoever has it by then; otherwise giving it back is of no effect.
///
/// # Errors
///
/// As [`release_abandoned`], but for `OtherPidNamespace`.
pub unsafe fn release_by_force(attachment: &Attachment, lock: &LockPlace) -> Result<Option<Released>> {
    released(attachment, lock, |_| Ok(()), |_| true)
}

const VERB: &str = "unlock in";

fn released(
    attachment: &Attachment,
    lock: &LockPlace,
    may: impl FnOnce(&LockReport) -> Result<()>,
    is_gone: impl Fn(u32) -> bool,
) -> Result<Option<Released>> {
    let beyond = || Error::OutOfRange { offset: lock.offset, len: lock.size, size: attachment.len() as u64 };
    let (Ok(offset), Ok(len)) = (usize::try_from(lock.offset), usize::try_from(lock.size)) else {
        return Err(beyond());
    };
    if attachment.offset() != 0 {
        return Err(beyond());
    }
    let first = attachment.range(offset, len)?;
    if attachment.is_read_only() {
        return Err(Error::ReadOnly(attachment.attempt(VERB)));
    }
    let report = || {
        let mut bytes = vec![0; len.min(LockReport::len_of(&lock.kind))];
        attachment.read_at(offset, &mut bytes)?;
        Ok::<_, Error>(LockReport::from_bytes(&lock.kind, &bytes))
    };
    // SAFETY: `range` found the bytes within the attachment, which is writable and borrowed for longer; of others that
    // change them as anything but words, a `LockPlace` of another object for one, nothing is assumed: all is atomics.
    let words = unsafe { sync::words(&lock.kind, first, len) };
    let (Some(before), Some(words)) = (report()?, words) else { return Ok(None) };
    may(&before)?;
    for word in &words {
        let thread = word.owner();
        if thread != 0 && is_gone(thread) {
            word.take_from(thread);
        }
    }
    if lock.kind == "Semaphore" && len >= size_of::<Semaphore>() && first.cast::<Semaphore>().is_aligned() {
        attachment.register();
        // SAFETY: as for the words: within the attachment, aligned, and made of atomics, so that any bytes are one.
        unsafe { &*first.cast::<Semaphore>() }.recover_permits();
    }
    if before.state == LockState::Unrecoverable {
        words[0].reset();
    }
    attachment.check()?;
    Ok(report()?.map(|after| Released { before, after }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::shared::describe;
    use crate::sync::{LockError, LockState, Mutex, SyncError};
    use crate::{AttachOptions, SegmentOptions, Shared};

    fn shared(label: &str) -> (Shared<Mutex<u64>>, LockPlace) {
        let shared = Shared::<Mutex<u64>>::create(format!("release-{label}-{}", std::process::id())).unwrap();
        let place = describe(shared.attachment()).unwrap().locks().next().unwrap();
        (shared, place)
    }

    #[test]
    fn what_the_living_have_stays_while_they_come_and_go() {
        let (shared, place) = shared("living");
        let (over, had) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let work = || {
                while !over.load(Relaxed) {
                    *shared.lock().unwrap() += 1;
                    had.fetch_add(1, Relaxed);
                }
            };
            let mut held = 0;
            let workers = [scope.spawn(work), scope.spawn(work)];
            // One that ends before its time has failed.
            while held < 500 && !workers.iter().any(|worker| worker.is_finished()) {
                let released = release_abandoned(shared.attachment(), &place).unwrap().unwrap();
                held += u32::from(released.before.threads().next().is_some());
            }
            over.store(true, Relaxed);
        });
        assert_eq!(*shared.lock().unwrap(), had.load(Relaxed));
    }

    #[test]
    fn what_a_thread_left_that_is_gone_is_freed_once() {
        let (shared, place) = shared("gone");
        let gone = std::thread::spawn(crate::sys::robust::thread_id).join().unwrap();
        while thread_exists(gone) {
            std::thread::yield_now();
        }
        shared.attachment().write_at(0, &gone.to_ne_bytes()).unwrap();
        let released = release_abandoned(shared.attachment(), &place).unwrap().unwrap();
        assert_eq!(released.before.state, LockState::Held { thread: gone, waiters: false });
        assert_eq!(released.after.state, LockState::OwnerDied);
        let Err(LockError::OwnerDied(guard)) = shared.lock() else { panic!("nobody was told") };
        drop(guard);
        let Err(LockError::Failed(SyncError::Unrecoverable)) = shared.lock() else { panic!("it was mended") };
        let released = release_abandoned(shared.attachment(), &place).unwrap().unwrap();
        assert_eq!(released.before.state, LockState::Unrecoverable);
        drop(shared.lock_or_recover(|value| *value = 1).unwrap());
        let released = release_abandoned(shared.attachment(), &place).unwrap().unwrap();
        assert!(released.before.is_free() && released.after.is_free());
    }

    #[test]
    fn places_that_cannot_be_are_errors_or_nothing() {
        let (shared, place) = shared("odd");
        let at =
            |offset, size, kind: &str| LockPlace { offset, size, kind: kind.to_owned(), ..place.clone() };
        let release = |place| release_abandoned(shared.attachment(), &place);
        assert!(release(at(0, 48, "Novel")).unwrap().is_none());
        assert!(release(at(0, 39, "Mutex")).unwrap().is_none());
        assert!(release(at(4, 48, "Mutex")).unwrap().is_none());
        for (offset, size) in [(1 << 20, 48), (u64::MAX, 48), (0, u64::MAX), (8, u64::MAX)] {
            assert!(matches!(release(at(offset, size, "Mutex")), Err(Error::OutOfRange { .. })));
        }
        let name = shared.segment_name().unwrap();
        let segment = SegmentOptions::new().open(name.to_os_string()).unwrap();
        let read_only = segment.attach_with(&AttachOptions::new().read_only(true)).unwrap();
        assert!(matches!(release_abandoned(&read_only, &place), Err(Error::ReadOnly(_))));
    }
}
