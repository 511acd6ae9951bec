//! One thread that takes and gives back a lock that nobody else wants.

use anyhow::Result;
use commons::sync::Mutex;

use crate::harness::{Context, Variant, interleave};
use crate::partner::Memory;
use crate::pthread;
use crate::report::{Unit, Work};
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
