//! Two processes on two cores that want the same lock all the time, for a short section.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::section::{COMMONS_LOCK, Locks, OTHERS, PLAIN, ROBUST, Word};
use crate::contest::{Contest, Run};
use crate::harness::Context;
use crate::partner::{Duet, Memory, Partner};
use crate::peers::{Helpers, raw_sync};
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::statistics::Limit;

/// How long both contend in a round.
const ROUND: Duration = Duration::from_millis(20);

const BARE: u32 = OTHERS;
const RAW_SYNC: u32 = OTHERS + 1;

const REMARK: &str = "the floor is a bare spin lock, which neither sleeps nor survives its owner; its line crosses at \
    nearly every visit, where a lock that its last owner takes again stays in that one's cache";

#[repr(C)]
struct Shared {
    locks: Locks,
    bare: Word,
    duet: Duet,
}

/// Both processes' view.
struct Scene {
    shared: Memory<Shared>,
    raw_sync: Result<raw_sync::Lock>,
}

impl Scene {
    fn new() -> Result<Scene> {
        // SAFETY: all of it is valid when zero, or initialised below before it is used.
        let shared = unsafe { Memory::<Shared>::zeroed()? };
        shared.locks.init()?;
        Ok(Scene { shared, raw_sync: raw_sync::Lock::mutex() })
    }

    fn partner(&self, context: &Context) -> Result<Partner> {
        Partner::start(context.placement.other, || self.shared.duet.serve(|lock| self.visit(lock)))
    }

    /// Takes the lock, works a little, gives it back.
    #[inline(always)]
    fn visit(&self, lock: u32) {
        let locks = &self.shared.locks;
        match lock {
            BARE => {
                let word = &self.shared.bare.0;
                while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
                    while word.load(Relaxed) != 0 {
                        std::hint::spin_loop();
                    }
                }
                // SAFETY: the lock is had, and guards the section.
                unsafe { locks.work() };
                word.store(0, Release);
            }
            RAW_SYNC => {
                if let Ok(lock) = &self.raw_sync {
                    // SAFETY: the lock is had, and guards the section.
                    let _ = lock.visit(|| unsafe { locks.work() });
                }
            }
            _ => locks.visit(lock),
        }
    }

    /// For each visit.
    fn throughput(&self, lock: u32) -> impl FnMut() -> Result<f64> {
        move || Ok(self.shared.duet.round(lock, ROUND, || self.visit(lock)))
    }

    /// The longest wait in a thousand.
    fn longest(&self, lock: u32) -> impl FnMut() -> Result<f64> {
        let mut waits = Vec::with_capacity(1 << 20);
        move || {
            waits.clear();
            let mut last = Instant::now();
            self.shared.duet.round(lock, ROUND, || {
                // The clock is read once a visit: section and giving back are within, and are some nanoseconds.
                self.visit(lock);
                let now = Instant::now();
                waits.push(now.duration_since(last).as_nanos() as u64);
                last = now;
            });
            waits.sort_unstable();
            Ok(waits[waits.len() - 1 - waits.len() / 1000] as f64)
        }
    }

    fn peer<'a>(&self, run: impl FnMut() -> Result<f64> + 'a) -> Result<Run<'a>> {
        match &self.raw_sync {
            Ok(_) => Ok(Box::new(run)),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        }
    }
}

pub(super) fn throughput(context: &Context) -> Result<Vec<Work>> {
    let scene = Scene::new()?;
    let _partner = scene.partner(context)?;
    let helpers = Helpers::of(context);
    let results = Contest::new()
        .add("pthread mutex", scene.throughput(PLAIN))
        .add("pthread robust mutex", scene.throughput(ROBUST))
        .add(COMMONS, scene.throughput(COMMONS_LOCK))
        .add(FLOOR, scene.throughput(BARE))
        .peer("raw_sync", scene.peer(scene.throughput(RAW_SYNC)))
        .peer("Boost interprocess_mutex", helpers.boost().run("contend 20"))
        .peer("CPython multiprocessing.Lock", helpers.python().run("contend 20"))
        .run(context.rounds(100, 12))?;
    Ok(vec![
        results
            .work("two processes contend for a mutex, time for each visit", Unit::Nanoseconds, COMMONS)?
            .bound("pthread mutex", Limit::AtLeast(1.0))
            .bound("pthread robust mutex", Limit::AtLeast(1.0))
            .note(REMARK)
            .note("CPython's processes do nothing while they have the lock"),
    ])
}

pub(super) fn waits(context: &Context) -> Result<Vec<Work>> {
    let scene = Scene::new()?;
    let _partner = scene.partner(context)?;
    let results = Contest::new()
        .add("pthread mutex", scene.longest(PLAIN))
        .add("pthread robust mutex", scene.longest(ROBUST))
        .add(COMMONS, scene.longest(COMMONS_LOCK))
        .add(FLOOR, scene.longest(BARE))
        .peer("raw_sync", scene.peer(scene.longest(RAW_SYNC)))
        .peer("Boost interprocess_mutex", Helpers::of(context).boost().run("contend-wait 20"))
        .run(context.rounds(100, 12))?;
    Ok(vec![
        results
            .work("wait of a contender, the longest in a thousand", Unit::Microseconds, COMMONS)?
            .bound("pthread mutex", Limit::AtMost(1.5))
            .note(REMARK),
    ])
}
