//! What must be true of locks and what they guard: nobody waits for the dead, each owner's death is told exactly once,
//! and counts are exact.

use std::ops::DerefMut;
use std::sync::atomic::AtomicU64;

use commons::sync::{
    AutoEvent, Barrier, Condvar, Event, LockError, LockResult, LockState, Mutex, MutexGuard, OnceLock,
    RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SeqLock, SyncError,
};
use commons::{Lifetime, Shareable, Shared, SharedOptions};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::world::{PATIENCE, SECOND, VICTIM, World};

/// The name of the object with all the locks.
pub(crate) const NAME: &str = "locks";

/// One of each.
#[repr(C)]
#[derive(Shareable)]
pub(crate) struct Locks {
    pub(crate) mutex: Mutex<Account>,
    pub(crate) rwlock: RwLock<Account>,
    pub(crate) semaphore: Semaphore,
    pub(crate) condvar: Condvar,
    pub(crate) event: Event,
    pub(crate) auto: AutoEvent,
    pub(crate) barrier: Barrier,
    pub(crate) once: OnceLock<u64>,
    pub(crate) value: SeqLock<[u64; 4]>,
    pub(crate) word: AtomicU64,
}

/// What a lock guards. Outside the lock `inside` is 0 and both counts are equal.
#[repr(C)]
#[derive(Clone, Copy, Shareable)]
pub(crate) struct Account {
    inside: u64,
    pub(crate) one: u64,
    two: u64,
}

impl Account {
    /// Changes it in several steps, each of which is seen by whoever comes after a crash.
    pub(crate) fn change(&mut self) {
        let this: *mut Account = self;
        // SAFETY: the places are of `self`, which is borrowed for us alone; volatile, so that the steps stay steps.
        unsafe {
            (&raw mut (*this).inside).write_volatile(1);
            (&raw mut (*this).one).write_volatile((*this).one.wrapping_add(1));
            (&raw mut (*this).two).write_volatile((*this).two.wrapping_add(1));
            (&raw mut (*this).inside).write_volatile(0);
        }
    }

    /// Leaves it as one who dies in the middle of a change.
    pub(crate) fn begin_change(&mut self) {
        self.inside = 1;
        self.one = self.one.wrapping_add(1);
    }

    /// Whether nobody was in the middle of a change.
    pub(crate) fn is_in_order(&self) -> bool {
        self.inside == 0 && self.one == self.two
    }

    /// Makes it good, after a death.
    pub(crate) fn mend(&mut self) {
        self.one = self.two;
        self.inside = 0;
    }
}

// What is noted beside the locks.

/// How often somebody was told of a dead owner.
pub(crate) const TOLD: usize = 1;
/// How many changes were begun under the lock by those who lived.
pub(crate) const CHANGES: usize = 2;
/// How many came through.
pub(crate) const THROUGH: usize = 3;

/// The victim has the lock, surely.
pub(crate) const HAS: u64 = 1;
/// It is about to give it back, or has.
pub(crate) const GIVES_BACK: u64 = 2;

/// The object with all the locks, which stays until the experiment ends.
pub(crate) fn open(world: &World) -> Result<Shared<Locks>, commons::Error> {
    SharedOptions::new().lifetime(Lifetime::UntilDeleted).namespace(world.namespace()).open_or_create(NAME)
}

/// Guards of data that can be had with the news of a death.
pub(crate) trait Mendable: DerefMut<Target = Account> + Sized {
    fn recovered(self) -> Self;
}

impl Mendable for MutexGuard<'_, Account> {
    fn recovered(self) -> Self {
        self.recover()
    }
}

impl Mendable for RwLockWriteGuard<'_, Account> {
    fn recovered(self) -> Self {
        self.recover()
    }
}

/// Takes what a lock gave: in order, or with the news of a death, which is counted.
pub(crate) fn taken<G: Mendable>(world: &World, result: LockResult<G>) -> Result<G, Flaw> {
    match result {
        Ok(guard) => {
            ensure(guard.is_in_order(), || {
                "the lock was had without news, and the data is half changed".into()
            })?;
            Ok(guard)
        }
        Err(LockError::OwnerDied(mut guard)) => {
            world.count(TOLD);
            guard.mend();
            Ok(guard.recovered())
        }
        Err(LockError::Failed(error)) => Err(not_had(error)),
    }
}

/// The same for a reader.
pub(crate) fn taken_to_read<'l>(
    world: &World,
    result: commons::sync::ReadResult<'l, Account>,
) -> Result<RwLockReadGuard<'l, Account>, Flaw> {
    match result {
        Ok(guard) => {
            ensure(guard.is_in_order(), || "a reader sees data that is half changed".into())?;
            Ok(guard)
        }
        Err(LockError::OwnerDied(guard)) => Ok(taken(world, Err(LockError::OwnerDied(guard)))?.downgrade()),
        Err(LockError::Failed(error)) => Err(not_had(error)),
    }
}

/// A lock that has to be had.
pub(crate) fn not_had(error: SyncError) -> Flaw {
    match error {
        SyncError::TimedOut => Flaw::stuck(format!("not to be had within {PATIENCE:?}")),
        error => Flaw::wrong(format!("not to be had: {error}")),
    }
}

/// What a lock whose owner may have died has to be like: `had` takes it, twice; the second time there is no news.
pub(crate) fn told_exactly_once<G: Mendable>(
    world: &World,
    state: impl Fn() -> LockState,
    had: impl Fn() -> LockResult<G>,
) -> Result<u64, Flaw> {
    let before = state();
    let told_before = world.noted(TOLD);
    drop(taken(world, had())?);
    let told = world.noted(TOLD) - told_before;
    ensure((before == LockState::OwnerDied) == (told == 1), || {
        format!("the lock said {before:?}, and {told} deaths were told")
    })?;
    let guard = taken(world, had())?;
    ensure(world.noted(TOLD) == told_before + told, || "a death was told twice".into())?;
    let count = guard.one;
    drop(guard);
    ensure(state() == LockState::Free, || format!("given back, the lock says {:?}", state()))?;
    let told = world.noted(TOLD);
    ensure(told <= 1, || format!("one died, and {told} deaths were told"))?;
    if world.noted(VICTIM) == HAS {
        ensure(told == 1, || "the owner died inside, and nobody was told".into())?;
    }
    Ok(count)
}

/// The count is what those who lived have added, with the victim's change if it was over, with or without it if not.
pub(crate) fn counts_are_exact(world: &World, finished: bool, count: u64) -> Check {
    let lived = world.noted(CHANGES) + u64::from(world.noted(SECOND) == GIVES_BACK);
    let most = lived + 1;
    let least = if finished || world.noted(VICTIM) == GIVES_BACK { most } else { lived };
    ensure((least..=most).contains(&count), || format!("{count} changes, and {least} to {most} were made"))
}

/// For parts that open the locks and cannot go on without.
pub(crate) fn must_open(world: &World) -> Result<Shared<Locks>, Flaw> {
    open(world).must("open the locks")
}
