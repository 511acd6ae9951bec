//! Names come, are found, and go.

use std::time::Duration;

use commons::{Attachment, Error, Segment};

use crate::flaw::{Check, Must, ensure};
use crate::invariants::names::{
    SIZE, is_whole, opened, options, seen_from_outside, staying, usable, used_meanwhile,
};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, World};

const NAME: &str = "x";
const GROWN: u64 = 4 * SIZE;

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Segment, name, arrange, verify)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("create", create, gone_or_usable).meanwhile(used_meanwhile),
    scenario("create, reading the limits first", create_afresh, gone_or_usable).meanwhile(used_meanwhile),
    scenario("create, by renaming", create_by_renaming, gone_or_usable).meanwhile(used_meanwhile),
    scenario("create, until deleted", create_staying, there_or_not),
    scenario("create, over an orphan", create, gone_or_usable)
        .prepare(leave_orphan)
        .meanwhile(used_meanwhile),
    scenario("open", open, still_usable).companion(hold).meanwhile(used_meanwhile).pairs(),
    scenario("open, until deleted", open_staying, stays_whole).prepare(make_staying),
    scenario("open or create", open_or_create, gone_or_usable).meanwhile(used_meanwhile).pairs(),
    scenario("open or create, over an orphan", open_or_create, gone_or_usable)
        .prepare(leave_orphan)
        .meanwhile(used_meanwhile)
        .pairs(),
    scenario("open, waiting for a creator", open_wait, still_usable).companion(create_on_cue),
    scenario("attach", attach, still_usable).companion(hold),
    scenario("attach, guarded", attach_guarded, still_usable).companion(hold),
    scenario("detach, the last one", detach, gone_or_usable).meanwhile(used_meanwhile).pairs(),
    scenario("detach, while another one holds", detach, still_usable).companion(hold).pairs(),
    scenario("detach, without a handle", detach_without_handle, gone_or_usable).meanwhile(used_meanwhile),
    scenario("delete", delete, deleted).companion(hold_what_is_deleted),
    scenario("delete, two at once", delete_if_there, deleted).companion(hold_what_is_deleted).pairs(),
    scenario("grow", grow, grown).companion(hold_what_grows).meanwhile(looked_at).pairs(),
    scenario("sweep", sweep, swept)
        .prepare(leave_two_orphans)
        .companion(hold)
        .meanwhile(used_meanwhile)
        .pairs(),
];

// The worlds.

fn leave_orphan(world: &World) -> Check {
    leave_orphan_named(world, NAME)
}

fn leave_two_orphans(world: &World) -> Check {
    leave_orphan_named(world, "first")?;
    leave_orphan_named(world, "second")
}

/// Held by a process that ends without leaving.
fn leave_orphan_named(world: &World, name: &str) -> Check {
    std::mem::forget(options(world).create(name).must("create what will be an orphan")?);
    Ok(())
}

fn make_staying(world: &World) -> Check {
    staying(world).create(NAME).must("create").map(drop)
}

// The companions.

/// Holds the segment all the time: it has to keep its name, and its bytes.
fn hold(world: &World) -> Check {
    let segment = options(world).create(NAME).must("create")?;
    let attachment = segment.attach().must("attach")?;
    drop(segment);
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    lives(world, &attachment)?;
    attachment.detach().must("detach")
}

/// Whether what is attached still has its name.
fn lives(world: &World, attachment: &Attachment) -> Check {
    is_whole(attachment)?;
    ensure(seen_from_outside(world, NAME)?, || "a held segment lost its name".into())?;
    let segment = options(world).open(NAME).must("open what is held")?;
    let again = segment.attach().must("attach")?;
    // The same memory: what is written here is seen there.
    let whole = |attachment: &Attachment| -> Result<u64, crate::flaw::Flaw> {
        let mut bytes = [0; 8];
        attachment.read_at(0, &mut bytes).must("read")?;
        Ok(u64::from_ne_bytes(bytes))
    };
    let first = whole(attachment)?;
    attachment.write_at(0, &(first ^ 1).to_ne_bytes()).must("write")?;
    let seen = whole(&again)?;
    attachment.write_at(0, &first.to_ne_bytes()).must("write")?;
    ensure(seen == first ^ 1, || "the name of a held segment means another one".into())
}

