//! The namespace that names lie in, and the lock on it.
//!
//! Looking a name up takes no lock: the protocol of names sees to it that what is found is whole and held. The lock is
//! for making: from `nobCreate`, which found no such name, to `nobCommit` or `nobAbort`; whoever misses a name
//! meanwhile waits, and looks again. It is a robust mutex in a segment of the namespace, with a word beside it.
//!
//! # States
//!
//! | lock           | means                                                                           |
//! | -------------- | ------------------------------------------------------------------------------- |
//! | free           | nothing is being made                                                           |
//! | a thread has it | it looks whether a name is there and makes it; or it is between `nobCreate` and `nobCommit` |
//! | its owner died | what it was making has no name, and never will: the next one has the lock, and goes on |
//!
//! # Why a crash is safe
//!
//! Making is one step, the last: until then the new segment has no name, and goes with its creator. So there is nothing
//! to mend when an owner died. The word, the bits of all inode numbers that were ever used here, is or-ed before the
//! segment has its name: a crash in between leaves bits of a number that is not in use, which costs a look at the
//! directory later on.
//!
//! The segment of the lock is held by all processes that have ever made something, and goes with the last of them, or
//! with the sweep that each process does as it first makes something. If its name is removed by hand meanwhile, others
//! make a new one; so who has the lock makes sure that it is the one that the name means, and else takes that.
//!
//! # Threads and forks
//!
//! The lock belongs to a thread, which may have several names in the making at once. What it has is remembered beside the
//! thread's id: a forked child inherits the memory, but has another id, and so has nothing.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Release},
};

use commons::sync::{Mutex, MutexGuard};
use commons::{Namespace, OwnerPolicy, SegmentOptions, Shared, SharedOptions};
use commons_compat::gpl;
use commons_compat::place::System;

use crate::call::{Code, Result};

/// Permissions of what is made: those of libgpl's shared memory. In a private directory they give nothing to others.
const MODE: u32 = 0o660;

/// Where names lie, for one user.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    owner: OwnerPolicy,
    user: u32,
    database: AtomicPtr<Database>,
}

/// The lock's segment, attached for as long as the process lives.
#[derive(Debug)]
struct Database {
    lock: Shared<Mutex<u64>>,
    inode: u64,
}

impl Place {
    /// Options for whatever is opened or made here.
    pub(crate) fn options<'o>(&self) -> SegmentOptions<'o> {
        SegmentOptions::new().namespace(&self.namespace).owner(self.owner).mode(MODE)
    }

    /// The database that this process knows; opened, or made, if it knows none.
    fn database(&self) -> Result<&'static Database> {
        let known = self.database.load(Acquire);
        // SAFETY: what it points to is never freed.
        if let Some(known) = unsafe { known.as_ref() } {
            return Ok(known);
        }
        // What the dead left, for which nobody may ever ask again.
        let _ = self.namespace.sweep();
        let bits = gpl::inode_bits(self.namespace.directory()).unwrap_or(u64::MAX);
        let options = SharedOptions::new().namespace(&self.namespace).owner(self.owner).mode(MODE);
        let lock = options.value(Mutex::new(bits)).open_or_create(gpl::DATABASE)?;
        let inode = self.database_inode().unwrap_or(0);
        let new = Box::into_raw(Box::new(Database { lock, inode }));
        match self.database.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            // SAFETY: never freed from now on.
            Ok(_) => Ok(unsafe { &*new }),
            Err(known) => {
                // SAFETY: another thread was first; nobody else knows this one.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: never freed.
                Ok(unsafe { &*known })
            }
        }
    }

    /// The inode number of the segment that the database's name means.
    fn database_inode(&self) -> Option<u64> {
        let path = self.namespace.directory().join(gpl::DATABASE);
        std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
    }

    /// Forgets a database that is not the one that the name means. It stays attached: other threads may wait for it.
    fn forget(&self, database: &'static Database) {
        let database = ptr::from_ref(database).cast_mut();
        let _ = self.database.compare_exchange(database, ptr::null_mut(), AcqRel, Acquire);
    }

    /// Whether somebody could be making a name now: there is a database.
    pub(crate) fn may_be_locked(&self) -> bool {
        self.namespace.exists(gpl::DATABASE).unwrap_or(true)
    }
}

/// This process's place, once it is known. Replaced if the process becomes another user's; none is ever freed.
static PLACE: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

fn user() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { libc::geteuid() }
}

fn known() -> Option<&'static Place> {
    // SAFETY: places are never freed.
    unsafe { PLACE.load(Acquire).as_ref() }.filter(|place| place.user == user())
}

fn remember(namespace: Namespace) -> &'static Place {
    let (owner, user, database) = (gpl::owner(), user(), AtomicPtr::default());
    let place = Box::into_raw(Box::new(Place { namespace, owner, user, database }));
    // Of two threads that do this at once the second one's place stays known; both are good.
    PLACE.store(place, Release);
    // SAFETY: never freed.
    unsafe { &*place }
}

/// Where to look for names; `ENOENT` if nothing was ever made there.
pub(crate) fn to_look() -> Result<&'static Place> {
    match known() {
        Some(place) => Ok(place),
        None => Ok(remember(Namespace::at(System::Gpl.directory())?)),
    }
}

/// Where to make names; the directory is made if it is not there.
pub(crate) fn to_make() -> Result<&'static Place> {
    match known() {
        Some(place) if place.namespace.directory().is_dir() => Ok(place),
        _ => Ok(remember(Namespace::at(System::Gpl.prepare()?)?)),
    }
}

