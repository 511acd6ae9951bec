//! A lock whose owner is gone without the kernel's having said so is taken over, in a segment all of whose holders
//! are in this pid namespace, and nowhere else.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{Private, fork};
use commons::sync::{LockError, LockState, Mutex, SyncError};
use commons::{Attachment, Segment};

fn attach(segment: &Segment) -> Attachment {
    let attachment = segment.attach().unwrap();
    attachment.register();
    attachment
}

fn mutex(attachment: &Attachment) -> &Mutex<u64> {
    // SAFETY: the attachment is large enough and page-aligned, and lives as long as the reference; any bytes are a
    // mutex around a number.
    unsafe { &*attachment.as_ptr().cast::<Mutex<u64>>() }
}

fn word(attachment: &Attachment) -> &AtomicU32 {
    &attachment.atomics::<AtomicU32>(..4).unwrap()[0]
}

/// Locks what somebody left behind; how long that took.
fn take_over(mutex: &Mutex<u64>) -> Duration {
    let begun = Instant::now();
    match mutex.lock_timeout(Duration::from_secs(20)) {
        Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
        other => panic!("not taken over: {:?}", other.map(|guard| *guard)),
    }
    assert_eq!(mutex.state(), LockState::Free);
    begun.elapsed()
}

fn thread_id() -> u32 {
    // SAFETY: cannot fail, and touches no memory.
    unsafe { libc::gettid() as u32 }
}

#[test]
fn a_thread_that_is_not_the_first_calls_exec_with_a_lock_held() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = attach(&segment);
    let mutex = mutex(&attachment);
    let mut child = fork(|line| {
        // What is executed lives on for longer than the test.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _guard = mutex.lock().unwrap();
                line.say();
                line.hear();
                let program = [c"sleep".as_ptr(), c"30".as_ptr(), std::ptr::null()];
                // SAFETY: the arguments end with a null pointer.
                unsafe { libc::execvp(program[0], program.as_ptr()) };
                panic!("no program 'sleep'");
            });
        });
    });
    child.hear();
    let held = mutex.state();
    assert!(matches!(held, LockState::Held { thread, .. } if thread != child.pid as u32), "{held:?}");
    child.say();
    let took = take_over(mutex);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    println!("taken over from a thread that called exec after {took:?}");
    child.kill();
}

#[test]
fn a_word_with_the_id_of_no_thread_is_taken_over() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = attach(&segment);
    for id in [0x3fff_ffff, 0x3f00_0000] {
        word(&attachment).store(id, Relaxed);
        let took = take_over(mutex(&attachment));
        assert!(took < Duration::from_secs(5), "it took {took:?}");
    }
}

#[test]
fn a_word_with_the_callers_own_id_is_taken_over() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = attach(&segment);
    word(&attachment).store(thread_id(), Relaxed);
    let took = take_over(mutex(&attachment));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

#[test]
fn an_owner_that_lives_is_waited_for() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = attach(&segment);
    let mutex = mutex(&attachment);
    let mut child = fork(|line| {
        let own = private.options().open("x").unwrap();
        let attachment = attach(&own);
        let _guard = self::mutex(&attachment).lock().unwrap();
        line.say();
        line.hear();
    });
    child.hear();
    let failed = mutex.lock_timeout(Duration::from_millis(400)).map(drop).unwrap_err();
    assert!(matches!(failed, LockError::Failed(SyncError::TimedOut)));
    child.say();
    child.succeed();
}

#[test]
fn where_nobody_knows_the_holders_nothing_is_taken_over() {
    let private = Private::new();
    let waited_for = |attachment: &Attachment| {
        word(attachment).store(0x3fff_ffff, Relaxed);
        let failed = mutex(attachment).lock_timeout(Duration::from_millis(300)).map(drop).unwrap_err();
        assert!(matches!(failed, LockError::Failed(SyncError::TimedOut)));
    };
    // Not asked for by anybody.
    let segment = private.options().create("x").unwrap();
    waited_for(&segment.attach().unwrap());
    // No holders are known of.
    waited_for(&attach(&private.options().anonymous("x").unwrap()));
}

#[test]
fn a_holder_in_another_pid_namespace_forbids_it() {
    if !common::is_root("a_holder_in_another_pid_namespace_forbids_it") {
        return;
    }
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let attachment = attach(&segment);
    let mut outer = fork(|line| {
        // SAFETY: this child's children are in a namespace of their own from now on.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        let inner = fork(|_| {
            // Its own `/proc/self/ns/pid` is what tells the namespace.
            let _own = private.options().open("x").unwrap();
            line.say();
            line.hear();
        });
        inner.succeed();
    });
    outer.hear();
    word(&attachment).store(0x3fff_ffff, Relaxed);
    let failed = mutex(&attachment).lock_timeout(Duration::from_millis(300)).map(drop).unwrap_err();
    assert!(matches!(failed, LockError::Failed(SyncError::TimedOut)));
    outer.say();
    outer.succeed();
    take_over(mutex(&attachment));
}
