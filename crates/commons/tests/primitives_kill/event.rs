//! Events: what is set is found by all who wait, or taken by one of them, whoever else is killed.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use commons::sync::{AutoEvent, Event};

use crate::common::campaign::Random;
use crate::field::{Common, HANG, MOST, Me, Phases, Trial};

/// Two gates in turn: one is open while all go through it, and the other one shut.
#[repr(C)]
pub struct Gates {
    gates: [Event; 2],
    phases: Phases,
    passages: AtomicU64,
}

// SAFETY: events and numbers.
unsafe impl Trial for Gates {
    const NAME: &'static str = "event";

    fn prepare(&self, _processes: usize) {
        self.phases.enter(1);
        self.gates[1].set();
    }

    fn work(&self, me: &mut Me<'_>) -> ! {
        // A new one goes through the gate that is open, like all that are behind.
        let mut phase = self.phases.now();
        loop {
            let mut theirs = me.theirs();
            let gate = &self.gates[phase as usize % 2];
            match me.random.below(8) {
                0 => while !gate.wait_timeout(Duration::from_micros(me.random.below(2000))) {},
                _ => gate.wait(),
            }
            theirs.middle();
            me.common.expect(self.phases.now() == phase, "a gate was open that is shut");
            self.passages.fetch_add(1, Relaxed);
            self.phases.see(me.number, phase);
            phase += 1;
            drop(theirs);
            me.count();
        }
    }

    /// Shuts one gate and opens the other, once all are through.
    fn between(&self, common: &Common, processes: usize, random: &mut Random) {
        if self.phases.all_have_seen(common, processes, random) {
            let phase = self.phases.now();
            self.gates[phase as usize % 2].reset();
            self.phases.enter(phase + 1);
            self.gates[(phase + 1) as usize % 2].set();
        }
    }

    fn after_kill(&self, _common: &Common, number: usize) {
        self.phases.forget(number);
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let (phases, passages) = (self.phases.now(), self.passages.load(Relaxed));
        common.expect(phases > 2, "nothing happened");
        format!("{phases} phases, {passages} passages")
    }
}

/// One at a time: each `set` is taken, though whoever was woken for it is killed.
#[repr(C)]
pub struct Turnstile {
    go: AutoEvent,
    /// Who is there to take it.
    ready: [AtomicU64; MOST],
    taken: AtomicU64,
    set: AtomicU64,
}

// SAFETY: events and numbers.
unsafe impl Trial for Turnstile {
    const NAME: &'static str = "auto-event";

    fn work(&self, me: &mut Me<'_>) -> ! {
        // One that comes at once would take what the one before it lost. Nobody would notice.
        if me.random.once_in(2) {
            std::thread::sleep(Duration::from_millis(60));
        }
        self.ready[me.number].store(1, SeqCst);
        loop {
            let mut theirs = me.theirs();
            let through = match me.random.below(32) {
                0 => self.go.wait_timeout(Duration::from_micros(me.random.below(2000))),
                1 => self.go.try_wait(),
                _ => {
                    self.go.wait();
                    true
                }
            };
            theirs.middle();
            self.taken.fetch_add(u64::from(through), SeqCst);
            drop(theirs);
            me.count();
        }
    }

    fn between(&self, common: &Common, processes: usize, random: &mut Random) {
        // As often as there are workers, so that each comes on.
        for _ in 0..processes {
            if self.ready.iter().all(|ready| ready.load(SeqCst) == 0) {
                return;
            }
            self.go.set();
            self.set.fetch_add(1, Relaxed);
            if random.once_in(2) {
                // Somebody is killed while it is woken.
                return;
            }
            let since = Instant::now();
            while self.go.is_set() && since.elapsed() < HANG {
                std::thread::yield_now();
            }
            common.expect(!self.go.is_set(), "it was set, and nobody took it");
            common.waited(since.elapsed());
        }
    }

    fn before_kill(&self, number: usize) {
        self.ready[number].store(0, SeqCst);
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let (set, taken) = (self.set.load(Relaxed), self.taken.load(Relaxed));
        // Set while it was set is set once; taken by one that died before it counted is not counted.
        common.expect(taken <= set, "more got through than it was set");
        common.expect(taken > 0, "nothing happened");
        format!("set {set}, counted through {taken}")
    }
}
