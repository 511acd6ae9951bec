//! Events, condition variables, barriers: a signal was given as a whole or not at all, and no death swallows one.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use commons::Shared;
use commons::sync::{LockError, SyncError};

use crate::flaw::{Check, Flaw, ensure};
use crate::invariants::locks::{Locks, NAME, THROUGH, must_open, open, taken};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, VICTIM, World};

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Sync, name, arrange, verify).remains(&[NAME])
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("event: set, with a waiter", set, through)
        .companion(wait_for_event)
        .rescue(set_if_needed)
        .pairs(),
    scenario("event: wait, asleep", wait, nothing).companion(set_on_cue),
    scenario("event: wait, until the time is over", wait_in_vain, nothing).companion(only_there),
    scenario("auto event: set, with a waiter", set_auto, through_once)
        .companion(wait_for_auto)
        .rescue(set_auto_if_needed),
    scenario("auto event: wait, asleep", wait_auto, one_at_most).companion(set_auto_on_cue),
    scenario("condvar: change, and notify", notify, through)
        .companion(wait_for_change)
        .rescue(notify_if_needed),
    scenario("condvar: wait, asleep", wait_notified, nothing).companion(notify_on_cue),
    scenario("condvar: wait, until the time is over", wait_unnotified, nothing).companion(only_there),
    scenario("barrier: join and wait, as the last", meet, met).companion(meet_first).rescue(meet_if_needed),
    scenario("barrier: join and wait, as the first", meet, met_or_broken).companion(meet_on_cue),
];

fn ready(world: &World) -> Result<Shared<Locks>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.rwlock.read());
    Ok(locks)
}

/// Waits, a little, until the waiter is through; whether it is.
fn through_soon(world: &World) -> bool {
    let until = Instant::now() + Duration::from_millis(30);
    while world.noted(THROUGH) == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    world.noted(THROUGH) != 0
}

fn only_there(world: &World) -> Check {
    let _locks = must_open(world)?;
    world.board.wait_for_end();
    Ok(())
}

fn nothing(_: &World, _: Fate) -> Check {
    Ok(())
}

// Events.

fn set(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        locks.event.set();
        Ok(())
    }))
}

fn wait(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(
        move || {
            if locks.event.wait_timeout(PATIENCE) { Ok(()) } else { Err("not set in time".into()) }
        },
    ))
}

fn wait_in_vain(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let set = locks.event.wait_timeout(Duration::from_millis(2));
        if set { Err("set by nobody".into()) } else { Ok(()) }
    }))
}

fn wait_for_event(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    if !locks.event.wait_timeout(PATIENCE) {
        return Err(Flaw::stuck("asleep, though the event is set"));
    }
    world.count(THROUGH);
    Ok(())
}

fn set_if_needed(world: &World) -> Check {
    let locks = must_open(world)?;
    if !locks.event.is_set() {
        world.note(VICTIM, 1);
        locks.event.set();
    }
    Ok(())
}

fn set_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    locks.event.set();
    Ok(())
}

/// The waiter is through; by the victim, if that came to it.
fn through(world: &World, fate: Fate) -> Check {
    ensure(world.noted(THROUGH) == 1, || "the waiter is not through".into())?;
    ensure(!(fate.finished() && world.noted(VICTIM) == 1), || "done, and not seen".into())
}

// Events that let one through.

fn set_auto(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        locks.auto.set();
        Ok(())
    }))
}

fn wait_auto(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        if !locks.auto.wait_timeout(PATIENCE) {
            return Err("not set in time".into());
        }
        world.note(VICTIM, 1);
        Ok(())
    }))
}

fn wait_for_auto(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    if !locks.auto.wait_timeout(PATIENCE) {
        return Err(Flaw::stuck("asleep, though the event is set"));
    }
    world.count(THROUGH);
    Ok(())
}

fn set_auto_if_needed(world: &World) -> Check {
    let locks = must_open(world)?;
    if !through_soon(world) && !locks.auto.is_set() {
        world.note(VICTIM, 1);
        locks.auto.set();
    }
    Ok(())
}

fn set_auto_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    locks.auto.set();
    Ok(())
}

fn through_once(world: &World, fate: Fate) -> Check {
    through(world, fate)?;
    let locks = must_open(world)?;
    ensure(!locks.auto.try_wait(), || "one set let two through".into())
}

/// The victim has taken it, or it is still there.
fn one_at_most(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let there = locks.auto.wait_timeout(Duration::from_millis(1));
    let had = fate.finished() || world.noted(VICTIM) == 1;
    ensure(!(there && had), || "one set let two through".into())?;
    ensure(!locks.auto.try_wait(), || "one set let two through".into())
}

// Condition variables.

fn notify(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let mut guard = taken(world, locks.mutex.lock_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?;
        guard.change();
        drop(guard);
        locks.condvar.notify_one();
        Ok(())
    }))
}

