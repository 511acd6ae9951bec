//! A mutex goes to whoever comes next, whatever becomes of its owner, and whatever other locks the owner held.

mod common;

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::fork;
use commons::sync::{LockError, LockState, MAX_HELD, Mutex, MutexGuard, SyncError};
use commons::{Attachment, Segment};

/// An anonymous segment with `T` at its beginning, zeroed.
struct Held<T> {
    attachment: Attachment,
    object: *const T,
}

impl<T> Held<T> {
    fn new() -> Held<T> {
        let attachment = Segment::anonymous(size_of::<T>().max(4096) as u64).unwrap().attach().unwrap();
        let object = attachment.as_ptr().cast();
        Held { attachment, object }
    }
}

// SAFETY: it gives out `&T` only.
unsafe impl<T: Sync> Sync for Held<T> {}

impl<T> std::ops::Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the attachment is large enough and page-aligned; the tests put types there that are valid when zero,
        // and change only behind locks or by atomics.
        unsafe { &*self.object }
    }
}

fn failed<T>(result: Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>>) -> SyncError {
    match result {
        Err(LockError::Failed(error)) => error,
        Err(LockError::OwnerDied(_)) => panic!("the owner died"),
        Ok(_) => panic!("it was had"),
    }
}

#[test]
fn processes_exclude_each_other() {
    let count = Held::<Mutex<u64>>::new();
    let children: Vec<_> = (0..4)
        .map(|_| {
            fork(|_| {
                for _ in 0..20_000 {
                    *count.lock().unwrap() += 1;
                }
            })
        })
        .collect();
    children.into_iter().for_each(common::Child::succeed);
    assert_eq!(*count.lock().unwrap(), 80_000);
    assert_eq!(count.state(), LockState::Free);
}

#[test]
fn a_killed_owner_is_told_of_once_and_at_once() {
    let mutex = Held::<Mutex<[u32; 2]>>::new();
    let mut owner = fork(|line| {
        let mut pair = mutex.lock().unwrap();
        pair[0] = 1;
        line.say();
        line.hear();
    });
    owner.hear();
    assert!(matches!(mutex.state(), LockState::Held { waiters: false, .. }));
    assert_eq!(failed(mutex.try_lock()), SyncError::WouldBlock);
    assert_eq!(failed(mutex.lock_timeout(Duration::from_millis(20))), SyncError::TimedOut);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let Err(LockError::OwnerDied(mut pair)) = mutex.lock() else { panic!("not told") };
            let heard = Instant::now();
            assert!(pair.owner_died());
            assert_eq!(*pair, [1, 0]);
            pair[1] = 1;
            drop(pair.recover());
            heard
        });
        while !matches!(mutex.state(), LockState::Held { waiters: true, .. }) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        let killed = Instant::now();
        owner.kill();
        let late = waiter.join().unwrap().duration_since(killed);
        assert!(late < Duration::from_secs(1), "it took {late:?}");
    });
    assert_eq!(*mutex.lock().unwrap(), [1, 1]);
}

