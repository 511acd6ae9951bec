//! What is done once is done by one that lives; what is replaced as a whole is never seen in part.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::between::{scribble, until_asleep, zeroed, zeroed_and_read_only};
use common::campaign::Random;
use common::{Child, fork};
use commons::sync::{Once, OnceLock, SeqLock, SyncError};

const SHORT: Duration = Duration::from_millis(2);

#[repr(C)]
struct Site {
    once: Once,
    value: OnceLock<[u64; 8]>,
    begun: AtomicU32,
    finished: AtomicU32,
}

fn site() -> &'static Site {
    // SAFETY: locks without a value, and numbers, are valid when all zero.
    unsafe { zeroed() }
}

fn panics(body: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err()
}

#[test]
fn of_many_processes_one_does_it() {
    let site = site();
    let children: Vec<_> = (0..4)
        .map(|number| {
            fork(move |_| {
                let begin = || _ = site.begun.fetch_add(1, SeqCst);
                site.once.call_once(begin).unwrap();
                let value = site.value.get_or_init(|| [number; 8]).unwrap();
                assert!(site.once.is_completed() && value.iter().all(|part| *part == value[0]));
            })
        })
        .collect();
    children.into_iter().for_each(Child::succeed);
    assert_eq!(site.begun.load(SeqCst), 1);
    assert!(site.value.get().is_some() && !site.value.set([9; 8]).unwrap());
}

#[test]
fn when_one_is_killed_over_it_the_next_begins_anew() {
    let site = site();
    let mut doomed = fork(|line| {
        site.once
            .call_once(|| {
                site.begun.fetch_add(1, SeqCst);
                line.say();
                line.hear();
            })
            .unwrap();
    });
    doomed.hear();
    let next = fork(|_| {
        site.once
            .call_once(|| {
                site.begun.fetch_add(1, SeqCst);
                site.finished.fetch_add(1, SeqCst);
            })
            .unwrap();
    });
    until_asleep(next.pid);
    assert!(!site.once.is_completed());
    doomed.kill();
    next.succeed();
    assert!(site.once.is_completed());
    assert_eq!((site.begun.load(SeqCst), site.finished.load(SeqCst)), (2, 1));
}

#[test]
fn one_that_panics_or_fails_or_asks_itself_has_not_done_it() {
    let site = site();
    let panicked = panics(|| _ = site.once.call_once(|| std::panic::resume_unwind(Box::new(()))));
    assert!(panicked && !site.once.is_completed());
    let mut within = Ok(());
    site.once.call_once(|| within = site.once.call_once(|| ())).unwrap();
    assert_eq!(within, Err(SyncError::WouldDeadlock));

    let failed = site.value.get_or_try_init(|| Err(SyncError::Broken));
    assert_eq!(failed, Err(SyncError::Broken));
    assert_eq!(site.value.get(), None);
    assert!(site.value.set([4; 8]).unwrap());
    assert_eq!(site.value.get(), Some(&[4; 8]));
}

/// One that is as large as some cache lines, and not a whole number of words.
type Large = [u32; 63];

fn whole(value: Large) -> u32 {
    assert!(value.iter().all(|part| *part == value[0]), "torn: {value:?}");
    value[0]
}

/// Writers that are killed at any moment; what is read is whole, and never goes back.
#[test]
fn readers_see_whole_values_though_writers_are_killed() {
    // SAFETY: valid when all zero.
    let (lock, seen) = unsafe { zeroed_and_read_only::<SeqLock<Large>>() };
    let mut random = Random(21);
    let writer = || {
        fork(|_| {
            loop {
                lock.update(|value| [whole(value) + 1; 63]).unwrap();
                for _ in 0..100 {
                    std::hint::spin_loop();
                }
            }
        })
    };
    let reader = fork(|_| {
        let mut last = 0;
        while lock.try_read() != Some([u32::MAX; 63]) {
            let now = whole(seen.read());
            assert!(now >= last, "went back from {last} to {now}");
            last = now;
        }
    });
    let mut writers: Vec<_> = (0..2).map(|_| writer()).collect();
    for _ in 0..100 {
        let before = whole(seen.read());
        let begun = Instant::now();
        while whole(seen.read()) == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody can write any more");
        }
        for _ in 0..random.below(3000) {
            std::hint::spin_loop();
        }
        let at = random.below(2) as usize;
        std::mem::replace(&mut writers[at], writer()).kill();
    }
    eprintln!("{} values were seen to pass", whole(seen.read()));
    writers.into_iter().for_each(Child::kill);
    lock.write([u32::MAX; 63]).unwrap();
    reader.succeed();
}

#[test]
fn one_that_stands_still_half_way_blocks_writers_only() {
    // SAFETY: valid when all zero.
    let lock = unsafe { zeroed::<SeqLock<Large>>() };
    let mut writer = fork(|line| {
        lock.update(|_| {
            line.say();
            line.hear();
            [7; 63]
        })
        .unwrap();
    });
    writer.hear();
    assert_eq!(whole(lock.read()), 0);
    assert_eq!(lock.try_write([1; 63]), Err(SyncError::WouldBlock));
    assert_eq!(lock.write_timeout([1; 63], SHORT), Err(SyncError::TimedOut));
    writer.say();
    writer.succeed();
    assert_eq!(whole(lock.read()), 7);
    let mut within = Ok(());
    lock.update(|value| {
        within = lock.write([8; 63]);
        value
    })
    .unwrap();
    assert_eq!(within, Err(SyncError::WouldDeadlock));
    assert!(panics(|| _ = lock.update(|_| std::panic::resume_unwind(Box::new(())))));
    lock.write([9; 63]).unwrap();
    assert_eq!(whole(lock.read()), 9);
}

#[test]
fn whatever_their_words_hold_asking_ends() {
    fork(|_| {
        let site = site();
        // SAFETY: valid when all zero.
        let lock = unsafe { zeroed::<SeqLock<Large>>() };
        let mut random = Random(13);
        for _ in 0..1000 {
            scribble(site, &mut random);
            site.once.is_completed();
            site.value.get();
            scribble(lock, &mut random);
            let _ = lock.try_write([1; 63]);
            lock.read();
            lock.try_read();
        }
    })
    .succeed();
}
