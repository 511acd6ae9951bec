//! Mistakes made on purpose: what the laboratory has to find, so that its finding nothing elsewhere means something.
//!
//! A small robust lock and a small creation are here twice each: right, and with two of their steps the wrong way round.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use commons::{Lifetime, Shareable, Shared, SharedOptions};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::invariants::names::{SIZE, fill, seen_from_outside};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, World};

const NAME: &str = "planted";

/// A lock that a list of its owner's helps to free: what the kernel does for a robust one, done by whoever comes next.
#[repr(C)]
#[derive(Shareable)]
struct Lock {
    /// The owner, or 0.
    word: AtomicU64,
    /// Which lock this owner is taking or has, or 0: what is looked at when an owner has died.
    list: AtomicU64,
    /// How often a death was told.
    told: AtomicU64,
    inside: AtomicU64,
}

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Planted, name, arrange, verify).remains(&[NAME])
}

/// See the module. What is planted has `planted` in its name; the others are right.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("control: a lock in the right order", lock_right, nobody_waits),
    scenario("planted: the list is cleared before the owner's word", lock_list_first, nobody_waits),
    scenario("control: published when whole", create_right, whole_or_absent),
    scenario("planted: published before it is filled", create_named_first, whole_or_absent),
    scenario("planted: a temporary name that nobody sweeps", create_temporary, whole_or_absent),
    scenario("planted: an error that is lost", create_unchecked, there_or_told).remains(&[NAME, "copy"]),
];

fn open(world: &World) -> Result<Shared<Lock>, commons::Error> {
    SharedOptions::new().lifetime(Lifetime::UntilDeleted).namespace(world.namespace()).open_or_create(NAME)
}

fn lock_right(world: &World) -> Result<Act<'_>, String> {
    let lock = open(world).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        lock.list.store(1, Relaxed);
        lock.word.store(u64::from(std::process::id()), Relaxed);
        lock.inside.fetch_add(1, Relaxed);
        lock.inside.fetch_sub(1, Relaxed);
        lock.word.store(0, Relaxed);
        lock.list.store(0, Relaxed);
        Ok(())
    }))
}

fn lock_list_first(world: &World) -> Result<Act<'_>, String> {
    let lock = open(world).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        lock.list.store(1, Relaxed);
        lock.word.store(u64::from(std::process::id()), Relaxed);
        lock.inside.fetch_add(1, Relaxed);
        lock.inside.fetch_sub(1, Relaxed);
        lock.list.store(0, Relaxed);
        lock.word.store(0, Relaxed);
        Ok(())
    }))
}

/// Frees the lock of a dead owner as the list says, then takes it, as long as that may take.
fn nobody_waits(world: &World, _: Fate) -> Check {
    let lock = open(world).must("open")?;
    if lock.list.load(Relaxed) != 0 {
        lock.word.store(0, Relaxed);
        lock.inside.store(0, Relaxed);
        lock.told.fetch_add(1, Relaxed);
    }
    let begun = Instant::now();
    while lock.word.load(Relaxed) != 0 {
        if begun.elapsed() > PATIENCE / 30 {
            return Err(Flaw::stuck("the lock is a dead one's, and nothing says so"));
        }
        std::thread::yield_now();
    }
    ensure(lock.inside.load(Relaxed) == 0, || "somebody is inside".into())
}

fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    fill(&mut bytes);
    bytes
}

fn write_file(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn create_right(world: &World) -> Result<Act<'_>, String> {
    let path = world.path(NAME);
    let bytes = bytes();
    let segment = commons::SegmentOptions::new()
        .size(SIZE)
        .namespace(world.namespace())
        .lifetime(Lifetime::UntilDeleted)
        .initialize(move |place| {
            place.copy_from_slice(&bytes);
            Ok(())
        });
    Ok(Box::new(move || {
        if path.exists() {
            return Ok(());
        }
        segment.create(NAME).map(drop).map_err(|error| error.to_string())
    }))
}

fn create_named_first(world: &World) -> Result<Act<'_>, String> {
    let path = world.path(NAME);
    let bytes = bytes();
    Ok(Box::new(move || write_file(&path, &bytes).map_err(|error| error.to_string())))
}

fn create_temporary(world: &World) -> Result<Act<'_>, String> {
    let (path, temporary) = (world.path(NAME), world.path("planted.part"));
    let bytes = bytes();
    Ok(Box::new(move || {
        write_file(&temporary, &bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| error.to_string())
    }))
}

fn create_unchecked(world: &World) -> Result<Act<'_>, String> {
    let path = world.path("copy");
    Ok(Box::new(move || {
        let _ = write_file(&path, b"x");
        Ok(())
    }))
}

fn whole_or_absent(world: &World, fate: Fate) -> Check {
    let there = seen_from_outside(world, NAME)?;
    ensure(there || !fate.finished(), || "created, and lost".into())
}

fn there_or_told(world: &World, fate: Fate) -> Check {
    let there = std::fs::read(world.path("copy")).is_ok_and(|bytes| bytes == b"x");
    ensure(there || !fate.finished(), || "said to be done, and not there".into())
}
