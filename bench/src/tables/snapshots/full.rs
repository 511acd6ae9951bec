//! A full segment of 1 GiB, saved to tmpfs, against a copy of the same bytes by `cp`; none waits for a disk. Both
//! may use both cores: `commons save` reads with one thread and writes with another. The row "on one core" pins it.
//!
//! Each run finds memory that was in use a moment ago. In a virtual machine, memory that was never touched, or that
//! was given back to the host meanwhile, takes longer to get than to copy to: several times as long, for whichever
//! variant happens to meet it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use commons::SegmentOptions;

use super::{command, fill, text, time};
use crate::harness::{Context, Variant, interleave};
use crate::placement::unpin;
use crate::report::{Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

const SIZE: u64 = 1 << 30;
/// More than a run writes, since some of what is freed stays with the core that freed it.
const SUPPLY: u64 = SIZE + SIZE / 4;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("full")?;
    let namespace = directory.namespace()?;
    let _segment = SegmentOptions::new().size(SIZE).namespace(&namespace).create("full")?;
    let path = directory.path().join("full");
    fill(&File::options().write(true).open(&path)?, 0, SIZE)?;
    let target = directory.path().join("target");
    let (from, to, within) = (text(&path)?, text(&target)?, text(directory.path())?);
    let save = |options: &[&str], both_cores: bool| -> Result<[f64; 1]> {
        let arguments = ["save", "full", to, "--no-sync", "--namespace", within];
        let mut save = command(&[&arguments, options].concat())?;
        if both_cores {
            unpin(&mut save, &context.placement);
        }
        timed(save, &target)
    };
    let mut variants = [
        Variant::new("cp", || {
            let mut cp = Command::new("cp");
            cp.args([from, to]);
            unpin(&mut cp, &context.placement);
            timed(cp, &target)
        }),
        Variant::new("commons save", || save(&[], true)),
        Variant::new("commons save, on one core", || save(&[], false)),
        Variant::new("commons save --raw", || save(&["--raw"], true)),
    ];
    let series = interleave(context.rounds(40, 4), &mut variants)?;
    let [[cp], [framed], [one_core], [raw]] = &series[..] else { unreachable!("four variants") };
    Ok(vec![
        Work::new("save a full 1 GiB segment to tmpfs, with checksums")
            .row("cp", Unit::Milliseconds, cp)
            .row("commons save", Unit::Milliseconds, framed)
            .ratio(&framed.over(cp), Some(Limit::AtMost(1.15)))
            .row("commons save, on one core", Unit::Milliseconds, one_core)
            .ratio(&one_core.over(cp), None)
            .row("commons save --raw", Unit::Milliseconds, raw)
            .ratio(&raw.over(cp), None),
    ])
}

/// How long `command` takes to write `target`, which is not there before, nor after.
fn timed(command: Command, target: &Path) -> Result<[f64; 1]> {
    supply(target)?;
    let took = time(command)?;
    fs::remove_file(target)?;
    Ok([took])
}

/// Uses memory for a file, and frees it.
fn supply(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let bytes = vec![0; 1 << 20];
    for _ in 0..SUPPLY >> 20 {
        file.write_all(&bytes)?;
    }
    Ok(fs::remove_file(path)?)
}
