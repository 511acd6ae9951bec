//! A set whose lock this thread has: changes that are done whole or not at all.
//!
//! # The journal
//!
//! An array of operations changes several words, and with `SEM_UNDO` undo values too. Before each change what stood there
//! goes into the journal, and the count of its entries is raised; only then the words change. What cannot be done whole,
//! because a later operation has to wait, goes the same way back. So does what somebody left half done who died: whoever
//! takes the lock from a dead owner first rolls the journal back. A change of one word alone needs no journal.
//!
//! | kind      | means                                                     | after a death                                      |
//! | --------- | --------------------------------------------------------- | -------------------------------------------------- |
//! | `OPERATE` | the thread's own operations                               | rolled back if there are entries                   |
//! | `GRANT`   | those of a waiter, done for it                            | rolled back, unless the waiter is told already     |
//! | `SET`     | a value is set, and all undo values for it cleared        | done again                                         |
//! | `SET_ALL` | the same for all, from the staging area                   | done again                                         |
//!
//! *Why a crash between any two steps is safe.* All stores are one thread's, so that what is found after its death is the
//! state after some number of them, in the order of the program; the lock is in the kernel's hands. `OPERATE`: the end of it is the one store that makes the
//! count 0. Before it all is rolled back, in which a second death does no harm: entries are taken back from the last to the
//! first, and putting an old word back twice is as good as once. `GRANT`: the end of it is the one store of the waiter's status, which the
//! waiter reads without the lock; after it the operations stand, before it they do not. (The waiter's place is not given to another
//! before somebody has had the lock, and so looked at the journal.) `SET`: the kind is stored after what it needs;
//! from then on it is done, by whoever is next if need be, and doing it twice is as good as once.
//! What counts something (waiters, undo values, the queue's order) is counted anew after a death, from what it counts.
//!
//! # Done for waiters
//!
//! As the kernel does it: who changes a semaphore does for those who wait, first come first served, what they wait for, and tells them.
//! A woken waiter then only reads what became of it; nobody gets in between. Who is told is woken after the lock was
//! given back; should the one who is to wake it die before, the waiter looks by itself, soon.

use std::sync::atomic::Ordering::{Relaxed, Release};

use commons::sync::{LockError, LockState, MutexGuard, SyncError};

use crate::kernel;

use super::futex;
use super::set::{FIT, MOST_VALUE, MOST_WAITERS, Operation, Set, Waiter, Word, in_order};

const OPERATE: u32 = 0;
const GRANT: u32 = 1;
const SET: u32 = 2;
const SET_ALL: u32 = 3;

/// What a waiter's status says, but for errors.
pub(super) mod status {
    /// Still waiting.
    pub(in crate::sem) const WAITING: u32 = 1;
    /// Done for it.
    pub(in crate::sem) const DONE: u32 = 2;
    /// It is to try again itself.
    pub(in crate::sem) const RETRY: u32 = 3;
    /// With this bit the rest is an error number.
    pub(in crate::sem) const ERROR: u32 = 1 << 16;
}

/// What became of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done. Whether waiters may be concerned.
    Done { concerns: bool },
    /// This one would have to wait; nothing has changed.
    Blocked(usize),
    /// Nothing has changed.
    Failed(i32),
}

/// The set, locked; given back when dropped, and then who was told is woken.
pub(super) struct Locked {
    pub(super) set: Set,
    guard: Option<MutexGuard<'static, ()>>,
    told: [u16; TOLD],
    told_count: usize,
}

/// So many are woken after the lock was given back, more before.
const TOLD: usize = 12;

impl Drop for Locked {
    #[inline]
    fn drop(&mut self) {
        drop(self.guard.take());
        if self.told_count != 0 {
            self.wake_told();
        }
    }
}

impl Set {
    /// Locks, and puts in order what a dead owner left.
    #[inline]
    pub(super) fn lock(self) -> Result<Locked, i32> {
        match self.header().lock.lock() {
            Ok(guard) => Ok(self.locked(guard)),
            Err(error) => self.lock_otherwise(error),
        }
    }

