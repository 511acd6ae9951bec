//! A stretch of code that neither a signal nor a fork interrupts.
//!
//! A handler that ran in the middle, and called one of the functions of this library, would wait for the thread that
//! it interrupted. A child that was forked in the middle would get a copy of a descriptor that nobody there will close,
//! and with it a lock that nobody gives back. So all signals are blocked, and the handlers of `pthread_atfork` take the
//! same lock. `vfork` and `posix_spawn` do not run those; their children drop the copies when they execute a program,
//! and share this memory until then.
//!
//! The lock is a futex of this process's own: 0 free, 1 taken, 2 taken and somebody may be waiting. In a forked child it
//! is the forking thread that has it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::kernel;

static LOCK: AtomicU32 = AtomicU32::new(0);

/// While it lives, no signal handler runs in this thread, no fork happens in this process, and no other thread is in
/// such a stretch. Not to be nested.
#[derive(Debug)]
pub(crate) struct Quiet {
    /// The signals that were blocked before.
    before: libc::sigset_t,
    stays: PhantomData<*const ()>,
}

impl Quiet {
    pub(crate) fn new() -> Quiet {
        // SAFETY: zeros are a value of this structure; `sigfillset` and `pthread_sigmask` fill those that they get.
        let before = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            before
        };
        lock();
        Quiet { before, stays: PhantomData }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        unlock();
        // SAFETY: restores what `new` found, in the same thread: the type is not `Send`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

fn lock() {
    if LOCK.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
        return;
    }
    while LOCK.swap(2, Acquire) != 0 {
        let arguments =
            [LOCK.as_ptr().addr(), (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize, 2, 0, 0, 0];
        // SAFETY: the word is a static. Whatever the call says, the word is looked at again.
        let _ = unsafe { kernel::call(libc::SYS_futex, arguments) };
    }
}

fn unlock() {
    if LOCK.swap(0, Release) == 2 {
        let arguments =
            [LOCK.as_ptr().addr(), (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize, 1, 0, 0, 0];
        // SAFETY: the word is a static.
        let _ = unsafe { kernel::call(libc::SYS_futex, arguments) };
    }
}

/// What the thread that forks holds from before to after.
struct Forking(UnsafeCell<Option<Quiet>>);
// SAFETY: touched only by the thread that has the lock.
unsafe impl Sync for Forking {}
static FORKING: Forking = Forking(UnsafeCell::new(None));

/// Before a fork: as [`Quiet::new`].
pub(crate) extern "C" fn before_fork() {
    let quiet = Quiet::new();
    // SAFETY: this thread has the lock.
    unsafe { *FORKING.0.get() = Some(quiet) };
}

/// After it, in parent and child.
pub(crate) extern "C" fn after_fork() {
    // SAFETY: `before_fork` took the lock, in the thread that this is, or is a copy of.
    let quiet = unsafe { (*FORKING.0.get()).take() };
    drop(quiet);
}
