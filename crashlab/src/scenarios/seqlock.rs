//! A value that is replaced as a whole: a writer that dies, or stands still, is in nobody's way.

use std::time::{Duration, Instant};

use crate::flaw::{Check, Must, ensure};
use crate::invariants::locks::{Locks, NAME, must_open, open};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, World};

const OLD: [u64; 4] = [1; 4];
const NEW: [u64; 4] = [2; 4];

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Sync, name, arrange, verify).remains(&[NAME]).prepare(write_old)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("seqlock: write", write, replaced).meanwhile(read_meanwhile).pairs(),
    scenario("seqlock: write, contended", write, replaced)
        .companion(update_until_cue)
        .meanwhile(read_meanwhile),
    scenario("seqlock: read", read, as_before).meanwhile(read_meanwhile),
];

fn write_old(world: &World) -> Check {
    must_open(world)?.value.write(OLD).must("write")
}

fn write(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.rwlock.read());
    Ok(Box::new(move || locks.value.write_timeout(NEW, PATIENCE).map_err(|error| error.to_string())))
}

fn read(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    Ok(Box::new(move || whole(&locks).map(drop).map_err(|flaw| flaw.to_string())))
}

fn update_until_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let updated = locks.value.update(|value| {
        world.board.wait_for_cue();
        world.board.wait_for_cue();
        value
    });
    updated.must("update")
}

fn whole(locks: &Locks) -> Result<[u64; 4], crate::flaw::Flaw> {
    let value = locks.value.read();
    ensure(value == OLD || value == NEW, || format!("torn: {value:?}"))?;
    Ok(value)
}

fn read_meanwhile(world: &World) -> Check {
    let locks = must_open(world)?;
    let begun = Instant::now();
    whole(&locks)?;
    ensure(begun.elapsed() < Duration::from_millis(500), || "a reader waited for a stopped writer".into())
}

fn replaced(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let value = whole(&locks)?;
    ensure(value == NEW || !fate.finished(), || "written, and not there".into())?;
    locks.value.write_timeout([3; 4], PATIENCE).must("write after a death")?;
    ensure(locks.value.read() == [3; 4], || "written, and not there".into())
}

fn as_before(world: &World, _: Fate) -> Check {
    let locks = must_open(world)?;
    ensure(whole(&locks)? == OLD, || "changed by reading".into())
}
