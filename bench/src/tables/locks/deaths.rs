//! From the death of an owner to the next one's running, against an ordinary wake-up.

use std::mem::forget;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Result, ensure};
use commons::sync::{LockError, LockState, Mutex};

use super::{futex, now};
use crate::harness::{Context, Variant, interleave};
use crate::partner::{Baton, Memory, Partner};
use crate::pthread;
use crate::report::{Unit, Work};
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
fn wake(context: &Context, shared: &Shared) -> Result<[f64; 1]> {
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
    Ok([now().saturating_sub(shared.sent.load(SeqCst)) as f64])
}

/// The owner is killed by a third process, which shares the waiter's core; the owner runs, or sleeps.
fn death(context: &Context, shared: &Shared, asleep: bool) -> Result<[f64; 1]> {
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
fn death_of_pthread(context: &Context, shared: &Shared) -> Result<[f64; 1]> {
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
) -> Result<[f64; 1]> {
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
    Ok([at.saturating_sub(shared.sent.load(SeqCst)) as f64])
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
    let mut variants = [
        Variant::new("a futex's wake-up", || wake(context, shared)),
        Variant::new("pthread, robust, owner running", || death_of_pthread(context, shared)),
        Variant::new("commons, owner running", || death(context, shared, false)),
        Variant::new("commons, owner asleep", || death(context, shared, true)),
    ];
    let series = interleave(context.rounds(300, 40), &mut variants)?;
    let [[wake], [pthread], [running], [asleep]] = &series[..] else { unreachable!("four variants") };
    Ok(vec![
        Work::new("owner killed to waiter running")
            .row("a futex's wake-up", Unit::Microseconds, wake)
            .row("pthread, robust, owner running", Unit::Microseconds, pthread)
            .ratio(&pthread.over(wake), None)
            .row("commons, owner running", Unit::Microseconds, running)
            .ratio(&running.over(wake), Some(Limit::AtMost(1.6)))
            .row("commons, owner asleep", Unit::Microseconds, asleep)
            .ratio(&asleep.over(wake), Some(Limit::AtMost(2.5))),
    ])
}
