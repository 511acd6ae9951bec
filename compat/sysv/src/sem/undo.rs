//! What processes owe: the undo values of `SEM_UNDO`, and how those of the dead are applied.
//!
//! Each process that owes something to a set has a slot there, with a value for each semaphore. A slot stays its process's,
//! found by a hint, until another process needs one and finds no other: slots in which all values are 0 are given
//! to whoever needs one, since their owners look whose it is each time.
//!
//! The kernel adds undo values as a process ends. Here a process does so itself as it exits; for one that was killed, or ended by
//! `_exit`, whoever uses the set next does, before it looks at what could tell the difference:
//!
//! | call                                        | looks for the dead                                          |
//! | ------------------------------------------- | ----------------------------------------------------------- |
//! | an operation that cannot be done at once    | before it fails or sleeps                                   |
//! | an operation that waits for zero, or any while somebody's undo would take away | before it is done        |
//! | any other that can be done                  | not at all: done before or after, the result is the same    |
//! | `GETVAL` and all that tell of values        | before                                                      |
//! | a waiter                                    | every [`LOOK`], as long as the set has slots                |
//!
//! A look costs a few microseconds, and nobody looks while nobody else owes anything.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::life;
use super::locked::Locked;
use super::set::{Operation, Set};

/// How often a waiter looks whether somebody who owes is gone.
pub(super) const LOOK: Duration = Duration::from_micros(23_700);

impl Set {
    /// Whether a process that is gone could make a difference to these operations, though they can be done.
    #[inline]
    pub(super) fn debts_matter(self, operations: &[Operation]) -> bool {
        let header = self.header();
        header.owing.load(Relaxed) != 0
            && (header.negative.load(Relaxed) != 0
                || operations.iter().any(|operation| operation.change == 0))
    }

    /// Applies what processes owe that are gone. Asked without the lock, which nobody should hold during calls into the
    /// kernel: who dies only now, may as well die after this call.
    #[cold]
    pub(super) fn hear_of_the_dead(self) -> Result<bool, i32> {
        if self.header().owing.load(Relaxed) == 0 {
            return Ok(false);
        }
        let mine = life::known_owner();
        let is_dead = |index: u32| {
            self.slot(index).is_some_and(|slot| {
                let owner = slot.owner.load(Relaxed);
                slot.owing.load(Relaxed) != 0 && owner != mine && !life::is_alive(owner)
            })
        };
        Ok((0..self.slots_used()).any(is_dead) && self.lock()?.bury(mine))
    }
}

impl Locked {
    /// The slot of the process with this number.
    #[inline]
    pub(super) fn slot_of(
        &mut self,
        owner: u64,
        hint: u32,
        more: impl Fn(std::ops::Range<u32>) -> Option<u32>,
    ) -> Result<u32, i32> {
        match self.set.slot(hint) {
            Some(slot) if slot.owner.load(Relaxed) == owner => Ok(hint),
            _ => self.find_slot(owner, more),
        }
    }

    #[cold]
    fn find_slot(
        &mut self,
        owner: u64,
        more: impl Fn(std::ops::Range<u32>) -> Option<u32>,
    ) -> Result<u32, i32> {
        let set = self.set;
        let header = set.header();
        let used = set.slots_used();
        let owner_of = |index: u32| set.slot(index).map_or(u64::MAX, |slot| slot.owner.load(Relaxed));
        if let Some(index) = (0..used).find(|index| owner_of(*index) == owner) {
            return Ok(index);
        }
        let owes = |index: u32| set.slot(index).is_none_or(|slot| slot.owing.load(Relaxed) != 0);
        let mut free = (0..used).find(|index| owner_of(*index) == 0 && !owes(*index));
        if free.is_none() && used < set.layout.most_slots {
            let had = header.slots_had.load(Relaxed).min(set.layout.most_slots);
            let now = if used < had { had } else { more(had..set.layout.most_slots).unwrap_or(had) };
            if used < now {
                header.slots_had.store(now, Relaxed);
                header.slots.store(used + 1, Relaxed);
                free = Some(used);
                if used == 0 {
                    // From now on whoever waits has to look more often.
                    self.wake_all();
                }
            }
        }
        free = free.or_else(|| (0..used).find(|index| !owes(*index)));
        if free.is_none() && self.bury(owner) {
            free = (0..used).find(|index| !owes(*index));
        }
        let slot = free.and_then(|index| Some((index, set.slot(index)?)));
        let (index, slot) = slot.ok_or(libc::ENOSPC)?;
        slot.owner.store(owner, Relaxed);
        Ok(index)
    }

    /// Applies what processes owe that are gone; whether there was any. `mine` is not asked about.
    #[cold]
    pub(super) fn bury(&mut self, mine: u64) -> bool {
        let set = self.set;
        if set.header().owing.load(Relaxed) == 0 {
            return false;
        }
        let mut any = false;
        for index in 0..set.slots_used() {
            let Some(slot) = set.slot(index) else { break };
            let owner = slot.owner.load(Relaxed);
            if slot.owing.load(Relaxed) != 0 && (owner == 0 || owner != mine && !life::is_alive(owner)) {
                self.undo(index, life::pid_of(owner));
                any = true;
            }
        }
        if any {
            // Should the counts have been wrong, nobody comes here again for the same.
            set.count_owing();
            self.settle();
        }
        any
    }

    /// Applies what this process owes, as it ends.
    pub(super) fn pay(&mut self, mine: u64) {
        for index in 0..self.set.slots_used() {
            let Some(slot) = self.set.slot(index) else { break };
            if slot.owner.load(Relaxed) == mine {
                self.undo(index, life::pid_of(mine));
                self.settle();
            }
        }
    }

    /// Has all waiters look.
    pub(super) fn wake_all(&self) {
        let count = self.set.header().queued.load(Relaxed).min(super::set::MOST_WAITERS);
        for index in 0..count {
            let which = u32::from(self.set.place(index).load(Relaxed));
            if which < self.set.waiters_had() {
                super::futex::wake(&self.set.waiter(which).status);
            }
        }
    }
}
