//! Readers: one alone, and two processes that read at the same time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;
use commons::sync::RwLock;

use crate::harness::{Context, Variant, interleave, nanoseconds};
use crate::partner::{Baton, Memory, Partner};
use crate::pthread;
use crate::report::{Unit, Work};
use crate::statistics::Limit;

const BATCH: u32 = 20_000;
const ROUND: Duration = Duration::from_millis(10);

#[repr(C)]
struct Shared {
    commons: RwLock<u64>,
    pthread: pthread::RwLock,
    /// Which lock to read under; 0 to rest.
    lock: Baton,
    state: Baton,
    partners: AtomicU64,
}

const PTHREAD: u32 = 1;
const COMMONS: u32 = 2;
const BUSY: u32 = 1;
const RESTS: u32 = 2;

impl Shared {
    #[inline(always)]
    fn read(&self, which: u32) {
        if which == PTHREAD {
            self.pthread.read();
        } else {
            drop(self.commons.read());
        }
    }

    fn partner(&self) {
        let mut which = 0;
        loop {
            which = self.lock.changed(which);
            if which == 0 {
                self.state.set(RESTS);
                continue;
            }
            self.state.set(BUSY);
            let mut reads = 0;
            while self.lock.get() == which {
                self.read(which);
                reads += 1;
            }
            self.partners.fetch_add(reads, Relaxed);
        }
    }

    /// Nanoseconds for each read of either process, together.
    fn round(&self, which: u32) -> f64 {
        self.partners.store(0, Relaxed);
        self.lock.set(which);
        self.state.wait(BUSY);
        let started = Instant::now();
        let mut reads = 0_u64;
        while started.elapsed() < ROUND {
            for _ in 0..64 {
                self.read(which);
            }
            reads += 64;
        }
        let took = nanoseconds(started);
        self.lock.set(0);
        self.state.wait(RESTS);
        took / (reads + self.partners.load(Relaxed)) as f64
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero, or initialised below before it is used.
    let shared = unsafe { Memory::<Shared>::zeroed()? };
    shared.pthread.init()?;
    let mut variants = [
        Variant::batch("pthread", BATCH, || {
            shared.pthread.read();
            Ok(())
        }),
        Variant::batch("commons", BATCH, || {
            drop(shared.commons.read());
            Ok(())
        }),
    ];
    let alone = interleave(context.rounds(400, 60), &mut variants)?;
    let _partner = Partner::start(context.placement.other, || shared.partner())?;
    let mut variants = [("pthread", PTHREAD), ("commons", COMMONS)].map(|(name, which)| {
        Variant::new(name, {
            let shared = &shared;
            move || Ok([shared.round(which)])
        })
    });
    let two = interleave(context.rounds(100, 20), &mut variants)?;
    let ([[pthread], [commons]], [[pthread_two], [commons_two]]) = (&alone[..], &two[..]) else {
        unreachable!("two variants")
    };
    Ok(vec![
        Work::new("read under a reader-writer lock, uncontended")
            .row("pthread", Unit::Nanoseconds, pthread)
            .row("commons", Unit::Nanoseconds, commons)
            .ratio(&commons.over(pthread), Some(Limit::AtMost(1.0))),
        Work::new("two processes read at the same time, time for each read")
            .row("pthread", Unit::Nanoseconds, pthread_two)
            .row("commons", Unit::Nanoseconds, commons_two)
            .ratio(&pthread_two.over(commons_two), Some(Limit::AtLeast(5.0)))
            .note("the ratio is of throughput"),
    ])
}
