//! A small segment from its creation to its end, in one process: the whole protocol, with nobody in the way.

use anyhow::Result;
use commons::{Attachment, Lifetime, Segment, SegmentOptions};

use super::PAGE;
use crate::harness::{Context, Variant, interleave};
use crate::raw;
use crate::report::{Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;

const BATCH: u32 = 100;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (plain, last, deleted) = (Name::new("raw"), Name::new("last"), Name::new("deleted"));
    let posix = plain.posix()?;
    let until_deleted = SegmentOptions::new().size(PAGE as u64).lifetime(Lifetime::UntilDeleted);
    let mut variants = [
        Variant::batch("floor", BATCH, || Ok(raw::create_touch_delete(&posix, PAGE)?)),
        Variant::batch("commons, UntilLastDetach", BATCH, || {
            let segment = Segment::create(last.as_str(), PAGE as u64)?;
            touch_one(&segment.attach()?);
            Ok(())
        }),
        Variant::batch("commons, UntilDeleted", BATCH, || {
            let segment = until_deleted.create(deleted.as_str())?;
            touch_one(&segment.attach()?);
            Ok(segment.delete()?)
        }),
    ];
    let series = interleave(context.rounds(1000, 200), &mut variants)?;
    let [[floor], [last], [deleted]] = &series[..] else { unreachable!("three variants") };
    let work = "create, attach, touch, detach, delete 4 KiB";
    Ok(vec![
        Work::new(format!("{work} (UntilLastDetach)"))
            .row("floor", Unit::Microseconds, floor)
            .row("commons", Unit::Microseconds, last)
            .ratio(&last.over(floor), Some(Limit::AtMost(1.6))),
        Work::new(format!("{work} (UntilDeleted)"))
            .row("floor", Unit::Microseconds, floor)
            .row("commons", Unit::Microseconds, deleted)
            .ratio(&deleted.over(floor), None),
    ])
}

fn touch_one(attachment: &Attachment) {
    // SAFETY: the first byte of a writable attachment.
    unsafe { attachment.as_ptr().write_volatile(1) };
}
