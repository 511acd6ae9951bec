//! The path of one run: every instruction, where it slept, and how to get to one of them again without stepping through
//! all before it.
//!
//! Stepping to instruction k from the beginning, for every k, would cost the square of their number. So the laboratory
//! looks in the recorded path for an instruction shortly before k that was not met before on the way: a breakpoint there
//! stops a new run at the same moment. A loop is stepped through, all else is run. What a run does can depend on the
//! time, so whoever comes to k makes sure that it is the instruction that was recorded; if not, the run is done again,
//! step by step from the beginning, and is a crash point wherever that leads.

use crate::code::{Code, Instruction};
use crate::marker;
use crate::tracee::{Asleep, Stop, Tracee};

/// See the module.
pub(crate) struct Trace {
    /// Where each instruction is; at last the second marker, unless the run slept for good.
    pub(crate) pcs: Vec<u64>,
    /// When each was met before, plus one; 0 for never.
    before: Vec<u32>,
    /// Which are system calls.
    calls: Vec<u32>,
    /// Which of those slept until somebody else did something.
    slept: Vec<u32>,
    /// Which are system calls, atomic steps, or their neighbours.
    marked: Vec<u32>,
    /// Whether it got to the end.
    pub(crate) complete: bool,
}

/// Why an instruction was not come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Astray {
    /// The path was another one this time.
    Diverged,
    /// It slept, and nobody woke it.
    Asleep,
    /// It ended, or got a signal.
    Stopped(Stop),
}

/// Does one instruction that cannot sleep. One that repeats itself is one, and not as many as it repeats.
fn step(tracee: &mut Tracee, code: &Code, pc: u64) -> Stop {
    match code.instruction(pc) {
        Instruction::Repeat(len) if code.can_break(pc + len) => {
            tracee.run_to(pc + len, &mut |_| Asleep::Wait).unwrap_or(Stop::Trap)
        }
        _ => tracee.step(),
    }
}

/// How often who is traced may have slept, waiting for others.
const MOST_SLEEPS: usize = 4;

/// A path that is longer than this is not followed.
const LONGEST: usize = 4_000_000;

/// From how many instructions on a breakpoint is cheaper than stepping.
const WORTH_A_BREAKPOINT: usize = 24;

/// From how many on it is worth to count how often a breakpoint in a loop is met.
const WORTH_COUNTING: usize = 60;

