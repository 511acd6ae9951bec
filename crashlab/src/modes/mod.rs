//! The ways to harm a victim. Each tries a scenario's points one after the other, and counts.

pub(crate) mod fault;
pub(crate) mod kill;
pub(crate) mod pair;
pub(crate) mod stop;

use crate::code::Code;
use crate::flaw::{Flaw, Kind};
use crate::scenario::Scenario;
use crate::world::World;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// The most crash points of a scenario; `None` for every instruction.
    pub(crate) points: Option<usize>,
    /// The most points at which a scenario's victim is stopped.
    pub(crate) stops: usize,
    /// At how many points of its own the second process stands, and at how many the first is killed, for each of these.
    pub(crate) pairs: (usize, usize),
    /// The most errors that each system call fails with.
    pub(crate) errors: usize,
    /// The most system calls of a scenario that fail.
    pub(crate) calls: usize,
    /// Which of the points are chosen, where not all are.
    pub(crate) seed: u64,
}

/// What was tried in one scenario, and found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Instructions of the act.
    pub(crate) instructions: u64,
    /// Crash points tried.
    pub(crate) points: u64,
    /// Stopped there, and let go on.
    pub(crate) stops: u64,
    /// Killed while another one stood in the middle of the same.
    pub(crate) pairs: u64,
    /// System calls that failed, each with each error.
    pub(crate) faults: u64,
    pub(crate) stuck: u64,
    pub(crate) leaked: u64,
    pub(crate) wrong: u64,
    /// Runs that took another path than the recorded one, and were done again step by step.
    pub(crate) diverged: u64,
    /// Single steps.
    pub(crate) steps: u64,
    /// Of these, those whose time was taken, and the nanoseconds that they took.
    pub(crate) timed: (u64, u64),
}

impl Tally {
    pub(crate) const WORDS: usize = 12;

    /// All there is to it, to be added up and told.
    fn words(&mut self) -> [&mut u64; Tally::WORDS] {
        let (timed, in_nanoseconds) = &mut self.timed;
        [
            &mut self.instructions,
            &mut self.points,
            &mut self.stops,
            &mut self.pairs,
            &mut self.faults,
            &mut self.stuck,
            &mut self.leaked,
            &mut self.wrong,
            &mut self.diverged,
            &mut self.steps,
            timed,
            in_nanoseconds,
        ]
    }

    /// To tell another process.
    pub(crate) fn to_words(mut self) -> [u64; Tally::WORDS] {
        self.words().map(|word| *word)
    }

    pub(crate) fn from_words(words: [u64; Tally::WORDS]) -> Tally {
        let mut tally = Tally::default();
        tally.add_words(words);
        tally
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.add_words(other.to_words());
    }

    fn add_words(&mut self, words: [u64; Tally::WORDS]) {
        self.words().into_iter().zip(words).for_each(|(word, more)| *word += more);
    }

    pub(crate) fn flaws(&self) -> u64 {
        self.stuck + self.leaked + self.wrong
    }
}

/// A scenario at work: what all ways need.
pub(crate) struct Bench<'l> {
    pub(crate) world: &'l World,
    pub(crate) scenario: &'l Scenario,
    pub(crate) code: &'l Code,
    pub(crate) extent: Extent,
    pub(crate) tally: Tally,
    /// Whether flaws are printed as they are found.
    pub(crate) loud: bool,
    printed: u64,
}

/// After so many stuck ones the rest of a way is left out: each costs seconds.
const ENOUGH: u64 = 12;

/// How many of a scenario's flaws are printed.
const PRINTED: u64 = 6;

impl<'l> Bench<'l> {
    pub(crate) fn new(
        world: &'l World,
        scenario: &'l Scenario,
        code: &'l Code,
        extent: Extent,
        loud: bool,
    ) -> Bench<'l> {
        Bench { world, scenario, code, extent, tally: Tally::default(), loud, printed: 0 }
    }

    /// Whether to go on in spite of what was found.
    pub(crate) fn goes_on(&self) -> bool {
        self.tally.stuck < ENOUGH || self.scenario.floor == crate::scenario::Floor::Peer
    }

    /// Counts a flaw, and says where.
    pub(crate) fn found(&mut self, flaw: &Flaw, place: impl FnOnce() -> String) {
        match flaw.kind {
            Kind::Stuck => self.tally.stuck += 1,
            Kind::Leaked => self.tally.leaked += 1,
            Kind::Wrong => self.tally.wrong += 1,
        }
        if !self.loud {
            return;
        }
        self.printed += 1;
        if self.printed <= PRINTED {
            println!("FOUND  {}: {flaw}\n       {}", self.scenario.name, place());
        } else if self.printed == PRINTED + 1 {
            println!("FOUND  {}: more, counted and not printed", self.scenario.name);
        }
    }
}
