//! From the death of an owner to the next one's running, against an ordinary wake-up.

use std::mem::forget;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Result, ensure};
use commons::sync::{LockError, LockState, Mutex};

use crate::contest::Contest;
use crate::harness::{Context, futex, now};
use crate::partner::{Baton, Memory, Partner};
use crate::pthread;
use crate::report::{FLOOR, Unit, Work};
use crate::statistics::Limit;

#[repr(C)]
struct Shared {
    mutex: Mutex<u64>,
    robust: pthread::Mutex,
    /// What the waker waits for, and whether the owner has the lock.
    baton: Baton,
    futex: std::sync::atomic::AtomicU32,
    /// When the kill or the wake-up was sent, on the monotonic clock.
    sent: AtomicU64,
}

/// A wake-up sent by a process on the other core that runs.
fn wake(context: &Context, shared: &Shared) -> Result<f64> {
    shared.futex.store(0, SeqCst);
    shared.baton.set(0);
    let _waker = Partner::start(context.placement.other, || {
        shared.baton.wait(1);
        settle();
        shared.sent.store(now(), SeqCst);
        shared.futex.store(1, SeqCst);
        futex(&shared.futex, libc::FUTEX_WAKE, 1);
        loop {
            std::hint::spin_loop();
        }
    })?;
    shared.baton.set(1);
    while shared.futex.load(SeqCst) == 0 {
        futex(&shared.futex, libc::FUTEX_WAIT, 0);
    }
    Ok(now().saturating_sub(shared.sent.load(SeqCst)) as f64)
}

/// The owner is killed by a third process, which shares the waiter's core; the owner runs, or sleeps.
fn death(context: &Context, shared: &Shared, asleep: bool) -> Result<f64> {
    let has_waiter = || matches!(shared.mutex.state(), LockState::Held { waiters: true, .. });
    death_of(
        context,
        shared,
        asleep,
        || forget(shared.mutex.lock()),
        has_waiter,
        || {
            let taken = shared.mutex.lock();
            let at = now();
            match taken {
                Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
                other => ensure!(other.is_err(), "the owner's death was not told"),
            }
            Ok(at)
        },
    )
}

/// The same with the C library's robust mutex: what the kernel takes for it.
fn death_of_pthread(context: &Context, shared: &Shared) -> Result<f64> {
    death_of(
        context,
        shared,
        false,
        || shared.robust.lock(),
        || shared.robust.has_waiter(),
        || {
            shared.robust.lock();
            let at = now();
            shared.robust.unlock();
            Ok(at)
        },
    )
}

fn death_of(
    context: &Context,
    shared: &Shared,
    asleep: bool,
    own: impl FnOnce(),
    has_waiter: impl Fn() -> bool,
    inherit: impl FnOnce() -> Result<u64>,
) -> Result<f64> {
    shared.baton.set(0);
    let owner = Partner::start(context.placement.other, || {
        own();
        shared.baton.set(1);
        loop {
            if asleep {
                std::thread::sleep(Duration::from_secs(1));
            }
            std::hint::spin_loop();
        }
    })?;
    shared.baton.wait(1);
    let owner_pid = &owner;
    let _killer = Partner::start(context.placement.own, || {
        while !has_waiter() {
            std::thread::sleep(Duration::from_micros(50));
        }
        settle();
        shared.sent.store(now(), SeqCst);
        owner_pid.kill();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    })?;
    let at = inherit()?;
    Ok(at.saturating_sub(shared.sent.load(SeqCst)) as f64)
}

/// Long enough for whoever is about to sleep to be asleep.
fn settle() {
    std::thread::sleep(Duration::from_millis(1));
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero.
    let shared = unsafe { Memory::<Shared>::zeroed()? };
    let shared = &*shared;
    shared.robust.init(true)?;
    let results = Contest::new()
        .add(FLOOR, || wake(context, shared))
        .add("pthread robust mutex", || death_of_pthread(context, shared))
        .add("commons, running", || death(context, shared, false))
        .add("commons, asleep", || death(context, shared, true))
        .run(context.rounds(300, 30))?;
    let remark = "the floor is an ordinary wake-up by a futex";
    Ok(vec![
        results
            .work("owner killed to waiter running, owner running", Unit::Microseconds, "commons, running")?
            .bound(FLOOR, Limit::AtMost(1.6))
            .note(remark),
        results
            .work_against(
                "owner killed to waiter running, owner asleep",
                Unit::Microseconds,
                "commons, asleep",
                |subject| subject == FLOOR,
            )?
            .bound(FLOOR, Limit::AtMost(2.5))
            .note(remark),
    ])
}
