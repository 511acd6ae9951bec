//! The C library's locks, shared between processes, as what to compare with.

use std::cell::UnsafeCell;
use std::mem::zeroed;

use anyhow::{Result, ensure};

/// A `pthread_mutex_t` in shared memory.
#[repr(C, align(64))]
pub(crate) struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for being used by several threads.
unsafe impl Sync for Mutex {}

impl Mutex {
    /// Makes zeroed memory an unlocked mutex.
    pub(crate) fn init(&self, robust: bool) -> Result<()> {
        // SAFETY: nobody uses the mutex yet; the attributes outlive the calls.
        let done = unsafe {
            let mut attributes = zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            if robust {
                libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            }
            libc::pthread_mutex_init(self.0.get(), &raw const attributes)
        };
        ensure!(done == 0, "pthread_mutex_init: {done}");
        Ok(())
    }

    /// Locks; a dead owner's mutex is made consistent.
    #[inline]
    pub(crate) fn lock(&self) {
        // SAFETY: it was initialised.
        if unsafe { libc::pthread_mutex_lock(self.0.get()) } == libc::EOWNERDEAD {
            // SAFETY: as above, and it is had.
            unsafe { libc::pthread_mutex_consistent(self.0.get()) };
        }
    }

    /// Whether somebody sleeps to have it: the highest bit of its futex.
    pub(crate) fn has_waiter(&self) -> bool {
        // SAFETY: glibc has the futex first in its mutex, and changes it atomically.
        let futex = unsafe { &*self.0.get().cast::<std::sync::atomic::AtomicU32>() };
        futex.load(std::sync::atomic::Ordering::Relaxed) >> 31 == 1
    }

    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: it was initialised; whoever calls this has it.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// A `pthread_rwlock_t` in shared memory.
#[repr(C, align(64))]
pub(crate) struct RwLock(UnsafeCell<libc::pthread_rwlock_t>);

// SAFETY: as for the mutex.
unsafe impl Sync for RwLock {}

impl RwLock {
    /// Makes zeroed memory an unlocked one.
    pub(crate) fn init(&self) -> Result<()> {
        // SAFETY: nobody uses the lock yet; the attributes outlive the calls.
        let done = unsafe {
            let mut attributes = zeroed();
            libc::pthread_rwlockattr_init(&raw mut attributes);
            libc::pthread_rwlockattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_rwlock_init(self.0.get(), &raw const attributes)
        };
        ensure!(done == 0, "pthread_rwlock_init: {done}");
        Ok(())
    }

    /// Locks for reading, and unlocks.
    #[inline]
    pub(crate) fn read(&self) {
        // SAFETY: it was initialised.
        unsafe {
            libc::pthread_rwlock_rdlock(self.0.get());
            libc::pthread_rwlock_unlock(self.0.get());
        }
    }
}

/// A `sem_t` in shared memory.
#[repr(C, align(64))]
pub(crate) struct Semaphore(UnsafeCell<libc::sem_t>);

// SAFETY: as for the mutex.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    /// Makes zeroed memory a semaphore with this value.
    pub(crate) fn init(&self, value: u32) -> Result<()> {
        // SAFETY: nobody uses the semaphore yet.
        let done = unsafe { libc::sem_init(self.0.get(), 1, value) };
        ensure!(done == 0, "sem_init: {}", std::io::Error::last_os_error());
        Ok(())
    }

    pub(crate) fn wait(&self) {
        // SAFETY: it was initialised. A signal may interrupt.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }

    pub(crate) fn post(&self) {
        // SAFETY: it was initialised.
        unsafe { libc::sem_post(self.0.get()) };
    }

    /// Takes one, and gives it back.
    #[inline]
    pub(crate) fn wait_and_post(&self) {
        // SAFETY: it was initialised.
        unsafe {
            libc::sem_wait(self.0.get());
            libc::sem_post(self.0.get());
        }
    }
}

/// A `pthread_cond_t` in shared memory, with the mutex and the flag that belong to it.
#[repr(C, align(128))]
pub(crate) struct Flag {
    mutex: Mutex,
    condition: UnsafeCell<libc::pthread_cond_t>,
    set: UnsafeCell<bool>,
}

// SAFETY: as for the mutex, which guards the flag.
unsafe impl Sync for Flag {}

impl Flag {
    /// Makes zeroed memory a flag that is not set.
    pub(crate) fn init(&self) -> Result<()> {
        self.mutex.init(false)?;
        // SAFETY: nobody uses the condition yet; the attributes outlive the calls.
        let done = unsafe {
            let mut attributes = zeroed();
            libc::pthread_condattr_init(&raw mut attributes);
            libc::pthread_condattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_cond_init(self.condition.get(), &raw const attributes)
        };
        ensure!(done == 0, "pthread_cond_init: {done}");
        Ok(())
    }

    /// Sets it, and wakes who waits; `before` runs just before that.
    pub(crate) fn set(&self, before: impl FnOnce()) {
        self.mutex.lock();
        // SAFETY: the mutex is had.
        unsafe { *self.set.get() = true };
        self.mutex.unlock();
        before();
        // SAFETY: it was initialised.
        unsafe { libc::pthread_cond_signal(self.condition.get()) };
    }

    /// Waits until it is set, and takes it back.
    pub(crate) fn wait(&self) {
        self.mutex.lock();
        // SAFETY: the mutex is had whenever the flag is looked at; the condition was initialised.
        unsafe {
            while !*self.set.get() {
                libc::pthread_cond_wait(self.condition.get(), self.mutex.0.get());
            }
            *self.set.get() = false;
        }
        self.mutex.unlock();
    }
}

/// A `pthread_barrier_t` in shared memory.
#[repr(C, align(64))]
pub(crate) struct Barrier(UnsafeCell<libc::pthread_barrier_t>);

// SAFETY: as for the mutex.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// Makes zeroed memory a barrier for so many.
    pub(crate) fn init(&self, count: u32) -> Result<()> {
        // SAFETY: nobody uses the barrier yet; the attributes outlive the calls.
        let done = unsafe {
            let mut attributes = zeroed();
            libc::pthread_barrierattr_init(&raw mut attributes);
            libc::pthread_barrierattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_barrier_init(self.0.get(), &raw const attributes, count)
        };
        ensure!(done == 0, "pthread_barrier_init: {done}");
        Ok(())
    }

    pub(crate) fn wait(&self) {
        // SAFETY: it was initialised.
        unsafe { libc::pthread_barrier_wait(self.0.get()) };
    }
}
