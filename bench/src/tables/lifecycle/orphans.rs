//! Sweeping 100,000 orphans, left by processes that were killed while they were attached to them.

use std::time::Instant;

use anyhow::{Result, ensure};
use commons::{Namespace, SegmentOptions};

use super::PAGE;
use super::many::ALL;
use crate::child::{Child, Parent};
use crate::harness::{Context, Rounds, Variant, interleave, nanoseconds};
use crate::interrupt;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::{Limit, Series};

/// The role of a child that makes segments and stays attached to them, until it is killed.
pub(super) const VICTIM: &str = "victim";

/// How many children: one may have 65,530 mappings, where the system has not been told otherwise.
const VICTIMS: usize = 4;

pub(super) fn litter(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [directory, prefix, count] = arguments else { anyhow::bail!("where, what, and how many?") };
    let options = SegmentOptions::new().size(PAGE as u64).namespace(&Namespace::at(directory)?);
    let attachments: commons::Result<Vec<_>> = (0..count.parse()?)
        .map(|number: usize| options.create(format!("{prefix}{number}"))?.attach())
        .collect();
    // They are left to the killer.
    let _attachments = std::mem::ManuallyDrop::new(attachments?);
    parent.serve(|_| Ok("made".into()))
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("orphans")?;
    let namespace = directory.namespace()?;
    let place = directory.path().to_string_lossy().into_owned();
    let mut sweep = [Variant::new("commons", || {
        orphan(context, &place)?;
        let started = Instant::now();
        let swept = namespace.sweep()?;
        let took = nanoseconds(started);
        ensure!(swept.segments == ALL as u64 && swept.failed == 0, "{swept:?}");
        Ok([took])
    })];
    // The work itself is long: there is nothing to warm up.
    let count = if context.quick { 1 } else { 5 };
    let series = interleave(Rounds { warm_up: 0, count }, &mut sweep)?;
    Ok(vec![
        Work::new("sweep 100,000 orphans", Unit::Seconds)
            .row(COMMONS, &series[0][0])
            .bound(COMMONS, Limit::AtMost(4.0))
            .row(FLOOR, &unlink_all(&directory, context)?)
            .note("the floor is to unlink as many files without looking at them"),
    ])
}

/// What it takes to remove as many names.
fn unlink_all(directory: &Directory, context: &Context) -> Result<Series> {
    let rounds = if context.quick { 1 } else { 3 };
    let mut figures = Vec::new();
    for _ in 0..rounds {
        for number in 0..ALL {
            if number % 1000 == 0 {
                interrupt::check()?;
            }
            std::fs::File::create(directory.path().join(format!("f{number}")))?.set_len(PAGE as u64)?;
        }
        let started = Instant::now();
        for entry in std::fs::read_dir(directory.path())? {
            std::fs::remove_file(entry?.path())?;
        }
        figures.push(nanoseconds(started));
    }
    Ok(Series::of(figures))
}

/// Makes the orphans.
fn orphan(context: &Context, directory: &str) -> Result<()> {
    let each = (ALL / VICTIMS).to_string();
    let cores = [context.placement.own, context.placement.other];
    let mut victims = Vec::new();
    for number in 0..VICTIMS {
        let prefix = format!("v{number}-");
        victims.push(Child::start(VICTIM, cores[number % 2], &[directory, &prefix, &each])?);
    }
    for victim in &mut victims {
        victim.ask("make")?;
        interrupt::check()?;
    }
    victims.into_iter().try_for_each(Child::kill)
}
