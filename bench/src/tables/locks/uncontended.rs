//! One thread that takes and gives back a lock that nobody else wants.

use anyhow::Result;
use commons::Shared;
use commons::sync::{Mutex, Semaphore};

use crate::harness::{Context, Variant, interleave};
use crate::partner::Memory;
use crate::pthread;
use crate::report::{Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;

const BATCH: u32 = 20_000;

#[repr(C)]
struct Locks {
    commons: Mutex<u64>,
    plain: pthread::Mutex,
    robust: pthread::Mutex,
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
    let mut variants = [
        Variant::batch("pthread, plain", BATCH, || pthread(&locks.plain)),
        Variant::batch("pthread, robust", BATCH, || pthread(&locks.robust)),
        Variant::batch("commons", BATCH, || {
            drop(locks.commons.lock());
            Ok(())
        }),
    ];
    let series = interleave(context.rounds(400, 60), &mut variants)?;
    let [[plain], [robust], [commons]] = &series[..] else { unreachable!("three variants") };
    Ok(vec![
        Work::new("lock and unlock a mutex, uncontended")
            .row("pthread, plain", Unit::Nanoseconds, plain)
            .row("commons", Unit::Nanoseconds, commons)
            .ratio(&commons.over(plain), Some(Limit::AtMost(0.85))),
        Work::new("lock and unlock a mutex, uncontended, against a robust one")
            .row("pthread, robust", Unit::Nanoseconds, robust)
            .row("commons", Unit::Nanoseconds, commons)
            .ratio(&commons.over(robust), Some(Limit::AtMost(0.6))),
    ])
}

#[repr(C)]
struct Semaphores {
    commons: Semaphore,
    pthread: pthread::Semaphore,
}

/// Permits need a segment with a name, that Commons attached.
pub(super) fn semaphores(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero, or initialised below before it is used.
    let plain = unsafe { Memory::<Semaphores>::zeroed()? };
    plain.pthread.init(1)?;
    plain.commons.post(1)?;
    let name = Name::new("permits");
    let permits: Shared<Semaphore> = Shared::create(name.as_str())?;
    permits.post(1)?;
    let mut variants = [
        Variant::batch("sem_t", BATCH, || {
            plain.pthread.wait_and_post();
            Ok(())
        }),
        Variant::batch("commons, plain", BATCH, || {
            plain.commons.wait();
            Ok(plain.commons.post(1)?)
        }),
        Variant::batch("commons, with permit", BATCH, || {
            drop(permits.acquire()?);
            Ok(())
        }),
    ];
    let series = interleave(context.rounds(400, 60), &mut variants)?;
    let [[sem], [plain], [permit]] = &series[..] else { unreachable!("three variants") };
    Ok(vec![
        Work::new("take one from a semaphore and give it back, uncontended")
            .row("sem_t", Unit::Nanoseconds, sem)
            .row("commons, plain", Unit::Nanoseconds, plain)
            .ratio(&plain.over(sem), Some(Limit::AtMost(1.0)))
            .row("commons, with permit", Unit::Nanoseconds, permit)
            .ratio(&permit.over(sem), Some(Limit::AtMost(1.8))),
    ])
}
