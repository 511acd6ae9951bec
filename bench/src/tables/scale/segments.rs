//! One segment more, and one that is there, among many in a namespace.

use std::fs::{self, File};

use anyhow::Result;
use commons::{Lifetime, SegmentOptions};

use super::thousands;
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::interrupt;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Directory;

const COUNTS: [u64; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
const PAGE: u64 = 4096;
const BATCH: u32 = 50;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("scale")?;
    let namespace = directory.namespace()?;
    let options = SegmentOptions::new().size(PAGE).lifetime(Lifetime::UntilDeleted).namespace(&namespace);
    let plain = directory.path().join("plain");
    let (mut creating, mut opening) = (Vec::new(), Vec::new());
    let mut made = 0;
    for count in COUNTS {
        while made < count {
            options.create(format!("s{made}"))?;
            made += 1;
            if made % 1000 == 0 {
                interrupt::check()?;
            }
        }
        let rounds = context.rounds(60, 8);
        let among = thousands(count);
        let results = Contest::new()
            .add(COMMONS, batch(BATCH, || Ok(options.create("one-more")?.delete()?)))
            .add(
                FLOOR,
                batch(BATCH, || {
                    File::create_new(&plain)?.set_len(PAGE)?;
                    Ok(fs::remove_file(&plain)?)
                }),
            )
            .run(rounds)?;
        let name = "create and delete one more segment";
        creating.push(results.work(format!("{name} among {among}"), Unit::Microseconds, COMMONS)?.growth(
            name,
            "segments in the namespace",
            count as f64,
        ));
        let mut next = 0;
        let results = Contest::new()
            .add(
                COMMONS,
                batch(BATCH, || {
                    next = (next + 7919) % count;
                    Ok(options.open(format!("s{next}"))?.attach()?.detach()?)
                }),
            )
            .add(FLOOR, {
                let mut next = 0;
                let path = directory.path();
                batch(BATCH, move || {
                    next = (next + 7919) % count;
                    crate::raw::map_file(&path.join(format!("s{next}")))
                })
            })
            .run(rounds)?;
        let name = "open, attach and detach one segment";
        opening.push(results.work(format!("{name} of {among}"), Unit::Microseconds, COMMONS)?.growth(
            name,
            "segments in the namespace",
            count as f64,
        ));
    }
    Ok([creating, opening].concat())
}
