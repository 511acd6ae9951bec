//! How much memory saving and loading take, whatever the size.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use commons::{Lifetime, SegmentOptions};

use super::{command, fill, is_there, text};
use crate::harness::{Context, Variant, interleave};
use crate::report::{COMMONS, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::{Limit, Series};

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    if let Err(error) = is_there() {
        let work = Work::new("peak memory of saving and loading", Unit::Mebibytes);
        return Ok(vec![work.missing(COMMONS, format!("{error:#}")).bound(COMMONS, Limit::AtMost(32.0))]);
    }
    // Quick is another size, and says so.
    let size: u64 = if context.quick { 1 << 28 } else { 4 << 30 };
    let directory = Directory::new("memory")?;
    let namespace = directory.namespace()?;
    let options = SegmentOptions::new().size(size).lifetime(Lifetime::UntilDeleted).namespace(&namespace);
    let segment = options.create("one")?;
    fill(&File::options().write(true).open(directory.path().join("one"))?, 0, size)?;
    let target = directory.path().join("target");
    let (file, within) = (text(&target)?, text(directory.path())?);
    let run = |arguments: &[&str]| -> Result<[f64; 1]> {
        Ok([peak(command(&[arguments, &["--namespace", within]].concat())?)?])
    };
    let load_new = || {
        let used = run(&["load", file, "two"]);
        namespace.delete("two")?;
        used
    };
    let mut variants = [
        Variant::new("commons save", || run(&["save", "one", file, "--no-sync"])),
        Variant::new("commons load, a new segment", load_new),
        Variant::new("commons load, into one that is there", || run(&["load", file, "one"])),
        Variant::new("cp", || {
            let mut cp = Command::new("cp");
            cp.arg(directory.path().join("one")).arg(directory.path().join("copy"));
            let used = peak(cp)?;
            std::fs::remove_file(directory.path().join("copy"))?;
            Ok([used])
        }),
    ];
    let series = interleave(context.rounds(3, 1), &mut variants)?;
    drop(segment);
    let [[save], [new], [into], [cp]] = &series[..] else { unreachable!("four variants") };
    let work = |name: &str, series: &Series| {
        Work::new(format!("peak memory of {name}"), Unit::Mebibytes)
            .row(COMMONS, series)
            .bound(COMMONS, Limit::AtMost(32.0))
            .row("cp", cp)
    };
    let size = if size < 1 << 30 { format!("{} MiB", size >> 20) } else { format!("{} GiB", size >> 30) };
    Ok(vec![
        work(&format!("saving {size}"), save),
        work(&format!("loading {size} into a new segment"), new),
        work(&format!("loading {size} into a segment that is there"), into),
    ])
}

/// Runs a command to its end; the most memory that it had, in bytes.
fn peak(mut command: Command) -> Result<f64> {
    // Forked, and not spawned within this program's memory, whose peak would count as the command's.
    // SAFETY: the closure does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
    let child = command.spawn().context("running commons")?;
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: waits for our own child, which nobody else waits for; both structures outlive the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(waited == pid && status == 0, "commons ended with wait status {status:#x}");
    Ok(usage.ru_maxrss as f64 * 1024.0)
}
