//! Condition variables: producers and consumers, of whom the others go on, whoever is killed, and the mutex tells of each
//! death once; and all that wait for one thing, of whom a notification reaches each.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use commons::sync::{Condvar, LockError, Mutex, MutexGuard, SyncError};

use crate::common::campaign::Random;
use crate::field::{Common, Me, Phases, Trial, dawdle, now};

const ROOM: u64 = 3;

/// Outside the mutex `inside` is 0, and what was made is what was taken and what is there.
#[repr(C)]
pub struct Store {
    /// The incarnation that is in the middle of a change.
    inside: u64,
    stock: u64,
    made: u64,
    taken: u64,
    /// When the stock changed last.
    changed: u64,
}

#[repr(C)]
pub struct Shop {
    store: Mutex<Store>,
    delivered: Condvar,
    sold: Condvar,
    told: AtomicU64,
    told_in_the_middle: AtomicU64,
    /// The last incarnation that was told of as dead.
    buried: UnsafeCell<u64>,
}

// SAFETY: what is not atomic is touched by whoever has the mutex.
unsafe impl Sync for Shop {}

type Guard<'s> = MutexGuard<'s, Store>;

impl Shop {
    /// Mends what a dead one left, and wakes all, as it may have died before it did.
    fn mended<'s>(&'s self, me: &Me<'_>, mut store: Guard<'s>) -> Guard<'s> {
        self.told.fetch_add(1, Relaxed);
        let dead = store.inside;
        // From here on this one is inside: should it die as well, that is another death.
        store.inside = me.incarnation;
        let store_of_mine = std::hint::black_box(&mut *store);
        if dead != 0 {
            self.told_in_the_middle.fetch_add(1, Relaxed);
            let last = self.buried.get();
            // SAFETY: the mutex is had.
            unsafe {
                me.common.expect(*last != dead, "a death was told twice");
                *last = dead;
            }
            me.common.expect(!me.common.lives(dead), "a death was told of one that lives");
        }
        std::hint::black_box(store_of_mine).inside = 0;
        store.taken = store.made - store.stock;
        let store = store.recover();
        self.delivered.notify_all();
        self.sold.notify_all();
        store
    }

    fn had<'s>(&'s self, me: &Me<'_>, had: Result<Guard<'s>, LockError<Guard<'s>>>) -> Option<Guard<'s>> {
        match had {
            Ok(store) => {
                me.common.expect(store.inside == 0, "a death was not told, or two are inside");
                let whole = store.made == store.taken + store.stock;
                me.common.expect(whole, "the data is not in order");
                Some(store)
            }
            Err(LockError::OwnerDied(store)) => Some(self.mended(me, store)),
            Err(LockError::Failed(error)) => {
                me.common.fail(error);
                None
            }
        }
    }

    /// Waits, in any of the ways that there are, until it is so; then it was so since the last change.
    fn wait<'s>(
        &'s self,
        me: &mut Me<'_>,
        on: &Condvar,
        mut store: Guard<'s>,
        is_so: impl Fn(&Store) -> bool,
    ) -> Option<Guard<'s>> {
        while !is_so(&store) {
            let within = Duration::from_micros(me.random.below(3000));
            let had = match me.random.below(3) {
                0 => match on.wait_timeout(store, within) {
                    Ok((store, _)) => Ok(store),
                    Err(LockError::OwnerDied((store, _))) => Err(LockError::OwnerDied(store)),
                    Err(LockError::Failed(error)) => Err(LockError::Failed(error)),
                },
                _ => on.wait(store),
            };
            store = self.had(me, had)?;
            if is_so(&store) {
                me.common.waited(Duration::from_nanos(now().saturating_sub(store.changed)));
            }
        }
        Some(store)
    }

    /// One by one: a kill in between leaves them at odds.
    fn change(&self, me: &mut Me<'_>, store: &mut Store, more: bool) {
        store.inside = me.incarnation;
        let store = std::hint::black_box(store);
        if more {
            store.made += 1;
            dawdle(&mut me.random);
            std::hint::black_box(&mut *store).stock += 1;
        } else {
            store.stock -= 1;
            dawdle(&mut me.random);
            std::hint::black_box(&mut *store).taken += 1;
        }
        store.changed = now();
        std::hint::black_box(store).inside = 0;
    }
}

