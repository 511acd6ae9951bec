//! Locks in memory that is one process's alone: forgetting a guard leads nobody through memory that is gone, and who waits
//! for an owner that is no more is told.

mod common;

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use common::fork;
use commons::sync::{Barrier, LockError, LockState, Mutex, RwLock, SyncError};
use commons::{Namespace, SharedOptions};

/// Longer than any wait for what nobody tells of.
const LONG: Duration = Duration::from_secs(5);

/// A page, mapped by hand.
struct Page(NonNull<u8>);

impl Page {
    const LEN: usize = 4096;

    fn new(flags: i32) -> Page {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping of its own.
        let page = unsafe { libc::mmap(null_mut(), Page::LEN, access, flags | libc::MAP_ANONYMOUS, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Page(NonNull::new(page.cast()).unwrap())
    }

    fn put<T>(&self, value: T) -> &T {
        assert!(size_of::<T>() <= Page::LEN);
        // SAFETY: large enough, aligned to a page, and nobody else's.
        unsafe {
            self.0.cast::<T>().write(value);
            self.0.cast::<T>().as_ref()
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: made by `new`; what borrowed it has ended.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Page::LEN) };
    }
}

/// What a lock of the given kind leaves in memory that is used for something else after a guard was forgotten: as many words
/// of the thread's id as there is room for, which the kernel would take for a lock of this thread's.
fn is_left_alone<T>(lock: T, take_and_forget: impl Fn(&T) + Sync)
where
    T: Send + Sync,
{
    let page = Page::new(libc::MAP_PRIVATE);
    let words = page.0.cast::<[AtomicU32; Page::LEN / 4]>();
    let at = words.as_ptr() as usize;
    let (older, newer) = (Mutex::new(0), Mutex::new(0));
    let shared = commons::Segment::anonymous(4096).unwrap().attach().unwrap();
    // SAFETY: of all zeros, aligned, and as long as the attachment.
    let older_shared = unsafe { shared.as_ptr().cast::<Mutex<u32>>().as_ref() }.unwrap();
    let lock = page.put(lock);
    let id = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let guards = (older.lock().unwrap(), older_shared.lock().unwrap());
            take_and_forget(lock);
            let last = newer.lock().unwrap();
            // SAFETY: gettid touches no memory.
            let id = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
            // SAFETY: nobody uses the lock any more; the words are atomics.
            let words = unsafe { &*(at as *const [AtomicU32; Page::LEN / 4]) };
            words.iter().for_each(|word| word.store(id, Relaxed));
            // Out of the middle of what the thread holds, and from the end; then the thread ends.
            drop(guards);
            drop(last);
            id
        });
        thread.join().unwrap()
    });
    // SAFETY: the page is there still, and has nothing but atomics.
    let words = unsafe { words.as_ref() };
    // The kernel goes through the thread's list after `join` has returned.
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        words.iter().all(|word| word.load(Relaxed) == id),
        "memory that was used for something else was changed"
    );
    assert_eq!(older.state(), LockState::Free);
    assert_eq!(older_shared.state(), LockState::Free);
    assert_eq!(newer.state(), LockState::Free);
}

#[test]
fn memory_of_a_mutex_whose_guard_was_forgotten_can_be_used_again() {
    is_left_alone(Mutex::new(1_u32), |mutex| std::mem::forget(mutex.lock().unwrap()));
}

#[test]
fn memory_of_an_rwlock_whose_guard_was_forgotten_can_be_used_again() {
    is_left_alone(RwLock::new(1_u32), |lock| std::mem::forget(lock.read().unwrap()));
    is_left_alone(RwLock::new(1_u32), |lock| std::mem::forget(lock.write().unwrap()));
}

#[test]
fn memory_of_a_barrier_whose_member_was_forgotten_can_be_used_again() {
    is_left_alone(Barrier::new(), |barrier| std::mem::forget(barrier.join(2).unwrap()));
}

#[test]
fn an_owner_that_returned_is_found_out() {
    let (mutex, lock) = (Mutex::new(7_u32), RwLock::new(7_u32));
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget((mutex.lock().unwrap(), lock.write().unwrap())));
    });
    // `scope` waits for the closure only; the kernel's thread ends a moment later.
    match mutex.lock_timeout(LONG) {
        Err(LockError::OwnerDied(guard)) => assert_eq!(*guard.recover(), 7),
        Err(LockError::Failed(error)) => panic!("{error}"),
        Ok(_) => panic!("taken as if nothing had happened"),
    }
    assert!(matches!(lock.write_timeout(LONG), Err(LockError::OwnerDied(_))));
    // A lock that is given back in order is free.
    assert_eq!(mutex.state(), LockState::Free);
}

