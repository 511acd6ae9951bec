//! Saved whole or not at all; loaded whole or not at all.

use commons::snapshot::{self, LoadOptions, SaveOptions};
use commons::{Error, Lifetime};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::invariants::names::{is_whole, opened, seen_from_outside, staying, usable};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const NAME: &str = "x";
const FILE: &str = "snapshot";

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Snapshot, name, arrange, verify)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("save", save, saved).prepare(make).pairs(),
    scenario("save, over another one", save, saved_over).prepare(make_and_save_another),
    scenario("load, under a new name", load, loaded).prepare(save_and_delete),
    scenario("load, into a segment", load_into, loaded_into).prepare(make_saved_and_empty),
];

fn make(world: &World) -> Check {
    staying(world).create(NAME).must("create").map(drop)
}

fn make_and_save_another(world: &World) -> Check {
    let other = staying(world).initialize(|_| Ok(())).create("other").must("create")?;
    snapshot::save(&other, world.file(FILE)).must("save")?;
    other.delete().must("delete")?;
    make(world)
}

fn save_and_delete(world: &World) -> Check {
    let segment = staying(world).create(NAME).must("create")?;
    snapshot::save(&segment, world.file(FILE)).must("save")?;
    segment.delete().must("delete")
}

fn make_saved_and_empty(world: &World) -> Check {
    save_and_delete(world)?;
    staying(world).initialize(|_| Ok(())).create(NAME).must("create").map(drop)
}

fn text(error: Error) -> String {
    error.to_string()
}

fn save(world: &World) -> Result<Act<'_>, String> {
    let segment = staying(world).open(NAME).map_err(text)?;
    let options = SaveOptions::new();
    let file = world.file(FILE);
    Ok(Box::new(move || options.save_file(&segment, &file).map(drop).map_err(text)))
}

fn load_options(world: &World) -> LoadOptions<'_> {
    LoadOptions::new().name(NAME).namespace(world.namespace()).lifetime(Lifetime::UntilLastDetach)
}

fn load(world: &World) -> Result<Act<'_>, String> {
    // So that the limits need not be read now; that is another scenario.
    drop(commons::Segment::anonymous(4096));
    let options = load_options(world);
    let file = world.file(FILE);
    let mut kept = None;
    Ok(Box::new(move || {
        drop(kept.replace(options.load_file(&file).map_err(text)?));
        Ok(())
    }))
}

fn load_into(world: &World) -> Result<Act<'_>, String> {
    let segment = staying(world).open(NAME).map_err(text)?;
    let options = LoadOptions::new();
    let file = world.file(FILE);
    Ok(Box::new(move || options.load_file_into(&segment, &file).map_err(text)))
}

fn saved(world: &World, fate: Fate) -> Check {
    saved_or(world, fate, false)
}

fn saved_over(world: &World, fate: Fate) -> Check {
    saved_or(world, fate, true)
}

/// The file is the new one, whole; or what was there before.
fn saved_or(world: &World, fate: Fate, before: bool) -> Check {
    let file = world.file(FILE);
    match LoadOptions::new().name("loaded").namespace(world.namespace()).load_file(&file) {
        Ok(loaded) => {
            let attachment = loaded.segment.attach().must("attach")?;
            if is_whole(&attachment).is_err() {
                let mut bytes = vec![0; attachment.len()];
                attachment.read_at(0, &mut bytes).must("read")?;
                let old = before && !fate.finished() && bytes.iter().all(|byte| *byte == 0);
                ensure(old, || "a snapshot that is neither the old nor the new one".into())?;
            }
            loaded.segment.delete().must("delete")?;
        }
        Err(_) if !before && !file.exists() => {
            ensure(!fate.finished(), || "saved, and not there".into())?;
        }
        Err(error) => return Err(Flaw::wrong(format!("a snapshot that cannot be loaded: {error}"))),
    }
    let segment = staying(world).open(NAME).must("open")?;
    snapshot::save(&segment, &file).must("save again")?;
    let files = world.files();
    if files != [FILE] {
        return Err(Flaw::leaked(format!("left beside a snapshot that was saved again: {files:?}")));
    }
    segment.delete().must("delete")
}

fn loaded(world: &World, _: Fate) -> Check {
    seen_from_outside(world, NAME)?;
    ensure(!opened(world, NAME)?, || "what nobody holds was opened".into())?;
    let loaded = load_options(world).load_file(world.file(FILE)).must("load again")?;
    is_whole(&loaded.segment.attach().must("attach")?)?;
    drop(loaded);
    usable(world, NAME)
}

fn loaded_into(world: &World, fate: Fate) -> Check {
    let segment = staying(world).open(NAME).must("open")?;
    let attachment = segment.attach().must("attach")?;
    if fate.finished() {
        is_whole(&attachment)?;
    }
    LoadOptions::new().load_file_into(&segment, world.file(FILE)).must("load again")?;
    is_whole(&attachment)?;
    segment.delete().must("delete")
}
