//! What reserving memory at creation costs, in the time until all of it has been touched.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use commons::{AttachOptions, SegmentOptions};

use super::create_and_touch;
use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

const SIZE: u64 = 256 << 20;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("reserve")?;
    let namespace = directory.namespace()?;
    let reserved = SegmentOptions::new().size(SIZE).namespace(&namespace);
    let sparse = SegmentOptions::new().size(SIZE).namespace(&namespace).sparse(true);
    let attach = AttachOptions::new();
    let mut mapped = vec![1_u8; usize::try_from(SIZE)?];
    let results = Contest::new()
        .add("unreserved", || {
            let [_, took] = create_and_touch(|| sparse.create("sparse"), &attach)?;
            Ok(took)
        })
        .add(COMMONS, || {
            let [_, took] = create_and_touch(|| reserved.create("reserved"), &attach)?;
            Ok(took)
        })
        .add(FLOOR, || {
            let started = Instant::now();
            black_box(&mut mapped).fill(0);
            Ok(nanoseconds(started))
        })
        .run(context.rounds(60, 8))?;
    Ok(vec![
        results
            .work("create, reserve and touch 256 MiB", Unit::Milliseconds, COMMONS)?
            .bound("unreserved", Limit::AtMost(1.0))
            .note("the floor is to write zeros over as many bytes that are mapped already"),
    ])
}
