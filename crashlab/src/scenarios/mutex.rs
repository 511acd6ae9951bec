//! The mutex: taken, given back, waited for, handed over, taken over from the dead.

use std::time::{Duration, Instant};

use commons::Shared;
use commons::sync::{LockError, LockState, SyncError};

use crate::flaw::{Check, Flaw, ensure};
use crate::invariants::locks::{
    Account, CHANGES, GIVES_BACK, HAS, Locks, NAME, THROUGH, TOLD, counts_are_exact, must_open, not_had,
    open, taken, told_exactly_once,
};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, World};

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Sync, name, arrange, verify).remains(&[NAME])
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("mutex: lock, change, unlock", change, in_order).meanwhile(tried_meanwhile).pairs(),
    scenario("mutex: a thread's first lock", change_first, in_order).meanwhile(tried_meanwhile),
    scenario("mutex: lock, contended", change, in_order)
        .companion(give_back_on_cue)
        .meanwhile(tried_meanwhile),
    scenario("mutex: lock, contended by another waiter", change, in_order)
        .companion(give_back_and_take_again)
        .meanwhile(tried_meanwhile),
    scenario("mutex: unlock, with a waiter", unlock, in_order)
        .companion(wait_for_it)
        .meanwhile(tried_meanwhile),
    scenario("mutex: lock, until the time is over", time_out, not_changed).companion(keep_it),
    scenario("mutex: take over from a dead owner, and mend", take_over, taken_over).prepare(die_with_it),
    scenario("mutex: wait for a dying owner", change, taken_over_by_waiting).companion(die_on_cue),
];

fn text<G>(error: LockError<G>) -> String {
    error.to_string()
}

/// Locks, changes, and gives back.
fn change(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    // The thread's record is made by its first lock, which is another scenario.
    drop(locks.rwlock.read());
    Ok(Box::new(move || change_once(world, || locks.mutex.lock_timeout(PATIENCE))))
}

fn change_first(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    Ok(Box::new(move || change_once(world, || locks.mutex.lock_timeout(PATIENCE))))
}

fn change_once<'l>(
    world: &World,
    lock: impl FnOnce() -> commons::sync::LockResult<commons::sync::MutexGuard<'l, Account>>,
) -> Result<(), String> {
    let mut guard = taken(world, lock()).map_err(|flaw| flaw.to_string())?;
    world.note_mine(HAS);
    guard.change();
    world.note_mine(GIVES_BACK);
    drop(guard);
    Ok(())
}

/// Has the lock already, and gives it back.
fn unlock(world: &World) -> Result<Act<'_>, String> {
    // It lives as long as the process, so that the guard can stand in the act.
    let locks: &'static Shared<Locks> = Box::leak(Box::new(open(world).map_err(|error| error.to_string())?));
    let mut guard = locks.mutex.lock().map_err(text)?;
    guard.change();
    world.note_mine(GIVES_BACK);
    let mut guard = Some(guard);
    Ok(Box::new(move || {
        drop(guard.take());
        Ok(())
    }))
}

fn time_out(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.rwlock.read());
    Ok(Box::new(move || match locks.mutex.lock_timeout(Duration::from_millis(2)) {
        Err(LockError::Failed(SyncError::TimedOut)) => Ok(()),
        Ok(_) => Err("the lock was had, though somebody else has it".into()),
        Err(error) => Err(text(error)),
    }))
}

fn take_over(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.rwlock.read());
    Ok(Box::new(move || {
        let mut guard = match locks.mutex.lock_timeout(PATIENCE) {
            Err(LockError::OwnerDied(mut guard)) => {
                guard.mend();
                guard.recover()
            }
            // Done again, after it was mended.
            Ok(guard) => guard,
            Err(error) => return Err(text(error)),
        };
        guard.change();
        Ok(())
    }))
}

// The companions.

/// Has the lock, and gives it back when the victim sleeps.
fn give_back_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let guard = taken(world, locks.mutex.lock())?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    drop(guard);
    Ok(())
}

/// The same; and then it wants the lock again, and has it once the victim is done, or dead.
fn give_back_and_take_again(world: &World) -> Check {
    let locks = must_open(world)?;
    let guard = taken(world, locks.mutex.lock())?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    drop(guard);
    change_as_survivor(world, &locks)
}

