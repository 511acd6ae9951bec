//! Opening a segment that is there, attaching it, and leaving again while others stay.

use anyhow::Result;
use commons::{Lifetime, Segment, SegmentOptions};

use super::PAGE;
use crate::child::{Child, Parent};
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::peers::{self, Helpers};
use crate::raw;
use crate::report::{FLOOR, Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;
use crate::sysv;

const BATCH: u32 = 500;

/// The role of a child that creates the segment of that name and holds it.
pub(super) const HOLDER: &str = "holder";

pub(super) fn hold(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [name] = arguments else { anyhow::bail!("which segment to hold?") };
    let _segment = Segment::create(name, PAGE as u64)?;
    parent.serve(|_| Ok("held".into()))
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (plain, last, deleted) = (Name::new("raw"), Name::new("last"), Name::new("deleted"));
    let peer = Name::new("peer");
    let posix = plain.posix()?;
    raw::create(&posix, PAGE)?;
    let options = SegmentOptions::new().size(PAGE as u64).lifetime(Lifetime::UntilDeleted);
    options.create(deleted.as_str())?;
    let mut holder = Child::start(HOLDER, context.placement.other, &[last.as_str()])?;
    holder.ask("hold")?;

    // As the raw calls do: first unmap, then close.
    let open = |name: &str| -> Result<()> {
        let segment = Segment::open(name)?;
        Ok(segment.attach()?.detach()?)
    };
    // As programs do that keep no descriptor while they are attached.
    let close_first = |name: &str| -> Result<()> {
        let attachment = Segment::open(name)?.attach()?;
        Ok(attachment.detach()?)
    };
    let key = i32::try_from(std::process::id())? | 0x4000_0000;
    let sysv = sysv::Segment::create(key, PAGE);
    let attach_sysv = || -> Result<()> {
        let address = sysv::Segment::attach(sysv::Segment::find(key)?)?;
        Ok(sysv::Segment::detach(address)?)
    };
    let sysv_peer = match &sysv {
        Ok(_) => Ok(batch(BATCH, attach_sysv)),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    let helpers = Helpers::of(context);
    let kept = peers::shared_memory::Kept::create(peer.as_str(), PAGE);
    let shared_memory = kept.map(|kept| batch(BATCH, move || kept.open()));
    let results = Contest::new()
        .add(FLOOR, batch(BATCH, || Ok(raw::open_attach_detach(&posix)?)))
        .add("commons, UntilDeleted", batch(BATCH, || open(deleted.as_str())))
        .add("commons, UntilDeleted, handle closed first", batch(BATCH, || close_first(deleted.as_str())))
        .add("commons, UntilLastDetach", batch(BATCH, || open(last.as_str())))
        .add("commons, UntilLastDetach, handle closed first", batch(BATCH, || close_first(last.as_str())))
        .peer("System V", sysv_peer)
        .peer("shared_memory", shared_memory)
        .peer("Boost.Interprocess", helpers.boost().run("open 100"))
        .peer("CPython SharedMemory", helpers.python().run("open 20"))
        .run(context.rounds(300, 30))?;
    let work = |what: &str, how: &str| {
        results.work(format!("open, attach, detach ({what})"), Unit::Microseconds, &format!("commons, {how}"))
    };
    let held = "UntilLastDetach, held by another process";
    Ok(vec![
        work("UntilDeleted", "UntilDeleted")?.why("It looks whose segment it is, and whether its lifetime makes it keep count of holders.").bound(FLOOR, Limit::AtMost(1.25)),
        work(held, "UntilLastDetach")?.why("It takes a lock of the kernel's that says that somebody holds the segment, and looks whether the name still means it.").bound(FLOOR, Limit::AtMost(1.5)),
        work("UntilDeleted, handle closed first", "UntilDeleted, handle closed first")?.why("It looks whose segment it is, and whether its lifetime makes it keep count of holders."),
        work(&format!("{held}, handle closed first"), "UntilLastDetach, handle closed first")?.why("When the last mapping goes without a handle, the name is opened anew to see whether anybody else is left."),
    ])
}
