//! Each lock between the threads of one process, around data that is no atomic: what one did before, the next one sees.
//!
//! Under ThreadSanitizer (`.ci/thread-sanitizer`) an ordering that is missing is a race in this data.

use std::cell::UnsafeCell;
use std::time::Duration;

use commons::sync::{AutoEvent, Barrier, Condvar, Event, Mutex, Once, OnceLock, RwLock, Semaphore, SeqLock};
use commons::{Namespace, SegmentOptions};

const THREADS: usize = 4;
const ROUNDS: u64 = 3_000;

/// Data that only a lock keeps in order.
struct Plain(UnsafeCell<u64>);

// SAFETY: whoever touches it has a lock.
unsafe impl Sync for Plain {}

impl Plain {
    fn new() -> Plain {
        Plain(UnsafeCell::new(0))
    }

    fn get(&self) -> u64 {
        // SAFETY: as the tests claim, and the sanitizer checks.
        unsafe { *self.0.get() }
    }

    fn add(&self, more: u64) {
        // SAFETY: as above.
        unsafe { *self.0.get() += more };
    }
}

/// Runs it in all threads, each with its number.
fn all(body: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let body = &body;
            scope.spawn(move || body(number));
        }
    });
}

#[test]
fn a_mutex_orders_what_it_guards() {
    let mutex = Mutex::new(0_u64);
    all(|number| {
        for round in 0..ROUNDS {
            let guard = match (round + number as u64) % 3 {
                0 => mutex.try_lock(),
                1 => mutex.lock_timeout(Duration::from_millis(50)),
                _ => mutex.lock(),
            };
            if let Ok(mut guard) = guard {
                *guard += 1;
            }
        }
    });
    assert!(*mutex.lock().unwrap() >= THREADS as u64 * ROUNDS / 3);
}

#[test]
fn readers_and_writers_see_what_was_written() {
    let lock = RwLock::new([0_u64; 4]);
    all(|number| {
        for round in 0..ROUNDS {
            if (round + number as u64) % 4 == 0 {
                let mut guard = lock.write().unwrap();
                guard.iter_mut().for_each(|part| *part += 1);
                if round % 8 == 0 {
                    let guard = guard.downgrade();
                    assert_eq!(guard[0], guard[3]);
                }
            } else {
                let guard = lock.read().unwrap();
                assert_eq!(guard[0], guard[3]);
                if round % 16 == 1 {
                    if let Ok(mut guard) = guard.try_upgrade() {
                        guard.iter_mut().for_each(|part| *part += 1);
                    }
                }
            }
        }
    });
    assert!(lock.read().unwrap()[0] >= ROUNDS);
}

#[test]
fn a_condition_variable_waits_for_what_the_mutex_guards() {
    let (turn, changed) = (Mutex::new(0_usize), Condvar::new());
    all(|number| {
        for _ in 0..ROUNDS / 10 {
            let guard = turn.lock().unwrap();
            let mut guard = changed.wait_while(guard, |turn| *turn % THREADS != number).unwrap();
            *guard += 1;
            drop(guard);
            changed.notify_all();
        }
    });
    assert_eq!(*turn.lock().unwrap(), THREADS * (ROUNDS / 10) as usize);
}

#[test]
fn events_order_what_was_done_before_they_were_set() {
    let (data, there, back) = (Plain::new(), AutoEvent::new(), AutoEvent::new());
    let (once, ready) = (Plain::new(), Event::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                there.wait();
                assert_eq!(data.get(), 2 * round + 1);
                data.add(1);
                back.set();
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                ready.wait();
                assert_eq!(once.get(), 7);
            });
        }
        for _ in 0..ROUNDS {
            data.add(1);
            there.set();
            back.wait();
        }
        once.add(7);
        ready.set();
    });
    assert_eq!(data.get(), 2 * ROUNDS);
}

#[test]
fn a_barrier_orders_all_before_it_and_all_behind_it() {
    let barrier = Barrier::new();
    let data: [Plain; THREADS] = std::array::from_fn(|_| Plain::new());
    all(|number| {
        let member = barrier.join(THREADS as u32).unwrap();
        for round in 1..=ROUNDS / 10 {
            data[number].add(1);
            member.wait().unwrap();
            assert!(data.iter().all(|data| data.get() == round));
            member.wait().unwrap();
        }
    });
}

#[test]
fn what_is_done_once_is_seen_by_all() {
    for _ in 0..ROUNDS / 20 {
        let (once, lock, data) = (Once::new(), OnceLock::new(), Plain::new());
        all(|number| {
            once.call_once(|| data.add(1)).unwrap();
            assert_eq!(data.get(), 1);
            let value = lock.get_or_init(|| [number; 3]).unwrap();
            assert_eq!(value[0], value[2]);
        });
    }
}

#[test]
fn a_seqlock_is_read_while_it_is_written() {
    let lock = SeqLock::new([0_u64; 5]);
    all(|number| {
        let mut last = 0;
        for round in 0..ROUNDS {
            if (round + number as u64) % 4 == 0 {
                lock.update(|value| value.map(|part| part + 1)).unwrap();
            }
            let value = lock.read();
            assert!(value == [value[0]; 5] && value[0] >= last);
            last = value[0];
        }
    });
    assert_eq!(lock.read()[0], THREADS as u64 * ROUNDS / 4);
}

#[test]
fn a_semaphore_of_one_orders_what_it_guards() {
    let (semaphore, data) = (Semaphore::new(1), Plain::new());
    all(|_| {
        for _ in 0..ROUNDS {
            semaphore.wait();
            data.add(1);
            semaphore.post(1).unwrap();
        }
    });
    assert_eq!(data.get(), THREADS as u64 * ROUNDS);
}

/// Each thread may enter the attachment for the first time, and take what makes it missed, at the same moment. (The
/// moment is short: if what one of them entered is taken out again, this is seen to fail with a pause before that.)
#[test]
fn permits_of_threads_that_attach_an_object_at_once_are_not_given_back() {
    const ROUNDS: usize = 300;
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let namespace = Namespace::at(directory.path()).unwrap();
    let options = SegmentOptions::new().namespace(&namespace).size(4096);
    let segment = options.create("permits").unwrap();
    for _ in 0..ROUNDS {
        let attachment = segment.attach().unwrap();
        let all_there = std::sync::Barrier::new(THREADS);
        all(|_| {
            all_there.wait();
            let semaphore: &Semaphore = attachment.object(0).unwrap();
            semaphore.post(1).unwrap();
            let permit = semaphore.acquire().unwrap();
            all_there.wait();
            assert!(semaphore.try_acquire().is_err(), "all units are out");
            all_there.wait();
            drop(permit);
            all_there.wait();
            semaphore.wait();
        });
        assert_eq!(attachment.object::<Semaphore>(0).unwrap().value(), 0);
    }
}
