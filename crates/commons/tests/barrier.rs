//! A barrier between processes: all go on together, or all are told that one of them cannot.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::between::{WOKEN, median, scribble, until_asleep, zeroed};
use common::campaign::Random;
use common::{Child, fork};
use commons::sync::{Barrier, SyncError};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(2);

#[repr(C)]
struct Work {
    barrier: Barrier,
    done: AtomicU32,
    leaders: AtomicU32,
}

fn work() -> &'static Work {
    // SAFETY: a barrier and numbers are valid when all zero.
    unsafe { zeroed() }
}

#[test]
fn processes_go_on_together() {
    let work = work();
    let share = || {
        let member = work.barrier.join(3).unwrap();
        for round in 1..=500 {
            work.done.fetch_add(1, SeqCst);
            let result = member.wait_timeout(LONG).unwrap();
            assert!(work.done.load(SeqCst) >= round * 3);
            work.leaders.fetch_add(result.is_leader().into(), SeqCst);
            member.wait_timeout(LONG).unwrap();
        }
        // Who leaves while the others are still on their way to the last one would break it.
        std::mem::forget(member);
    };
    let children: Vec<_> = (0..2).map(|_| fork(|_| share())).collect();
    share();
    children.into_iter().for_each(Child::succeed);
    assert_eq!((work.done.load(SeqCst), work.leaders.load(SeqCst)), (1500, 500));
}

/// Two wait, in processes that sleep, for one that is killed; how long until both know.
fn told_of_a_death(doom: impl Fn(&Work, &mut common::Line)) -> Duration {
    let work = work();
    let mut doomed = fork(|line| doom(work, line));
    doomed.hear();
    let wait = || {
        fork(|_| {
            let member = work.barrier.join(4).unwrap();
            assert_eq!(member.wait_timeout(LONG), Err(SyncError::Broken));
            assert_eq!(member.wait(), Err(SyncError::Broken));
        })
    };
    let waiting = [wait(), wait()];
    waiting.iter().for_each(|child| until_asleep(child.pid));
    let killed = Instant::now();
    doomed.kill();
    waiting.into_iter().for_each(Child::succeed);
    assert!(work.barrier.is_broken());
    killed.elapsed()
}

#[test]
fn a_member_that_is_killed_at_its_work_is_noticed_at_once() {
    let times = (0..15).map(|_| {
        told_of_a_death(|work, line| {
            let _member = work.barrier.join(4).unwrap();
            line.say();
            line.hear();
        })
    });
    let median = median(times.collect());
    eprintln!("told and ended after {median:?}");
    assert!(median < WOKEN, "nobody was woken: {median:?}");
}

#[test]
fn a_member_that_is_killed_while_it_waits_is_noticed_at_once() {
    let times = (0..15).map(|_| {
        told_of_a_death(|work, line| {
            let member = work.barrier.join(4).unwrap();
            line.say();
            let _ = member.wait();
        })
    });
    let median = median(times.collect());
    eprintln!("told and ended after {median:?}");
    assert!(median < WOKEN, "nobody was woken: {median:?}");
}