impl Trace {
    /// Steps through, from the first marker. `steps` counts.
    pub(crate) fn record(
        tracee: &mut Tracee,
        code: &Code,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<Trace, Astray> {
        let trace = Trace {
            pcs: Vec::new(),
            before: Vec::new(),
            calls: Vec::new(),
            slept: Vec::new(),
            marked: Vec::new(),
            complete: false,
        };
        trace.go_on(tracee, code, steps, asleep)
    }

    /// The path that begins as this one does, up to an instruction to which the process was brought, and then goes where
    /// this process goes. Stepping takes time, and programs look at the clock: one that was run to there, rather than
    /// stepped, goes where it would have gone without being looked at.
    pub(crate) fn fork(
        &self,
        from: usize,
        tracee: &mut Tracee,
        code: &Code,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<Trace, Astray> {
        let up_to = |list: &[u32]| list.iter().copied().filter(|at| (*at as usize) < from).collect();
        let trace = Trace {
            pcs: self.pcs[..from].to_vec(),
            before: self.before[..from].to_vec(),
            calls: up_to(&self.calls),
            slept: up_to(&self.slept),
            marked: up_to(&self.marked),
            complete: false,
        };
        trace.go_on(tracee, code, steps, asleep)
    }

    /// Whether it ends with waiting for others, again and again.
    pub(crate) fn ends_with_waiting(&self) -> bool {
        self.slept.len() > MOST_SLEEPS
    }

    fn go_on(
        self,
        tracee: &mut Tracee,
        code: &Code,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<Trace, Astray> {
        let mut trace = self;
        let mut last: std::collections::HashMap<u64, u32> =
            trace.pcs.iter().enumerate().map(|(at, pc)| (*pc, at as u32 + 1)).collect();
        loop {
            let pc = tracee.pc();
            let at = trace.pcs.len() as u32;
            trace.pcs.push(pc);
            trace.before.push(last.insert(pc, at + 1).unwrap_or(0));
            if pc == marker::end() {
                trace.complete = true;
                return Ok(trace);
            }
            if trace.pcs.len() > LONGEST {
                return Err(Astray::Asleep);
            }
            *steps += 1;
            let stop = match code.instruction(pc) {
                Instruction::Call => {
                    trace.mark(at);
                    trace.calls.push(at);
                    let mut slept = false;
                    let stop = tracee.step_over_call(&mut |_| {
                        slept = true;
                        asleep()
                    });
                    if slept {
                        trace.slept.push(at);
                        if trace.slept.len() > MOST_SLEEPS {
                            // It looks again and again for what does not come: this is as far as it gets.
                            return Ok(trace);
                        }
                    }
                    match stop {
                        Ok(stop) => stop,
                        // It sleeps for good: this is as far as it gets.
                        Err(()) => return Ok(trace),
                    }
                }
                instruction => {
                    if instruction == Instruction::Atomic {
                        trace.mark(at);
                    }
                    step(tracee, code, pc)
                }
            };
            if stop != Stop::Trap {
                return Err(Astray::Stopped(stop));
            }
        }
    }

    fn mark(&mut self, at: u32) {
        for at in [at, at + 1] {
            if self.marked.last() != Some(&at) {
                self.marked.push(at);
            }
        }
    }

    /// Whether it had to wait for somebody, or for some time.
    pub(crate) fn sleeps(&self) -> bool {
        !self.slept.is_empty()
    }

    /// How many system calls there are.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many instructions there are: a process can be killed after 0 to so many.
    pub(crate) fn len(&self) -> usize {
        self.pcs.len() - 1
    }

    /// Some of the crash points: the last ones, those around system calls and atomic steps, and evenly many of the others.
    pub(crate) fn sample(&self, most: usize, seed: u64) -> Vec<usize> {
        let len = self.len();
        if len < most {
            return (0..=len).collect();
        }
        let mut chosen = vec![0, len];
        // A third of them around what is seen from outside.
        let marked: Vec<usize> = self.marked.iter().map(|at| *at as usize).filter(|at| *at <= len).collect();
        let wanted = (most / 3).max(1);
        let step = marked.len().div_ceil(wanted).max(1);
        let offset = seed as usize % step;
        chosen.extend(marked.iter().skip(offset).step_by(step));
        let rest = most.saturating_sub(chosen.len()).max(1);
        let step = (len / rest).max(1);
        chosen.extend((seed as usize % step..len).step_by(step));
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Brings a new run from the first marker to an instruction.
    pub(crate) fn advance(
        &self,
        tracee: &mut Tracee,
        code: &Code,
        to: usize,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<(), Astray> {
        let mut at = 0;
        while at < to {
            // What sleeps is stepped over.
            let slept = self.slept.iter().map(|at| *at as usize).find(|slept| *slept >= at && *slept < to);
            let goal = slept.unwrap_or(to);
            if let Some(landmark) = self.landmark(code, at, goal) {
                self.run_to(tracee, landmark, asleep)?;
                at = landmark;
                continue;
            }
            let counted = if goal - at > WORTH_COUNTING { self.counted(code, at, goal) } else { None };
            if let Some((landmark, times)) = counted {
                self.run_to_nth(tracee, code, (at, landmark), times, steps, asleep)?;
                at = landmark;
                continue;
            }
            let until = if slept == Some(goal) { goal + 1 } else { goal };
            self.walk(tracee, code, &mut at, until, steps, asleep)?;
        }
        if tracee.pc() == self.pcs[to] { Ok(()) } else { Err(Astray::Diverged) }
    }

    /// The same, by stepping only, wherever that leads: until so many instructions were done, or it is at the end.
    pub(crate) fn step_through(
        tracee: &mut Tracee,
        code: &Code,
        to: usize,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<bool, Astray> {
        for _ in 0..to {
            let pc = tracee.pc();
            if pc == marker::end() {
                return Ok(true);
            }
            *steps += 1;
            let stop = match code.instruction(pc) {
                Instruction::Call => tracee.step_over_call(&mut |_| asleep()).map_err(|()| Astray::Asleep)?,
                _ => step(tracee, code, pc),
            };
            if stop != Stop::Trap {
                return Err(Astray::Stopped(stop));
            }
        }
        Ok(tracee.pc() == marker::end())
    }

    /// Runs to the code of an instruction of the path.
    fn run_to(
        &self,
        tracee: &mut Tracee,
        landmark: usize,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<(), Astray> {
        let pc = self.pcs[landmark];
        match tracee.run_to(pc, &mut |_| asleep()) {
            Ok(Stop::Trap) if tracee.pc() == pc => Ok(()),
            Ok(Stop::Trap) => Err(Astray::Diverged),
            Ok(stop) => Err(Astray::Stopped(stop)),
            Err(()) => Err(Astray::Asleep),
        }
    }

    /// Runs from an instruction of the path to a later one, whose code it comes to for so many times on the way.
    fn run_to_nth(
        &self,
        tracee: &mut Tracee,
        code: &Code,
        (at, landmark): (usize, usize),
        times: usize,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<(), Astray> {
        let pc = self.pcs[landmark];
        // Off the one it stands on, which is not counted.
        self.walk(tracee, code, &mut at.clone(), at + 1, steps, asleep)?;
        match tracee.run_to_nth(pc, times as u64, &mut |_| asleep()) {
            Some(Ok(Stop::Trap)) if tracee.pc() == pc => Ok(()),
            Some(Ok(Stop::Trap)) => Err(Astray::Diverged),
            Some(Ok(stop)) => Err(Astray::Stopped(stop)),
            Some(Err(())) => Err(Astray::Asleep),
            None => {
                self.run_to(tracee, landmark, asleep)?;
                for _ in 1..times {
                    self.walk(tracee, code, &mut landmark.clone(), landmark + 1, steps, asleep)?;
                    self.run_to(tracee, landmark, asleep)?;
                }
                Ok(())
            }
        }
    }

    fn walk(
        &self,
        tracee: &mut Tracee,
        code: &Code,
        at: &mut usize,
        until: usize,
        steps: &mut u64,
        asleep: &mut dyn FnMut() -> Asleep,
    ) -> Result<(), Astray> {
        while *at < until {
            *steps += 1;
            let stop = if self.calls.binary_search(&(*at as u32)).is_ok() {
                if tracee.pc() != self.pcs[*at] {
                    return Err(Astray::Diverged);
                }
                tracee.step_over_call(&mut |_| asleep()).map_err(|()| Astray::Asleep)?
            } else {
                step(tracee, code, self.pcs[*at])
            };
            if stop != Stop::Trap {
                return Err(Astray::Stopped(stop));
            }
            *at += 1;
        }
        Ok(())
    }

    /// An instruction close before `goal`, in a loop, and how often a run from `at` meets it up to there; if that is
    /// much cheaper than stepping.
    fn counted(&self, code: &Code, at: usize, goal: usize) -> Option<(usize, usize)> {
        let close = goal.saturating_sub(100).max(at + 1);
        let mut best = None;
        let mut tried = Vec::new();
        for (index, pc) in self.pcs[..=goal].iter().enumerate().skip(close).rev() {
            // The last time is the closest, and all times before count.
            if tried.contains(pc) || !code.can_break(*pc) {
                continue;
            }
            tried.push(*pc);
            let times = self.pcs[at + 1..=index].iter().filter(|met| *met == pc).count();
            let cost = times.div_ceil(2) + (goal - index);
            if best.is_none_or(|(_, _, least)| cost < least) {
                best = Some((index, times, cost));
            }
        }
        best.filter(|(_, _, cost)| cost * 2 < goal - at).map(|(index, times, _)| (index, times))
    }

    /// The last instruction up to `goal` that a run from `at` meets for the first time there.
    fn landmark(&self, code: &Code, at: usize, goal: usize) -> Option<usize> {
        let first = at + WORTH_A_BREAKPOINT;
        (first..=goal).rev().find(|landmark| {
            // `before` is when it was met, plus one: not since `at`, and not at `at` itself.
            (self.before[*landmark] as usize) <= at && code.can_break(self.pcs[*landmark])
        })
    }
}
