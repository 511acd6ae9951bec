//! Readers: one alone, and two processes that read at the same time.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use anyhow::Result;
use commons::sync::RwLock;

use crate::contest::{Contest, batch};
use crate::harness::{Context, nanoseconds};
use crate::partner::{Baton, Memory, Partner};
use crate::peers::{Helpers, raw_sync};
use crate::pthread;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::statistics::Limit;

const BATCH: u32 = 20_000;
const ROUND: Duration = Duration::from_millis(10);

#[repr(C, align(128))]
struct Word(AtomicU32);

#[repr(C)]
struct Shared {
    commons: RwLock<u64>,
    pthread: pthread::RwLock,
    bare: Word,
    /// Which lock to read under; 0 to rest.
    lock: Baton,
    state: Baton,
    partners: AtomicU64,
}

const PTHREAD: u32 = 1;
const COMMONS_LOCK: u32 = 2;
const BARE: u32 = 3;
const BUSY: u32 = 1;
const RESTS: u32 = 2;

impl Shared {
    #[inline(always)]
    fn read(&self, which: u32) {
        match which {
            PTHREAD => self.pthread.read(),
            BARE => {
                self.bare.0.fetch_add(1, Acquire);
                self.bare.0.fetch_sub(1, Release);
            }
            _ => drop(self.commons.read()),
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
    let helpers = Helpers::of(context);
    let boost = helpers.boost();
    let raw_sync = raw_sync::Lock::reader_writer();
    let alone = Contest::new()
        .add(
            "pthread rwlock",
            batch(BATCH, || {
                shared.pthread.read();
                Ok(())
            }),
        )
        .add(
            COMMONS,
            batch(BATCH, || {
                drop(shared.commons.read());
                Ok(())
            }),
        )
        .add(
            FLOOR,
            batch(BATCH, || {
                shared.read(BARE);
                Ok(())
            }),
        )
        .peer("raw_sync", raw_sync.map(|lock| batch(BATCH, move || lock.read())))
        .peer("Boost interprocess_sharable_mutex", boost.run("sharable 20000"))
        .run(context.rounds(300, 40))?;
    let _partner = Partner::start(context.placement.other, || shared.partner())?;
    let round = |which| {
        let shared = &shared;
        move || Ok(shared.round(which))
    };
    let two = Contest::new()
        .add("pthread rwlock", round(PTHREAD))
        .add(COMMONS, round(COMMONS_LOCK))
        .add(FLOOR, round(BARE))
        .peer("Boost interprocess_sharable_mutex", boost.run("readers 10"))
        .run(context.rounds(100, 12))?;
    Ok(vec![
        alone
            .work("read under a reader-writer lock, uncontended", Unit::Nanoseconds, COMMONS)?
            .bound("pthread rwlock", Limit::AtMost(1.0))
            .note("the floor is one atomic addition and one subtraction"),
        two.work("two processes read at the same time, time for each read", Unit::Nanoseconds, COMMONS)?
            .bound("pthread rwlock", Limit::AtLeast(5.0))
            .note("the floor is one atomic addition and one subtraction to a word that both share"),
    ])
}