/// Workers that are killed at any moment; those that are left, and new ones, begin anew.
#[test]
fn whoever_is_killed_the_others_begin_anew() {
    let work = work();
    let mut random = Random(5);
    let worker = || {
        fork(|_| {
            loop {
                let member = match work.barrier.join(3) {
                    Ok(member) => member,
                    Err(SyncError::Broken) => {
                        work.barrier.reset();
                        continue;
                    }
                    // Somebody who has not been told yet.
                    Err(SyncError::Full) => {
                        std::thread::yield_now();
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                while member.wait().is_ok() {
                    work.done.fetch_add(1, SeqCst);
                }
                drop(member);
                work.barrier.reset();
            }
        })
    };
    let mut workers: Vec<_> = (0..3).map(|_| worker()).collect();
    let mut longest = Duration::ZERO;
    for round in 0..300 {
        let before = work.done.load(SeqCst);
        let begun = Instant::now();
        while work.done.load(SeqCst) - before < 6 {
            assert!(begun.elapsed() < LONG, "they do not go on, round {round}: {:?}", work.barrier);
            std::thread::yield_now();
        }
        longest = longest.max(begun.elapsed());
        for _ in 0..random.below(5000) {
            std::hint::spin_loop();
        }
        let at = random.below(3) as usize;
        std::mem::replace(&mut workers[at], worker()).kill();
    }
    eprintln!("the longest took {longest:?}");
}

#[test]
fn one_that_leaves_while_others_wait_breaks_it_and_otherwise_makes_room() {
    let work = work();
    let member = work.barrier.join(2).unwrap();
    let waiting = || {
        fork(|_| {
            let member = work.barrier.join(2).unwrap();
            assert_eq!(member.wait_timeout(LONG), Err(SyncError::Broken));
        })
    };
    // Leaves, and is replaced.
    fork(|_| drop(work.barrier.join(2).unwrap())).succeed();
    let child = waiting();
    until_asleep(child.pid);
    drop(member);
    child.succeed();
    assert_eq!(work.barrier.join(2).err(), Some(SyncError::Broken));
    assert!(work.barrier.reset() && !work.barrier.reset());

    let child = waiting();
    until_asleep(child.pid);
    std::thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let _member = work.barrier.join(2).unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicking.join().is_err());
    });
    child.succeed();
    work.barrier.reset();

    let child = waiting();
    until_asleep(child.pid);
    work.barrier.abort();
    child.succeed();
}

#[test]
fn what_cannot_be_is_an_error() {
    let work = work();
    let barrier = &work.barrier;
    for parties in [0, Barrier::MAX_PARTIES + 1] {
        assert!(matches!(barrier.join(parties), Err(SyncError::Mismatch(_))));
    }
    let member = barrier.join(2).unwrap();
    assert!(matches!(barrier.join(3), Err(SyncError::Mismatch(_))));
    assert_eq!(barrier.join(2).err(), Some(SyncError::WouldDeadlock));
    let mut other = fork(|line| {
        let _member = barrier.join(2).unwrap();
        line.say();
        line.hear();
    });
    other.hear();
    fork(|_| {
        assert!(matches!(member.wait(), Err(SyncError::Mismatch(_))), "a forked child is no member");
        assert_eq!(barrier.join(2).err(), Some(SyncError::Full));
        // SAFETY: the child's copy is dropped; the parent's goes on.
        drop(unsafe { std::ptr::read(&raw const member) });
    })
    .succeed();
    assert!(!barrier.is_broken());

    // As if it had not come: two that never wait at the same time.
    assert_eq!(member.wait_timeout(SHORT), Err(SyncError::TimedOut));
    assert_eq!(member.wait_until(Instant::now() + SHORT), Err(SyncError::TimedOut));
    assert!(format!("{barrier:?}").contains("waiting: 0"), "{barrier:?}");
    other.say();
    other.succeed();
    assert!(!barrier.is_broken(), "it left while nobody waited");
}

#[test]
fn thirty_two_can_take_part() {
    let work = work();
    std::thread::scope(|scope| {
        for _ in 0..Barrier::MAX_PARTIES {
            scope.spawn(|| {
                let member = work.barrier.join(Barrier::MAX_PARTIES).unwrap();
                for _ in 0..20 {
                    let result = member.wait_timeout(LONG).unwrap();
                    work.leaders.fetch_add(result.is_leader().into(), SeqCst);
                }
                // All are through before any leaves.
                work.done.fetch_add(1, SeqCst);
                while work.done.load(SeqCst) < Barrier::MAX_PARTIES {
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!(work.leaders.load(SeqCst), 20);
    assert!(!work.barrier.is_broken());
}

#[test]
fn whatever_its_words_hold_waits_end() {
    fork(|_| {
        let work = work();
        let mut random = Random(9);
        for _ in 0..300 {
            scribble(&work.barrier, &mut random);
            let parties = random.below(32) as u32 + 1;
            if let Ok(member) = work.barrier.join(parties) {
                let _ = member.wait_timeout(SHORT);
                scribble(&work.barrier, &mut random);
                let _ = member.wait_timeout(SHORT);
            }
            work.barrier.reset();
        }
    })
    .succeed();
}
