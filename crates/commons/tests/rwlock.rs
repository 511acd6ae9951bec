//! Many readers or one writer, in several processes, any of which may die.

mod common;

use std::sync::Barrier;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use common::{Child, Line, campaign::Random};
use commons::Segment;
use commons::sync::{LockError, LockState, MAX_HELD, RwLock, SyncError};

/// Memory that forked children share, zero at first. It stays.
fn shared<T>() -> &'static T {
    let size = size_of::<T>();
    // SAFETY: new memory, at an address that the kernel chooses.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: as large, page-aligned, never unmapped, and the types used here are valid when all bytes are zero.
    unsafe { &*memory.cast() }
}

type Lock = RwLock<AtomicU64>;

/// Starts a child that gets this far and then waits to be killed.
fn fork(body: impl FnOnce(&mut Line)) -> Child {
    let mut child = common::fork(|line| {
        body(line);
        line.say();
        line.hear();
    });
    child.hear();
    child
}

fn die_writing(lock: &Lock) {
    fork(|_| {
        let guard = lock.write().unwrap();
        guard.fetch_add(1, Relaxed);
        std::mem::forget(guard);
    })
    .kill();
}

fn failure<T, G>(result: Result<T, LockError<G>>) -> SyncError {
    match result {
        Ok(_) => panic!("it was had"),
        Err(LockError::OwnerDied(_)) => panic!("an owner died"),
        Err(LockError::Failed(error)) => error,
    }
}

/// Runs this in a child, since it might hang.
fn in_a_child(body: impl FnOnce()) {
    common::fork(|_| {
        // SAFETY: asks for a signal.
        unsafe { libc::alarm(20) };
        body();
    })
    .succeed();
}

/// In another thread, because this one may read already.
fn elsewhere<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(body).join().unwrap())
}

#[test]
fn readers_share_it_and_writers_do_not() {
    let lock = RwLock::new(7);
    let reader = lock.read().unwrap();
    assert_eq!(*reader, 7);
    elsewhere(|| {
        assert_eq!(*lock.try_read().unwrap(), 7);
        assert_eq!(failure(lock.try_write()), SyncError::WouldBlock);
    });
    assert_eq!(lock.readers().count(), 1);
    assert_eq!(lock.state(), LockState::Free);
    drop(reader);
    let mut writer = lock.try_write().unwrap();
    *writer = 8;
    elsewhere(|| {
        assert_eq!(failure(lock.try_read()), SyncError::WouldBlock);
        assert_eq!(failure(lock.try_write()), SyncError::WouldBlock);
        assert!(matches!(lock.state(), LockState::Held { .. }));
    });
    drop(writer);
    assert_eq!(*lock.read().unwrap(), 8);
    assert_eq!(format!("{lock:?}"), "RwLock { writer: Free, readers: [], .. }");
    assert_eq!(lock.into_inner(), 8);
}

#[test]
fn a_thread_that_has_it_is_told_instead_of_waiting_for_itself() {
    in_a_child(|| {
        let (lock, other) = (RwLock::new(0), RwLock::new(0));
        let reader = lock.read().unwrap();
        assert_eq!(failure(lock.read()), SyncError::WouldDeadlock);
        assert_eq!(failure(lock.write()), SyncError::WouldDeadlock);
        let another = other.read().unwrap();
        assert_eq!(failure(lock.try_read()), SyncError::WouldDeadlock);
        drop(reader);
        let writer = lock.write().unwrap();
        drop(another);
        assert_eq!(failure(lock.write()), SyncError::WouldDeadlock);
        assert_eq!(failure(lock.read()), SyncError::WouldDeadlock);
        drop(writer);
        drop(lock.write().unwrap());
    });
}

#[test]
fn also_if_the_memory_is_mapped_twice() {
    in_a_child(|| {
        let segment = Segment::anonymous(8192).unwrap();
        let (one, two) = (segment.attach().unwrap(), segment.attach().unwrap());
        // SAFETY: large enough, page-aligned, zero, and attached until the end.
        let (one, two): (&Lock, &Lock) = unsafe { (&*one.as_ptr().cast(), &*two.as_ptr().cast()) };
        let reader = one.read().unwrap();
        assert_eq!(failure(two.read()), SyncError::WouldDeadlock);
        assert_eq!(failure(two.write()), SyncError::WouldDeadlock);
        drop(reader);
        let writer = one.write().unwrap();
        assert_eq!(failure(two.read()), SyncError::WouldDeadlock);
        assert_eq!(failure(two.write()), SyncError::WouldDeadlock);
        drop(writer);
        drop(two.write().unwrap());
    });
}