// SAFETY: locks and numbers.
unsafe impl Trial for Shop {
    const NAME: &'static str = "condvar";

    fn work(&self, me: &mut Me<'_>) -> ! {
        let makes = me.number % 2 == 0;
        loop {
            let mut theirs = me.theirs();
            let had = self.store.lock();
            if let Some(store) = self.had(me, had) {
                let on = if makes { &self.sold } else { &self.delivered };
                let wanted = |store: &Store| if makes { store.stock < ROOM } else { store.stock > 0 };
                if let Some(mut store) = self.wait(me, on, store, wanted) {
                    theirs.middle();
                    self.change(me, &mut store, makes);
                    // While the mutex is had: one that dies before this is told of, and all are woken for it.
                    if makes { self.delivered.notify_one() } else { self.sold.notify_one() }
                }
            }
            drop(theirs);
            me.count();
        }
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        match self.store.lock() {
            Ok(store) => common.expect(store.inside == 0, "the last death was not told"),
            Err(LockError::OwnerDied(store)) => drop(store.recover()),
            Err(LockError::Failed(SyncError::Unrecoverable)) => common.expect(false, "unrecoverable"),
            Err(LockError::Failed(error)) => common.fail(error),
        }
        let made = self.store.lock().map_or(0, |store| store.made);
        let (told, middle) = (self.told.load(Relaxed), self.told_in_the_middle.load(Relaxed));
        common.expect(made > 0 && told > 0, "nothing happened");
        format!("made {made}, deaths told {told}, of these in the middle of a change {middle}")
    }
}

/// All wait for the same.
#[repr(C)]
pub struct Herald {
    phase: Mutex<u64>,
    changed: Condvar,
    phases: Phases,
    told: AtomicU64,
}

impl Herald {
    /// A number that is changed by one store needs no mending.
    fn had<'s>(
        &self,
        common: &Common,
        had: Result<MutexGuard<'s, u64>, LockError<MutexGuard<'s, u64>>>,
    ) -> Option<MutexGuard<'s, u64>> {
        match had {
            Ok(phase) => Some(phase),
            Err(LockError::OwnerDied(phase)) => {
                self.told.fetch_add(1, Relaxed);
                Some(phase.recover())
            }
            Err(LockError::Failed(error)) => {
                common.fail(error);
                None
            }
        }
    }
}

// SAFETY: locks and numbers.
unsafe impl Trial for Herald {
    const NAME: &'static str = "condvar-all";

    fn prepare(&self, _processes: usize) {
        self.phases.enter(1);
        *self.phase.lock().unwrap() = 1;
    }

    fn work(&self, me: &mut Me<'_>) -> ! {
        let mut last = 0;
        loop {
            let mut theirs = me.theirs();
            let mut had = self.had(me.common, self.phase.lock());
            while let Some(phase) = had.take() {
                if *phase != last {
                    last = *phase;
                    theirs.middle();
                    self.phases.see(me.number, last);
                    break;
                }
                had = self.had(me.common, self.changed.wait(phase));
            }
            drop(theirs);
            me.count();
        }
    }

    /// Tells all, with the mutex or without it, once all know what was told before.
    fn between(&self, common: &Common, processes: usize, random: &mut Random) {
        if !self.phases.all_have_seen(common, processes, random) {
            return;
        }
        let Some(mut phase) = self.had(common, self.phase.lock()) else { return };
        *phase += 1;
        self.phases.enter(*phase);
        if random.once_in(2) {
            drop(phase);
            self.changed.notify_all();
        } else {
            self.changed.notify_one();
        }
    }

    fn after_kill(&self, _common: &Common, number: usize) {
        self.phases.forget(number);
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let (phases, told) = (self.phases.now(), self.told.load(Relaxed));
        common.expect(phases > 2, "nothing happened");
        format!("{phases} phases, deaths told {told}")
    }
}
