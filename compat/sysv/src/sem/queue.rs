//! The queue of those who wait for semaphores of a set.
//!
//! A waiter is a place in the set's memory whose lock the waiting thread has. So the kernel tells if the thread is gone, at
//! once and without being asked: counts of waiters are exact, and nothing is done for the dead. The queue is the waiters'
//! numbers in the order of their coming. All of it is only touched with the set's lock held, but for a waiter's
//! status, which its thread reads, and sleeps on, and its note that it has slept.
//!
//! After a death in the middle of a change the queue is made anew, from the waiters that are alive and still asked for something, by their tickets.

use std::sync::atomic::Ordering::Relaxed;

use commons::sync::{LockError, LockState, MutexGuard};

use super::futex;
use super::locked::{blocking, is_waiting, status};
use super::set::{FIT, MOST_WAITERS, Operation, Set, Waiter, Word};

/// A thread's place.
pub(super) struct Place {
    pub(super) which: u32,
    pub(super) waiter: &'static Waiter,
    _alive: MutexGuard<'static, ()>,
}

/// What a waiter waits to have done.
pub(super) struct Wanted<'o> {
    pub(super) operations: &'o [Operation],
    /// Which of them has to wait.
    pub(super) blocked: usize,
    pub(super) pid: u32,
    /// Whose undo values, and where.
    pub(super) undo: Option<(u64, u32)>,
    /// The ticket that it had before.
    pub(super) ticket: Option<u64>,
    /// Whether it has slept before.
    pub(super) slept: bool,
}

impl Set {
    /// Queues the calling thread; `None` if there is no place, or `more` had no memory for it.
    pub(super) fn queue(
        self,
        wanted: &Wanted<'_>,
        more: impl Fn(std::ops::Range<u32>) -> Option<u32>,
    ) -> Option<Place> {
        let (which, alive) = self.claim(more)?;
        let header = self.header();
        let waiter = self.waiter(which);
        let ticket = wanted.ticket.unwrap_or_else(|| {
            let ticket = header.ticket.load(Relaxed);
            header.ticket.store(ticket.wrapping_add(1), Relaxed);
            ticket
        });
        waiter.ticket.store(ticket, Relaxed);
        waiter.pid.store(wanted.pid, Relaxed);
        let (owner, slot) = wanted.undo.unwrap_or_default();
        waiter.owner.store(owner, Relaxed);
        waiter.slot.store(slot, Relaxed);
        waiter.count.store(wanted.operations.len() as u16, Relaxed);
        waiter.blocking.store(blocking(wanted.operations[wanted.blocked]), Relaxed);
        waiter.slept.store(wanted.slept.into(), Relaxed);
        if wanted.operations.len() <= FIT {
            for (at, operation) in waiter.operations.iter().zip(wanted.operations) {
                at.store(operation.packed(), Relaxed);
            }
        }
        waiter.status.store(status::WAITING, Relaxed);
        self.enter(which);
        Some(Place { which, waiter, _alive: alive })
    }

    fn claim(
        self,
        more: impl Fn(std::ops::Range<u32>) -> Option<u32>,
    ) -> Option<(u32, MutexGuard<'static, ()>)> {
        for which in 0..MOST_WAITERS {
            let had = self.waiters_had();
            if which >= had {
                let now = more(had..MOST_WAITERS)?;
                self.header().waiters_had.store(now, Relaxed);
                if which >= now {
                    return None;
                }
            }
            let waiter = self.waiter(which);
            match waiter.alive.state() {
                LockState::Held { .. } => continue,
                LockState::Free => {}
                // It may still be queued.
                _ => self.leave(which),
            }
            match waiter.alive.try_lock() {
                Ok(guard) => return Some((which, guard)),
                Err(LockError::OwnerDied(guard)) => return Some((which, guard.recover())),
                Err(LockError::Failed(_)) => {
                    waiter.alive.reset();
                }
            }
        }
        None
    }