#[test]
fn a_dead_reader_is_stepped_over_and_nobody_is_told() {
    let lock: &Lock = shared();
    for _ in 0..40 {
        let reader = fork(|_| std::mem::forget(lock.read().unwrap()));
        assert_eq!(failure(lock.try_write()), SyncError::WouldBlock);
        assert_eq!(lock.readers().collect::<Vec<_>>(), [reader.pid as u32]);
        reader.kill();
        drop(lock.try_write().unwrap());
        drop(lock.try_read().unwrap());
    }
    assert_eq!(lock.readers().count(), 0);
}

#[test]
fn after_a_dead_writer_the_next_one_mends_whether_it_reads_or_writes() {
    let lock: &Lock = shared();
    for _ in 0..20 {
        die_writing(lock);
        assert_eq!(lock.state(), LockState::OwnerDied);
        let Err(LockError::OwnerDied(guard)) = lock.try_read() else { panic!("not told") };
        assert!(guard.owner_died() && elsewhere(|| failure(lock.try_read())) == SyncError::WouldBlock);
        guard.store(5, Relaxed);
        let guard = guard.recover().downgrade();
        assert!(!guard.owner_died());
        assert_eq!(elsewhere(|| lock.try_read().unwrap().load(Relaxed)), 5);
        drop(guard);

        die_writing(lock);
        let Err(LockError::OwnerDied(guard)) = lock.try_write() else { panic!("not told") };
        drop(guard.recover());
        drop(lock.try_write().unwrap());

        die_writing(lock);
        assert_eq!(lock.read_or_recover(|value| *value.get_mut() = 9).unwrap().load(Relaxed), 9);
        die_writing(lock);
        assert_eq!(lock.write_or_recover(|value| *value.get_mut() = 10).unwrap().load(Relaxed), 10);
    }
}

#[test]
fn what_nobody_mended_nobody_gets_until_a_reset() {
    let lock: &Lock = shared();
    for downgrade in [false, true] {
        die_writing(lock);
        let Err(LockError::OwnerDied(guard)) = lock.read() else { panic!("not told") };
        if downgrade {
            let guard = guard.downgrade();
            assert!(guard.owner_died());
            assert_eq!(elsewhere(|| failure(lock.try_read())), SyncError::WouldBlock);
            let Ok(guard) = guard.try_upgrade() else { panic!("nobody else has it") };
            assert!(guard.owner_died());
            drop(guard.downgrade());
        } else {
            drop(guard);
        }
        for _ in 0..2 {
            assert_eq!(failure(lock.read()), SyncError::Unrecoverable);
            assert_eq!(failure(lock.try_write()), SyncError::Unrecoverable);
            common::fork(|_| assert_eq!(failure(lock.write()), SyncError::Unrecoverable)).succeed();
            assert_eq!(lock.state(), LockState::Unrecoverable);
        }
        assert!(lock.reset() && !lock.reset());
        drop(lock.write_or_recover(|_| {}).unwrap());
        drop(lock.read().unwrap());
    }
}

/// The shortest of some attempts: a busy machine may delay some, a wake-up that is missing delays all, until the waiter
/// looks again by itself after 50 ms.
fn shortest(attempt: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(attempt).take(10).min().unwrap()
}

#[test]
fn whoever_waits_goes_on_at_once_when_the_owner_is_killed() {
    let lock: &Lock = shared();
    let woken_after = |owner_writes: bool, waiter_writes: bool| {
        shortest(|| {
            let owner = fork(|_| {
                if owner_writes {
                    std::mem::forget(lock.write().unwrap());
                } else {
                    std::mem::forget(lock.read().unwrap());
                }
            });
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    if waiter_writes {
                        drop(lock.write_or_recover(|_| {}).unwrap());
                    } else {
                        drop(lock.read_or_recover(|_| {}).unwrap());
                    }
                    Instant::now()
                });
                let waits = || match lock.state() {
                    LockState::Held { waiters, .. } => waiters || !owner_writes,
                    _ => false,
                };
                while !waits() {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(2)); // perhaps not yet asleep, which does no harm
                let killed = Instant::now();
                owner.kill();
                waiter.join().unwrap().saturating_duration_since(killed)
            })
        })
    };
    for (owner_writes, waiter_writes) in [(true, true), (true, false), (false, true)] {
        let after = woken_after(owner_writes, waiter_writes);
        assert!(after < Duration::from_millis(30), "owner writes {owner_writes}: {after:?}");
    }
}