#[test]
fn a_thread_that_ends_with_the_lock_is_told_of() {
    let mutex = Held::<Mutex<u32>>::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _kept = ManuallyDrop::new(mutex.lock().unwrap());
        });
    });
    // `scope` waits for the thread's closure, not for its end.
    let started = Instant::now();
    loop {
        match mutex.lock_timeout(Duration::from_millis(100)) {
            Err(LockError::OwnerDied(guard)) => return drop(guard.recover()),
            Err(LockError::Failed(SyncError::TimedOut)) => assert!(started.elapsed().as_secs() < 10),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_nobody_mends_is_unrecoverable_until_it_is_reset() {
    let mutex = Held::<Mutex<u32>>::new();
    fork(|_| {
        let _kept = ManuallyDrop::new(mutex.lock().unwrap());
    })
    .succeed();
    assert_eq!(mutex.state(), LockState::OwnerDied);
    let Err(LockError::OwnerDied(guard)) = mutex.lock() else { panic!("not told") };
    let waiting = fork(|_| assert_eq!(failed(mutex.lock()), SyncError::Unrecoverable));
    std::thread::sleep(Duration::from_millis(30));
    drop(guard);
    waiting.succeed();
    assert_eq!(mutex.state(), LockState::Unrecoverable);
    for _ in 0..3 {
        assert_eq!(failed(mutex.lock()), SyncError::Unrecoverable);
        assert_eq!(failed(mutex.try_lock()), SyncError::Unrecoverable);
    }
    assert!(mutex.reset());
    assert!(!mutex.reset());
    *mutex.lock_or_recover(|value| *value = 7).unwrap() += 1;
    assert_eq!(*mutex.lock().unwrap(), 8);
}

#[test]
fn locking_twice_is_an_error_also_through_a_second_mapping() {
    let segment = Segment::anonymous(4096).unwrap();
    let (one, two) = (segment.attach().unwrap(), segment.attach().unwrap());
    // SAFETY: both are large enough, aligned and zero; the mutex is valid so.
    let [one, two] = [&one, &two].map(|attachment| unsafe { &*attachment.as_ptr().cast::<Mutex<u32>>() });
    let guard = one.lock().unwrap();
    assert_eq!(failed(one.lock()), SyncError::WouldDeadlock);
    assert_eq!(failed(one.try_lock()), SyncError::WouldDeadlock);
    assert_eq!(failed(two.lock()), SyncError::WouldDeadlock);
    drop(guard);
    drop(two.lock().unwrap());
    drop(one.lock().unwrap());
}

#[test]
fn a_guard_in_a_forked_child_does_nothing() {
    let mutex = Held::<Mutex<u32>>::new();
    // `_Fork`, which runs no handlers.
    unsafe extern "C" {
        fn _Fork() -> libc::pid_t;
    }
    for plain in [true, false] {
        let guard = mutex.lock().unwrap();
        // SAFETY: the child calls only what may be called there, and ends.
        let pid = unsafe { if plain { libc::fork() } else { _Fork() } };
        if pid == 0 {
            drop(guard);
            let held = matches!(mutex.state(), LockState::Held { .. });
            let locked = matches!(mutex.try_lock(), Err(LockError::Failed(SyncError::WouldBlock)));
            let own = Mutex::new(1);
            let works = own.lock().is_ok_and(|value| *value == 1);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!(held && locked && works))) };
        }
        let mut status = 0;
        // SAFETY: reaps the child.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        drop(guard);
        assert_eq!(mutex.state(), LockState::Free);
    }
}

#[test]
fn a_child_of_a_threaded_program_locks_and_is_told_of() {
    let mutexes = Held::<[Mutex<u32>; 8]>::new();
    let stop = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.load(Relaxed) == 0 {
                    drop(mutexes[0].lock_or_recover(|_| ()).unwrap());
                }
            });
        }
        for _ in 0..50 {
            let child = fork(|_| {
                let _kept = ManuallyDrop::new(mutexes[1].lock().unwrap());
                drop(mutexes[0].lock_or_recover(|_| ()).unwrap());
            });
            child.succeed();
            let Err(LockError::OwnerDied(guard)) = mutexes[1].lock() else { panic!("not told") };
            drop(guard.recover());
        }
        stop.store(1, Relaxed);
    });
}

#[test]
fn exec_with_the_lock_held_is_a_death() {
    let mutex = Held::<Mutex<u32>>::new();
    let child = fork(|_| {
        let _kept = ManuallyDrop::new(mutex.lock().unwrap());
        let path = c"/bin/true";
        // SAFETY: the strings and arrays outlive the call.
        unsafe { libc::execv(path.as_ptr(), [path.as_ptr(), std::ptr::null()].as_ptr()) };
    });
    child.succeed();
    let Err(LockError::OwnerDied(guard)) = mutex.lock() else { panic!("not told") };
    drop(guard.recover());
}

#[test]
fn more_locks_than_the_kernel_follows_are_an_error_and_all_others_are_marked() {
    let many: Held<[Mutex<u32>; MAX_HELD + 1]> = Held::new();
    fork(|_| {
        let guards: Vec<_> = many[..MAX_HELD].iter().map(|mutex| mutex.lock().unwrap()).collect();
        assert_eq!(failed(many[MAX_HELD].lock()), SyncError::TooManyLocks);
        assert_eq!(failed(many[MAX_HELD].try_lock()), SyncError::TooManyLocks);
        std::mem::forget(guards);
    })
    .succeed();
    assert!(many[..MAX_HELD].iter().all(|mutex| mutex.state() == LockState::OwnerDied));
    assert_eq!(many[MAX_HELD].state(), LockState::Free);
}

#[test]
fn a_detached_segment_stays_mapped_while_a_forgotten_guard_needs_it() {
    fork(|_| {
        let (one, two) = (Held::<Mutex<u32>>::new(), Held::<Mutex<u32>>::new());
        std::mem::forget(one.lock().unwrap());
        let mutex = one.object;
        let guard = two.lock().unwrap();
        one.attachment.detach().unwrap();
        drop(guard);
        // SAFETY: what is being tested: it is mapped still.
        assert!(matches!(unsafe { (*mutex).state() }, LockState::Held { .. }));
        let three = Held::<Mutex<u32>>::new();
        drop(three.lock().unwrap());
    })
    .succeed();
}

