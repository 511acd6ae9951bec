//! Killed while a second process stands in the middle of the same operation; that one goes on afterwards, to its end.

use super::Bench;
use crate::board::Role;
use crate::experiment::{Experiment, Nap};
use crate::flaw::{Check, Flaw};
use crate::scenario::Fate;
use crate::trace::{Astray, Trace};
use crate::tracee::{LIMIT, Stop, Tracee};

/// Leaves the second one at some points of the path, and kills the first at some points of the path that it has then.
pub(crate) fn run(bench: &mut Bench<'_>, trace: &Trace) {
    // To get both to where they are takes seconds, where the path is long.
    let too_long = trace.len() > super::kill::LONG && bench.extent.points.is_some();
    if !bench.scenario.pairs || too_long {
        return;
    }
    let (seconds, firsts) = bench.extent.pairs;
    for second in trace.sample(seconds, bench.extent.seed) {
        let beside = match record_beside(bench, trace, second) {
            Ok(Some(beside)) => beside,
            Ok(None) => continue,
            Err(flaw) => {
                bench.found(&flaw, || format!("while another one stood at {second} of {}", trace.len()));
                continue;
            }
        };
        // One that only waits for the other takes as long for each of its points.
        let firsts = if beside.ends_with_waiting() { firsts.min(3) } else { firsts };
        for first in beside.sample(firsts, bench.extent.seed.wrapping_add(second as u64)) {
            if !bench.goes_on() {
                return;
            }
            let check = kill_beside(bench, trace, second, &beside, first);
            bench.tally.pairs += 1;
            if let Err(flaw) = check {
                let code = bench.code;
                bench.found(&flaw, || {
                    format!(
                        "killed after {first} of {}: {}\n       while another one stood at {second} of {}: {}",
                        beside.len(),
                        code.place(beside.pcs[first], &[]),
                        trace.len(),
                        code.place(trace.pcs[second], &[])
                    )
                });
            }
        }
    }
}

/// The world with the second one standing at its point, and the first at its beginning; `None` if the second one did not
/// get there.
fn set_up<'l>(
    bench: &mut Bench<'l>,
    trace: &Trace,
    second: usize,
) -> Result<Option<(Experiment<'l>, Tracee, Tracee)>, Flaw> {
    let mut experiment = Experiment::new(bench.world, bench.scenario)?;
    let mut other = experiment.victim(Role::Second)?;
    // Both are there before either begins, as programs are.
    let victim = experiment.victim(Role::Victim)?;
    let mut asleep = experiment.when_asleep(Nap::Short);
    let reached = trace.advance(&mut other, bench.code, second, &mut bench.tally.steps, &mut asleep);
    drop(asleep);
    Ok(reached.is_ok().then_some((experiment, other, victim)))
}

fn record_beside(bench: &mut Bench<'_>, trace: &Trace, second: usize) -> Result<Option<Trace>, Flaw> {
    let Some((mut experiment, _other, mut victim)) = set_up(bench, trace, second)? else { return Ok(None) };
    let mut asleep = experiment.when_asleep(Nap::Short);
    let recorded = Trace::record(&mut victim, bench.code, &mut bench.tally.steps, &mut asleep);
    recorded.map(Some).map_err(|astray| Flaw::wrong(format!("went astray: {astray:?}")))
}

fn kill_beside(bench: &mut Bench<'_>, trace: &Trace, second: usize, beside: &Trace, first: usize) -> Check {
    let Some((mut experiment, mut other, mut victim)) = set_up(bench, trace, second)? else { return Ok(()) };
    let mut asleep = experiment.when_asleep(Nap::Short);
    let steps = &mut bench.tally.steps;
    match beside.advance(&mut victim, bench.code, first, steps, &mut asleep) {
        // Wherever it is, it is in the middle of it, or asleep because of the other one.
        Ok(()) | Err(Astray::Diverged | Astray::Asleep | Astray::Stopped(Stop::Trap)) => {}
        Err(astray) => return Err(Flaw::wrong(format!("the victim went astray: {astray:?}"))),
    }
    drop(asleep);
    victim.kill();
    let mut asleep = experiment.when_asleep(Nap::Long);
    if other.pc() == crate::marker::end() + 1 {
        return Err(Flaw::wrong("the other one is past its end"));
    }
    let finished = other.go_on(0, &mut |_| asleep());
    drop(asleep);
    match finished {
        Ok(Stop::Trap) if other.pc() == crate::marker::end() + 1 => {}
        Ok(stop) => return Err(Flaw::wrong(format!("the other one did not end well: {stop:?}"))),
        Err(()) => return Err(Flaw::stuck("the other one did not end")),
    }
    other.let_go().verdict(bench.world.board, Role::Second, LIMIT)?;
    // One was killed, perhaps after its act, and one has done it: only what holds for a killed one can be asked for.
    experiment.conclude(Fate::Killed)
}