#[test]
fn a_waiting_writer_keeps_new_readers_out() {
    let lock = RwLock::new(0);
    let reader = lock.read().unwrap();
    let kept_out = Barrier::new(2);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write().unwrap() = 1);
        while lock.state() == LockState::Free {
            std::thread::yield_now();
        }
        let other = scope.spawn(|| {
            assert_eq!(failure(lock.try_read()), SyncError::WouldBlock);
            assert_eq!(failure(lock.read_timeout(Duration::from_millis(3))), SyncError::TimedOut);
            kept_out.wait();
            *lock.read().unwrap()
        });
        kept_out.wait();
        assert_eq!(*reader, 0);
        drop(reader);
        writer.join().unwrap();
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn who_runs_out_of_time_leaves_it_as_it_was() {
    let lock = RwLock::new(0);
    let soon = || Instant::now() + Duration::from_millis(3);
    let reader = lock.read().unwrap();
    elsewhere(|| {
        assert_eq!(failure(lock.write_timeout(Duration::from_millis(3))), SyncError::TimedOut);
        assert_eq!(failure(lock.write_until(soon())), SyncError::TimedOut);
        drop(lock.read_timeout(Duration::ZERO).unwrap());
    });
    drop(reader);
    let writer = lock.write().unwrap();
    elsewhere(|| {
        assert_eq!(failure(lock.read_timeout(Duration::from_millis(3))), SyncError::TimedOut);
        assert_eq!(failure(lock.read_until(soon())), SyncError::TimedOut);
        assert_eq!(failure(lock.write_timeout(Duration::ZERO)), SyncError::TimedOut);
    });
    drop(writer);
    drop(lock.write_timeout(Duration::MAX).unwrap());
}

#[test]
fn a_dead_writer_is_told_of_after_somebody_ran_out_of_time() {
    let lock: &Lock = shared();
    let reader = fork(|_| std::mem::forget(lock.read().unwrap()));
    let writer = common::fork(|_| drop(lock.write()));
    while lock.state() == LockState::Free {
        std::thread::yield_now();
    }
    writer.kill();
    // The reader that is still in keeps also those out that would be told.
    for _ in 0..3 {
        assert_eq!(failure(lock.try_read()), SyncError::WouldBlock);
        assert_eq!(failure(lock.write_timeout(Duration::from_millis(1))), SyncError::TimedOut);
        assert_eq!(lock.state(), LockState::OwnerDied);
    }
    reader.kill();
    let Err(LockError::OwnerDied(guard)) = lock.try_read() else { panic!("not told") };
    drop(guard.recover());
    drop(lock.try_read().unwrap());
}

#[test]
fn sixteen_read_and_the_next_one_waits() {
    let lock: &RwLock<AtomicU32> = shared();
    let leave = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let guard = lock.read().unwrap();
                    guard.fetch_add(1, SeqCst);
                    while !leave.load(SeqCst) {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        while lock.readers().count() < 16 {
            std::thread::yield_now();
        }
        assert_eq!(failure(lock.try_read()), SyncError::WouldBlock);
        assert_eq!(failure(lock.read_timeout(Duration::from_millis(3))), SyncError::TimedOut);
        let last = scope.spawn(|| lock.read().unwrap().load(SeqCst));
        std::thread::sleep(Duration::from_millis(5));
        leave.store(true, SeqCst);
        assert_eq!(last.join().unwrap(), 16);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    drop(lock.try_write().unwrap());
}

#[test]
fn from_writing_to_reading_and_back() {
    let lock = RwLock::new(1);
    let mut writer = lock.write().unwrap();
    *writer = 2;
    let reader = writer.downgrade();
    elsewhere(|| {
        assert_eq!(*lock.try_read().unwrap(), 2);
        assert_eq!(failure(lock.try_write()), SyncError::WouldBlock);
    });
    let Ok(mut writer) = reader.try_upgrade() else { panic!("nobody else reads") };
    *writer = 3;
    elsewhere(|| assert_eq!(failure(lock.try_read()), SyncError::WouldBlock));
    let reader = writer.downgrade();
    let reader = elsewhere_reading(&lock, || {
        let Err(reader) = reader.try_upgrade() else { panic!("somebody else reads") };
        reader
    });
    assert_eq!(*reader, 3);
    elsewhere(|| assert_eq!(*lock.try_read().unwrap(), 3));
}

/// Does this while another thread reads.
fn elsewhere_reading<R>(lock: &RwLock<i32>, body: impl FnOnce() -> R) -> R {
    let (reading, done) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _reader = lock.read().unwrap();
            reading.wait();
            done.wait();
        });
        reading.wait();
        let result = body();
        done.wait();
        result
    })
}

