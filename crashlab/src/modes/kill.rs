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
    let trace = recorded.map_err(|astray| Flaw::wrong(format!("an undisturbed run went astray: {astray:?}")))?;
    if !trace.complete {
        return Err(Flaw::stuck("an undisturbed run slept for ever"));
    }
    let mut asleep = experiment.when_asleep(Nap::Long);
    let mut child = victim.finish(crate::tracee::LIMIT, &mut |_| asleep())?;
    drop(asleep);
    child.verdict(bench.world.board, Role::Victim, crate::tracee::LIMIT)?;
    experiment.conclude(Fate::Finished)?;
    bench.tally.instructions = trace.len();
    if !trace.sleeps() {
        bench.tally.timed = (trace.len() as u64, stepped_in.as_nanos() as u64);
    }
    Ok(trace)
}

/// Kills at each of these points of the path.
pub(crate) fn run(bench: &mut Bench<'_>, trace: &Trace) {
    let points = match bench.extent.points {
        Some(most) => trace.sample(most, bench.extent.seed),
        None => (0..=trace.len()).collect(),
    };
    for point in points {
        if !bench.goes_on() {
            return;
        }
        let mut at = (trace.pcs[point], Vec::new());
        let check = kill_at(bench, trace, point, &mut at);
        bench.tally.points += 1;
        if let Err(flaw) = check {
            let (code, len) = (bench.code, trace.len());
            bench.found(&flaw, || format!("killed after {point} of {len}: {}", code.place(at.0, &at.1)));
        }
    }
}

fn kill_at(bench: &mut Bench<'_>, trace: &Trace, point: usize, at: &mut (u64, Vec<u64>)) -> Check {
    for stepping in [false, true] {
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
                bench.tally.diverged += 1;
                continue;
            }
            Err(Astray::Asleep) => {
                return Err(Flaw::stuck("the victim slept for ever on its way"));
            }
            Err(astray) => return Err(Flaw::wrong(format!("the victim went astray: {astray:?}"))),
        };
        *at = (victim.pc(), victim.stack());
        victim.kill();
        return experiment.conclude(if finished { Fate::Finished } else { Fate::Killed });
    }
    Ok(())
}