#[test]
fn a_second_time_in_one_thread_is_an_error() {
    let mutex = Mutex::new(1);
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Failed(SyncError::WouldDeadlock))));
    drop(guard);
    drop(mutex.lock().unwrap());

    let lock = RwLock::new(1);
    let reading = lock.read().unwrap();
    assert!(matches!(lock.read(), Err(LockError::Failed(SyncError::WouldDeadlock))));
    assert!(matches!(lock.write(), Err(LockError::Failed(SyncError::WouldDeadlock))));
    drop(reading);
    let writing = lock.write().unwrap();
    assert!(matches!(lock.read(), Err(LockError::Failed(SyncError::WouldDeadlock))));
    assert!(matches!(lock.write(), Err(LockError::Failed(SyncError::WouldDeadlock))));
    drop(writing);
    drop(lock.write().unwrap());
}

#[test]
fn threads_exclude_each_other() {
    let (mutex, lock) = (Mutex::new(0_u64), RwLock::new(0_u64));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    *mutex.lock().unwrap() += 1;
                    *lock.write().unwrap() += 1;
                    let _ = *lock.read().unwrap();
                }
            });
        }
    });
    assert_eq!((*mutex.lock().unwrap(), *lock.read().unwrap()), (80_000, 80_000));
}

#[test]
fn a_forked_child_is_told_that_its_copy_has_no_owner() {
    let mutex = Mutex::new(3_u32);
    let held = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = mutex.lock().unwrap();
            held.wait();
            held.wait();
        });
        held.wait();
        // The thread that has it is not in the child.
        let child = fork(|_| assert!(matches!(mutex.lock_timeout(LONG), Err(LockError::OwnerDied(_)))));
        let succeeded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| child.succeed()));
        let is_held = matches!(mutex.try_lock(), Err(LockError::Failed(SyncError::WouldBlock)));
        held.wait();
        assert!(succeeded.is_ok() && is_held);
    });
    // A guard that a child inherits gives nothing back there, and the parent's lock stays the parent's.
    let guard = mutex.lock().unwrap();
    let address = std::ptr::from_ref(&guard) as usize;
    fork(move |_| {
        // SAFETY: the child's copy of the parent's guard, which it alone drops.
        drop(unsafe { (address as *const commons::sync::MutexGuard<'_, u32>).read() });
    })
    .succeed();
    drop(guard);
    assert_eq!(mutex.state(), LockState::Free);
}

#[test]
fn shared_memory_that_was_mapped_by_hand_is_told_apart() {
    let page = Page::new(libc::MAP_SHARED);
    let mutex = page.put(Mutex::new(1_u32));
    fork(|_| std::mem::forget(mutex.lock().unwrap())).succeed();
    // Told by the kernel: at once, also before anybody waits.
    assert_eq!(mutex.state(), LockState::OwnerDied);
}

#[test]
fn an_initial_value_brings_locks_that_survive_their_owners() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let namespace = Namespace::at(directory.path()).unwrap();
    let shared =
        SharedOptions::<RwLock<u64>>::new().namespace(&namespace).value(RwLock::new(5)).create("x").unwrap();
    fork(|_| std::mem::forget(shared.write().unwrap())).succeed();
    match shared.read() {
        Err(LockError::OwnerDied(_)) => {}
        _ => panic!("the owner's death was not told"),
    }
}

#[test]
fn a_child_of_a_threaded_program_needs_no_allocator() {
    // `_Fork` runs no handlers: another thread's hold on the allocator is for ever in the child.
    unsafe extern "C" {
        fn _Fork() -> libc::pid_t;
    }
    fork(|_| {
        // A thread's first lock of all does need it.
        drop(Mutex::new(0).lock().unwrap());
        let over = AtomicU32::new(0);
        std::thread::scope(|scope| {
            // More than the C library has heaps for, so that they share this one's.
            for _ in 0..40 {
                scope.spawn(|| {
                    while over.load(Relaxed) == 0 {
                        drop(std::hint::black_box(Vec::<u8>::with_capacity(3000)));
                    }
                });
            }
            let worked = (0..60).all(|_| {
                // SAFETY: the child takes a lock of its own, allocates nothing, and ends.
                let pid = unsafe { _Fork() };
                if pid == 0 {
                    // SAFETY: ends the child if it hangs.
                    unsafe { libc::alarm(2) };
                    let own = Mutex::new(1);
                    let works = own.lock().is_ok_and(|value| *value == 1);
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(i32::from(!works)) };
                }
                let mut status = 0;
                // SAFETY: reaps the child.
                unsafe { libc::waitpid(pid, &raw mut status, 0) == pid && status == 0 }
            });
            over.store(1, Relaxed);
            assert!(worked);
        });
    })
    .succeed();
}