    #[inline]
    fn locked(self, guard: MutexGuard<'static, ()>) -> Locked {
        Locked { set: self, guard: Some(guard), told: [0; TOLD], told_count: 0 }
    }

    #[cold]
    pub(super) fn lock_otherwise(self, error: LockError<MutexGuard<'static, ()>>) -> Result<Locked, i32> {
        match error {
            LockError::OwnerDied(guard) => {
                let mut locked = self.locked(guard);
                locked.mend();
                locked.guard = locked.guard.take().map(MutexGuard::recover);
                Ok(locked)
            }
            // Nobody here leaves it unmended, but bytes can say so.
            LockError::Failed(SyncError::Unrecoverable) => {
                self.header().lock.reset();
                match self.header().lock.lock() {
                    Ok(guard) => Ok(self.locked(guard)),
                    Err(LockError::OwnerDied(guard)) => self.lock_otherwise(LockError::OwnerDied(guard)),
                    Err(LockError::Failed(error)) => Err(error.raw_os_error()),
                }
            }
            LockError::Failed(error) => Err(error.raw_os_error()),
        }
    }
}

impl Locked {
    /// Does all operations, or none. The numbers of all have been checked. With undo values, `slot` is where they are.
    #[inline]
    pub(super) fn operate(&mut self, operations: &[Operation], slot: Option<u32>, pid: u32) -> Outcome {
        if let ([operation], None) = (operations, slot) {
            return self.operate_plainly(*operation, pid);
        }
        let outcome = self.change(operations, slot, pid);
        if let Outcome::Done { .. } = outcome {
            self.commit();
        }
        outcome
    }

    /// One operation without undo: one word changes.
    #[inline]
    fn operate_plainly(&mut self, operation: Operation, pid: u32) -> Outcome {
        let Some(at) = self.set.word(operation.number.into()) else { return Outcome::Failed(libc::EFBIG) };
        let word = Word(at.load(Relaxed));
        match result(word, operation) {
            Ok(value) => {
                at.store(word.with_value(value).with_pid(pid).0, Relaxed);
                Outcome::Done { concerns: self.concerns(word, operation, value) }
            }
            Err(outcome) => outcome,
        }
    }

    /// Whether somebody may wait for what has become of a word.
    #[inline]
    fn concerns(&self, word: Word, operation: Operation, value: i32) -> bool {
        (operation.change > 0 || operation.change < 0 && value == 0)
            && (word.waiters() != 0 || self.set.header().long.load(Relaxed) != 0)
    }

    /// Changes what the operations say, journalled; to be committed if it is done.
    fn change(&mut self, operations: &[Operation], slot: Option<u32>, pid: u32) -> Outcome {
        let (set, header) = (self.set, self.set.header());
        header.slot.store(slot.unwrap_or(u32::MAX), Relaxed);
        let mut any = false;
        for (index, operation) in operations.iter().enumerate() {
            let number = u32::from(operation.number);
            let Some(at) = set.word(number) else { return self.give_up(Outcome::Failed(libc::EFBIG)) };
            let word = Word(at.load(Relaxed));
            let value = match result(word, *operation) {
                Ok(value) => value,
                Err(Outcome::Blocked(_)) => return self.give_up(Outcome::Blocked(index)),
                Err(outcome) => return self.give_up(outcome),
            };
            let mut what = u64::from(number);
            let mut adjusted = None;
            if let (true, Some(slot)) = (operation.undoes() && operation.change != 0, slot) {
                let Some(adjustment) = set.adjustment(slot, number) else {
                    return self.give_up(Outcome::Failed(libc::ENOMEM));
                };
                let before = adjustment.load(Relaxed);
                let after = i32::from(before) - i32::from(operation.change);
                if !(-MOST_VALUE - 1..=MOST_VALUE).contains(&after) {
                    return self.give_up(Outcome::Failed(libc::ERANGE));
                }
                what |= 1 << 16 | u64::from(before as u16) << 32;
                adjusted = Some((slot, after as i16));
            }
            let entry = set.entry(index);
            entry.word.store(word.0, Relaxed);
            entry.what.store(what, Relaxed);
            in_order();
            header.journaled.store(index as u32 + 1, Relaxed);
            in_order();
            if let Some((slot, after)) = adjusted {
                set.adjust(slot, number, after);
            }
            at.store(word.with_value(value).with_pid(pid).0, Relaxed);
            any |= self.concerns(word, *operation, value);
        }
        Outcome::Done { concerns: any }
    }

