//! A namespace with 100,000 segments: creating one more, and listing all.
//!
//! The first 1,000 and the last 1,000 are created in turn, in two namespaces: one is empty, the other has
//! 99,000 segments. Both thousands are deleted again after each round.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use commons::{Lifetime, Namespace, SegmentOptions};

use super::PAGE;
use crate::harness::{Context, Variant, interleave, nanoseconds};
use crate::interrupt;
use crate::report::{Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

pub(super) const ALL: usize = 100_000;
const SOME: usize = 1_000;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (empty, full) = (Directory::new("empty")?, Directory::new("full")?);
    let (few, many) = (empty.namespace()?, full.namespace()?);
    let options = options(&many);
    for number in 0..ALL - SOME {
        if number % SOME == 0 {
            interrupt::check()?;
        }
        options.create(format!("s{number}"))?;
    }
    let creating = creating(context, &few, &many)?;
    for number in ALL - SOME..ALL {
        options.create(format!("s{number}"))?;
    }
    Ok(vec![creating, listing(context, &many)?])
}

fn options(namespace: &Namespace) -> SegmentOptions<'static> {
    SegmentOptions::new().size(PAGE as u64).lifetime(Lifetime::UntilDeleted).namespace(namespace)
}

fn creating(context: &Context, few: &Namespace, many: &Namespace) -> Result<Work> {
    let names: Vec<_> = (ALL - SOME..ALL).map(|number| format!("s{number}")).collect();
    let create = |namespace: &Namespace| -> Result<[f64; 1]> {
        let options = options(namespace);
        let started = Instant::now();
        for name in &names {
            options.create(name)?;
        }
        let took = nanoseconds(started);
        for name in &names {
            namespace.delete(name)?;
        }
        Ok([took / SOME as f64])
    };
    let mut variants =
        [Variant::new("the first 1,000", || create(few)), Variant::new("the last 1,000", || create(many))];
    let series = interleave(context.rounds(100, 20), &mut variants)?;
    let [[first], [last]] = &series[..] else { unreachable!("two variants") };
    Ok(Work::new("create one of 100,000 segments in a namespace")
        .row("commons, the first 1,000", Unit::Microseconds, first)
        .row("commons, the last 1,000", Unit::Microseconds, last)
        .ratio(&last.over(first), Some(Limit::AtMost(1.5))))
}

fn listing(context: &Context, namespace: &Namespace) -> Result<Work> {
    let mut list = [Variant::new("commons", || {
        let started = Instant::now();
        let mut seen = 0;
        for entry in namespace.list()? {
            seen += usize::from(entry?.look().is_some());
        }
        let took = nanoseconds(started);
        ensure!(seen == ALL, "{seen} segments were listed");
        Ok([took])
    })];
    let rounds = context.rounds(15, 5);
    let series = interleave(rounds, &mut list)?;
    let work = Work::new("list 100,000 segments and look at each")
        .row("commons", Unit::Seconds, &series[0][0])
        .bound(Limit::AtMost(1.0));

    let command = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/commons"));
    if !command.exists() {
        return Ok(work.note("`commons ls` is missing; cargo build --release makes it"));
    }
    let mut command_line = [Variant::new("commons ls", || list_by_command(command, namespace))];
    match interleave(rounds, &mut command_line) {
        Ok(series) => Ok(work.row("commons ls", Unit::Seconds, &series[0][0]).bound(Limit::AtMost(1.0))),
        Err(error) => {
            interrupt::check()?;
            Ok(work.note(format!("`commons ls` could not be measured: {error:#}")))
        }
    }
}

fn list_by_command(command: &Path, namespace: &Namespace) -> Result<[f64; 1]> {
    let started = Instant::now();
    let output = Command::new(command).arg("ls").arg("--namespace").arg(namespace.directory()).output()?;
    let took = nanoseconds(started);
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(output.status.success() && lines >= ALL, "{}, {lines} lines", output.status);
    Ok([took])
}