#[test]
fn a_forked_child_gives_nothing_back_and_gains_nothing() {
    let (one, two): (&Lock, &Lock) = (shared(), shared());
    let writer = one.write().unwrap();
    let reader = two.read().unwrap();
    // SAFETY: the child touches only the guards, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let reader = reader.try_upgrade().err();
            let downgraded = writer.downgrade();
            let kept = reader.is_some() && downgraded.try_upgrade().is_err();
            drop(reader);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!kept)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    elsewhere(|| {
        assert_eq!(failure(one.try_read()), SyncError::WouldBlock);
        assert_eq!(failure(two.try_write()), SyncError::WouldBlock);
    });
    assert_eq!((one.readers().count(), two.readers().count()), (0, 1));
    drop((writer, reader));
    drop((one.try_write().unwrap(), two.try_write().unwrap()));
}

#[test]
fn as_many_as_a_thread_may_hold_can_still_be_downgraded_and_the_kernel_finds_all() {
    let locks: &[Lock; MAX_HELD + 1] = shared();
    fork(|_| {
        let mut guards: Vec<_> = locks[1..].iter().map(|lock| lock.write().unwrap()).collect();
        assert_eq!(failure(locks[0].read()), SyncError::TooManyLocks);
        assert_eq!(failure(locks[0].write()), SyncError::TooManyLocks);
        let reader = guards.swap_remove(7).downgrade();
        assert_eq!(failure(locks[0].read()), SyncError::TooManyLocks);
        let Ok(writer) = reader.try_upgrade() else { panic!("nobody else reads") };
        std::mem::forget((guards, writer.downgrade()));
    })
    .kill();
    drop(locks[0].try_write().unwrap());
    for (number, lock) in locks.iter().enumerate().skip(1) {
        let expected = if number == 8 { LockState::Free } else { LockState::OwnerDied };
        assert_eq!((lock.state(), lock.readers().count()), (expected, 0), "{number}");
    }
}

#[test]
fn any_bytes_at_any_time_are_an_error_or_a_wait_with_an_end() {
    let lock: &'static Lock = shared();
    // SAFETY: the lock's own words, which everybody accesses atomically or writes for the kernel only.
    let words: &'static [AtomicU32; 272] = unsafe { &*std::ptr::from_ref(lock).cast() };
    let scribbler = common::fork(|line| {
        let mut random = Random(0x1bad_b002);
        line.say();
        loop {
            let any = random.below(1 << 32) as u32;
            let value = [0, 0, any, any & 0xff, 1 << 30, 1 << 31, any | 1 << 30][random.below(7) as usize];
            // The words proper more often than nodes and what is unused.
            let at = random.below(272) as usize;
            words[if random.once_in(2) { at & !15 } else { at }].store(value, Relaxed);
            if random.once_in(64) {
                std::thread::yield_now();
            }
        }
    });
    in_a_child(|| {
        let until = Instant::now() + Duration::from_millis(1500);
        std::thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    let mut random = Random(99 + number);
                    let short = Duration::from_micros(200);
                    while Instant::now() < until {
                        let reader = match random.below(5) {
                            0 => lock.try_read().ok(),
                            1 => lock.read_timeout(short).ok(),
                            2 => lock.try_write().ok().map(|guard| guard.downgrade()),
                            3 => lock
                                .write_timeout(short)
                                .map_or_else(|error| error.failed().err(), Some)
                                .map(|guard| guard.recover().downgrade()),
                            _ => {
                                lock.reset();
                                None
                            }
                        };
                        drop(reader.map(|reader| reader.try_upgrade()));
                    }
                });
            }
        });
        assert!(format!("{lock:?}").starts_with("RwLock"));
    });
    scribbler.kill();
}
