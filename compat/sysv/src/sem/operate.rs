//! `semop` and `semtimedop`: operations on a set that is found and mapped.
//!
//! What can be done at once takes no system call. Otherwise the thread queues itself and sleeps on its own word, until
//! somebody has done for it what it waits for, the time is over, a signal's handler ran, or the set is removed. No sleep is
//! longer than a second, 25 ms where somebody owes something: then it looks again, at all of it.
//!
//! A handler that runs before this thread first sleeps does not end the call; until then it is not counted among those who wait
//! (`GETNCNT`), so that nobody sends it a signal for the sake of that. Nor does one that runs between that and its sleep, or while
//! it is awake between two sleeps, for some hundred nanoseconds.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
};

use crate::kernel;

use commons::sync::LockState;

use super::cache::Using;
use super::futex::{self, Slept};
use super::life;
use super::locked::{Locked, Outcome, status};
use super::queue::{Place, Wanted};
use super::set::{MOST_VALUE, Operation, Set, Word};
use super::undo::LOOK;

// Odd, so that they do not end just when timers of programs do.
const FIRST_SLEEP: u64 = 46_300_000;
const LONGEST_SLEEP: u64 = 1_000_000_000;
const LOOK_SLEEP: u64 = LOOK.as_nanos() as u64;
/// So many looks without the lock, as a rule; then one with it, for the sake of bytes that others wrote.
const LOCKED_LOOK: u32 = 4;
/// For who finds no place in the queue.
const NO_PLACE_SLEEP: u64 = 5_000_000;

/// What one call is to do.
struct Call<'c> {
    using: &'c Using,
    operations: &'c [Operation],
    pid: u32,
    /// Whose undo values change; 0 if none do.
    owner: u64,
    /// When to give up: nanoseconds of the monotonic clock.
    until: Option<u64>,
}

/// Does one operation, if there is nothing about it but a word to be changed; `None` says only that it takes more.
#[inline]
pub(super) fn operate_at_once(using: &Using, operation: Operation) -> Option<()> {
    let set = using.set();
    let header = set.header();
    let at = set.word(operation.number.into())?;
    using.check(operation.change != 0).ok()?;
    let pid = life::pid();
    let owner = if operation.undoes() { life::known_owner() } else { u64::MAX };
    let guard = match header.lock.lock() {
        Ok(guard) => guard,
        Err(error) => {
            // What a dead owner left is put in order; the rest is done the long way.
            drop(set.lock_otherwise(error));
            return None;
        }
    };
    let word = Word(at.load(Relaxed));
    let after = word.value() + i32::from(operation.change);
    let plain = operation.change != 0
        && (0..=MOST_VALUE).contains(&after)
        && !set.is_removed()
        && (header.owing.load(Relaxed) == 0 || header.negative.load(Relaxed) == 0)
        && (word.waiters() == 0 && header.long.load(Relaxed) == 0 || operation.change < 0 && after != 0);
    if !plain {
        return None;
    }
    let new = word.with_value(after).with_pid(pid);
    if owner == u64::MAX {
        at.store(new.0, Relaxed);
    } else {
        set.change_one_with_undo(operation, word, new, using.hint(), owner)?;
    }
    header.operated.store(kernel::now(), Relaxed);
    drop(guard);
    Some(())
}

/// Does all operations as soon as they can be done.
///
/// `timeout` is in nanoseconds; it counts from when the thread begins to wait.
#[inline]
pub(super) fn operate(using: &Using, operations: &[Operation], timeout: Option<u64>) -> Result<(), i32> {
    let set = using.set();
    let (mut alters, mut undoes) = (false, false);
    for operation in operations {
        if u32::from(operation.number) >= set.layout.count {
            return Err(libc::EFBIG);
        }
        alters |= operation.change != 0;
        undoes |= operation.undoes();
    }
    using.check(alters)?;
    let owner = if undoes { life::owner()? } else { 0 };
    let pid = life::pid();
    if set.debts_matter(operations) {
        set.hear_of_the_dead()?;
    }
    let mut locked = set.lock()?;
    if set.is_removed() {
        drop(locked);
        return Err(using.gone(libc::EINVAL));
    }
    let slot = if owner == 0 {
        None
    } else {
        let slot = locked.slot_of(owner, using.hint(), |range| using.more_slots(range))?;
        using.set_hint(slot);
        Some(slot)
    };
    match locked.operate(operations, slot, pid) {
        Outcome::Done { concerns } => {
            done(&mut locked, concerns);
            Ok(())
        }
        Outcome::Failed(error) => Err(error),
        Outcome::Blocked(at) => {
            let until = timeout.map(|timeout| kernel::monotonic().saturating_add(timeout));
            wait(&Call { using, operations, pid, owner, until }, locked, at, slot)
        }
    }
}

