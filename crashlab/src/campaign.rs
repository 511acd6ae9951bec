//! All scenarios in all ways: each process of the laboratory, one on each processor, takes the next scenario when it is
//! done, and tells what it found. And what the paths of scenarios consist of.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::args::Campaign;
use crate::board::{self, Board};
use crate::code::Code;
use crate::modes::{Bench, Extent, Tally, fault, kill, pair, stop};
use crate::process::Child;
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
    let chosen = chosen(arguments);
    let world = set_up(directory, arguments.processors.first().copied().unwrap_or(0), &chosen)?;
    let code = Code::new()?;
    for scenario in chosen {
        if is_skipped(scenario) {
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

/// What every experiment of this process needs, once.
fn set_up(directory: &Path, processor: usize, chosen: &[&Scenario]) -> std::io::Result<World> {
    board::keep_panics();
    if chosen.iter().any(|scenario| scenario.library.is_some()) {
        dropins::load(directory)?;
    }
    tracee::prepare_alarms();
    if !process::pin(processor) {
        println!("not pinned: there is no processor {processor}");
    }
    World::new(directory, Board::new()?)
}

/// Tries these: on each processor a process, with a directory of its own, which takes the next one when it is done.
pub(crate) fn try_all(
    directory: &Path,
    arguments: &Campaign,
    is_full: bool,
    chosen: &[&Scenario],
) -> std::io::Result<Tally> {
    let mut extent = if is_full { full(arguments.seed) } else { short(arguments.seed) };
    extent.points = arguments.points.or(extent.points);
    if chosen.iter().any(|scenario| scenario.library.is_some()) {
        dropins::prepare()?;
    }
    let mut report = Report::new(arguments.markdown);
    let begun = Instant::now();
    // Whose turn it is, and what came of it: pipes, which end with their last writer.
    let (turns, mut give) = pipe()?;
    let (mut results, told) = pipe()?;
    for index in 0..chosen.len() {
        give.write_all(&(index as u32).to_ne_bytes())?;
    }
    drop(give);
    let parent = rustix::process::getpid();
    let mut workers = Vec::new();
    for processor in &arguments.processors {
        // SAFETY: the laboratory has one thread.
        match unsafe { libc::fork() } {
            0 => {
                process::leave_with(parent);
                let home = directory.join(format!("on-{processor}"));
                let done = std::fs::create_dir_all(&home)
                    .and_then(|()| set_up(&home, *processor, chosen))
                    .and_then(|world| work(&world, chosen, extent, &turns, &told));
                process::exit(match done {
                    Ok(()) => 0,
                    Err(error) => {
                        println!("on processor {processor}: {error}");
                        1
                    }
                })
            }
            pid => workers.push(Child::of(pid)),
        }
    }
    drop(told);
    let mut result = [0; Result::BYTES];
    let mut heard_of = 0;
    while results.read_exact(&mut result).is_ok() {
        let Result { index, tried, tally, took } = Result::from_bytes(&result);
        heard_of += 1;
        if tried {
            report.add(chosen[index], tally, took);
        }
    }
    report.finish();
    let sum = report.sum();
    println!(
        "{:.0} s; {} instructions stepped, {:.0} in a second; {} runs took another path than recorded and were stepped anew",
        begun.elapsed().as_secs_f64(),
        sum.steps,
        sum.timed.0 as f64 * 1e9 / (sum.timed.1.max(1) as f64),
        sum.diverged,
    );
    if heard_of < chosen.len() {
        return Err(std::io::Error::other(format!(
            "nothing was heard of {} scenarios",
            chosen.len() - heard_of
        )));
    }
    Ok(sum)
}

fn pipe() -> std::io::Result<(File, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

/// Whether the library is missing that the scenario is about; says so.
fn is_skipped(scenario: &Scenario) -> bool {
    let missing = scenario.library.and_then(dropins::missing);
    if let Some(why) = missing {
        println!("SKIPPED: {}: {why}", scenario.name);
    }
    missing.is_some()
}

/// One process's part: the scenarios whose turn it is, until there are no more.
fn work(
    world: &World,
    chosen: &[&Scenario],
    extent: Extent,
    mut turns: &File,
    mut told: &File,
) -> std::io::Result<()> {
    let code = Code::new()?;
    let mut turn = [0; 4];
    while turns.read_exact(&mut turn).is_ok() {
        let index = u32::from_ne_bytes(turn) as usize;
        let scenario = chosen[index];
        let begun = Instant::now();
        let tried = !is_skipped(scenario);
        let tally = if tried { try_one(world, &code, scenario, extent) } else { Tally::default() };
        let result = Result { index, tried, tally, took: begun.elapsed() };
        // Short enough to be written as a whole, whoever else writes.
        told.write_all(&result.to_bytes())?;
    }
    world.clear();
    Ok(())
}

/// What is told of one scenario.
struct Result {
    index: usize,
    /// Or skipped.
    tried: bool,
    tally: Tally,
    took: Duration,
}

impl Result {
    const BYTES: usize = 8 * (3 + Tally::WORDS);

    fn to_bytes(&self) -> Vec<u8> {
        let head = [self.index as u64, self.tried.into(), self.took.as_nanos() as u64];
        head.into_iter().chain(self.tally.to_words()).flat_map(u64::to_ne_bytes).collect()
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result {
        let mut words =
            bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().unwrap_or(0);
        let (index, tried, took) = (next() as usize, next() != 0, Duration::from_nanos(next()));
        Result { index, tried, took, tally: Tally::from_words(std::array::from_fn(|_| next())) }
    }
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
