//! Readers: one alone, and two processes that read at the same time.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::time::Duration;

use anyhow::{Result, anyhow};
use commons::sync::RwLock;

use super::not_had;
use crate::contest::{Contest, Run, batch};
use crate::harness::Context;
use crate::partner::{Duet, Memory, Partner};
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
    duet: Duet,
}

const PTHREAD: u32 = 1;
const COMMONS_LOCK: u32 = 2;
const BARE: u32 = 3;
const RAW_SYNC: u32 = 4;

impl Shared {
    #[inline(always)]
    fn read(&self, which: u32) {
        match which {
            PTHREAD => self.pthread.read(),
            BARE => {
                self.bare.0.fetch_add(1, Acquire);
                self.bare.0.fetch_sub(1, Release);
            }
            _ => drop(self.commons.read().unwrap_or_else(not_had)),
        }
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero, or initialised below before it is used.
    let shared = unsafe { Memory::<Shared>::zeroed()? };
    let shared = &*shared;
    shared.pthread.init()?;
    let helpers = Helpers::of(context);
    let boost = helpers.boost();
    let raw_sync = &raw_sync::Lock::reader_writer();
    let said = |error: &anyhow::Error| anyhow!("{error:#}");
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
                drop(shared.commons.read().unwrap_or_else(not_had));
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
        .peer("raw_sync", raw_sync.as_ref().map(|lock| batch(BATCH, || lock.read())).map_err(said))
        .peer("Boost interprocess_sharable_mutex", boost.run("sharable 20000"))
        .run(context.rounds(300, 40))?;
    let act = |which| match (which, &raw_sync) {
        (RAW_SYNC, Ok(lock)) => drop(lock.read()),
        _ => shared.read(which),
    };
    let _partner = Partner::start(context.placement.other, || shared.duet.serve(act))?;
    let round = |which| move || Ok(shared.duet.round(which, ROUND, || act(which)));
    let two = Contest::new()
        .add("pthread rwlock", round(PTHREAD))
        .add(COMMONS, round(COMMONS_LOCK))
        .add(FLOOR, round(BARE))
        .peer("raw_sync", raw_sync.as_ref().map(|_| Box::new(round(RAW_SYNC)) as Run<'_>).map_err(said))
        .peer("Boost interprocess_sharable_mutex", boost.run("readers 10"))
        .run(context.rounds(100, 12))?;
    Ok(vec![
        alone
            .work("read under a reader-writer lock, uncontended", Unit::Nanoseconds, COMMONS)?
            .bound("pthread rwlock", Limit::AtMost(1.0))
            .note("the floor is one atomic addition and one subtraction")
            .note("CPython has no lock for readers"),
        two.work("two processes read at the same time, time for each read", Unit::Nanoseconds, COMMONS)?
            .bound("pthread rwlock", Limit::AtLeast(5.0))
            .note("the floor is one atomic addition and one subtraction to a word that both share"),
    ])
}
