//! Killed after every instruction.

use super::Bench;
use crate::board::Role;
use crate::experiment::{Experiment, Nap};
use crate::flaw::{Check, Flaw};
use crate::scenario::Fate;
use crate::trace::{Astray, Trace};

/// The path of an undisturbed run, which has to end well.
pub(crate) fn record(bench: &mut Bench<'_>) -> Result<Trace, Flaw> {
    let mut experiment = Experiment::new(bench.world, bench.scenario)?;
    let mut victim = experiment.victim(Role::Victim)?;
    let begun = std::time::Instant::now();
    let recorded = Trace::record(
        &mut victim,
        bench.code,
        &mut bench.tally.steps,
        &mut experiment.when_asleep(Nap::Long),
    );
    let stepped_in = begun.elapsed();
    let trace =
        recorded.map_err(|astray| Flaw::wrong(format!("an undisturbed run went astray: {astray:?}")))?;
    if !trace.complete {
        return Err(Flaw::stuck("an undisturbed run slept for ever"));
    }
    let mut asleep = experiment.when_asleep(Nap::Long);
    let mut child = victim.finish(crate::tracee::LIMIT, &mut |_| asleep())?;
    drop(asleep);
    child.verdict(bench.world.board, Role::Victim, crate::tracee::LIMIT)?;
    experiment.conclude(Fate::Finished)?;
    bench.tally.instructions = trace.len() as u64;
    if !trace.sleeps() {
        bench.tally.timed = (trace.len() as u64, stepped_in.as_nanos() as u64);
    }
    Ok(trace)
}

/// How often a point is tried again to which a run did not come.
const AGAIN: usize = 3;

/// How often a path is recorded anew, from where it led elsewhere.
const FORKS: usize = 8;

/// A path that is longer than this takes long to step through. Once it was recorded anew so often, a run that leaves it is
/// killed where it has come to: a crash point, too. Where not all points are tried, it is recorded anew but once.
pub(super) const LONG: usize = 7_000;

/// Kills at each of these points of the path; the path as it was at last.
pub(crate) fn run(bench: &mut Bench<'_>, trace: Trace) -> Trace {
    let chosen = |trace: &Trace, bench: &Bench<'_>| match bench.extent.points {
        Some(most) => trace.sample(most, bench.extent.seed),
        None => (0..=trace.len()).collect(),
    };
    let mut trace = trace;
    let mut points = chosen(&trace, bench);
    let hurries = trace.len() > LONG && bench.extent.points.is_some();
    let most_forks = if hurries { 1 } else { FORKS };
    let mut forks = 0;
    // The next to be tried, and the last that was come to.
    let (mut next, mut came_to) = (0, 0);
    while next < points.len() && bench.goes_on() {
        let point = points[next];
        let mut at = (trace.pcs[point], Vec::new());
        let elsewhere = match (forks >= most_forks, hurries || trace.len() > LONG) {
            (false, _) => Elsewhere::Tell,
            (true, false) => Elsewhere::Step,
            (true, true) => Elsewhere::Kill,
        };
        // What was chance is another chance's the next time; a path that changed stays as it is now.
        let mut tried = kill_at(bench, &trace, point, elsewhere, &mut at);
        for _ in 0..if hurries { 0 } else { AGAIN } {
            tried = tried.or_else(|| kill_at(bench, &trace, point, elsewhere, &mut at));
        }
        match tried {
            None => {
                bench.tally.diverged += 1;
                forks += 1;
                match fork(bench, &trace, came_to) {
                    Ok(Some(forked)) => {
                        trace = forked;
                        bench.tally.instructions = trace.len() as u64;
                        points = chosen(&trace, bench);
                        next = points.partition_point(|point| *point <= came_to);
                    }
                    // Not even to there any more: step by step from here on.
                    Ok(None) => forks = most_forks,
                    Err(flaw) => {
                        bench.found(&flaw, || format!("on another path, from {came_to}"));
                        return trace;
                    }
                }
            }
            Some(check) => {
                bench.tally.points += 1;
                came_to = point;
                next += 1;
                if let Err(flaw) = check {
                    let (code, len) = (bench.code, trace.len());
                    bench.found(&flaw, || {
                        format!("killed after {point} of {len}: {}", code.place(at.0, &at.1))
                    });
                }
            }
        }
    }
    trace
}

