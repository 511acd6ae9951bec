//! One thread that takes and gives back a lock that nobody else wants.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use anyhow::Result;
use commons::Shared;
use commons::sync::{Mutex, Semaphore};

use super::not_had;
use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::partner::Memory;
use crate::peers::{Helpers, raw_sync};
use crate::pthread;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;
use crate::sysv;

const BATCH: u32 = 20_000;

#[repr(C, align(128))]
struct Line(AtomicU32);

#[repr(C)]
struct Locks {
    commons: Mutex<u64>,
    plain: pthread::Mutex,
    robust: pthread::Mutex,
    bare: Line,
}

/// The least that any lock takes: a compare-and-swap, and a store.
#[inline(always)]
fn bare(word: &AtomicU32) -> Result<()> {
    let _ = word.compare_exchange(0, 1, Acquire, Relaxed);
    word.store(0, Release);
    Ok(())
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: all of these are valid when zero, or initialised below before they are used.
    let locks = unsafe { Memory::<Locks>::zeroed()? };
    locks.plain.init(false)?;
    locks.robust.init(true)?;
    let pthread = |mutex: &pthread::Mutex| {
        mutex.lock();
        mutex.unlock();
        Ok(())
    };
    let helpers = Helpers::of(context);
    let boost = helpers.boost();
    let raw_sync = raw_sync::Lock::mutex();
    let results = Contest::new()
        .add(FLOOR, batch(BATCH, || bare(&locks.bare.0)))
        .add("pthread mutex", batch(BATCH, || pthread(&locks.plain)))
        .add("pthread robust mutex", batch(BATCH, || pthread(&locks.robust)))
        .add(
            COMMONS,
            batch(BATCH, || {
                drop(locks.commons.lock().unwrap_or_else(not_had));
                Ok(())
            }),
        )
        .peer("raw_sync", raw_sync.map(|lock| batch(BATCH, move || lock.lock())))
        .peer("Boost interprocess_mutex", boost.run("mutex 20000"))
        .peer("Boost named_mutex", boost.run("named_mutex 20000"))
        .peer("CPython multiprocessing.Lock", helpers.python().run("lock 5000"))
        .run(context.rounds(300, 40))?;
    Ok(vec![
        results
            .work("lock and unlock a mutex, uncontended", Unit::Nanoseconds, COMMONS)?
            .bound("pthread mutex", Limit::AtMost(0.85))
            .bound("pthread robust mutex", Limit::AtMost(0.6))
            .note("the floor is a compare-and-swap and a store")
            .note("CPython's figure has its interpreter in it"),
    ])
}

#[repr(C)]
struct Semaphores {
    commons: Semaphore,
    pthread: pthread::Semaphore,
    bare: Line,
}

/// Permits need a segment with a name, that Commons attached.
pub(super) fn semaphores(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero, or initialised below before it is used.
    let plain = unsafe { Memory::<Semaphores>::zeroed()? };
    plain.pthread.init(1)?;
    plain.commons.post(1)?;
    plain.bare.0.store(1, Relaxed);
    let name = Name::new("permits");
    let permits: Shared<Semaphore> = Shared::create(name.as_str())?;
    permits.post(1)?;
    let helpers = Helpers::of(context);
    let system_v = sysv::Semaphores::create(1).map_err(anyhow::Error::from);
    let system_v = system_v.and_then(|semaphores| {
        semaphores.change(0, 1, 0)?;
        Ok(batch(BATCH / 20, move || {
            semaphores.change(0, -1, 0)?;
            Ok(semaphores.change(0, 1, 0)?)
        }))
    });
    let results = Contest::new()
        .add(
            FLOOR,
            batch(BATCH, || {
                let word = &plain.bare.0;
                let _ = word.compare_exchange(1, 0, Acquire, Relaxed);
                word.fetch_add(1, Release);
                Ok(())
            }),
        )
        .add(
            "sem_t",
            batch(BATCH, || {
                plain.pthread.wait_and_post();
                Ok(())
            }),
        )
        .add(
            "commons, plain",
            batch(BATCH, || {
                plain.commons.wait();
                Ok(plain.commons.post(1)?)
            }),
        )
        .add(
            "commons, with permit",
            batch(BATCH, || {
                drop(permits.acquire()?);
                Ok(())
            }),
        )
        .peer("System V semop", system_v)
        .peer("Boost interprocess_semaphore", helpers.boost().run("semaphore 20000"))
        .peer("CPython multiprocessing.Semaphore", helpers.python().run("semaphore 5000"))
        .run(context.rounds(300, 40))?;
    let work = |name: &str, how: &str, most: f64| -> Result<Work> {
        let name = format!("take one from a semaphore and give it back, uncontended{name}");
        Ok(results.work(name, Unit::Nanoseconds, how)?.bound("sem_t", Limit::AtMost(most)))
    };
    Ok(vec![
        work("", "commons, plain", 1.0)?
            .note("the floor is a compare-and-swap and an addition")
            .note("raw_sync has no semaphore"),
        work(", as a permit that comes back if its holder dies", "commons, with permit", 1.8)?
            .why("It writes down which process has the permit, so that it can be given back for a dead one."),
    ])
}
