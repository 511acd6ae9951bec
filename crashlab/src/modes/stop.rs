//! Stopped instead of killed: the process hangs at an instruction. Others must not, beyond what its having a lock
//! explains; and when it goes on, it ends well.

use super::Bench;
use crate::board::Role;
use crate::experiment::{Experiment, Nap};
use crate::flaw::{Check, Flaw};
use crate::scenario::Fate;
use crate::trace::{Astray, Trace};
use crate::tracee::LIMIT;

/// Stops at some of the points of the path.
pub(crate) fn run(bench: &mut Bench<'_>, trace: &Trace) {
    if bench.scenario.meanwhile.is_none() {
        return;
    }
    for point in trace.sample(bench.extent.stops, bench.extent.seed) {
        if !bench.goes_on() {
            return;
        }
        let check = stop_at(bench, trace, point);
        bench.tally.stops += 1;
        if let Err(flaw) = check {
            let (code, pc, len) = (bench.code, trace.pcs[point], trace.len());
            bench.found(&flaw, || format!("stopped after {point} of {len}: {}", code.place(pc, &[])));
        }
    }
}

fn stop_at(bench: &mut Bench<'_>, trace: &Trace, point: usize) -> Check {
    for stepping in [false, true] {
        let mut experiment = Experiment::new(bench.world, bench.scenario)?;
        let mut victim = experiment.victim(Role::Victim)?;
        let mut asleep = experiment.when_asleep(Nap::Long);
        let steps = &mut bench.tally.steps;
        let reached = if stepping {
            Trace::step_through(&mut victim, bench.code, point, steps, &mut asleep).map(|_| ())
        } else {
            trace.advance(&mut victim, bench.code, point, steps, &mut asleep)
        };
        drop(asleep);
        match reached {
            Ok(()) => {}
            Err(_) if !stepping => {
                bench.tally.diverged += 1;
                continue;
            }
            Err(Astray::Asleep) => return Err(Flaw::stuck("the victim slept for ever on its way")),
            Err(astray) => return Err(Flaw::wrong(format!("the victim went astray: {astray:?}"))),
        }
        experiment.look_meanwhile()?;
        let mut asleep = experiment.when_asleep(Nap::Long);
        let mut child = victim.finish(LIMIT, &mut |_| asleep())?;
        drop(asleep);
        child.verdict(bench.world.board, Role::Victim, LIMIT)?;
        return experiment.conclude(Fate::Finished);
    }
    Ok(())
}