    /// What is journalled stands.
    #[inline]
    fn commit(&mut self) {
        in_order();
        self.set.header().journaled.store(0, Relaxed);
        in_order();
    }

    #[cold]
    fn give_up(&mut self, outcome: Outcome) -> Outcome {
        self.set.roll_back();
        outcome
    }

    /// Does for waiters what can be done by now, in the order of their coming, after something changed.
    #[cold]
    pub(super) fn settle(&mut self) {
        self.serve(true);
    }

    /// The same; whether something `changed`: only then those whose operations do not stand here are told to try again,
    /// lest two of them that look wake each other all the time.
    #[cold]
    pub(super) fn serve(&mut self, changed: bool) {
        let set = self.set;
        let mut index = 0;
        // Each pass from the start follows one that is through; there are not more of those than places.
        let mut left = MOST_WAITERS;
        while index < set.header().queued.load(Relaxed).min(MOST_WAITERS) {
            let which = u32::from(set.place(index).load(Relaxed));
            let waiter = set.waiter(which);
            if which >= set.waiters_had() || !is_waiting(waiter) {
                set.unqueue(index);
                continue;
            }
            if !changed && usize::from(waiter.count.load(Relaxed)) > FIT {
                index += 1;
                continue;
            }
            match self.attempt(which, waiter) {
                Attempt::Waits => index += 1,
                Attempt::Told { concerns } => {
                    set.unqueue(index);
                    self.tell(which);
                    if concerns {
                        index = 0;
                        left -= 1;
                        if left == 0 {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Does a waiter's operations for it, if that can be.
    fn attempt(&mut self, which: u32, waiter: &'static Waiter) -> Attempt {
        let header = self.set.header();
        let told = |status| {
            waiter.status.store(status, Release);
            Attempt::Told { concerns: false }
        };
        let count = usize::from(waiter.count.load(Relaxed));
        if count > FIT {
            return told(status::RETRY);
        }
        let mut operations = [Operation::default(); FIT];
        for (operation, at) in operations.iter_mut().zip(&waiter.operations) {
            *operation = Operation::of(at.load(Relaxed));
        }
        let operations = &operations[..count];
        let owner = waiter.owner.load(Relaxed);
        let slot = match owner {
            0 => None,
            _ => {
                let slot = waiter.slot.load(Relaxed);
                match self.set.slot(slot) {
                    Some(at) if at.owner.load(Relaxed) == owner => Some(slot),
                    _ => return told(status::RETRY),
                }
            }
        };
        header.argument.store(which, Relaxed);
        in_order();
        header.kind.store(GRANT, Relaxed);
        in_order();
        let outcome = self.change(operations, slot, waiter.pid.load(Relaxed));
        let attempt = match outcome {
            Outcome::Done { concerns } => {
                in_order();
                waiter.status.store(status::DONE, Release);
                self.commit();
                header.operated.store(kernel::now(), Relaxed);
                Attempt::Told { concerns }
            }
            Outcome::Blocked(at) if operations[at].waits() => {
                waiter.blocking.store(blocking(operations[at]), Relaxed);
                Attempt::Waits
            }
            Outcome::Blocked(_) => told(status::ERROR | libc::EAGAIN as u32),
            Outcome::Failed(error) => told(status::ERROR | error as u32),
        };
        header.kind.store(OPERATE, Relaxed);
        attempt
    }

    /// Has a waiter woken, whose status says what became of it.
    pub(super) fn tell(&mut self, which: u32) {
        match self.told.get_mut(self.told_count) {
            Some(place) => {
                *place = which as u16;
                self.told_count += 1;
            }
            None => futex::wake(&self.set.waiter(which).status),
        }
    }

    #[cold]
    fn wake_told(&self) {
        for which in &self.told[..self.told_count.min(TOLD)] {
            futex::wake(&self.set.waiter(u32::from(*which)).status);
        }
    }

    /// Sets a semaphore's value, and clears everybody's undo value for it.
    pub(super) fn set_value(&mut self, number: u32, value: u16, pid: u32) {
        let (set, header) = (self.set, self.set.header());
        set.entry(0).word.store(Word(0).with_value(value.into()).with_pid(pid).0, Relaxed);
        header.argument.store(number, Relaxed);
        in_order();
        header.kind.store(SET, Relaxed);
        in_order();
        set.finish_set();
        self.settle();
    }

    /// The same for all, from what is staged.
    pub(super) fn set_all(&mut self, pid: u32) {
        let (set, header) = (self.set, self.set.header());
        header.argument.store(pid, Relaxed);
        in_order();
        header.kind.store(SET_ALL, Relaxed);
        in_order();
        set.finish_set_all();
        self.settle();
    }

    /// Adds a slot's undo values to the semaphores, for a process that is over, and frees the slot.
    pub(super) fn undo(&mut self, slot: u32, pid: u32) {
        let (set, header) = (self.set, self.set.header());
        for number in 0..set.layout.count {
            let (Some(at), Some(adjustment)) = (set.word(number), set.adjustment(slot, number)) else {
                return;
            };
            let owed = adjustment.load(Relaxed);
            if owed == 0 {
                continue;
            }
            let word = Word(at.load(Relaxed));
            let entry = set.entry(0);
            header.slot.store(slot, Relaxed);
            entry.word.store(word.0, Relaxed);
            entry.what.store(u64::from(number) | 1 << 16 | u64::from(owed as u16) << 32, Relaxed);
            in_order();
            header.journaled.store(1, Relaxed);
            in_order();
            set.adjust(slot, number, 0);
            let value = (word.value() + i32::from(owed)).clamp(0, MOST_VALUE);
            at.store(word.with_value(value).with_pid(pid).0, Relaxed);
            self.commit();
        }
        if let Some(slot) = set.slot(slot) {
            slot.owner.store(0, Relaxed);
        }
        header.operated.store(kernel::now(), Relaxed);
    }

    /// Puts in order what a dead owner of the lock left.
    #[cold]
    fn mend(&mut self) {
        let (set, header) = (self.set, self.set.header());
        match header.kind.load(Relaxed) {
            SET => set.finish_set(),
            SET_ALL => set.finish_set_all(),
            GRANT if !is_asked(set.waiter(header.argument.load(Relaxed))) => {}
            _ => set.roll_back(),
        }
        in_order();
        header.journaled.store(0, Relaxed);
        in_order();
        header.kind.store(OPERATE, Relaxed);
        in_order();
        set.count_anew();
        if set.is_removed() {
            set.tell_all(libc::EIDRM);
        } else {
            self.settle();
        }
        // The dead may have been about to wake somebody.
        for which in 0..set.waiters_had() {
            if !matches!(set.waiter(which).alive.state(), LockState::Free) {
                futex::wake(&set.waiter(which).status);
            }
        }
    }
}

enum Attempt {
    Waits,
    Told { concerns: bool },
}

/// What the word's value becomes.
#[inline]
fn result(word: Word, operation: Operation) -> Result<i32, Outcome> {
    let value = word.value();
    let after = value + i32::from(operation.change);
    if operation.change == 0 && value != 0 || after < 0 {
        Err(Outcome::Blocked(0))
    } else if after > MOST_VALUE {
        Err(Outcome::Failed(libc::ERANGE))
    } else {
        Ok(after)
    }
}

/// As it stands in a waiter.
pub(super) fn blocking(operation: Operation) -> u32 {
    u32::from(operation.number) | u32::from(operation.change == 0) << 16
}

/// Whether its operations are still to be done.
fn is_asked(waiter: &Waiter) -> bool {
    waiter.status.load(Relaxed) == status::WAITING
}

/// Whether a thread waits there, and lives.
pub(super) fn is_waiting(waiter: &Waiter) -> bool {
    is_asked(waiter) && matches!(waiter.alive.state(), LockState::Held { .. })
}

impl Set {
    /// Changes one word and its undo value, in the lock, if the slot is this owner's; as [`Locked::change`] does.
    #[inline]
    pub(super) fn change_one_with_undo(
        self,
        operation: Operation,
        word: Word,
        new: Word,
        slot: u32,
        owner: u64,
    ) -> Option<()> {
        let number = u32::from(operation.number);
        let header = self.header();
        if owner == 0 || self.slot(slot)?.owner.load(Relaxed) != owner {
            return None;
        }
        let before = self.adjustment(slot, number)?.load(Relaxed);
        let after = i16::try_from(i32::from(before) - i32::from(operation.change)).ok()?;
        let entry = self.entry(0);
        header.slot.store(slot, Relaxed);
        entry.word.store(word.0, Relaxed);
        entry.what.store(u64::from(number) | 1 << 16 | u64::from(before as u16) << 32, Relaxed);
        in_order();
        header.journaled.store(1, Relaxed);
        in_order();
        self.adjust(slot, number, after);
        self.word(number)?.store(new.0, Relaxed);
        in_order();
        header.journaled.store(0, Relaxed);
        Some(())
    }

    /// Changes an undo value, and what is counted of them.
    #[inline]
    fn adjust(self, slot: u32, number: u32, after: i16) {
        let (Some(at), Some(of)) = (self.adjustment(slot, number), self.slot(slot)) else { return };
        let header = self.header();
        let before = at.load(Relaxed);
        at.store(after, Relaxed);
        let bump = |count: &std::sync::atomic::AtomicU32, more: bool| {
            let step = if more { 1 } else { u32::MAX };
            let now = count.load(Relaxed).wrapping_add(step);
            count.store(now, Relaxed);
            now
        };
        if (before == 0) != (after == 0) {
            let more = after != 0;
            let owing = bump(&of.owing, more);
            if owing == u32::from(more) {
                bump(&header.owing, more);
            }
        }
        if (before < 0) != (after < 0) {
            bump(&header.negative, after < 0);
        }
    }

    /// Puts back what is journalled, the last first.
    fn roll_back(self) {
        let header = self.header();
        let count = header.journaled.load(Relaxed).min(super::set::MOST_OPERATIONS as u32);
        let slot = header.slot.load(Relaxed);
        for index in (0..count).rev() {
            let entry = self.entry(index as usize);
            let what = entry.what.load(Relaxed);
            let number = u32::from(what as u16);
            if what & 1 << 16 != 0 {
                self.adjust(slot, number, (what >> 32) as i16);
            }
            if let Some(at) = self.word(number) {
                // The waiters' count is not the journal's.
                let waiters = Word(at.load(Relaxed)).waiters();
                at.store(Word(entry.word.load(Relaxed)).with_waiters(waiters).0, Relaxed);
            }
            in_order();
            header.journaled.store(index, Relaxed);
            in_order();
        }
    }

    fn clear_undo(self, number: u32) {
        for slot in 0..self.slots_used() {
            self.adjust(slot, number, 0);
        }
    }

    fn finish_set(self) {
        let header = self.header();
        let number = header.argument.load(Relaxed);
        if let Some(at) = self.word(number) {
            let waiters = Word(at.load(Relaxed)).waiters();
            at.store(Word(self.entry(0).word.load(Relaxed)).with_waiters(waiters).0, Relaxed);
            self.clear_undo(number);
        }
        header.changed.store(kernel::now(), Relaxed);
        in_order();
        header.kind.store(OPERATE, Relaxed);
    }

    fn finish_set_all(self) {
        let header = self.header();
        let pid = header.argument.load(Relaxed);
        for number in 0..self.layout.count {
            if let (Some(at), Some(staged)) = (self.word(number), self.staged(number)) {
                let value = i32::from(staged.load(Relaxed)).min(MOST_VALUE);
                at.store(Word(at.load(Relaxed)).with_value(value).with_pid(pid).0, Relaxed);
                self.clear_undo(number);
            }
        }
        header.changed.store(kernel::now(), Relaxed);
        in_order();
        header.kind.store(OPERATE, Relaxed);
    }

    /// Counts what is counted, from what it counts.
    fn count_anew(self) {
        self.count_owing();
        self.queue_anew();
    }

    /// The same, for what is owed.
    pub(super) fn count_owing(self) {
        let header = self.header();
        let (mut owing_slots, mut negative) = (0, 0);
        for index in 0..self.slots_used() {
            let Some(slot) = self.slot(index) else { break };
            let mut owing = 0;
            for number in 0..self.layout.count {
                let owed = self.adjustment(index, number).map_or(0, |at| at.load(Relaxed));
                owing += u32::from(owed != 0);
                negative += u32::from(owed < 0);
            }
            slot.owing.store(owing, Relaxed);
            owing_slots += u32::from(owing != 0);
        }
        header.owing.store(owing_slots, Relaxed);
        header.negative.store(negative, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::set::Layout;
    use super::*;

    /// A set of three in private memory, which stays.
    fn set() -> Set {
        let layout: &'static Layout = Box::leak(Box::new(Layout::of(3)));
        let (access, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), layout.size, access, private, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        // SAFETY: mapped just now, and for good.
        let set = unsafe { Set::at(memory.cast(), layout) };
        set.header().waiters_had.store(8, Relaxed);
        set.header().slots_had.store(8, Relaxed);
        set.header().slots.store(1, Relaxed);
        set
    }

    fn operation(number: u16, change: i16) -> Operation {
        Operation { number, change, flags: libc::SEM_UNDO as i16 }
    }

    fn values(set: Set) -> [i32; 2] {
        [0, 1].map(|number| Word(set.word(number).unwrap().load(Relaxed)).value())
    }

    fn owed(set: Set) -> i16 {
        set.adjustment(0, 0).unwrap().load(Relaxed)
    }

    /// A death after all words of an array have changed, and before it is committed.
    #[test]
    fn what_a_death_left_half_done_is_rolled_back() {
        let set = set();
        let mut locked = set.lock().unwrap();
        assert!(matches!(
            locked.operate(&[operation(0, 5), operation(1, 5)], Some(0), 7),
            Outcome::Done { .. }
        ));
        let outcome = locked.change(&[operation(0, -2), operation(1, 3), operation(0, -1)], Some(0), 8);
        assert!(matches!(outcome, Outcome::Done { .. }));
        assert_eq!((values(set), owed(set)), ([2, 8], -2));
        locked.mend();
        assert_eq!((values(set), owed(set)), ([5, 5], -5));
        assert_eq!(Word(set.word(0).unwrap().load(Relaxed)).pid(), 7);
        assert_eq!(set.header().negative.load(Relaxed), 2);
    }

    /// A death on either side of the one store by which a waiter is told.
    #[test]
    fn a_grant_stands_if_and_only_if_its_waiter_is_told() {
        for (status, after) in [(status::WAITING, [5, 5]), (status::DONE, [3, 6])] {
            let set = set();
            let mut locked = set.lock().unwrap();
            assert!(matches!(
                locked.operate(&[operation(0, 5), operation(1, 5)], None, 7),
                Outcome::Done { .. }
            ));
            set.waiter(2).status.store(status, Relaxed);
            set.header().argument.store(2, Relaxed);
            set.header().kind.store(GRANT, Relaxed);
            let outcome = locked.change(&[operation(0, -2), operation(1, 1)], None, 8);
            assert!(matches!(outcome, Outcome::Done { .. }));
            locked.mend();
            assert_eq!(values(set), after);
        }
    }

    /// A death in the middle of `SETVAL`.
    #[test]
    fn setting_is_done_again_from_the_moment_on_that_it_is_announced() {
        let set = set();
        let mut locked = set.lock().unwrap();
        assert!(matches!(locked.operate(&[operation(0, 5)], Some(0), 7), Outcome::Done { .. }));
        set.entry(0).word.store(Word(0).with_value(9).with_pid(3).0, Relaxed);
        set.header().argument.store(0, Relaxed);
        set.header().kind.store(SET, Relaxed);
        locked.mend();
        assert_eq!((values(set)[0], owed(set)), (9, 0));
        assert_eq!(set.header().owing.load(Relaxed), 0);
    }
}
