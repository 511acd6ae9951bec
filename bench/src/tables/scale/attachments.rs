//! One attachment more of a segment that has many. The kernel keeps a list of locks for each file, one for each holder,
//! and goes through all of it for each lock: here is where that begins to matter.

use anyhow::{Result, bail};
use commons::{Segment, SegmentOptions};

use super::thousands;
use crate::child::{Child, Parent};
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;
use crate::sysv;

/// The role of a child that holds attachments, as many as it is asked for. Arguments: a segment, and a System V id.
pub(super) const ROLE: &str = "attachments";

const COUNTS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const PAGE: usize = 4096;

pub(super) fn hold(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [name, id] = arguments else { bail!("which segments to hold?") };
    let id: i32 = id.parse()?;
    let mut kept = Vec::new();
    parent.serve(|count| {
        while kept.len() < count.parse()? {
            // One handle each: a holder of its own.
            kept.push(Segment::open(name)?.attach()?);
            let _ = sysv::Segment::attach(id);
        }
        Ok("held".into())
    })
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (name, plain) = (Name::new("attached"), Name::new("attached-raw"));
    let posix = plain.posix()?;
    raw::create(&posix, PAGE)?;
    let _segment = SegmentOptions::new().size(PAGE as u64).create(name.as_str())?;
    let system_v = sysv::Segment::create(libc::IPC_PRIVATE, PAGE);
    let id = system_v.as_ref().map_or(-1, |segment| segment.id);
    let mut holder = Child::start(ROLE, context.placement.other, &[name.as_str(), &id.to_string()])?;
    let mut works = Vec::new();
    for count in COUNTS {
        holder.ask(&count.to_string())?;
        let size = if count > 1_000 { 5 } else { 50 };
        let peer = match &system_v {
            Ok(_) => Ok(batch(size, || Ok(sysv::Segment::detach(sysv::Segment::attach(id)?)?))),
            Err(error) => Err(anyhow::anyhow!("{error}")),
        };
        let results = Contest::new()
            .add(COMMONS, batch(size, || Ok(Segment::open(name.as_str())?.attach()?.detach()?)))
            .add(FLOOR, batch(size, || Ok(raw::open_attach_detach(&posix)?)))
            .peer("System V", peer)
            .run(context.rounds(60, 8))?;
        let what = "open, attach and detach a segment that others hold";
        let work = results
            .work(format!("{what}: {} attachments", thousands(count.into())), Unit::Microseconds, COMMONS)?
            .why("Each holder is a lock of the kernel's, which goes through the list of all those of the file.")
            .growth(what, "attachments", count.into());
        works.push(if count == 1_000 { work.bound(COMMONS, Limit::AtMost(50.0)) } else { work });
    }
    // Its holds are let go one by one otherwise, each past all the others.
    holder.kill()?;
    Ok(works)
}
