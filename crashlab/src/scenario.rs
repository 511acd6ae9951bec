//! What a scenario is: something that a process does, and what must be true whatever becomes of it.
//!
//! Its parts run in processes of their own, forked from the laboratory, which itself has nothing open:
//!
//! 1. `prepare` makes the world, and ends. Optional.
//! 2. The *companion* lives from before the victim begins until after it is dead. It says [`World::board`]'s
//!    `wait_for_cue` where it has to wait for the laboratory: for the first cue until the victim is at its beginning,
//!    for each further one until the victim sleeps. When the victim is dead, or has ended, all cues are given.
//! 3. The *victim*: `arrange` opens what it needs, and gives the act. Only the act is stepped, and killed in.
//! 4. `rescue` does what a survivor would do next, for companions that wait for something which the victim may not
//!    have come to. Optional.
//! 5. `verify` looks at what is left. Then there is one sweep, and nothing may be left but `remains`.

use crate::dropins::System;
use crate::flaw::Check;
use crate::world::World;

/// What the victim does. `Err` is an error that was reported properly; afterwards it has to be possible to call the act
/// again, until it says `Ok`.
pub(crate) type Act<'w> = Box<dyn FnMut() -> Result<(), String> + 'w>;

/// What became of the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was killed before its act was over.
    Killed,
    /// Its act was over.
    Finished,
    /// Its act was over, but it may have been refused a system call on its way.
    Refused,
}

impl Fate {
    pub(crate) fn finished(self) -> bool {
        self != Fate::Killed
    }

    /// Its act was over, and nothing came between.
    pub(crate) fn undisturbed(self) -> bool {
        self == Fate::Finished
    }
}

/// Which part of the house it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Floor {
    Segment,
    Snapshot,
    Shared,
    Sync,
    /// The drop-ins for older systems, through their C libraries.
    DropIn,
    /// Other libraries, to compare with: what is found there is counted apart.
    Peer,
    /// Mistakes made on purpose, to see the laboratory find them.
    Planted,
}

/// See the module.
pub(crate) struct Scenario {
    /// Of what, and what is done: `mutex: lock, contended`.
    pub(crate) name: &'static str,
    pub(crate) floor: Floor,
    pub(crate) prepare: Option<fn(&World) -> Check>,
    pub(crate) companion: Option<fn(&World) -> Check>,
    pub(crate) arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    /// Asked while a victim is stopped: must come to an end soon, whatever holds it up.
    pub(crate) meanwhile: Option<fn(&World) -> Check>,
    pub(crate) rescue: Option<fn(&World) -> Check>,
    pub(crate) verify: fn(&World, Fate) -> Check,
    /// What may be left after a sweep.
    pub(crate) remains: &'static [&'static str],
    /// How many may do the act at the same time with the same checks behind it: whether it makes sense for two.
    pub(crate) pairs: bool,
    /// Which drop-in it is about: it is skipped where that one's library cannot be had.
    pub(crate) library: Option<System>,
}

impl Scenario {
    /// With nothing but the victim.
    pub(crate) const fn new(
        floor: Floor,
        name: &'static str,
        arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
        verify: fn(&World, Fate) -> Check,
    ) -> Scenario {
        Scenario {
            name,
            floor,
            prepare: None,
            companion: None,
            arrange,
            meanwhile: None,
            rescue: None,
            verify,
            remains: &[],
            pairs: false,
            library: None,
        }
    }

    pub(crate) const fn prepare(mut self, prepare: fn(&World) -> Check) -> Scenario {
        self.prepare = Some(prepare);
        self
    }

    pub(crate) const fn companion(mut self, companion: fn(&World) -> Check) -> Scenario {
        self.companion = Some(companion);
        self
    }

    pub(crate) const fn meanwhile(mut self, meanwhile: fn(&World) -> Check) -> Scenario {
        self.meanwhile = Some(meanwhile);
        self
    }

    pub(crate) const fn rescue(mut self, rescue: fn(&World) -> Check) -> Scenario {
        self.rescue = Some(rescue);
        self
    }

    pub(crate) const fn remains(mut self, remains: &'static [&'static str]) -> Scenario {
        self.remains = remains;
        self
    }

    pub(crate) const fn library(mut self, system: System) -> Scenario {
        self.library = Some(system);
        self
    }

    pub(crate) const fn pairs(mut self) -> Scenario {
        self.pairs = true;
        self
    }
}
