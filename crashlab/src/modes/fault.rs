//! Each system call of the act fails in turn, with each error that it can give. The act has to report a proper error or
//! succeed; after an error it is done again, undisturbed, and has to succeed.

use super::Bench;
use crate::board::Role;
use crate::errors;
use crate::experiment::{Experiment, Nap};
use crate::flaw::{Check, Flaw};
use crate::marker;
use crate::scenario::Fate;
use crate::tracee::{Argument, Stop, Tracee};

/// Lets calls fail.
pub(crate) fn run(bench: &mut Bench<'_>) {
    let calls = match try_with(bench, None) {
        Ok((calls, Ok(()))) => calls,
        Ok((_, Err(flaw))) | Err(flaw) => {
            bench.found(&flaw, || "from system call to system call, undisturbed".to_owned());
            return;
        }
    };
    let step = calls.len().div_ceil(bench.extent.calls).max(1);
    for (index, call) in calls.iter().enumerate().skip(bench.extent.seed as usize % step).step_by(step) {
        let errors = errors::of(call.number, call.kernels);
        let step = errors.len().div_ceil(bench.extent.errors).max(1);
        for error in errors.iter().skip((bench.extent.seed as usize + index) % step).step_by(step) {
            if !bench.goes_on() {
                return;
            }
            let tried = try_with(bench, Some((index, *error)));
            bench.tally.faults += 1;
            if let Err(flaw) | Ok((_, Err(flaw))) = tried {
                bench.found(&flaw, || {
                    let error = std::io::Error::from_raw_os_error(*error);
                    format!(
                        "system call {index} of {}, '{}', failed: {error}",
                        calls.len(),
                        errors::name(call.number)
                    )
                });
            }
        }
    }
}

/// A system call of the act.
struct Call {
    number: i64,
    /// It opens something of the kernel's, in `/proc` or `/sys`.
    kernels: bool,
}

/// Runs the act with one call failing; its calls, and how it went.
fn try_with(bench: &mut Bench<'_>, fault: Option<(usize, i32)>) -> Result<(Vec<Call>, Check), Flaw> {
    let mut experiment = Experiment::new(bench.world, bench.scenario)?;
    let mut victim = experiment.victim(Role::Victim)?;
    let mut calls = Vec::new();
    let mut asleep = experiment.when_asleep(Nap::Long);
    let board = bench.world.board;
    // A panic ends the process, and is told.
    let code = bench.code;
    let ended = |stop: Stop, victim: &Tracee| match board.said(Role::Victim) {
        Some(Err(flaw)) => flaw,
        _ if matches!(stop, Stop::Signal(_)) => {
            Flaw::wrong(format!("it got a signal: {stop:?} at {}", code.place(victim.pc(), &victim.stack())))
        }
        _ => Flaw::wrong(format!("it did not end well: {stop:?}")),
    };
    loop {
        match victim.run_to_call(&mut |_| asleep()) {
            Ok(Stop::Call) => {}
            Ok(Stop::Trap) if victim.pc() == marker::end() + 1 => break,
            Ok(stop) => return Ok((calls, Err(ended(stop, &victim)))),
            Err(()) => return Ok((calls, Err(Flaw::stuck("it did not come to its end")))),
        }
        let refused = fault.filter(|(index, _)| *index == calls.len());
        let number = victim.call_number();
        let path = match number {
            libc::SYS_openat => victim.argument_text(Argument::Second),
            libc::SYS_open => victim.argument_text(Argument::First),
            _ => Vec::new(),
        };
        let kernels = [&b"/proc/"[..], b"/sys/"].iter().any(|place| path.starts_with(place));
        calls.push(Call { number, kernels });
        if refused.is_some() {
            victim.skip_call();
        }
        match victim.run_to_call(&mut |_| asleep()) {
            Ok(Stop::Call) => {}
            Ok(stop) => return Ok((calls, Err(ended(stop, &victim)))),
            Err(()) => return Ok((calls, Err(Flaw::stuck("a system call did not come to its end")))),
        }
        if let Some((_, error)) = refused {
            victim.refuse(error);
        }
    }
    drop(asleep);
    let check = experiment
        .outcome(victim.let_go())
        .and_then(|()| experiment.conclude(if fault.is_some() { Fate::Refused } else { Fate::Finished }));
    Ok((calls, check))
}
