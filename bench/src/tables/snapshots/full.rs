//! A full segment of 1 GiB, saved to tmpfs, against a copy of the same bytes by `cp`; none waits for a disk. Both
//! may use both cores: `commons save` reads with one thread and writes with another. The row "on one core" pins it.
//!
//! Each run finds memory that was in use a moment ago. In a virtual machine, memory that was never touched, or that
//! was given back to the host meanwhile, takes longer to get than to copy to: several times as long, for whichever
//! variant happens to meet it.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use commons::SegmentOptions;

use super::{by_command, command, fill, text, time};
use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::placement::unpin;
use crate::report::{FLOOR, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // Quick is another size, and says so.
    let (size, shown) = if context.quick { (1 << 28, "256 MiB") } else { (1 << 30, "1 GiB") };
    let directory = Directory::new("full")?;
    let namespace = directory.namespace()?;
    let _segment = SegmentOptions::new().size(size).namespace(&namespace).create("full")?;
    let path = directory.path().join("full");
    fill(&File::options().write(true).open(&path)?, 0, size)?;
    let target = directory.path().join("target");
    let (from, to, within) = (text(&path)?, text(&target)?, text(directory.path())?);
    let bytes = vec![1_u8; usize::try_from(size)?];
    let mut copied = vec![2_u8; usize::try_from(size)?];
    let save = |options: &[&str], both_cores: bool| -> Result<f64> {
        let arguments = ["save", "full", to, "--no-sync", "--namespace", within];
        let mut save = command(&[&arguments, options].concat())?;
        if both_cores {
            unpin(&mut save, &context.placement);
        }
        timed(save, &target, size)
    };
    let results = Contest::new()
        .add("cp", || {
            let mut cp = Command::new("cp");
            cp.args([from, to]);
            unpin(&mut cp, &context.placement);
            timed(cp, &target, size)
        })
        .peer("commons, save", by_command(|| save(&[], true)))
        .peer("commons, on one core", by_command(|| save(&[], false)))
        .peer("commons, raw", by_command(|| save(&["--raw"], true)))
        .add(FLOOR, || {
            let started = Instant::now();
            copied.copy_from_slice(black_box(&bytes));
            black_box(&mut copied);
            Ok(nanoseconds(started))
        })
        .run(context.rounds(30, 3))?;
    let remark = "the floor is to copy as many bytes in memory that is there, by memcpy on one core";
    let work = |name: &str, how: &str| {
        results.work(format!("save a full {shown} segment to tmpfs{name}"), Unit::Milliseconds, how)
    };
    Ok(vec![
        work(", with checksums", "commons, save")?.bound("cp", Limit::AtMost(1.15)).note(remark),
        work(", with checksums, on one core", "commons, on one core")?,
        work(", raw bytes", "commons, raw")?,
    ])
}

/// How long `command` takes to write `target`, which is not there before, nor after.
fn timed(command: Command, target: &Path, size: u64) -> Result<f64> {
    supply(target, size)?;
    let took = time(command)?;
    fs::remove_file(target)?;
    Ok(took)
}

/// Uses memory for a file, and frees it: more than a run writes, since some of what is freed stays with the core
/// that freed it.
fn supply(path: &Path, size: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let bytes = vec![0; 1 << 20];
    for _ in 0..(size + size / 4) >> 20 {
        file.write_all(&bytes)?;
    }
    Ok(fs::remove_file(path)?)
}
