//! Mutual exclusion, deaths told, nobody left waiting.

use super::explore;
use crate::sync::{LockError, Mutex};

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::primitive::model::{Fate, mortal, step};
    use crate::sync::{LockState, SyncError};

    /// What the mutex guards: who is inside, and how often anybody was.
    #[derive(Default)]
    struct Room {
        mutex: Mutex<[u32; 2]>,
        inside: AtomicU32,
        told: AtomicU32,
    }

    impl Room {
        /// Goes in and out; a death shows as a pair that differs.
        fn visit(&self) {
            let mut pair = match self.mutex.lock() {
                Ok(pair) => {
                    assert_eq!(pair[0], pair[1], "a death was not told");
                    assert_eq!(self.inside.swap(1, Relaxed), 0, "two inside");
                    pair
                }
                Err(LockError::OwnerDied(mut pair)) => {
                    self.told.fetch_add(1, Relaxed);
                    self.inside.store(1, Relaxed);
                    pair[1] = pair[0];
                    pair.recover()
                }
                Err(LockError::Failed(error)) => panic!("{error}"),
            };
            pair[0] += 1;
            step();
            thread::yield_now();
            pair[1] += 1;
            self.inside.store(0, Relaxed);
            drop(pair);
        }
    }

    #[test]
    fn three_threads_exclude_each_other_and_all_get_through() {
        explore(|| {
            let room = Arc::new(Room::default());
            let visitors: Vec<_> = (0..3)
                .map(|_| {
                    let room = room.clone();
                    thread::spawn(move || (0..2).for_each(|_| room.visit()))
                })
                .collect();
            visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
            assert_eq!(room.mutex.lock().map(|pair| *pair).unwrap(), [6, 6]);
            assert_eq!(room.told.load(Relaxed), 0);
        });
    }

    #[test]
    fn a_reset_stays_whoever_is_being_refused() {
        explore(|| {
            let mutex = Arc::new(Mutex::new(0));
            let other = mutex.clone();
            drop(shuttle::future::spawn(async move {
                let _guard = other.lock();
                mortal(Fate::Dies, 1);
                step();
            }));
            while mutex.state() != LockState::OwnerDied {
                thread::yield_now();
            }
            drop(mutex.lock().unwrap_err());
            let other = mutex.clone();
            let next = thread::spawn(move || match other.lock() {
                Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
                refused => assert!(matches!(refused, Err(LockError::Failed(SyncError::Unrecoverable)))),
            });
            assert!(mutex.reset());
            next.join().unwrap();
            assert_ne!(mutex.state(), LockState::Unrecoverable);
        });
    }

    #[test]
    fn the_living_get_through_whoever_dies_and_whenever() {
        explore(|| {
            let room = Arc::new(Room::default());
            for _ in 0..2 {
                let room = room.clone();
                spawn_mortal(Fate::Dies, move || (0..3).for_each(|_| room.visit()));
            }
            let visitors: Vec<_> = (0..2)
                .map(|_| {
                    let room = room.clone();
                    thread::spawn(move || (0..2).for_each(|_| room.visit()))
                })
                .collect();
            visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    #[test]
    fn what_one_owner_wrote_the_next_one_sees() {
        explore(|| {
            let mutex = Arc::new(Mutex::new(UnsafeCell::new(0)));
            let add = |mutex: &Mutex<UnsafeCell<i32>>| {
                let guard = match mutex.lock() {
                    Ok(guard) => guard,
                    Err(LockError::OwnerDied(_)) => panic!("nobody died"),
                    Err(LockError::Failed(error)) => panic!("{error}"),
                };
                // SAFETY: the mutex is locked; loom checks that no other access is at the same time.
                guard.with_mut(|value| unsafe { *value += 1 });
            };
            let other = mutex.clone();
            let thread = thread::spawn(move || add(&other));
            add(&mutex);
            thread.join().unwrap();
            let guard = mutex.lock().unwrap();
            // SAFETY: as above.
            assert_eq!(guard.with(|value| unsafe { *value }), 2);
        });
    }
}
