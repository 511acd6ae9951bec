//! What attachments keep of descriptors, once their handles are closed: nothing.

use anyhow::Result;
use commons::{Attachment, SegmentOptions};

use super::PAGE;
use crate::harness::Context;
use crate::report::{COMMONS, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::{Limit, Series};

const ATTACHMENTS: usize = 10_000;
/// Among how many segments those that are opened one by one are spread.
const SEGMENTS: usize = 100;

pub(super) fn measure(_context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("descriptors")?;
    let options = SegmentOptions::new().size(PAGE as u64).namespace(&directory.namespace()?);
    let of_one_handle = kept(|| {
        let segment = options.create("one")?;
        (0..ATTACHMENTS).map(|_| segment.attach()).collect()
    })?;
    let of_many_handles = kept(|| {
        let names: Vec<_> = (0..SEGMENTS).map(|number| format!("s{number}")).collect();
        let created: commons::Result<Vec<_>> = names.iter().map(|name| options.create(name)).collect();
        let created = created?;
        let attachments =
            names.iter().cycle().take(ATTACHMENTS).map(|name| options.open(name)?.attach()).collect();
        drop(created);
        attachments
    })?;
    let work = |how: &str, kept: f64| {
        Work::new(format!("descriptors kept by 10,000 attachments {how}"), Unit::Count)
            .row(COMMONS, &Series::of(vec![kept]))
            .bound(COMMONS, Limit::AtMost(0.0))
    };
    Ok(vec![work("of one handle", of_one_handle), work("of as many handles", of_many_handles)])
}

/// How many descriptors there are more while the attachments are.
fn kept(attach: impl FnOnce() -> commons::Result<Vec<Attachment>>) -> Result<f64> {
    let before = descriptors()?;
    let attachments = attach()?;
    let after = descriptors()?;
    drop(attachments);
    Ok(after as f64 - before as f64)
}

fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
