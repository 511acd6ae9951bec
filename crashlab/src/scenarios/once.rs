//! What is done once: by somebody who lives to finish it.

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::invariants::locks::{NAME, THROUGH, must_open, open};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const VALUE: u64 = 0x0102_0304_0506_0708;
/// How often it was begun.
const BEGUN: usize = 4;

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Sync, name, arrange, verify).remains(&[NAME])
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("once: done first", make, made).pairs(),
    scenario("once: done, with a waiter", make, made).companion(want_it),
    scenario("once: waited for", make, made).companion(make_until_cue),
];

fn make(world: &World) -> Result<Act<'_>, String> {
    let locks = open(world).map_err(|error| error.to_string())?;
    drop(locks.rwlock.read());
    Ok(Box::new(move || {
        let value = locks.once.get_or_init(|| {
            world.count(BEGUN);
            VALUE
        });
        match value {
            Ok(value) if *value == VALUE => Ok(()),
            Ok(value) => Err(format!("half made: {value:#x}")),
            Err(error) => Err(error.to_string()),
        }
    }))
}

fn want_it(world: &World) -> Check {
    let locks = must_open(world)?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    let value = locks.once.get_or_init(|| VALUE).must("get or make")?;
    ensure(*value == VALUE, || format!("half made: {value:#x}"))?;
    world.count(THROUGH);
    Ok(())
}

fn make_until_cue(world: &World) -> Check {
    let locks = must_open(world)?;
    let value = locks.once.get_or_init(|| {
        world.board.wait_for_cue();
        world.board.wait_for_cue();
        VALUE
    });
    ensure(*value.must("make")? == VALUE, || "half made".into())
}

fn made(world: &World, fate: Fate) -> Check {
    let locks = must_open(world)?;
    let before = locks.once.get().copied();
    if let Some(value) = before {
        ensure(value == VALUE, || format!("half made: {value:#x}"))?;
    }
    ensure(before.is_some() || !fate.finished(), || "made, and not there".into())?;
    let value = locks.once.get_or_init(|| VALUE).must("get or make")?;
    ensure(*value == VALUE, || format!("half made: {value:#x}"))?;
    match locks.once.set(VALUE + 1) {
        Ok(false) => ensure(locks.once.get() == Some(&VALUE), || "made twice".into()),
        Ok(true) => Err(Flaw::wrong("made twice")),
        Err(error) => Err(Flaw::wrong(error.to_string())),
    }
}
