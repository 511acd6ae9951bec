//! The reader-writer lock: readers are stepped over, of a writer's death the next one is told.

use std::time::{Duration, Instant};

use commons::Shared;
use commons::sync::{LockError, LockState, SyncError};

use crate::flaw::{Check, Flaw, ensure};
use crate::invariants::locks::{
    CHANGES, GIVES_BACK, HAS, Locks, NAME, TOLD, counts_are_exact, must_open, not_had, open, taken,
    taken_to_read, told_exactly_once,
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
    scenario("rwlock: read, unlock", read, only_read).meanwhile(tried_meanwhile).pairs(),
    scenario("rwlock: read, while another one reads", read, only_read)
        .companion(read_beside)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: write, change, unlock", write, written).meanwhile(tried_meanwhile).pairs(),
    scenario("rwlock: write, waiting for a reader", write, written)
        .companion(read_until_cue)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: write, waiting for a writer", write, written)
        .companion(write_until_cue)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: read, waiting for a writer", read, only_read)
        .companion(write_until_cue)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: unlock a reader, with a writer waiting", unlock_reader, only_read)
        .companion(wait_to_write)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: unlock a writer, with a writer waiting", unlock_writer, written)
        .companion(wait_to_write)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: unlock a writer, with a reader waiting", unlock_writer, written)
        .companion(wait_to_read)
        .meanwhile(tried_meanwhile),
    scenario("rwlock: write, until the time is over", time_out, timed_out).companion(read_until_end),
    scenario("rwlock: upgrade and downgrade", upgrade, written).meanwhile(tried_meanwhile),
];

fn text<G>(error: LockError<G>) -> String {
    error.to_string()
}

fn ready(world: &World) -> Result<Shared<Locks>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    // The thread's record is made by its first lock, which is another scenario.
    drop(locks.mutex.lock().map_err(text)?);
    Ok(locks)
}

fn read(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        drop(taken_to_read(world, locks.rwlock.read_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?);
        Ok(())
    }))
}

fn write(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let mut guard =
            taken(world, locks.rwlock.write_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?;
        world.note_mine(HAS);
        guard.change();
        world.note_mine(GIVES_BACK);
        drop(guard);
        Ok(())
    }))
}

fn upgrade(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let reader =
            taken_to_read(world, locks.rwlock.read_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?;
        let Ok(mut writer) = reader.try_upgrade() else { return Err("not upgraded, though alone".into()) };
        world.note_mine(HAS);
        writer.change();
        world.note_mine(GIVES_BACK);
        drop(writer.downgrade());
        Ok(())
    }))
}

fn unlock_reader(world: &World) -> Result<Act<'_>, String> {
    let locks: &'static Shared<Locks> = Box::leak(Box::new(ready(world)?));
    let mut guard = Some(locks.rwlock.read().map_err(text)?);
    Ok(Box::new(move || {
        drop(guard.take());
        Ok(())
    }))
}

fn unlock_writer(world: &World) -> Result<Act<'_>, String> {
    let locks: &'static Shared<Locks> = Box::leak(Box::new(ready(world)?));
    let mut guard = locks.rwlock.write().map_err(text)?;
    guard.change();
    world.note_mine(GIVES_BACK);
    let mut guard = Some(guard);
    Ok(Box::new(move || {
        drop(guard.take());
        Ok(())
    }))
}

fn time_out(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || match locks.rwlock.write_timeout(Duration::from_millis(2)) {
        Err(LockError::Failed(SyncError::TimedOut)) => Ok(()),
        Ok(_) => Err("the lock was had, though somebody else has it".into()),
        Err(error) => Err(text(error)),
    }))
}

// The companions.

/// Reads all the time, and can read beside the victim.
fn read_beside(world: &World) -> Check {
    let locks = must_open(world)?;
    let guard = taken_to_read(world, locks.rwlock.read())?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    ensure(guard.is_in_order(), || "half changed under a reader".into())
}