fn create_on_cue(world: &World) -> Check {
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    let segment = options(world).create(NAME).must("create")?;
    let attachment = segment.attach().must("attach")?;
    world.board.wait_for_end();
    lives(world, &attachment)
}

fn hold_what_is_deleted(world: &World) -> Check {
    let segment = staying(world).create(NAME).must("create")?;
    let attachment = segment.attach().must("attach")?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    is_whole(&attachment)
}

fn hold_what_grows(world: &World) -> Check {
    let segment = options(world).create(NAME).must("create")?;
    let attachment = segment.attach().must("attach")?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    lives(world, &attachment)?;
    let size = segment.size().must("size")?;
    ensure(size == SIZE || size == GROWN, || format!("grown to {size} bytes"))?;
    world.note(0, size);
    segment.grow(GROWN).must("grow once more")?;
    is_whole(&segment.attach().must("attach")?)
}

// The acts.

fn text(error: Error) -> String {
    error.to_string()
}

/// Keeps what was had until the act is dropped.
fn keeping<'w>(mut get: impl FnMut() -> Result<Segment, Error> + 'w) -> Act<'w> {
    let mut kept = None;
    Box::new(move || {
        drop(kept.replace(get().map_err(text)?));
        Ok(())
    })
}

/// As in a process that creates its first segment: the limits of the machine and of its groups are read before.
fn create_afresh(world: &World) -> Result<Act<'_>, String> {
    let options = options(world);
    Ok(keeping(move || options.create(NAME)))
}

/// What follows takes place within the time for which the limits need not be read again.
fn read_limits() {
    drop(Segment::anonymous(4096));
}

fn create(world: &World) -> Result<Act<'_>, String> {
    read_limits();
    let options = options(world);
    Ok(keeping(move || options.create(NAME)))
}

fn create_by_renaming(world: &World) -> Result<Act<'_>, String> {
    read_limits();
    let options = options(world).publish_by_renaming();
    Ok(keeping(move || options.create(NAME)))
}

fn create_staying(world: &World) -> Result<Act<'_>, String> {
    read_limits();
    let options = staying(world);
    Ok(keeping(move || options.create(NAME)))
}

fn open(world: &World) -> Result<Act<'_>, String> {
    let options = options(world);
    Ok(keeping(move || options.open(NAME)))
}

fn open_staying(world: &World) -> Result<Act<'_>, String> {
    let options = options(world);
    Ok(keeping(move || options.open(NAME)))
}

fn open_or_create(world: &World) -> Result<Act<'_>, String> {
    read_limits();
    let options = options(world);
    Ok(keeping(move || options.open_or_create(NAME)))
}

fn open_wait(world: &World) -> Result<Act<'_>, String> {
    let options = options(world);
    Ok(keeping(move || options.open_wait(NAME, PATIENCE)))
}

fn attach(world: &World) -> Result<Act<'_>, String> {
    let segment = options(world).open(NAME).map_err(text)?;
    let mut kept = None;
    Ok(Box::new(move || {
        drop(kept.replace(segment.attach().map_err(text)?));
        Ok(())
    }))
}

fn attach_guarded(world: &World) -> Result<Act<'_>, String> {
    let segment = options(world).open(NAME).map_err(text)?;
    Ok(Box::new(move || {
        let attachment = segment.attach().map_err(text)?;
        attachment.guard().map_err(text)?;
        attachment.check().map_err(text)?;
        attachment.detach().map_err(text)
    }))
}

fn detach(world: &World) -> Result<Act<'_>, String> {
    let segment = options(world).open_or_create(NAME).map_err(text)?;
    let attachment = segment.attach().map_err(text)?;
    let mut both = Some((attachment, segment));
    Ok(Box::new(move || {
        let Some((attachment, segment)) = both.take() else { return Ok(()) };
        attachment.detach().map_err(text)?;
        drop(segment);
        Ok(())
    }))
}

