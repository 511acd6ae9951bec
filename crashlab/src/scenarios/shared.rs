//! Typed objects: there whole, with their layout, or not at all.

use commons::sync::Mutex;
use commons::{Error, Shareable, Shared, SharedOptions};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const NAME: &str = "object";
const VALUE: u64 = 0x0123_4567_89ab_cdef;

#[repr(C)]
#[derive(Shareable)]
struct Object {
    value: Mutex<[u64; 8]>,
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(Floor::Shared, "Shared: create", create, whole_or_gone).meanwhile(used_meanwhile),
    Scenario::new(Floor::Shared, "Shared: open or create", open_or_create, whole_or_gone)
        .meanwhile(used_meanwhile)
        .pairs(),
    Scenario::new(Floor::Shared, "Shared: open", open, whole_or_gone).companion(hold),
];

fn options(world: &World) -> SharedOptions<'static, Object> {
    SharedOptions::new().namespace(world.namespace()).value(Object { value: Mutex::new([VALUE; 8]) })
}

fn text(error: Error) -> String {
    error.to_string()
}

fn keeping<'w>(mut get: impl FnMut() -> Result<Shared<Object>, Error> + 'w) -> Act<'w> {
    let mut kept = None;
    Box::new(move || {
        drop(kept.replace(get().map_err(text)?));
        Ok(())
    })
}

fn create(world: &World) -> Result<Act<'_>, String> {
    // So that the limits need not be read now; that is another scenario.
    drop(commons::Segment::anonymous(4096));
    let options = options(world);
    Ok(keeping(move || options.create(NAME)))
}

fn open_or_create(world: &World) -> Result<Act<'_>, String> {
    drop(commons::Segment::anonymous(4096));
    let options = options(world);
    Ok(keeping(move || options.open_or_create(NAME)))
}

fn open(world: &World) -> Result<Act<'_>, String> {
    let options = options(world);
    Ok(keeping(move || options.open(NAME)))
}

fn hold(world: &World) -> Check {
    let object = options(world).create(NAME).must("create")?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    whole(&object)?;
    whole(&*options(world).open(NAME).must("open what is held")?)
}

fn whole(object: &Object) -> Check {
    match object.value.lock() {
        Ok(value) => ensure(*value == [VALUE; 8], || "half-made".into()),
        Err(error) => Err(Flaw::wrong(format!("the object's lock: {error}"))),
    }
}

fn whole_or_gone(world: &World, _: Fate) -> Check {
    match options(world).open(NAME) {
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(Flaw::wrong(format!("open: {error}"))),
        Ok(_) => return Err(Flaw::wrong("what nobody holds was opened")),
    }
    whole(&*options(world).open_or_create(NAME).must("open or create")?)
}

fn used_meanwhile(world: &World) -> Check {
    match options(world).open_or_create(NAME) {
        Ok(object) => whole(&object),
        Err(Error::Busy { .. }) => Ok(()),
        Err(error) => Err(Flaw::wrong(format!("open or create: {error}"))),
    }
}