fn read_until_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let guard = taken_to_read(world, locks.rwlock.read())?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    ensure(guard.is_in_order(), || "half changed under a reader".into())?;
    drop(guard);
    // A writer that is gone keeps nobody out.
    drop(taken_to_read(world, locks.rwlock.read_timeout(PATIENCE))?);
    Ok(())
}

fn read_until_end(world: &World) -> Check {
    let locks = must_open(world)?;
    let guard = taken_to_read(world, locks.rwlock.read())?;
    world.board.wait_for_end();
    ensure(guard.is_in_order(), || "half changed under a reader".into())
}

fn write_until_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let mut guard = taken(world, locks.rwlock.write())?;
    guard.change();
    world.count(CHANGES);
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    drop(guard);
    Ok(())
}

fn wait_to_write(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    let mut guard = taken(world, locks.rwlock.write_timeout(PATIENCE))?;
    guard.change();
    world.count(CHANGES);
    Ok(())
}

fn wait_to_read(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    drop(taken_to_read(world, locks.rwlock.read_timeout(PATIENCE))?);
    Ok(())
}

fn tried_meanwhile(world: &World) -> Check {
    let locks = must_open(world)?;
    let begun = Instant::now();
    for _ in 0..2 {
        match locks.rwlock.read_timeout(Duration::from_millis(5)) {
            Ok(guard) => ensure(guard.is_in_order(), || "read beside a stopped writer".into())?,
            Err(LockError::Failed(SyncError::WouldBlock | SyncError::TimedOut)) => {}
            Err(LockError::OwnerDied(_)) => return Err(Flaw::wrong("a stopped owner passes for dead")),
            Err(LockError::Failed(error)) => return Err(not_had(error)),
        }
        match locks.rwlock.write_timeout(Duration::from_millis(5)) {
            Ok(guard) => ensure(guard.is_in_order(), || "had beside a stopped writer".into())?,
            Err(LockError::Failed(SyncError::WouldBlock | SyncError::TimedOut)) => {}
            Err(LockError::OwnerDied(_)) => return Err(Flaw::wrong("a stopped owner passes for dead")),
            Err(LockError::Failed(error)) => return Err(not_had(error)),
        }
    }
    ensure(begun.elapsed() < Duration::from_secs(1), || "took a second beside a stopped process".into())
}

// What is left.

fn written(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let count = told_exactly_once(world, || locks.rwlock.state(), || locks.rwlock.write_timeout(PATIENCE))?;
    if fate.finished() {
        ensure(world.noted(TOLD) == 0, || "a death was told, and nobody died with the lock".into())?;
    }
    drop(taken_to_read(world, locks.rwlock.read_timeout(PATIENCE))?);
    readers_are_gone(&locks)?;
    counts_are_exact(world, fate.finished(), count)
}

/// The victim changed nothing, and nobody is told of its death.
fn only_read(world: &World, _: Fate) -> Check {
    let locks = must_open(world)?;
    drop(taken_to_read(world, locks.rwlock.read_timeout(PATIENCE))?);
    let guard = taken(world, locks.rwlock.write_timeout(PATIENCE))?;
    let count = guard.one;
    drop(guard);
    ensure(world.noted(TOLD) == 0, || "a reader's death was told".into())?;
    ensure(locks.rwlock.state() == LockState::Free, || format!("given back: {:?}", locks.rwlock.state()))?;
    readers_are_gone(&locks)?;
    ensure(count == world.noted(CHANGES), || format!("{count} changes"))
}

/// The victim changed nothing. A writer counts as one from when it begins to wait for readers to go, so that its death
/// may be told.
fn timed_out(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let count = told_exactly_once(world, || locks.rwlock.state(), || locks.rwlock.write_timeout(PATIENCE))?;
    ensure(world.noted(TOLD) == 0 || !fate.finished(), || "a death was told, and nobody died".into())?;
    readers_are_gone(&locks)?;
    ensure(count == world.noted(CHANGES), || format!("{count} changes"))
}

fn readers_are_gone(locks: &Locks) -> Check {
    let readers: Vec<u32> = locks.rwlock.readers().collect();
    ensure(readers.is_empty(), || format!("readers that are none: {readers:?}"))
}