#[inline]
fn done(locked: &mut Locked, concerns: bool) {
    locked.set.header().operated.store(kernel::now(), Relaxed);
    if concerns {
        locked.settle();
    }
}

/// What became of a place in the queue.
enum Ended {
    /// With the operations done, or an error.
    With(Result<(), i32>),
    /// To be tried again.
    Retry,
}

impl Call<'_> {
    /// What has ended with the set being removed gives that up.
    fn ended(&self, ended: Ended) -> Ended {
        match ended {
            Ended::With(Err(libc::EIDRM)) => Ended::With(Err(self.using.gone(libc::EIDRM))),
            ended => ended,
        }
    }
}

#[cold]
fn wait(call: &Call<'_>, locked: Locked, blocked: usize, slot: Option<u32>) -> Result<(), i32> {
    let set = locked.set;
    let (mut locked, mut blocked, mut slot) = (locked, blocked, slot);
    let (mut ticket, mut slept) = (None, false);
    loop {
        // Here the operations were found to have to wait, with the lock held since.
        // Who sleeps looks for the dead soon enough.
        while !call.operations[blocked].waits() {
            drop(locked);
            if !set.hear_of_the_dead()? {
                return Err(libc::EAGAIN);
            }
            locked = set.lock()?;
            if call.owner != 0 {
                slot = Some(locked.slot_of(call.owner, u32::MAX, |range| call.using.more_slots(range))?);
            }
            match try_once(call, &mut locked, slot) {
                Err(at) => blocked = at,
                Ok(result) => return result,
            }
        }
        let over = ticket.is_some() && call.until.is_some_and(|until| kernel::monotonic() >= until);
        if over {
            return Err(libc::EAGAIN);
        }
        let wanted = Wanted {
            operations: call.operations,
            blocked,
            pid: call.pid,
            undo: slot.map(|slot| (call.owner, slot)),
            ticket,
            slept,
        };
        match set.queue(&wanted, |range| call.using.more_waiters(range)) {
            Some(place) => {
                ticket = Some(place.waiter.ticket.load(Relaxed));
                drop(locked);
                match sleep(call, set, &place) {
                    Ended::With(result) => return result,
                    Ended::Retry => slept = place.waiter.slept.load(Relaxed) != 0,
                }
            }
            None => {
                drop(locked);
                sleep_without_place(call)?;
            }
        }
        locked = set.lock()?;
        if set.is_removed() {
            drop(locked);
            return Err(call.using.gone(libc::EIDRM));
        }
        if call.owner != 0 {
            slot = Some(locked.slot_of(call.owner, call.using.hint(), |range| call.using.more_slots(range))?);
        }
        match try_once(call, &mut locked, slot) {
            Err(at) => blocked = at,
            Ok(result) => return result,
        }
    }
}

/// Does the operations, or says which of them has to wait.
fn try_once(call: &Call<'_>, locked: &mut Locked, slot: Option<u32>) -> Result<Result<(), i32>, usize> {
    match locked.operate(call.operations, slot, call.pid) {
        Outcome::Done { concerns } => {
            done(locked, concerns);
            Ok(Ok(()))
        }
        Outcome::Failed(error) => Ok(Err(error)),
        Outcome::Blocked(at) => Err(at),
    }
}

fn told(place: &Place) -> Option<Ended> {
    match place.waiter.status.load(Acquire) {
        status::WAITING => None,
        status::DONE => Some(Ended::With(Ok(()))),
        told if told & status::ERROR != 0 => Some(Ended::With(Err((told & 0xfff) as i32))),
        _ => Some(Ended::Retry),
    }
}

