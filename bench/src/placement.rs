//! Where things run: processes are pinned to cores, and how far apart two cores are is measured, since that
//! is the floor of everything that crosses from one to the other.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::harness::nanoseconds;
use crate::statistics::{Series, Summary};

/// The cores in use.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Where what is measured runs.
    pub(crate) own: usize,
    /// Where its helpers and its partners run; the same one if there is no other.
    pub(crate) other: usize,
    /// Nanoseconds that a cache line takes from one to the other, one way.
    pub(crate) one_way: Option<Summary>,
}

impl Placement {
    /// Chooses the first two cores that this process may use, measures their distance, and pins the calling
    /// thread to the first.
    pub(crate) fn choose() -> Result<Placement> {
        let allowed = sched_getaffinity(None).context("asking which cores may be used")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let own = cores.next().ok_or_else(|| anyhow!("no core may be used"))?;
        let other = cores.next();
        let one_way = match other {
            Some(other) => Some(Summary::of(&distance(own, other)?)),
            None => None,
        };
        pin(own)?;
        Ok(Placement { own, other: other.unwrap_or(own), one_way })
    }
}

/// Pins the calling thread, and what it starts, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to core {core}"))
}

/// Lets what `command` starts run on both cores, as programs do that a user starts.
pub(crate) fn unpin(command: &mut Command, placement: &Placement) {
    let mut set = CpuSet::new();
    set.set(placement.own);
    set.set(placement.other);
    // SAFETY: between fork and exec the closure makes one system call and touches no memory but its own.
    unsafe { command.pre_exec(move || Ok(sched_setaffinity(None, &set)?)) };
}

/// A word alone on its cache line, and on the pair of lines that some processors fetch together.
#[repr(align(128))]
struct Line(AtomicU32);

/// Two pinned threads pass a cache line to and fro; a figure is half of a round trip.
fn distance(one: usize, other: usize) -> Result<Series> {
    const TRIPS: u32 = 2_000;
    const ROUNDS: u32 = 100;
    let line = Arc::new(Line(AtomicU32::new(0)));
    let theirs = line.clone();
    let partner = std::thread::spawn(move || {
        let pinned = pin(other);
        for trip in 0..TRIPS * ROUNDS {
            pass(&theirs, trip * 2 + 1);
        }
        pinned
    });
    let own = std::thread::spawn(move || -> Result<Series> {
        pin(one)?;
        let mut figures = Vec::new();
        for round in 0..ROUNDS {
            let started = Instant::now();
            for trip in round * TRIPS..(round + 1) * TRIPS {
                pass(&line, trip * 2);
            }
            figures.push(nanoseconds(started) / f64::from(2 * TRIPS));
        }
        let rounds = figures.split_off(figures.len() / 10);
        Ok(Series { warm_up: figures, rounds })
    });
    let panicked = |_| anyhow!("a thread that measures the cores' distance panicked");
    let series = own.join().map_err(panicked)??;
    partner.join().map_err(panicked)??;
    Ok(series)
}

/// Waits for the line to show `turn`, and hands it on. Without a pause instruction: that would take longer
/// than the line does.
fn pass(line: &Line, turn: u32) {
    loop {
        if line.0.load(Acquire) == turn {
            break;
        }
    }
    line.0.store(turn + 1, Release);
}