    /// Puts a waiter into the queue, where its ticket belongs.
    fn enter(self, which: u32) {
        let header = self.header();
        let count = header.queued.load(Relaxed);
        if count >= MOST_WAITERS {
            return;
        }
        let waiter = self.waiter(which);
        let ticket = waiter.ticket.load(Relaxed);
        let mut at = count;
        while at > 0 {
            let before = self.place(at - 1).load(Relaxed);
            if self.waiter(before.into()).ticket.load(Relaxed) <= ticket {
                break;
            }
            self.place(at).store(before, Relaxed);
            at -= 1;
        }
        self.place(at).store(which as u16, Relaxed);
        header.queued.store(count + 1, Relaxed);
        self.count_waiter(waiter, true);
    }

    /// Takes the waiter at this place of the queue out.
    pub(super) fn unqueue(self, index: u32) {
        let header = self.header();
        let count = header.queued.load(Relaxed).min(MOST_WAITERS);
        if index >= count {
            return;
        }
        let which = u32::from(self.place(index).load(Relaxed));
        if which < self.waiters_had() {
            self.count_waiter(self.waiter(which), false);
        }
        for at in index..count - 1 {
            self.place(at).store(self.place(at + 1).load(Relaxed), Relaxed);
        }
        header.queued.store(count - 1, Relaxed);
    }

    /// Takes this waiter out of the queue, if it is there.
    pub(super) fn leave(self, which: u32) {
        let count = self.header().queued.load(Relaxed).min(MOST_WAITERS);
        if let Some(index) = (0..count).find(|index| u32::from(self.place(*index).load(Relaxed)) == which) {
            self.unqueue(index);
        }
    }

    /// Counts a waiter with the semaphores that it names, or no longer.
    fn count_waiter(self, waiter: &Waiter, more: bool) {
        let count = usize::from(waiter.count.load(Relaxed));
        if count > FIT {
            let long = &self.header().long;
            let now = long.load(Relaxed);
            long.store(if more { now.wrapping_add(1) } else { now.saturating_sub(1) }, Relaxed);
            return;
        }
        for operation in &waiter.operations[..count] {
            let number = Operation::of(operation.load(Relaxed)).number;
            if let Some(at) = self.word(number.into()) {
                let word = Word(at.load(Relaxed));
                let now =
                    if more { word.waiters().saturating_add(1) } else { word.waiters().saturating_sub(1) };
                at.store(word.with_waiters(now).0, Relaxed);
            }
        }
    }

    /// Makes the queue anew, from the waiters.
    pub(super) fn queue_anew(self) {
        let header = self.header();
        header.queued.store(0, Relaxed);
        header.long.store(0, Relaxed);
        for number in 0..self.layout.count {
            if let Some(at) = self.word(number) {
                at.store(Word(at.load(Relaxed)).with_waiters(0).0, Relaxed);
            }
        }
        for which in 0..self.waiters_had() {
            if is_waiting(self.waiter(which)) {
                self.enter(which);
            }
        }
    }

    /// Tells all waiters that they wait in vain, and wakes them.
    pub(super) fn tell_all(self, error: i32) {
        for which in 0..self.waiters_had() {
            let waiter = self.waiter(which);
            if waiter.status.load(Relaxed) == status::WAITING {
                waiter.status.store(status::ERROR | error as u32, std::sync::atomic::Ordering::Release);
                futex::wake(&waiter.status);
            }
        }
    }

    /// How many wait for the semaphore to be zero, or to be larger. Who is about to sleep is not among them yet: a signal that
    /// is sent to one that is seen to wait has to end that wait.
    pub(super) fn waiting(self, number: u32, zero: bool) -> u32 {
        let count = self.header().queued.load(Relaxed).min(MOST_WAITERS);
        let wanted = number | u32::from(zero) << 16;
        let places = (0..count).map(|index| u32::from(self.place(index).load(Relaxed)));
        let had = self.waiters_had();
        let waiters = places.filter(|which| *which < had).map(|which| self.waiter(which));
        let waits_for_it = |waiter: &&Waiter| {
            waiter.blocking.load(Relaxed) == wanted && waiter.slept.load(Relaxed) != 0 && is_waiting(waiter)
        };
        waiters.filter(waits_for_it).count() as u32
    }
}