/// Looks for a while before sleeping, if that was of use lately: two processes that answer each other then stay awake.
///
/// Each time that it was in vain halves how long it looks the next time, and each time that it was of use gives all back;
/// once in [`PROBE`] times it looks for long anyway.
fn look(place: &Place) -> bool {
    const MOST: u32 = 1024;
    const PROBE: u32 = 256;
    static VAIN: AtomicU32 = AtomicU32::new(0);
    let vain = VAIN.load(Relaxed);
    let most = if vain % PROBE == PROBE - 1 { MOST } else { MOST.checked_shr(vain).unwrap_or(0) };
    for _ in 0..most {
        if place.waiter.status.load(Relaxed) != status::WAITING {
            VAIN.store(0, Relaxed);
            return true;
        }
        std::hint::spin_loop();
    }
    VAIN.store(vain.wrapping_add(1), Relaxed);
    false
}

fn sleep(call: &Call<'_>, set: Set, place: &Place) -> Ended {
    let (mut pace, mut looks) = (FIRST_SLEEP, 0);
    let is_counted = place.waiter.slept.load(Relaxed) != 0;
    if !is_counted && call.until.is_none_or(|until| kernel::monotonic() < until) && look(place) {
        if let Some(ended) = told(place) {
            return call.ended(ended);
        }
    }
    loop {
        let left = call.until.map(|until| until.saturating_sub(kernel::monotonic()));
        let most = if set.header().slots.load(Relaxed) != 0 { pace.min(LOOK_SLEEP) } else { pace };
        let nap = left.map_or(most, |left| left.min(most));
        let slept = match nap {
            0 => Slept::TimedOut,
            nap => {
                place.waiter.slept.store(1, Relaxed);
                futex::wait(&place.waiter.status, status::WAITING, nap)
            }
        };
        if let Some(ended) = told(place) {
            return call.ended(ended);
        }
        let over = call.until.is_some_and(|until| kernel::monotonic() >= until);
        looks += 1;
        if slept != Slept::Interrupted && !over && !set.needs_a_look() && looks % LOCKED_LOOK != 0 {
            pace = (pace * 2).min(LONGEST_SLEEP);
            continue;
        }
        // Not told anything: to find out more, or to leave, takes the lock.
        let mut locked = match set.lock() {
            Ok(locked) => locked,
            Err(error) => return Ended::With(Err(error)),
        };
        if set.is_removed() {
            set.leave(place.which);
            drop(locked);
            return Ended::With(Err(call.using.gone(libc::EIDRM)));
        }
        locked.look_for_the_dead(over);
        // Whatever a neighbour forgot.
        locked.serve(false);
        if let Some(ended) = told(place) {
            return ended;
        }
        let error = match slept {
            Slept::Interrupted => Some(libc::EINTR),
            _ if over => Some(libc::EAGAIN),
            _ => None,
        };
        if let Some(error) = error {
            set.leave(place.which);
            place.waiter.status.store(0, Relaxed);
            return Ended::With(Err(error));
        }
        drop(locked);
        pace = (pace * 2).min(LONGEST_SLEEP);
    }
}

/// Lets some time pass.
fn sleep_without_place(call: &Call<'_>) -> Result<(), i32> {
    static NEVER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let left = call.until.map(|until| until.saturating_sub(kernel::monotonic()));
    match left.map_or(NO_PLACE_SLEEP, |left| left.min(NO_PLACE_SLEEP)) {
        0 => Err(libc::EAGAIN),
        nap => match futex::wait(&NEVER, 0, nap) {
            Slept::Interrupted => Err(libc::EINTR),
            _ => Ok(()),
        },
    }
}

impl Set {
    /// Whether a waiter that was told nothing has to take the lock to find out more.
    fn needs_a_look(self) -> bool {
        let header = self.header();
        self.is_removed()
            || header.owing.load(Relaxed) != 0
            || !matches!(header.lock.state(), LockState::Free | LockState::Held { .. })
    }
}

impl Locked {
    /// Looks for the dead who owe, unless another waiter just did and this one can look again.
    fn look_for_the_dead(&mut self, now_or_never: bool) {
        let header = self.set.header();
        if header.owing.load(Relaxed) == 0 {
            return;
        }
        let now = kernel::monotonic() / 1_000_000;
        let since = now.wrapping_sub(header.looked.load(Relaxed));
        if now_or_never || (LOOK.as_millis() as u64 / 3..1_000_000).contains(&since) || since > 1_000_000 {
            header.looked.store(now, Relaxed);
            self.bury(life::known_owner());
        }
    }
}
