//! Sweeping 100,000 orphans, left by processes that were killed while they were attached to them.

use std::time::Instant;

use anyhow::{Result, ensure};
use commons::{Namespace, SegmentOptions};

use super::PAGE;
use super::many::ALL;
use crate::child::{Child, Parent};
use crate::harness::{Context, Rounds, Variant, interleave, nanoseconds};
use crate::interrupt;
use crate::report::{Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

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
    let count = if context.quick { 2 } else { 7 };
    let series = interleave(Rounds { warm_up: 0, count }, &mut sweep)?;
    Ok(vec![
        Work::new("sweep 100,000 orphans")
            .row("commons", Unit::Seconds, &series[0][0])
            .bound(Limit::AtMost(4.0)),
    ])
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
