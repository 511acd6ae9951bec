//! One experiment: the world made, the cast called up, the victim brought to where it is killed, and the verdict.

use std::time::{Duration, Instant};

use crate::board::Role;
use crate::flaw::{Check, Flaw};
use crate::marker;
use crate::process::{self, Child};
use crate::scenario::{Fate, Scenario};
use crate::tracee::{Asleep, LIMIT, Tracee};
use crate::world::{World, be_second};

/// How long a victim that is left alone with a companion that gives nothing more may sleep, where the laboratory would
/// rather go on.
const NOBODY_COMES: Duration = Duration::from_millis(3);

/// An experiment under way: everybody is there but the victim.
pub(crate) struct Experiment<'l> {
    world: &'l World,
    scenario: &'l Scenario,
    companion: Option<Child>,
    begun: bool,
}

/// Which of the victim's calls may sleep for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nap {
    /// Until it is woken, in the end by its own clock.
    Long,
    /// Until nobody is there who could wake it: who would is stopped.
    Short,
}

impl<'l> Experiment<'l> {
    /// Makes the world anew, and calls the companion.
    pub(crate) fn new(world: &'l World, scenario: &'l Scenario) -> Result<Experiment<'l>, Flaw> {
        world.clear();
        if let Some(prepare) = scenario.prepare {
            let mut preparer = process::fork(world.board, Role::Preparer, || prepare(world));
            preparer.verdict(world.board, Role::Preparer, LIMIT)?;
        }
        let companion =
            scenario.companion.map(|play| process::fork(world.board, Role::Companion, || play(world)));
        let mut experiment = Experiment { world, scenario, companion, begun: false };
        experiment.settle()?;
        Ok(experiment)
    }

    /// A process that is about to act, at the first marker.
    pub(crate) fn victim(&mut self, role: Role) -> Result<Tracee, Flaw> {
        let (world, scenario) = (self.world, self.scenario);
        let tracee = Tracee::start(world.board, role, || {
            if role == Role::Second {
                be_second();
            }
            let mut act = (scenario.arrange)(world).map_err(Flaw::wrong)?;
            // Whatever goes wrong in the act, after it the process is to be where the laboratory expects it.
            let result = marker::between(&mut act);
            let result = match result {
                Ok(()) => Ok(()),
                // Reported properly. So it can be done again; nobody interferes this time.
                Err(error) if error.trim().is_empty() => Err(Flaw::wrong("an error without a word")),
                Err(error) => act().map_err(|again| {
                    Flaw::wrong(format!("failed properly ({error}), but failed once more: {again}"))
                }),
            };
            drop(act);
            result
        })?;
        if !self.begun {
            self.begun = true;
            world.board.cue();
            self.settle()?;
        }
        Ok(tracee)
    }

    /// What the laboratory does when the victim sleeps: gives the companion a cue, if it waits for one.
    pub(crate) fn when_asleep(&mut self, nap: Nap) -> impl FnMut() -> Asleep + use<'_, 'l> {
        let mut since: Option<Instant> = None;
        move || {
            if self.world.board.cue() {
                since = None;
                let _ = self.settle();
                return Asleep::Wait;
            }
            let since = *since.get_or_insert_with(Instant::now);
            if nap == Nap::Short && since.elapsed() > NOBODY_COMES { Asleep::GiveUp } else { Asleep::Wait }
        }
    }

    /// Waits until the companion has done what it can: it waits for a cue, sleeps, or has ended.
    fn settle(&mut self) -> Check {
        let Some(companion) = &mut self.companion else { return Ok(()) };
        let begun = Instant::now();
        loop {
            if self.world.board.is_waiting() || companion.wait(Duration::ZERO).is_some() {
                return Ok(());
            }
            if process::state(companion.pid()) == Some(b'S') {
                return Ok(());
            }
            if begun.elapsed() > LIMIT {
                return Err(Flaw::stuck("the companion does not get where it should"));
            }
            std::thread::yield_now();
        }
    }

    /// Has a bystander look, while the victim is stopped where it is.
    pub(crate) fn look_meanwhile(&self) -> Check {
        let Some(meanwhile) = self.scenario.meanwhile else { return Ok(()) };
        self.bystander(meanwhile)
    }

    fn bystander(&self, look: fn(&World) -> Check) -> Check {
        let world = self.world;
        world.board.clear_role(Role::Bystander);
        let mut bystander = process::fork(world.board, Role::Bystander, || look(world));
        bystander.verdict(world.board, Role::Bystander, LIMIT)
    }

    /// How it went for a victim that goes on untraced: which may do its act again, and need the companion for that.
    pub(crate) fn outcome(&self, mut child: Child) -> Check {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT && child.wait(Duration::from_millis(25)).is_none() {
            self.world.board.cue();
        }
        child.verdict(self.world.board, Role::Victim, Duration::ZERO)
    }

    /// Says what became of the victim, which is gone, and what is left of the world.
    pub(crate) fn conclude(mut self, fate: Fate) -> Check {
        let (world, scenario) = (self.world, self.scenario);
        world.board.end();
        if let Some(rescue) = scenario.rescue {
            self.bystander(rescue)?;
        }
        if let Some(mut companion) = self.companion.take() {
            companion.verdict(world.board, Role::Companion, LIMIT)?;
        }
        let mut verifier = process::fork(world.board, Role::Verifier, || {
            (scenario.verify)(world, fate)?;
            world.is_swept(scenario.remains)
        });
        verifier.verdict(world.board, Role::Verifier, LIMIT)
    }
}