/// The path from an instruction on, as a run takes it that was not stepped to there.
fn fork(bench: &mut Bench<'_>, trace: &Trace, from: usize) -> Result<Option<Trace>, Flaw> {
    let mut experiment = Experiment::new(bench.world, bench.scenario)?;
    let mut victim = experiment.victim(Role::Victim)?;
    let mut asleep = experiment.when_asleep(Nap::Long);
    let steps = &mut bench.tally.steps;
    if trace.advance(&mut victim, bench.code, from, steps, &mut asleep).is_err() {
        return Ok(None);
    }
    let forked = trace.fork(from, &mut victim, bench.code, steps, &mut asleep);
    match forked {
        Ok(trace) if trace.complete => Ok(Some(trace)),
        Ok(_) => Err(Flaw::stuck("an undisturbed run slept for ever")),
        Err(astray) => Err(Flaw::wrong(format!("an undisturbed run went astray: {astray:?}"))),
    }
}

/// What to do about a run that took another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elsewhere {
    Tell,
    /// Do it again, step by step from the beginning.
    Step,
    /// Kill it where it is.
    Kill,
}

/// Kills at a point; `None` if the run took another path, and that is to be told.
fn kill_at(
    bench: &mut Bench<'_>,
    trace: &Trace,
    point: usize,
    elsewhere: Elsewhere,
    at: &mut (u64, Vec<u64>),
) -> Option<Check> {
    match try_at(bench, trace, point, elsewhere, false, at) {
        Err(Other) if elsewhere == Elsewhere::Step => {
            bench.tally.diverged += 1;
            Some(try_at(bench, trace, point, elsewhere, true, at).unwrap_or(Ok(())))
        }
        Err(Other) => None,
        Ok(check) => Some(check),
    }
}

/// The run took another path.
struct Other;

fn try_at(
    bench: &mut Bench<'_>,
    trace: &Trace,
    point: usize,
    elsewhere: Elsewhere,
    stepping: bool,
    at: &mut (u64, Vec<u64>),
) -> Result<Check, Other> {
    let mut tried = || -> Result<Result<Check, Other>, Flaw> {
        let mut experiment = Experiment::new(bench.world, bench.scenario)?;
        let mut victim = experiment.victim(Role::Victim)?;
        let mut asleep = experiment.when_asleep(Nap::Long);
        let steps = &mut bench.tally.steps;
        let reached = if stepping {
            Trace::step_through(&mut victim, bench.code, point, steps, &mut asleep)
        } else {
            trace.advance(&mut victim, bench.code, point, steps, &mut asleep).map(|()| point == trace.len())
        };
        drop(asleep);
        let finished = match reached {
            Ok(finished) => finished,
            Err(Astray::Diverged | Astray::Stopped(crate::tracee::Stop::Trap)) if !stepping => {
                if elsewhere != Elsewhere::Kill {
                    return Ok(Err(Other));
                }
                [crate::marker::end(), crate::marker::end() + 1].contains(&victim.pc())
            }
            Err(Astray::Asleep) => {
                return Err(Flaw::stuck("the victim slept for ever on its way"));
            }
            Err(astray) => return Err(Flaw::wrong(format!("the victim went astray: {astray:?}"))),
        };
        *at = (victim.pc(), victim.stack());
        victim.kill();
        Ok(Ok(experiment.conclude(if finished { Fate::Finished } else { Fate::Killed })))
    };
    tried().unwrap_or_else(|flaw| Ok(Err(flaw)))
}