/// Waits for the lock, which the victim has.
fn wait_for_it(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    change_as_survivor(world, &locks)?;
    world.count(THROUGH);
    Ok(())
}

fn change_as_survivor(world: &World, locks: &Locks) -> Check {
    let mut guard = taken(world, locks.mutex.lock_timeout(PATIENCE))?;
    guard.change();
    world.count(CHANGES);
    Ok(())
}

/// Has the lock until the victim is gone.
fn keep_it(world: &World) -> Check {
    let locks = must_open(world)?;
    let mut guard = taken(world, locks.mutex.lock())?;
    world.board.wait_for_end();
    guard.change();
    world.count(CHANGES);
    Ok(())
}

/// Dies with the lock, before the victim comes.
fn die_with_it(world: &World) -> Check {
    let locks = must_open(world)?;
    let mut guard = taken(world, locks.mutex.lock())?;
    guard.begin_change();
    std::mem::forget(guard);
    Ok(())
}

/// Dies with the lock when the victim sleeps.
fn die_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let mut guard = taken(world, locks.mutex.lock())?;
    guard.begin_change();
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    std::mem::forget(guard);
    Ok(())
}

/// Whoever comes while the victim is stopped is refused at once, or waits no longer than it said.
fn tried_meanwhile(world: &World) -> Check {
    let locks = must_open(world)?;
    let begun = Instant::now();
    for time in [Duration::ZERO, Duration::from_millis(5)] {
        match locks.mutex.lock_timeout(time) {
            Ok(guard) => ensure(guard.is_in_order(), || "had beside a stopped owner".into())?,
            Err(LockError::Failed(SyncError::WouldBlock | SyncError::TimedOut)) => {}
            Err(LockError::OwnerDied(_)) => return Err(Flaw::wrong("a stopped owner passes for dead")),
            Err(LockError::Failed(error)) => return Err(not_had(error)),
        }
    }
    ensure(begun.elapsed() < Duration::from_secs(1), || "took a second beside a stopped process".into())
}

// What is left.

fn in_order(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let count = told_exactly_once(world, || locks.mutex.state(), || locks.mutex.lock_timeout(PATIENCE))?;
    if fate.finished() {
        ensure(world.noted(TOLD) == 0, || "a death was told, and nobody died with the lock".into())?;
    }
    counts_are_exact(world, fate.finished(), count)
}

/// The victim never had it.
fn not_changed(world: &World, _: Fate) -> Check {
    let locks = must_open(world)?;
    let count = told_exactly_once(world, || locks.mutex.state(), || locks.mutex.lock_timeout(PATIENCE))?;
    ensure(world.noted(TOLD) == 0, || "a death was told, and nobody died with the lock".into())?;
    ensure(count == world.noted(CHANGES), || format!("{count} changes"))
}

/// An earlier owner died; the victim may have been told, and have died over it.
fn taken_over(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let before = locks.mutex.state();
    let guard = taken(world, locks.mutex.lock_timeout(PATIENCE))?;
    let told = world.noted(TOLD);
    ensure((before == LockState::OwnerDied) == (told == 1), || format!("{before:?}, and {told} told"))?;
    ensure(told == 0 || !fate.finished(), || "mended, and told once more".into())?;
    ensure(guard.one <= 1 && (guard.one == 1 || !fate.finished()), || format!("{} changes", guard.one))?;
    drop(guard);
    drop(taken(world, locks.mutex.lock_timeout(PATIENCE))?);
    ensure(world.noted(TOLD) == told, || "told twice".into())
}

/// The companion died with the lock, and the victim may have died with it after that. Two deaths at most.
fn taken_over_by_waiting(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    drop(taken(world, locks.mutex.lock_timeout(PATIENCE))?);
    let told = world.noted(TOLD);
    ensure(told >= 1, || "an owner died, and nobody was told".into())?;
    ensure(told <= 2 && (told == 1 || !fate.finished()), || format!("{told} deaths were told"))?;
    drop(taken(world, locks.mutex.lock_timeout(PATIENCE))?);
    ensure(world.noted(TOLD) == told, || "told twice".into())
}
