//! Segments from 4 KiB to 16 GiB: sparse ones, whose memory comes when it is touched, and reserved ones.

use anyhow::Result;
use commons::{Lifetime, SegmentOptions};

use super::bytes;
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::{Directory, Name};

const SIZES: [u64; 7] = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20, 4 << 30, 16 << 30];
/// Up to where reserving is measured.
const RESERVED: u64 = 256 << 20;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("sizes")?;
    let namespace = directory.namespace()?;
    let plain = Name::new("sizes-raw");
    let posix = plain.posix()?;
    let (mut sparse, mut reserved) = (Vec::new(), Vec::new());
    for size in SIZES {
        let length = usize::try_from(size)?;
        let options =
            || SegmentOptions::new().size(size).lifetime(Lifetime::UntilDeleted).namespace(&namespace);
        let (in_full, in_part) = (options(), options().sparse(true));
        let create = |options: &SegmentOptions<'_>| -> Result<()> {
            let segment = options.create("one")?;
            segment.attach()?.detach()?;
            Ok(segment.delete()?)
        };
        let results = Contest::new()
            .add(COMMONS, batch(20, || create(&in_part)))
            .add(FLOOR, batch(20, || Ok(raw::create_attach_delete(&posix, length)?)))
            .run(context.rounds(50, 6))?;
        let name = "create, attach, detach and delete, sparse";
        sparse.push(results.work(format!("{name}: {}", bytes(size)), Unit::Microseconds, COMMONS)?.growth(
            name,
            "bytes",
            size as f64,
        ));
        if size > RESERVED {
            continue;
        }
        let count = if size > 1 << 20 { 1 } else { 10 };
        let results = Contest::new()
            .add(COMMONS, batch(count, || create(&in_full)))
            .add(FLOOR, batch(count, || Ok(raw::reserve_attach_delete(&posix, length)?)))
            .run(context.rounds(30, 4))?;
        let name = "create, attach, detach and delete, reserved";
        let work = results.work(format!("{name}: {}", bytes(size)), Unit::Microseconds, COMMONS)?.growth(
            name,
            "bytes",
            size as f64,
        );
        reserved.push(if size == SIZES[0] {
            work.note("the floor reserves by fallocate as well")
        } else {
            work
        });
    }
    Ok([sparse, reserved].concat())
}
