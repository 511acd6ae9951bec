//! Opening a segment that is there, attaching it, and leaving again while others stay.

use anyhow::Result;
use commons::{Lifetime, Segment, SegmentOptions};

use super::PAGE;
use crate::child::{Child, Parent};
use crate::harness::{Context, Variant, interleave};
use crate::raw;
use crate::report::{Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;

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
    let mut variants = [
        Variant::batch("floor", BATCH, || Ok(raw::open_attach_detach(&posix)?)),
        Variant::batch("commons, UntilDeleted", BATCH, || open(deleted.as_str())),
        Variant::batch("commons, UntilDeleted, closed first", BATCH, || close_first(deleted.as_str())),
        Variant::batch("commons, UntilLastDetach", BATCH, || open(last.as_str())),
        Variant::batch("commons, UntilLastDetach, closed first", BATCH, || close_first(last.as_str())),
    ];
    let series = interleave(context.rounds(1000, 200), &mut variants)?;
    let [[floor], rest @ ..] = &series[..] else { unreachable!("the floor is the first") };
    let work = |lifetime: &str, most: f64, which: usize| {
        let ([open], [close_first]) = (&rest[which], &rest[which + 1]);
        Work::new(format!("open, attach, detach ({lifetime})"))
            .row("floor", Unit::Microseconds, floor)
            .row("commons", Unit::Microseconds, open)
            .ratio(&open.over(floor), Some(Limit::AtMost(most)))
            .row("commons, handle closed first", Unit::Microseconds, close_first)
            .ratio(&close_first.over(floor), None)
    };
    Ok(vec![work("UntilDeleted", 1.25, 0), work("UntilLastDetach, held by another process", 1.5, 2)])
}
