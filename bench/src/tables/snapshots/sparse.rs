//! A sparse segment of 10 GiB with 10 MiB in scattered pages.

use std::fs::{self, File};

use anyhow::Result;
use commons::SegmentOptions;

use super::{command, fill, text, time};
use crate::harness::{Context, Variant, interleave};
use crate::report::{Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

const SIZE: u64 = 10 << 30;
const PAGES: u64 = 2560;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("sparse")?;
    let namespace = directory.namespace()?;
    let _segment = SegmentOptions::new().size(SIZE).sparse(true).namespace(&namespace).create("sparse")?;
    let file = File::options().write(true).open(directory.path().join("sparse"))?;
    for page in 0..PAGES {
        fill(&file, page * (SIZE / PAGES) / 4096 * 4096, 4096)?;
    }
    let target = directory.path().join("target");
    let (to, within) = (text(&target)?, text(directory.path())?);
    let save = |options: &[&str]| -> Result<[f64; 1]> {
        let took =
            time(command(&[&["save", "sparse", to, "--no-sync", "--namespace", within], options].concat())?)?;
        fs::remove_file(&target)?;
        Ok([took])
    };
    let mut variants =
        [Variant::new("commons save", || save(&[])), Variant::new("commons save --raw", || save(&["--raw"]))];
    let series = interleave(context.rounds(30, 10), &mut variants)?;
    let [[framed], [raw]] = &series[..] else { unreachable!("two variants") };
    let limit = Limit::AtMost(0.1);
    Ok(vec![
        Work::new("save a sparse 10 GiB segment with 10 MiB in scattered pages")
            .row("commons save", Unit::Seconds, framed)
            .bound(limit)
            .row("commons save --raw", Unit::Seconds, raw)
            .bound(limit),
    ])
}