fn wait_for_change(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    let guard = taken(world, locks.mutex.lock_timeout(PATIENCE))?;
    let waited = locks.condvar.wait_timeout_while(guard, PATIENCE, |account| {
        // Also looked at with the news of a death: then it is mended first, below.
        account.is_in_order() && account.one == 0
    });
    let mut guard = match waited {
        Ok((guard, timeout)) => {
            if timeout.timed_out() {
                return Err(Flaw::stuck("asleep, though there was a change, and it was told of"));
            }
            guard
        }
        Err(LockError::OwnerDied((mut guard, _))) => {
            guard.mend();
            guard.recover()
        }
        Err(LockError::Failed(error)) => return Err(Flaw::wrong(error.to_string())),
    };
    guard.mend();
    world.count(THROUGH);
    Ok(())
}

/// What a survivor does: sees to it that there is a change, and tells of it.
fn notify_if_needed(world: &World) -> Check {
    let locks = must_open(world)?;
    if through_soon(world) {
        return Ok(());
    }
    let mut guard = taken(world, locks.mutex.lock_timeout(PATIENCE))?;
    if guard.one == 0 {
        world.note(VICTIM, 1);
        guard.change();
    }
    drop(guard);
    locks.condvar.notify_all();
    Ok(())
}

fn wait_notified(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let guard = taken(world, locks.mutex.lock_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?;
        let done = |account: &mut crate::invariants::locks::Account| account.one == 0;
        match locks.condvar.wait_timeout_while(guard, PATIENCE, done) {
            Ok((_, timeout)) if !timeout.timed_out() => Ok(()),
            Ok(_) => Err("not notified in time".into()),
            Err(error) => Err(error.to_string()),
        }
    }))
}

fn wait_unnotified(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let guard = taken(world, locks.mutex.lock_timeout(PATIENCE)).map_err(|flaw| flaw.to_string())?;
        match locks.condvar.wait_timeout(guard, Duration::from_millis(2)) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }))
}

fn notify_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    let mut guard = taken(world, locks.mutex.lock_timeout(PATIENCE))?;
    guard.change();
    drop(guard);
    locks.condvar.notify_all();
    Ok(())
}

// Barriers.

/// Of two.
const PARTIES: u32 = 2;

fn meet(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let member = locks.barrier.join(PARTIES).map_err(|error| error.to_string())?;
        member.wait_timeout(PATIENCE).map_err(|error| error.to_string())?;
        world.note(VICTIM, 1);
        Ok(())
    }))
}

fn meet_first(world: &World) -> Check {
    let locks = must_open(world)?;
    let member = locks.barrier.join(PARTIES).map_err(|error| Flaw::wrong(error.to_string()))?;
    world.board.wait_for_cue();
    match member.wait_timeout(PATIENCE) {
        Ok(_) => world.count(THROUGH),
        Err(SyncError::Broken) => world.note(THROUGH, 2),
        Err(SyncError::TimedOut) => return Err(Flaw::stuck("asleep, though the other one came, or died")),
        Err(error) => return Err(Flaw::wrong(error.to_string())),
    }
    Ok(())
}

/// If the victim died before it took part, somebody comes in its place.
fn meet_if_needed(world: &World) -> Check {
    let locks = must_open(world)?;
    if through_soon(world) {
        return Ok(());
    }
    match locks.barrier.join(PARTIES) {
        Ok(member) => match member.wait_timeout(PATIENCE) {
            Ok(_) | Err(SyncError::Broken) => Ok(()),
            Err(error) => Err(Flaw::stuck(format!("in the dead one's place: {error}"))),
        },
        Err(SyncError::Broken) => Ok(()),
        Err(error) => Err(Flaw::wrong(format!("in the dead one's place: {error}"))),
    }
}

fn met(world: &World, fate: Fate) -> Check {
    let outcome = world.noted(THROUGH);
    ensure(outcome != 0, || "the other one is not through".into())?;
    ensure(!(fate.finished() && outcome != 1), || "all met, and one was told that they had not".into())?;
    as_good_as_new(world)
}

fn meet_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    let member = match locks.barrier.join(PARTIES) {
        Ok(member) => member,
        Err(SyncError::Broken) => return Ok(()),
        Err(error) => return Err(Flaw::wrong(error.to_string())),
    };
    match member.wait_timeout(Duration::from_millis(300)) {
        Ok(_) => world.count(THROUGH),
        Err(SyncError::Broken) => {}
        // The victim died before it took part, or left after it had met: nobody comes.
        Err(SyncError::TimedOut) if world.noted(VICTIM) == 0 => {}
        Err(error) => return Err(Flaw::wrong(error.to_string())),
    }
    Ok(())
}

fn met_or_broken(world: &World, _: Fate) -> Check {
    as_good_as_new(world)
}

/// After a reset, if it is broken, it works again; no dead member is in the way.
fn as_good_as_new(world: &World) -> Check {
    let locks = must_open(world)?;
    locks.barrier.abort();
    ensure(locks.barrier.reset(), || "not to be reset".into())?;
    let member = locks.barrier.join(1).map_err(|error| Flaw::wrong(format!("join after reset: {error}")))?;
    member.wait_timeout(PATIENCE).map_err(|error| Flaw::wrong(format!("alone: {error}")))?;
    locks.word.store(1, Relaxed);
    Ok(())
}
