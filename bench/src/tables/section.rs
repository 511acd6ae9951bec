//! The locks that processes contend for, and the short section behind them.

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicU32;

use anyhow::Result;
use commons::sync::{LockError, Mutex};

use crate::pthread;

/// Words that whoever has the lock changes.
pub(super) type Words = [u64; 4];

#[repr(C, align(128))]
struct Section(UnsafeCell<Words>);

/// A word on lines of its own.
#[repr(C, align(128))]
pub(super) struct Word(pub(super) AtomicU32);

/// All that is contended for.
#[repr(C)]
pub(super) struct Locks {
    commons: Mutex<Words>,
    plain: pthread::Mutex,
    robust: pthread::Mutex,
    section: Section,
}

/// Numbers of locks, for orders.
pub(super) const COMMONS_LOCK: u32 = 1;
pub(super) const PLAIN: u32 = 2;
pub(super) const ROBUST: u32 = 3;
/// The first that is not here.
pub(super) const OTHERS: u32 = 4;

impl Locks {
    /// Makes zeroed memory ready.
    pub(super) fn init(&self) -> Result<()> {
        self.plain.init(false)?;
        self.robust.init(true)
    }

    /// Takes one of the three, works a little, gives it back.
    #[inline(always)]
    pub(super) fn visit(&self, lock: u32) {
        let pthread = |mutex: &pthread::Mutex| {
            mutex.lock();
            // SAFETY: the mutex is had, and guards the section.
            unsafe { self.work() };
            mutex.unlock();
        };
        match lock {
            COMMONS_LOCK => match self.commons.lock() {
                Ok(mut section) => work(&mut section),
                Err(LockError::OwnerDied(section)) => drop(section.recover()),
                Err(LockError::Failed(_)) => {}
            },
            PLAIN => pthread(&self.plain),
            _ => pthread(&self.robust),
        }
    }

    /// Works a little, for whoever has a lock that is not here.
    ///
    /// # Safety
    ///
    /// Nobody else does at the same time.
    #[inline(always)]
    pub(super) unsafe fn work(&self) {
        // SAFETY: as the caller promises.
        work(unsafe { &mut *self.section.0.get() });
    }
}

/// A short section.
#[inline(always)]
fn work(section: &mut Words) {
    for word in section {
        // SAFETY: a word that is borrowed alone; volatile, so that it really is written.
        unsafe { std::ptr::from_mut(word).write_volatile(*word + 1) };
    }
}
