//! A small segment from its creation to its end, in one process: the whole protocol, with nobody in the way.

use anyhow::Result;
use commons::{Attachment, Lifetime, Segment, SegmentOptions};

use super::PAGE;
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::peers::{self, Helpers};
use crate::raw;
use crate::report::{FLOOR, Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;
use crate::sysv;

const BATCH: u32 = 100;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (plain, last, deleted) = (Name::new("raw"), Name::new("last"), Name::new("deleted"));
    let peer = Name::new("peer");
    let posix = plain.posix()?;
    let until_deleted = SegmentOptions::new().size(PAGE as u64).lifetime(Lifetime::UntilDeleted);
    let helpers = Helpers::of(context);
    let results = Contest::new()
        .add(FLOOR, batch(BATCH, || Ok(raw::create_touch_delete(&posix, PAGE)?)))
        .add(
            "commons, UntilLastDetach",
            batch(BATCH, || {
                let segment = Segment::create(last.as_str(), PAGE as u64)?;
                touch_one(&segment.attach()?);
                Ok(())
            }),
        )
        .add(
            "commons, UntilDeleted",
            batch(BATCH, || {
                let segment = until_deleted.create(deleted.as_str())?;
                touch_one(&segment.attach()?);
                Ok(segment.delete()?)
            }),
        )
        .peer(
            "System V",
            Ok(batch(BATCH, || {
                let segment = sysv::Segment::create(libc::IPC_PRIVATE, PAGE)?;
                let address = sysv::Segment::attach(segment.id)?;
                // SAFETY: the first byte of an attachment.
                unsafe { address.write_volatile(1) };
                Ok(sysv::Segment::detach(address)?)
            })),
        )
        .peer("shared_memory", Ok(batch(BATCH, || peers::shared_memory::create(peer.as_str(), PAGE))))
        .peer("Boost.Interprocess", helpers.boost().run("create 100"))
        .peer("CPython SharedMemory", helpers.python().run("create 20"))
        .run(context.rounds(400, 40))?;
    let work = |lifetime: &str| {
        results.work(
            format!("create, attach, touch, detach, delete 4 KiB ({lifetime})"),
            Unit::Microseconds,
            &format!("commons, {lifetime}"),
        )
    };
    Ok(vec![work("UntilLastDetach")?.why("It reserves the memory, marks who holds the segment by a lock of the kernel's, and gives the name when all of it is there; the raw calls and the peers do none of this.").bound(FLOOR, Limit::AtMost(1.6)), work("UntilDeleted")?.why("It reserves the memory and gives the name when all of it is there; the raw calls and the peers do not.")])
}

fn touch_one(attachment: &Attachment) {
    // SAFETY: the first byte of a writable attachment.
    unsafe { attachment.as_ptr().write_volatile(1) };
}