fn detach_without_handle(world: &World) -> Result<Act<'_>, String> {
    let segment = options(world).open_or_create(NAME).map_err(text)?;
    let mut attachment = Some(segment.attach().map_err(text)?);
    drop(segment);
    Ok(Box::new(move || attachment.take().map_or(Ok(()), |attachment| attachment.detach().map_err(text))))
}

fn delete(world: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| world.namespace().delete(NAME).map_err(text)))
}

fn delete_if_there(world: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| match world.namespace().delete(NAME) {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(text(error)),
    }))
}

fn grow(world: &World) -> Result<Act<'_>, String> {
    read_limits();
    let segment = options(world).open(NAME).map_err(text)?;
    Ok(Box::new(move || segment.grow(GROWN).map_err(text)))
}

fn sweep(world: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| {
        let sweep = world.namespace().sweep().map_err(text)?;
        if sweep.failed == 0 { Ok(()) } else { Err(format!("{sweep:?}")) }
    }))
}

// What is left.

/// Nobody holds it any more.
fn gone_or_usable(world: &World, fate: Fate) -> Check {
    let _ = fate;
    seen_from_outside(world, NAME)?;
    ensure(!opened(world, NAME)?, || "what nobody holds was opened".into())?;
    usable(world, NAME)?;
    ensure(!seen_from_outside(world, NAME)?, || "the last one left, and the name is still there".into())
}

/// Somebody held it until just now, and left in order.
fn still_usable(world: &World, _: Fate) -> Check {
    ensure(!seen_from_outside(world, NAME)?, || "the last one left, and the name is still there".into())?;
    usable(world, NAME)
}

fn there_or_not(world: &World, fate: Fate) -> Check {
    let there = seen_from_outside(world, NAME)?;
    ensure(there || !fate.finished(), || "created, and lost".into())?;
    ensure(opened(world, NAME)? == there, || "there, and not to be opened".into())?;
    ensure(seen_from_outside(world, NAME)? == there, || "lost by being opened".into())?;
    if there { world.namespace().delete(NAME).must("delete") } else { Ok(()) }
}

fn stays_whole(world: &World, _: Fate) -> Check {
    ensure(opened(world, NAME)?, || "lost".into())?;
    world.namespace().delete(NAME).must("delete")
}

fn deleted(world: &World, fate: Fate) -> Check {
    let there = seen_from_outside(world, NAME)?;
    ensure(!there || !fate.undisturbed(), || "deleted, and still there".into())?;
    if there {
        ensure(opened(world, NAME)?, || "there, and not to be opened".into())?;
        world.namespace().delete(NAME).must("delete again")?;
    }
    ensure(!opened(world, NAME)?, || "deleted, and still there".into())
}

fn grown(world: &World, fate: Fate) -> Check {
    let size = world.noted(0);
    ensure(size == GROWN || !fate.finished(), || format!("grown, and {size} bytes large"))?;
    still_usable(world, fate)
}

fn looked_at(world: &World) -> Check {
    ensure(opened(world, NAME)?, || "lost".into())?;
    let segment = options(world).open(NAME).must("open")?;
    match segment.grow(GROWN) {
        // Whoever grows has a lock; one that is stopped while it has it is told of as busy.
        Ok(()) | Err(Error::Busy { .. }) => Ok(()),
        Err(error) => Err(crate::flaw::Flaw::wrong(format!("grow: {error}"))),
    }
}

fn swept(world: &World, fate: Fate) -> Check {
    for orphan in ["first", "second"] {
        let there = seen_from_outside(world, orphan)?;
        ensure(!there || !fate.undisturbed(), || "swept, and still there".into())?;
    }
    still_usable(world, fate)?;
    let begun = std::time::Instant::now();
    world.namespace().sweep().must("sweep")?;
    ensure(begun.elapsed() < Duration::from_secs(1), || "a sweep that takes a second".into())
}
