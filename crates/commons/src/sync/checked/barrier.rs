//! All go on together, or all are told that they cannot.

#[cfg(commons_shuttle)]
use super::explore;
use crate::sync::{Barrier, SyncError};

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::BarrierMember;
    use crate::sync::primitive::model::{self, Fate};

    /// Some rounds of work that all do together.
    #[derive(Default)]
    struct Work {
        barrier: Barrier,
        done: [AtomicU32; 3],
        leaders: [AtomicU32; 3],
        /// Of each round, how many went on, and how many were told that they cannot.
        went_on: [AtomicU32; 3],
        broken: [AtomicU32; 3],
    }

    impl Work {
        fn share(&self, parties: u32, rounds: usize) {
            let member = match self.barrier.join(parties) {
                Ok(member) => member,
                Err(SyncError::Broken) => return,
                Err(error) => panic!("{error}"),
            };
            for round in 0..rounds {
                self.done[round].fetch_add(1, Relaxed);
                match member.wait() {
                    Ok(result) => {
                        assert_eq!(self.done[round].load(Relaxed), parties, "somebody had not come");
                        self.leaders[round].fetch_add(result.is_leader().into(), Relaxed);
                        self.went_on[round].fetch_add(1, Relaxed);
                    }
                    Err(SyncError::Broken) => {
                        self.broken[round].fetch_add(1, Relaxed);
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            // Who leaves at once may find others waiting for the next time, who are no longer there in this test.
            std::mem::forget(member);
        }
    }

    #[test]
    fn all_go_on_together() {
        explore(|| {
            let work = Arc::new(Work::default());
            let members: Vec<_> = (0..3)
                .map(|_| {
                    let work = work.clone();
                    thread::spawn(move || work.share(3, 3))
                })
                .collect();
            members.into_iter().for_each(|member| member.join().unwrap());
            for round in 0..3 {
                assert_eq!(work.leaders[round].load(Relaxed), 1);
                assert_eq!(work.went_on[round].load(Relaxed), 3);
            }
        });
    }

    #[test]
    fn a_death_is_told_to_all_who_wait() {
        explore(|| {
            let work = Arc::new(Work::default());
            for _ in 0..2 {
                let work = work.clone();
                // Who dies before it joined leaves the others waiting for somebody to join.
                drop(shuttle::future::spawn(async move {
                    let member = match work.barrier.join(4) {
                        Ok(member) => member,
                        Err(SyncError::Broken) => return,
                        Err(error) => panic!("{error}"),
                    };
                    model::mortal(Fate::Dies, 24);
                    for round in 0..3 {
                        work.done[round].fetch_add(1, Relaxed);
                        if member.wait().is_err() {
                            break;
                        }
                    }
                    model::immortal();
                    std::mem::forget(member);
                }));
            }
            let members: Vec<_> = (0..2)
                .map(|_| {
                    let work = work.clone();
                    thread::spawn(move || work.share(4, 3))
                })
                .collect();
            members.into_iter().for_each(|member| member.join().unwrap());
            for round in 0..3 {
                let (went_on, broken) = (work.went_on[round].load(Relaxed), work.broken[round].load(Relaxed));
                assert!(went_on == 0 || broken == 0, "round {round}: {went_on} went on, {broken} did not");
            }
        });
    }

    #[test]
    fn one_that_dies_while_it_joins_is_replaced_or_told_of() {
        explore(|| {
            let barrier = Arc::new(Barrier::new());
            let over = Arc::new(AtomicU32::new(0));
            let other = barrier.clone();
            spawn_mortal(Fate::Dies, move || {
                if let Ok(member) = other.join(2) {
                    let _ = member.wait();
                }
            });
            let (other, done) = (barrier.clone(), over.clone());
            let replacement = thread::spawn(move || {
                while done.load(Relaxed) == 0 {
                    match other.join(2) {
                        Ok(member) => drop(member.wait()),
                        Err(SyncError::Full) => thread::yield_now(),
                        Err(SyncError::Broken) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            match barrier.join(2) {
                Ok(member) => drop(member.wait()),
                Err(SyncError::Broken | SyncError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            over.store(1, Relaxed);
            barrier.abort();
            replacement.join().unwrap();
        });
    }

    /// Those who die soon after all have come, or after they told some of the others of another one's death: whoever
    /// waited with them for this one time has nobody else to tell it.
    #[test]
    fn whoever_dies_over_waking_the_others_they_are_woken() {
        explore(|| {
            let barrier = Arc::new(Barrier::new());
            for _ in 0..2 {
                let barrier = barrier.clone();
                drop(shuttle::future::spawn(async move {
                    let Ok(member) = barrier.join(4) else { return };
                    model::mortal(Fate::Dies, 8);
                    let _ = member.wait();
                    model::immortal();
                    std::mem::forget(member);
                }));
            }
            let share = |barrier: &Barrier| {
                if let Ok(member) = barrier.join(4) {
                    let _ = member.wait();
                    std::mem::forget(member);
                }
            };
            let other = barrier.clone();
            let thread = thread::spawn(move || share(&other));
            share(&barrier);
            thread.join().unwrap();
        });
    }

    #[test]
    fn one_that_leaves_is_replaced_or_told_of() {
        explore(|| {
            let barrier = Arc::new(Barrier::new());
            let other = barrier.clone();
            drop(shuttle::future::spawn(async move {
                for _ in 0..2 {
                    drop(other.join(2));
                }
                if let Ok(member) = other.join(2) {
                    model::mortal(Fate::Dies, 4);
                    let _ = member.wait();
                    model::immortal();
                }
            }));
            // All that counts is that it ends.
            let _ = barrier.join(2).and_then(|member| member.wait());
        });
    }

    /// The one that leaves dies over it, and its place is taken by one that has reset the barrier, before those who
    /// were woken by its death look.
    #[test]
    fn whoever_resets_it_all_who_waited_are_told() {
        explore(|| {
            let barrier = Arc::new(Barrier::new());
            let joined = Arc::new(AtomicU32::new(0));
            let (other, count) = (barrier.clone(), joined.clone());
            drop(shuttle::future::spawn(async move {
                let member = other.join(4).unwrap();
                while count.load(Relaxed) < 2 || format!("{other:?}").contains("waiting: 0") {
                    thread::yield_now();
                }
                model::mortal(Fate::Dies, 6);
                drop(member);
                model::immortal();
            }));
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let (barrier, joined) = (barrier.clone(), joined.clone());
                    thread::spawn(move || {
                        let member = barrier.join(4).unwrap();
                        joined.fetch_add(1, Relaxed);
                        assert_eq!(member.wait(), Err(SyncError::Broken));
                    })
                })
                .collect();
            let other = barrier.clone();
            let resetter = thread::spawn(move || {
                while !other.is_broken() {
                    thread::yield_now();
                }
                other.reset();
                let _ = other.join(4).map(std::mem::forget);
            });
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            resetter.join().unwrap();
        });
    }

    /// Joins, and waits until all three have.
    fn join_three<'b>(barrier: &'b Barrier, joined: &AtomicU32) -> BarrierMember<'b> {
        let member = barrier.join(3).unwrap();
        joined.fetch_add(1, Relaxed);
        while joined.load(Relaxed) < 3 {
            thread::yield_now();
        }
        member
    }

    /// Three, of which one dies; the other two begin anew, both resetting.
    #[test]
    fn after_a_reset_those_who_are_left_go_on() {
        explore(|| {
            let barrier = Arc::new(Barrier::new());
            let joined = Arc::new(AtomicU32::new(0));
            let (other, count) = (barrier.clone(), joined.clone());
            drop(shuttle::future::spawn(async move {
                let member = join_three(&other, &count);
                model::mortal(Fate::Dies, 8);
                loop {
                    model::step();
                    let _ = member.wait();
                }
            }));
            let survive = |barrier: &Barrier, joined: &AtomicU32| {
                let member = join_three(barrier, joined);
                while member.wait().is_ok() {}
                drop(member);
                barrier.reset();
                let member = loop {
                    match barrier.join(2) {
                        Ok(member) => break member,
                        // The other one's old place.
                        Err(SyncError::Full) => thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                };
                for _ in 0..2 {
                    member.wait().unwrap();
                }
                std::mem::forget(member);
            };
            let (other, count) = (barrier.clone(), joined.clone());
            let second = thread::spawn(move || survive(&other, &count));
            survive(&barrier, &joined);
            second.join().unwrap();
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::super::explore_within;
    use super::*;

    struct Halves {
        barrier: Barrier,
        halves: [UnsafeCell<u32>; 2],
    }

    // SAFETY: each half is written by one, before the barrier, and read by the other after it; loom checks that.
    unsafe impl Sync for Halves {}
    // SAFETY: as above.
    unsafe impl Send for Halves {}

    #[test]
    fn what_all_did_before_all_see_after() {
        explore_within(2, || {
            let both = Arc::new(Halves {
                barrier: Barrier::new(),
                halves: [UnsafeCell::new(0), UnsafeCell::new(0)],
            });
            let share = |both: &Halves, own: usize| {
                let member = both.barrier.join(2).unwrap();
                // SAFETY: see `Halves`.
                both.halves[own].with_mut(|half| unsafe { *half = 1 });
                member.wait().unwrap();
                // SAFETY: see `Halves`.
                assert_eq!(both.halves[1 - own].with(|half| unsafe { *half }), 1);
                std::mem::forget(member);
            };
            let other = both.clone();
            let thread = thread::spawn(move || share(&other, 1));
            share(&both, 0);
            thread.join().unwrap();
        });
    }
}
