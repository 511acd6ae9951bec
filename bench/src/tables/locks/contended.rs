//! Two processes on two cores that want the same lock all the time, for a short section.

use std::cell::UnsafeCell;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use anyhow::Result;
use commons::sync::{LockError, Mutex};

use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::partner::{Baton, Memory, Partner};
use crate::peers::Helpers;
use crate::pthread;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::statistics::Limit;

/// How long both contend in a round.
const ROUND: Duration = Duration::from_millis(20);

#[repr(C, align(128))]
struct Section(UnsafeCell<[u64; 4]>);

#[repr(C, align(128))]
struct Word(AtomicU32);

#[repr(C)]
struct Shared {
    commons: Mutex<[u64; 4]>,
    plain: pthread::Mutex,
    robust: pthread::Mutex,
    bare: Word,
    section: Section,
    /// Which lock to contend for; 0 to rest.
    lock: Baton,
    /// What the partner does: `BUSY` or `RESTS`.
    state: Baton,
    partners: AtomicU64,
}

const BUSY: u32 = 1;
const RESTS: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Commons = 1,
    Plain = 2,
    Robust = 3,
    Bare = 4,
    End = 5,
}

impl Shared {
    fn new() -> Result<Memory<Shared>> {
        // SAFETY: all of it is valid when zero, or initialised below before it is used.
        let shared = unsafe { Memory::<Shared>::zeroed()? };
        shared.plain.init(false)?;
        shared.robust.init(true)?;
        Ok(shared)
    }

    /// Takes the lock, works a little, gives it back.
    #[inline(always)]
    fn visit(&self, lock: Lock) {
        match lock {
            Lock::Commons => match self.commons.lock() {
                Ok(mut section) => work(&mut section),
                Err(LockError::OwnerDied(section)) => drop(section.recover()),
                Err(LockError::Failed(_)) => {}
            },
            Lock::Plain => self.visit_pthread(&self.plain),
            Lock::Robust => self.visit_pthread(&self.robust),
            Lock::Bare => {
                let word = &self.bare.0;
                while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
                    while word.load(Relaxed) != 0 {
                        std::hint::spin_loop();
                    }
                }
                // SAFETY: the lock is had, and guards the section.
                work(unsafe { &mut *self.section.0.get() });
                word.store(0, Release);
            }
            Lock::End => {}
        }
    }

    #[inline(always)]
    fn visit_pthread(&self, mutex: &pthread::Mutex) {
        mutex.lock();
        // SAFETY: the mutex is had, and guards the section.
        work(unsafe { &mut *self.section.0.get() });
        mutex.unlock();
    }

    /// What the partner does.
    fn partner(&self) {
        let mut which = 0;
        loop {
            which = self.lock.changed(which);
            let lock = match which {
                1 => Lock::Commons,
                2 => Lock::Plain,
                3 => Lock::Robust,
                4 => Lock::Bare,
                5 => return,
                _ => {
                    self.state.set(RESTS);
                    continue;
                }
            };
            self.state.set(BUSY);
            let mut visits = 0;
            while self.lock.get() == which {
                self.visit(lock);
                visits += 1;
            }
            self.partners.fetch_add(visits, Relaxed);
        }
    }

    /// Contends for a round; `visit` is this side's way to visit. Gives how long it took and both sides' visits.
    fn round(&self, lock: Lock, mut visit: impl FnMut()) -> (f64, u64) {
        self.partners.store(0, Relaxed);
        self.lock.set(lock as u32);
        self.state.wait(BUSY);
        let started = Instant::now();
        let mut visits = 0;
        while started.elapsed() < ROUND {
            for _ in 0..16 {
                visit();
            }
            visits += 16;
        }
        let took = nanoseconds(started);
        self.lock.set(0);
        self.state.wait(RESTS);
        (took, visits + self.partners.load(Relaxed))
    }
}

/// A short section: four words of the lock's own neighbourhood.
#[inline(always)]
fn work(section: &mut [u64; 4]) {
    for word in section {
        // SAFETY: a word that is borrowed alone; volatile, so that it really is written.
        unsafe { std::ptr::from_mut(word).write_volatile(*word + 1) };
    }
}

fn with_partner<R>(context: &Context, body: impl FnOnce(&Shared) -> Result<R>) -> Result<R> {
    let shared = Shared::new()?;
    let partner = Partner::start(context.placement.other, || shared.partner())?;
    let result = body(&shared);
    shared.lock.set(Lock::End as u32);
    drop(partner);
    result
}

pub(super) fn throughput(context: &Context) -> Result<Vec<Work>> {
    let results = with_partner(context, |shared| {
        let visit = |lock: Lock| {
            move || {
                let (took, visits) = shared.round(lock, || shared.visit(lock));
                Ok(took / visits as f64)
            }
        };
        Contest::new()
            .add("pthread mutex", visit(Lock::Plain))
            .add("pthread robust mutex", visit(Lock::Robust))
            .add(COMMONS, visit(Lock::Commons))
            .add(FLOOR, visit(Lock::Bare))
            .peer("Boost interprocess_mutex", Helpers::of(context).boost().run("contend 20"))
            .run(context.rounds(100, 12))
    })?;
    Ok(vec![
        results
            .work("two processes contend for a mutex, time for each visit", Unit::Nanoseconds, COMMONS)?
            .bound("pthread mutex", Limit::AtLeast(1.0))
            .bound("pthread robust mutex", Limit::AtLeast(1.0))
            .note("the floor is a bare spin lock, which neither sleeps nor survives its owner"),
    ])
}

pub(super) fn waits(context: &Context) -> Result<Vec<Work>> {
    let results = with_partner(context, |shared| {
        let longest = |lock: Lock| {
            let mut waits = Vec::with_capacity(1 << 20);
            move || {
                waits.clear();
                let mut last = Instant::now();
                shared.round(lock, || {
                    // The clock is read once a visit: section and giving back are within, and are some nanoseconds.
                    shared.visit(lock);
                    let now = Instant::now();
                    waits.push(now.duration_since(last).as_nanos() as u64);
                    last = now;
                });
                waits.sort_unstable();
                Ok(waits[waits.len() - 1 - waits.len() / 1000] as f64)
            }
        };
        Contest::new()
            .add("pthread mutex", longest(Lock::Plain))
            .add("pthread robust mutex", longest(Lock::Robust))
            .add(COMMONS, longest(Lock::Commons))
            .add(FLOOR, longest(Lock::Bare))
            .run(context.rounds(100, 12))
    })?;
    Ok(vec![
        results
            .work("wait of a contender, the longest in a thousand", Unit::Microseconds, COMMONS)?
            .bound("pthread mutex", Limit::AtMost(1.5))
            .note("the floor is a bare spin lock, which neither sleeps nor survives its owner"),
    ])
}
