//! The semaphore: units are taken and given in one step; permits come back from the dead.

use std::time::{Duration, Instant};

use commons::Shared;
use commons::sync::SyncError;

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::invariants::locks::{Locks, NAME, THROUGH, must_open, not_had, open};
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
    scenario("semaphore: post", post, posted),
    scenario("semaphore: post, with a waiter", post, posted_for_waiter)
        .companion(wait_for_it)
        .rescue(post_if_needed),
    scenario("semaphore: wait", wait, waited).prepare(post_one),
    scenario("semaphore: wait, asleep", wait, waited).companion(post_on_cue),
    scenario("semaphore: wait, until the time is over", time_out, nothing_there).companion(only_there),
    scenario("permit: acquire and give back", acquire, all_back)
        .prepare(post_two)
        .meanwhile(tried_meanwhile)
        .pairs(),
    scenario("permit: acquire, asleep", acquire, all_back)
        .prepare(post_two)
        .companion(take_both_until_cue)
        .meanwhile(tried_meanwhile),
    scenario("permit: give back, with a waiter", give_back, all_back)
        .prepare(post_two)
        .companion(wait_for_permit)
        .meanwhile(tried_meanwhile),
    scenario("permit: take over from a dead holder", acquire_both, all_back).prepare(die_with_both),
];

const UNITS: u32 = 2;

fn text(error: SyncError) -> String {
    error.to_string()
}

fn ready(world: &World) -> Result<Shared<Locks>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.mutex.lock());
    Ok(locks)
}

// The worlds.

fn post_one(world: &World) -> Check {
    must_open(world)?.semaphore.post(1).must("post")
}

fn post_two(world: &World) -> Check {
    must_open(world)?.semaphore.post(UNITS).must("post")
}

fn die_with_both(world: &World) -> Check {
    post_two(world)?;
    let locks = must_open(world)?;
    std::mem::forget(locks.semaphore.try_acquire().must("acquire")?);
    std::mem::forget(locks.semaphore.try_acquire().must("acquire")?);
    // The kernel gives up the slot as the process ends; nothing is given back before.
    std::mem::forget(locks);
    Ok(())
}

// The acts.

fn post(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || locks.semaphore.post(1).map_err(text)))
}

fn wait(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        locks.semaphore.wait_timeout(PATIENCE).map_err(text)?;
        world.note(VICTIM, 1);
        Ok(())
    }))
}

fn time_out(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || match locks.semaphore.wait_timeout(Duration::from_millis(2)) {
        Err(SyncError::TimedOut) => Ok(()),
        Ok(()) => Err("had, though there is nothing".into()),
        Err(error) => Err(text(error)),
    }))
}

fn acquire(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let permit = locks.semaphore.acquire_timeout(PATIENCE).map_err(text)?;
        drop(permit);
        Ok(())
    }))
}

fn acquire_both(world: &World) -> Result<Act<'_>, String> {
    let locks = ready(world)?;
    Ok(Box::new(move || {
        let first = locks.semaphore.acquire_timeout(PATIENCE).map_err(text)?;
        let second = locks.semaphore.acquire_timeout(PATIENCE).map_err(text)?;
        drop((first, second));
        Ok(())
    }))
}

fn give_back(world: &World) -> Result<Act<'_>, String> {
    let locks: &'static Shared<Locks> = Box::leak(Box::new(ready(world)?));
    let mut permits =
        Some((locks.semaphore.acquire().map_err(text)?, locks.semaphore.acquire().map_err(text)?));
    Ok(Box::new(move || {
        drop(permits.take());
        Ok(())
    }))
}

// The companions.

fn wait_for_it(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    locks.semaphore.wait_timeout(PATIENCE).map_err(not_had)?;
    world.count(THROUGH);
    Ok(())
}

fn post_if_needed(world: &World) -> Check {
    let locks = must_open(world)?;
    // Whether the victim has posted is seen by what the waiter does: a little time is enough for that.
    let until = Instant::now() + Duration::from_millis(30);
    while world.noted(THROUGH) == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    if world.noted(THROUGH) == 0 && locks.semaphore.value() == 0 {
        locks.semaphore.post(1).must("post")?;
        world.note(VICTIM, 1);
    }
    Ok(())
}

fn post_on_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    locks.semaphore.post(1).must("post")
}

fn only_there(world: &World) -> Check {
    let _locks = must_open(world)?;
    world.board.wait_for_end();
    Ok(())
}

fn take_both_until_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let both =
        (locks.semaphore.try_acquire().must("acquire")?, locks.semaphore.try_acquire().must("acquire")?);
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    drop(both);
    Ok(())
}

fn wait_for_permit(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    let permit = locks.semaphore.acquire_timeout(PATIENCE).map_err(not_had)?;
    drop(permit);
    Ok(())
}

fn tried_meanwhile(world: &World) -> Check {
    let locks = must_open(world)?;
    let begun = Instant::now();
    match locks.semaphore.acquire_timeout(Duration::from_millis(5)) {
        Ok(permit) => drop(permit),
        Err(SyncError::TimedOut) => {}
        Err(error) => return Err(not_had(error)),
    }
    ensure(begun.elapsed() < Duration::from_secs(1), || "took a second beside a stopped process".into())
}

// What is left.

fn exactly(locks: &Locks, least: u32, most: u32) -> Check {
    let value = locks.semaphore.value();
    ensure((least..=most).contains(&value), || format!("{value} units, and there are {least} to {most}"))
}

fn posted(world: &World, fate: Fate) -> Check {
    exactly(&*must_open(world)?, u32::from(fate.finished()), 1)
}

/// The waiter is through, by the victim or by who came to rescue.
fn posted_for_waiter(world: &World, fate: Fate) -> Check {
    ensure(world.noted(THROUGH) == 1, || "the waiter is not through".into())?;
    ensure(!(fate.finished() && world.noted(VICTIM) == 1), || "posted, and the waiter slept on".into())?;
    exactly(&*must_open(world)?, 0, 0)
}

/// One that dies with a unit that it waited for has taken it.
fn waited(world: &World, fate: Fate) -> Check {
    let had = fate.finished() || world.noted(VICTIM) == 1;
    exactly(&*must_open(world)?, 0, u32::from(!had))
}

fn nothing_there(world: &World, _: Fate) -> Check {
    exactly(&*must_open(world)?, 0, 0)
}

/// All units are there again, and not one more.
fn all_back(world: &World, _: Fate) -> Check {
    let locks = must_open(world)?;
    let mut permits = Vec::new();
    for _ in 0..UNITS {
        permits.push(locks.semaphore.acquire_timeout(PATIENCE).map_err(not_had)?);
    }
    match locks.semaphore.acquire_timeout(Duration::from_millis(2)) {
        Err(SyncError::TimedOut) => {}
        Ok(_) => return Err(Flaw::wrong("one unit too many came back")),
        Err(error) => return Err(not_had(error)),
    }
    drop(permits);
    exactly(&locks, UNITS, UNITS)?;
    let holders = locks.semaphore.holders().count();
    ensure(holders == 0, || format!("{holders} holders that are none"))
}