/// What the calling thread has.
struct Held {
    /// The thread that it belongs to, by the kernel's number.
    thread: i32,
    place: &'static Place,
    guard: MutexGuard<'static, u64>,
    /// How often it was entered and not yet left.
    depth: usize,
    /// Names between `nobCreate` and `nobCommit`.
    pending: Vec<CString>,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// The calling thread, by the kernel's number.
pub(crate) fn thread() -> i32 {
    // SAFETY: has no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// What the thread has, if anything. A forked child has a copy of what its parent had, which is dropped: a guard of
/// another thread's gives nothing back.
fn with_held<R>(body: impl FnOnce(&mut Option<Held>) -> R) -> Result<R> {
    let on_thread = |held: &RefCell<Option<Held>>| {
        let mut held = held.try_borrow_mut().map_err(|_| Code::DEADLOCK)?;
        if held.as_ref().is_some_and(|held| held.thread != thread()) {
            *held = None;
        }
        Ok(body(&mut held))
    };
    HELD.try_with(on_thread).unwrap_or(Err(Code::DEADLOCK))
}

/// The lock, had by this thread until this is dropped.
#[must_use = "dropping it gives the lock back"]
pub(crate) struct Locked {
    place: &'static Place,
    stays: PhantomData<*const ()>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        leave();
    }
}

impl Locked {
    /// Where it locks.
    pub(crate) fn place(&self) -> &'static Place {
        self.place
    }

    /// Has the lock stay had, with this name in the making, until [`finish`].
    pub(crate) fn keep_for(self, name: &CStr) -> Result<()> {
        with_held(|held| {
            if let Some(held) = held {
                held.pending.push(name.to_owned());
            }
        })?;
        std::mem::forget(self);
        Ok(())
    }

    /// Whether a segment whose file has this inode number would have an identifier of its own. Remembers the number.
    pub(crate) fn fits(&self, inode: u64) -> bool {
        let bits = with_held(|held| {
            held.as_mut().map_or(u64::MAX, |held| {
                *held.guard |= inode;
                *held.guard
            })
        });
        bits.is_ok_and(|bits| bits >> gpl::BITS == 0)
            || !gpl::is_taken(self.place.namespace.directory(), gpl::id_of(inode)).unwrap_or(false)
    }
}

fn leave() {
    let _ = with_held(|held| {
        if let Some(thing) = held {
            thing.depth -= 1;
            if thing.depth == 0 {
                *held = None;
            }
        }
    });
}

/// Locks the database, waiting for whoever has it; a thread that has it already does not wait.
pub(crate) fn lock() -> Result<Locked> {
    let again = with_held(|held| {
        held.as_mut().map(|held| {
            held.depth += 1;
            held.place
        })
    })?;
    if let Some(place) = again {
        return Ok(Locked { place, stays: PhantomData });
    }
    // A name that is removed by hand each time would keep this going: it has an end.
    for _ in 0..16 {
        let place = to_make()?;
        let database = place.database()?;
        let lock: &'static Mutex<u64> = &database.lock;
        // Nothing has to be mended: see above.
        let guard = lock.lock_or_recover(|_| ()).map_err(|error| Code(error.raw_os_error()))?;
        if place.database_inode() == Some(database.inode) {
            let new = Held { thread: thread(), place, guard, depth: 1, pending: Vec::new() };
            with_held(|held| *held = Some(new))?;
            return Ok(Locked { place, stays: PhantomData });
        }
        place.forget(database);
    }
    Err(Code(libc::EBUSY))
}

/// Whether the calling thread is making that name, so that it would wait for itself.
pub(crate) fn is_pending(name: &CStr) -> bool {
    with_held(|held| {
        held.as_ref().is_some_and(|held| held.pending.iter().any(|pending| pending.as_c_str() == name))
    })
    .unwrap_or(false)
}

/// Gives back the lock that was kept for this name.
pub(crate) fn finish(name: &CStr) {
    let found = with_held(|held| {
        let pending = &mut held.as_mut()?.pending;
        let at = pending.iter().position(|pending| pending.as_c_str() == name)?;
        Some(pending.swap_remove(at))
    });
    if matches!(found, Ok(Some(_))) {
        leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commons::Segment;

    #[test]
    fn an_identifier_that_another_segment_has_does_not_fit() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        let options = || SegmentOptions::new().size(1).namespace(&namespace);
        let number = |segment: &Segment| gpl::inode(segment).unwrap();
        let one = options().create("one").unwrap();

        // SAFETY: no other test of this program reads or sets the environment at the same time.
        unsafe { std::env::set_var(System::Gpl.variable(), directory.path()) };
        let locked = lock().unwrap();
        // One that comes 2^30 files later has the same.
        let later = number(&one) + (1 << gpl::BITS);
        assert!(!locked.fits(later) && locked.fits(later + 1_000_000));
        // From now on each is compared.
        assert!(!locked.fits(number(&one)) && locked.fits(number(&one) + 1_000_000));
        let memory = crate::object::make_memory(&locked, c"two", 1).unwrap();
        assert!(memory.1 && !locked.fits(number(&memory.0)));
        drop(locked);
        assert!(with_held(|held| held.is_none()).unwrap());
    }

    #[test]
    fn the_lock_is_on_what_the_name_means() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        let (owner, user, database) = (OwnerPolicy::Me, user(), AtomicPtr::default());
        let place = Box::leak(Box::new(Place { namespace, owner, user, database }));
        let first = place.database().unwrap();
        assert_eq!(place.database_inode(), Some(first.inode));
        std::fs::remove_file(directory.path().join(gpl::DATABASE)).unwrap();
        assert_eq!(place.database_inode(), None);
        place.forget(first);
        let second = place.database().unwrap();
        assert_ne!(first.inode, second.inode);
        assert_eq!(place.database_inode(), Some(second.inode));
    }
}
