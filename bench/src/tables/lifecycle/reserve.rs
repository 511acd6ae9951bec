//! What reserving memory at creation costs, in the time until all of it has been touched.

use anyhow::Result;
use commons::{AttachOptions, SegmentOptions};

use super::create_and_touch;
use crate::harness::{Context, Variant, interleave};
use crate::report::{Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

const SIZE: u64 = 256 << 20;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("reserve")?;
    let namespace = directory.namespace()?;
    let reserved = SegmentOptions::new().size(SIZE).namespace(&namespace);
    let sparse = SegmentOptions::new().size(SIZE).namespace(&namespace).sparse(true);
    let attach = AttachOptions::new();
    let mut variants = [
        Variant::new("sparse", || create_and_touch(|| sparse.create("sparse"), &attach)),
        Variant::new("reserved", || create_and_touch(|| reserved.create("reserved"), &attach)),
    ];
    let series = interleave(context.rounds(80, 12), &mut variants)?;
    let [[_, sparse], [_, reserved]] = &series[..] else { unreachable!("two variants") };
    Ok(vec![
        Work::new("create and touch 256 MiB, reserved against not")
            .row("commons, sparse", Unit::Milliseconds, sparse)
            .row("commons, reserved", Unit::Milliseconds, reserved)
            .ratio(&reserved.over(sparse), Some(Limit::AtMost(1.0))),
    ])
}