/// What glibc has: robust mutexes, every other one inheriting priorities.
struct Glibc([std::cell::UnsafeCell<libc::pthread_mutex_t>; 20]);

impl Glibc {
    fn init(&self) {
        for (index, mutex) in self.0.iter().enumerate() {
            // SAFETY: nobody uses the mutex yet; the attributes live as long as the calls.
            unsafe {
                let mut attributes = std::mem::zeroed();
                libc::pthread_mutexattr_init(&raw mut attributes);
                libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
                libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
                if index % 2 == 1 {
                    libc::pthread_mutexattr_setprotocol(&raw mut attributes, libc::PTHREAD_PRIO_INHERIT);
                }
                assert_eq!(libc::pthread_mutex_init(mutex.get(), &raw const attributes), 0);
            }
        }
    }

    /// The futex word, which is the mutex's first.
    fn word(&self, index: usize) -> u32 {
        // SAFETY: the word is aligned, and changed atomically by whoever does.
        unsafe { (*self.0[index].get().cast::<AtomicU32>()).load(Relaxed) }
    }
}

#[repr(C, align(64))]
struct Both {
    ours: [Mutex<u32>; 20],
    theirs: Glibc,
    held: [AtomicU32; 40],
}

/// All bytes of a list's node in a lock of ours.
fn scribble(mutex: &Mutex<u32>) {
    for offset in [8_usize, 16, 24] {
        // SAFETY: within the mutex's 40 bytes of word and node, which nobody reads.
        unsafe {
            std::ptr::from_ref(mutex).cast_mut().cast::<u8>().add(offset).cast::<u64>().write(0xdead_beef)
        };
    }
}

#[test]
fn any_order_with_the_c_librarys_robust_and_inheriting_mutexes() {
    for run in 0..400_u64 {
        let both = Held::<Both>::new();
        both.theirs.init();
        let mut random = common::campaign::Random(run * 7919 + 1);
        let child = fork(|_| {
            let mut guards: [Option<MutexGuard<'_, u32>>; 20] = Default::default();
            for _ in 0..300 {
                let index = random.below(20) as usize;
                if random.once_in(2) {
                    guards[index] = match guards[index].take() {
                        Some(_) => {
                            both.held[index].store(0, Relaxed);
                            None
                        }
                        None => Some(both.ours[index].lock().unwrap()),
                    };
                    both.held[index].store(guards[index].is_some().into(), Relaxed);
                } else {
                    let (mutex, held) = (both.theirs.0[index].get(), &both.held[20 + index]);
                    // SAFETY: an initialised mutex, which this thread has just when `held` says so.
                    unsafe {
                        if held.load(Relaxed) == 1 {
                            assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
                        } else {
                            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
                        }
                    }
                    held.store(1 - held.load(Relaxed), Relaxed);
                }
                if run % 2 == 1 {
                    both.ours.iter().for_each(scribble);
                }
            }
            // SAFETY: kills this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        assert_eq!(child.status(), libc::SIGKILL, "run {run}");
        for index in 0..20 {
            let (ours, theirs) = (both.held[index].load(Relaxed), both.held[20 + index].load(Relaxed));
            let expected = if ours == 1 { LockState::OwnerDied } else { LockState::Free };
            assert_eq!(both.ours[index].state(), expected, "run {run}, {index}");
            const DIED: u32 = 0x4000_0000;
            assert_eq!(both.theirs.word(index) & !0x8000_0000, theirs * DIED, "run {run}, {index}");
        }
    }
}

#[test]
fn any_bits_in_a_lock_are_an_error_or_a_wait_with_an_end() {
    fork(|_| {
        let mutex = Held::<Mutex<u32>>::new();
        let words = mutex.object.cast::<AtomicU32>();
        let mut random = common::campaign::Random(99);
        for round in 0..2_000_u64 {
            for at in 0..10 {
                let bits = match random.below(4) {
                    0 => 0,
                    1 => u32::MAX,
                    _ => (random.below(1 << 32)) as u32,
                };
                // SAFETY: within the mutex, by atomics.
                unsafe { (*words.add(at)).store(bits, Relaxed) };
            }
            let timeout = Duration::from_micros(round % 3 * 500);
            match mutex.lock_timeout(timeout) {
                Ok(guard) | Err(LockError::OwnerDied(guard)) => {
                    // SAFETY: as above.
                    unsafe { (*words).store(random.below(1 << 32) as u32, Relaxed) };
                    drop(guard);
                }
                Err(LockError::Failed(_)) => {}
            }
        }
        // SAFETY: as above.
        (0..10).for_each(|at| unsafe { (*words.add(at)).store(0, Relaxed) });
        drop(mutex.lock().unwrap());
    })
    .succeed();
}
