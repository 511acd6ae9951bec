//! All scenarios, one after the other, in all ways.

use std::path::Path;
use std::time::Instant;

use crate::args::Campaign;
use crate::board::{self, Board};
use crate::code::Code;
use crate::modes::{Bench, Extent, Tally, fault, kill, pair, stop};
use crate::report::Report;
use crate::scenario::{Floor, Scenario};
use crate::world::World;
use crate::{dropins, process, scenarios, tracee};

/// How many points of a scenario a short run tries.
const SHORT: usize = 90;
/// An act of more instructions than this is tried at fewer points in a short run: to get to each takes long.
const LONG: usize = 7_000;

/// How much a short run tries.
fn short(seed: u64) -> Extent {
    Extent { points: Some(SHORT), stops: 8, pairs: (4, 6), errors: 2, calls: 12, seed }
}

/// How much a full run tries.
fn full(seed: u64) -> Extent {
    Extent { points: None, stops: 150, pairs: (40, 40), errors: usize::MAX, calls: usize::MAX, seed }
}

/// The scenarios that are asked for.
fn chosen(arguments: &Campaign) -> Vec<&'static Scenario> {
    scenarios::all()
        .chain(scenarios::planted().filter(|_| arguments.planted))
        .filter(|scenario| arguments.only.as_ref().is_none_or(|text| scenario.name.contains(text.as_str())))
        .collect()
}

/// Runs it; what was tried and found.
pub(crate) fn run(directory: &Path, arguments: &Campaign, is_full: bool) -> std::io::Result<Tally> {
    try_all(directory, arguments, is_full, &chosen(arguments))
}

/// Says of each scenario in which functions the instructions of its act are.
pub(crate) fn show_paths(directory: &Path, arguments: &Campaign) -> std::io::Result<bool> {
    let (world, code, chosen) =
        (set_up(directory, arguments, &chosen(arguments))?, Code::new()?, chosen(arguments));
    for scenario in chosen {
        if let Some(why) = scenario.library.and_then(dropins::missing) {
            println!("SKIPPED: {}: {why}", scenario.name);
            continue;
        }
        let mut bench = Bench::new(&world, scenario, &code, full(arguments.seed), true);
        match kill::record(&mut bench) {
            Ok(trace) => {
                println!("{}: {} instructions, {} system calls", scenario.name, trace.len(), trace.calls());
                let mut functions = std::collections::HashMap::new();
                for pc in &trace.pcs {
                    *functions.entry(*pc).or_insert(0_u64) += 1;
                }
                let mut named = std::collections::HashMap::new();
                for (pc, times) in functions {
                    *named.entry(code.function(pc)).or_insert(0) += times;
                }
                let mut named: Vec<_> = named.into_iter().collect();
                named.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
                for (function, times) in named.into_iter().take(SHOWN) {
                    println!("{times:>10}  {function}");
                }
            }
            Err(flaw) => bench.found(&flaw, || "undisturbed".to_owned()),
        }
    }
    world.clear();
    Ok(true)
}

/// How many functions of a path are shown.
const SHOWN: usize = 25;

/// What every experiment needs, once.
fn set_up(directory: &Path, arguments: &Campaign, chosen: &[&Scenario]) -> std::io::Result<World> {
    board::keep_panics();
    if chosen.iter().any(|scenario| scenario.library.is_some()) {
        dropins::load(directory)?;
    }
    tracee::prepare_alarms();
    if !process::pin(arguments.processor) {
        println!("not pinned: there is no processor {}", arguments.processor);
    }
    World::new(directory, Board::new()?)
}

/// Tries these.
pub(crate) fn try_all(
    directory: &Path,
    arguments: &Campaign,
    is_full: bool,
    chosen: &[&Scenario],
) -> std::io::Result<Tally> {
    let mut extent = if is_full { full(arguments.seed) } else { short(arguments.seed) };
    extent.points = arguments.points.or(extent.points);
    let processors = rustix::thread::sched_getaffinity(None)?;
    let world = set_up(directory, arguments, chosen)?;
    let code = Code::new()?;
    let mut report = Report::new(arguments.markdown);
    let begun = Instant::now();
    for scenario in chosen {
        if let Some(why) = scenario.library.and_then(dropins::missing) {
            println!("SKIPPED: {}: {why}", scenario.name);
            continue;
        }
        let begun = Instant::now();
        let tally = try_one(&world, &code, scenario, extent);
        report.add(scenario, tally, begun.elapsed());
    }
    report.finish();
    world.clear();
    rustix::thread::sched_setaffinity(None, &processors)?;
    let sum = report.sum();
    println!(
        "{:.0} s; {} instructions stepped, {:.0} in a second; {} runs took another path than recorded and were stepped anew",
        begun.elapsed().as_secs_f64(),
        sum.steps,
        sum.timed.0 as f64 * 1e9 / (sum.timed.1.max(1) as f64),
        sum.diverged,
    );
    Ok(sum)
}

/// One scenario in all ways.
fn try_one(world: &World, code: &Code, scenario: &Scenario, extent: Extent) -> Tally {
    let loud = scenario.floor != Floor::Peer;
    let mut bench = Bench::new(world, scenario, code, extent, loud);
    match kill::record(&mut bench) {
        Ok(trace) => {
            if bench.extent.points.is_some_and(|points| points <= SHORT) && trace.len() > LONG {
                bench.extent = Extent {
                    points: Some(if trace.len() > 12 * LONG { SHORT / 18 } else { SHORT / 9 }),
                    stops: 2,
                    pairs: (1, 2),
                    calls: 3,
                    ..bench.extent
                };
            }
            let trace = kill::run(&mut bench, trace);
            stop::run(&mut bench, &trace);
            pair::run(&mut bench, &trace);
            fault::run(&mut bench);
        }
        Err(flaw) => bench.found(&flaw, || "undisturbed".to_owned()),
    }
    bench.tally
}
