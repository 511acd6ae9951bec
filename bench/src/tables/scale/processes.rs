//! 1 to 64 processes on two cores that want one lock all the time.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::section::{COMMONS_LOCK, Locks, OTHERS, PLAIN, ROBUST, Word};
use crate::contest::Contest;
use crate::harness::{Context, futex, nanoseconds};
use crate::partner::{Memory, Partner};
use crate::report::{COMMONS, FLOOR, Unit, Work};

const COUNTS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
const ROUND: Duration = Duration::from_millis(20);

const BARE: u32 = OTHERS;

#[repr(C)]
struct Shared {
    locks: Locks,
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
        if which == BARE {
            for word in &self.bare {
                word.fetch_add(1, SeqCst);
            }
        } else {
            self.locks.visit(which);
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

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let cores = [context.placement.own, context.placement.other];
    let mut works = Vec::new();
    for count in COUNTS {
        // SAFETY: all of it is valid when zero, or initialised below before it is used.
        let shared = unsafe { Memory::<Shared>::zeroed()? };
        shared.locks.init()?;
        let contenders: Result<Vec<_>> = (0..count)
            .map(|number| Partner::start(cores[number as usize % 2], || shared.contender()))
            .collect();
        let _contenders = contenders?;
        let round = |which| {
            let shared = &shared;
            move || shared.round(which)
        };
        let results = Contest::new()
            .add(COMMONS, round(COMMONS_LOCK))
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
