//! 1 to 64 processes on two cores that want one lock all the time.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use commons::sync::{LockError, Mutex};

use crate::contest::Contest;
use crate::harness::{Context, futex, nanoseconds};
use crate::partner::{Memory, Partner};
use crate::pthread;
use crate::report::{COMMONS, FLOOR, Unit, Work};

const COUNTS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
const ROUND: Duration = Duration::from_millis(20);

const OWN: u32 = 1;
const PLAIN: u32 = 2;
const ROBUST: u32 = 3;
const BARE: u32 = 4;

#[repr(C, align(128))]
struct Section(UnsafeCell<[u64; 4]>);

#[repr(C, align(128))]
struct Word(AtomicU32);

#[repr(C)]
struct Shared {
    commons: Mutex<[u64; 4]>,
    plain: pthread::Mutex,
    robust: pthread::Mutex,
    section: Section,
    bare: [AtomicU64; 4],
    /// Which lock to want; 0 to sleep.
    order: Word,
    /// How many do not sleep.
    awake: Word,
    visits: AtomicU64,
}

impl Shared {
    #[inline(always)]
    fn visit(&self, which: u32) {
        let pthread = |mutex: &pthread::Mutex| {
            mutex.lock();
            // SAFETY: the mutex is had, and guards the section.
            work(unsafe { &mut *self.section.0.get() });
            mutex.unlock();
        };
        match which {
            OWN => match self.commons.lock() {
                Ok(mut section) => work(&mut section),
                Err(LockError::OwnerDied(section)) => drop(section.recover()),
                Err(LockError::Failed(_)) => {}
            },
            PLAIN => pthread(&self.plain),
            ROBUST => pthread(&self.robust),
            _ => {
                for word in &self.bare {
                    word.fetch_add(1, SeqCst);
                }
            }
        }
    }

    fn contender(&self) {
        loop {
            let which = self.order.0.load(SeqCst);
            if which == 0 {
                futex(&self.order.0, libc::FUTEX_WAIT, 0);
                continue;
            }
            self.awake.0.fetch_add(1, SeqCst);
            let mut visits = 0;
            while self.order.0.load(SeqCst) == which {
                self.visit(which);
                visits += 1;
            }
            self.visits.fetch_add(visits, SeqCst);
            self.awake.0.fetch_sub(1, SeqCst);
        }
    }

    /// Nanoseconds for each visit of whichever of them.
    fn round(&self, which: u32) -> Result<f64> {
        self.visits.store(0, SeqCst);
        let started = Instant::now();
        self.order.0.store(which, SeqCst);
        futex(&self.order.0, libc::FUTEX_WAKE, COUNTS[COUNTS.len() - 1]);
        std::thread::sleep(ROUND);
        self.order.0.store(0, SeqCst);
        let took = nanoseconds(started);
        while self.awake.0.load(SeqCst) != 0 {
            ensure!(started.elapsed() < Duration::from_secs(20), "contenders do not come to an end");
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(took / self.visits.load(SeqCst).max(1) as f64)
    }
}

#[inline(always)]
fn work(section: &mut [u64; 4]) {
    for word in section {
        // SAFETY: a word that is borrowed alone; volatile, so that it really is written.
        unsafe { std::ptr::from_mut(word).write_volatile(*word + 1) };
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let cores = [context.placement.own, context.placement.other];
    let mut works = Vec::new();
    for count in COUNTS {
        // SAFETY: all of it is valid when zero, or initialised below before it is used.
        let shared = unsafe { Memory::<Shared>::zeroed()? };
        shared.plain.init(false)?;
        shared.robust.init(true)?;
        let contenders: Result<Vec<_>> = (0..count)
            .map(|number| Partner::start(cores[number as usize % 2], || shared.contender()))
            .collect();
        let _contenders = contenders?;
        let round = |which| {
            let shared = &shared;
            move || shared.round(which)
        };
        let results = Contest::new()
            .add(COMMONS, round(OWN))
            .add(FLOOR, round(BARE))
            .add("pthread mutex", round(PLAIN))
            .add("pthread robust mutex", round(ROBUST))
            .run(context.rounds(25, 4))?;
        let name = "contend for a mutex, time for each visit";
        let work = results.work(format!("{name}: {count} processes"), Unit::Nanoseconds, COMMONS)?.growth(
            name,
            "processes on two cores",
            count.into(),
        );
        works.push(if count == 1 {
            work.note("the floor is four atomic additions, without a lock")
        } else {
            work
        });
    }
    Ok(works)
}
