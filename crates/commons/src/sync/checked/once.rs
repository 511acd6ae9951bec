//! Done once, by one that lives.

use super::explore;
use crate::sync::Once;

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::OnceLock;
    use crate::sync::primitive::model::{Fate, step};

    /// Something in two halves.
    #[derive(Default)]
    struct House {
        once: Once,
        inside: AtomicU32,
        finished: AtomicU32,
        halves: [AtomicU32; 2],
    }

    impl House {
        fn build(&self) {
            self.once
                .call_once(|| {
                    self.inside.fetch_add(1, Relaxed);
                    // What one that died left is done again.
                    self.halves.iter().for_each(|half| half.store(0, Relaxed));
                    for half in &self.halves {
                        half.fetch_add(1, Relaxed);
                        thread::yield_now();
                        step();
                    }
                    self.finished.fetch_add(1, Relaxed);
                })
                .unwrap();
            self.look();
        }

        fn look(&self) {
            assert!(self.once.is_completed());
            assert_eq!(self.halves.each_ref().map(|half| half.load(Relaxed)), [1, 1]);
        }
    }

    #[test]
    fn it_runs_once() {
        explore(|| {
            let house = Arc::new(House::default());
            let builders: Vec<_> = (0..3)
                .map(|_| {
                    let house = house.clone();
                    thread::spawn(move || house.build())
                })
                .collect();
            builders.into_iter().for_each(|builder| builder.join().unwrap());
            assert_eq!((house.inside.load(Relaxed), house.finished.load(Relaxed)), (1, 1));
        });
    }

    #[test]
    fn one_that_dies_over_it_is_followed_by_the_next() {
        explore(|| {
            let house = Arc::new(House::default());
            for _ in 0..2 {
                let house = house.clone();
                spawn_mortal(Fate::Dies, move || house.build());
            }
            let builders: Vec<_> = (0..2)
                .map(|_| {
                    let house = house.clone();
                    thread::spawn(move || house.build())
                })
                .collect();
            builders.into_iter().for_each(|builder| builder.join().unwrap());
            house.look();
        });
    }

    #[test]
    fn all_get_the_same_value_whoever_dies() {
        explore(|| {
            let lock = Arc::new(OnceLock::new());
            for value in 0..2 {
                let lock = lock.clone();
                spawn_mortal(Fate::Dies, move || {
                    lock.set([value; 4]).unwrap();
                });
            }
            let other = lock.clone();
            let thread = thread::spawn(move || *other.get_or_init(|| [2; 4]).unwrap());
            let value = *lock.get_or_init(|| [3; 4]).unwrap();
            assert_eq!(thread.join().unwrap(), value);
            assert!(value.iter().all(|part| *part == value[0]));
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
    fn who_finds_it_done_sees_all_of_it() {
        struct Made(Once, UnsafeCell<u32>);
        // SAFETY: it is written before it is done, and read after; loom checks that.
        unsafe impl Sync for Made {}
        // SAFETY: as above.
        unsafe impl Send for Made {}

        explore(|| {
            let made = Arc::new(Made(Once::new(), UnsafeCell::new(0)));
            let make_and_look = |made: &Made| {
                // SAFETY: see `Made`.
                made.0.call_once(|| made.1.with_mut(|value| unsafe { *value += 1 })).unwrap();
                // SAFETY: see `Made`.
                assert_eq!(made.1.with(|value| unsafe { *value }), 1);
            };
            let other = made.clone();
            let thread = thread::spawn(move || make_and_look(&other));
            make_and_look(&made);
            thread.join().unwrap();
        });
    }
}
