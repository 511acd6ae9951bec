//! A namespace with 100,000 segments: creating one more, and listing all.
//!
//! The first 1,000 and the last 1,000 are created in turn, in two namespaces: one is empty, the other has
//! 99,000 segments. Both thousands are deleted again after each round.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use commons::{Lifetime, Namespace, SegmentOptions};

use super::PAGE;
use crate::contest::{Contest, Run};
use crate::harness::{Context, nanoseconds};
use crate::interrupt;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::{Directory, Name};
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
    Ok([vec![creating], listing(context, &many)?].concat())
}

fn options(namespace: &Namespace) -> SegmentOptions<'static> {
    SegmentOptions::new().size(PAGE as u64).lifetime(Lifetime::UntilDeleted).namespace(namespace)
}

fn creating(context: &Context, few: &Namespace, many: &Namespace) -> Result<Work> {
    let names: Vec<_> = (ALL - SOME..ALL).map(|number| format!("s{number}")).collect();
    let create = |namespace: &Namespace| -> Result<f64> {
        let options = options(namespace);
        let started = Instant::now();
        for name in &names {
            options.create(name)?;
        }
        let took = nanoseconds(started);
        for name in &names {
            namespace.delete(name)?;
        }
        Ok(took / SOME as f64)
    };
    let raw = Name::new("many-raw");
    let posix = raw.posix()?;
    let results = Contest::new()
        .add("the first 1,000", || create(few))
        .add(COMMONS, || create(many))
        .add(FLOOR, || {
            let mut took = 0.0;
            for _ in 0..SOME {
                let started = Instant::now();
                raw::create(&posix, PAGE)?;
                took += nanoseconds(started);
                std::fs::remove_file(std::path::Path::new("/dev/shm").join(raw.as_str()))?;
            }
            Ok(took / SOME as f64)
        })
        .run(context.rounds(60, 10))?;
    Ok(results
        .work("create the last 1,000 of 100,000 segments in a namespace", Unit::Microseconds, COMMONS)?
        .bound("the first 1,000", Limit::AtMost(1.5))
        .note("the floor is one file by raw calls, neither reserved nor locked"))
}

fn listing(context: &Context, namespace: &Namespace) -> Result<Vec<Work>> {
    let list = || -> Result<f64> {
        let started = Instant::now();
        let mut seen = 0;
        for entry in namespace.list()? {
            seen += usize::from(entry?.look().is_some());
        }
        let took = nanoseconds(started);
        ensure!(seen == ALL, "{seen} segments were listed");
        Ok(took)
    };
    // What nobody can do without who wants to know sizes and owners.
    let look = || -> Result<f64> {
        let started = Instant::now();
        let mut bytes = 0;
        for entry in std::fs::read_dir(namespace.directory())? {
            bytes += entry?.metadata()?.len();
        }
        ensure!(bytes > 0, "no bytes");
        Ok(nanoseconds(started))
    };
    let command = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/commons"));
    let ls = if command.exists() {
        Ok(Box::new(|| list_by_command(command, namespace)) as Run<'_>)
    } else {
        Err(anyhow!("cargo build --release makes it"))
    };
    let results = Contest::new()
        .add(COMMONS, list)
        .add(FLOOR, look)
        .peer("commons, ls", ls)
        .run(context.rounds(15, 3))?;
    let limit = Limit::AtMost(1.0);
    Ok(vec![
        results
            .work("list 100,000 segments and look at each", Unit::Seconds, COMMONS)?
            .bound(COMMONS, limit)
            .note("the floor is to read the directory and ask for each file's size"),
        results
            .work("list 100,000 segments and look at each, by 'commons ls'", Unit::Seconds, "commons, ls")?
            .bound(COMMONS, limit),
    ])
}

fn list_by_command(command: &Path, namespace: &Namespace) -> Result<f64> {
    let started = Instant::now();
    let output = Command::new(command).arg("ls").arg("--namespace").arg(namespace.directory()).output()?;
    let took = nanoseconds(started);
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(output.status.success() && lines >= ALL, "{}, {lines} lines", output.status);
    Ok(took)
}
