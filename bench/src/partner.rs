//! A second process on the other core: forked, so that it shares memory with this one, and killed at the end.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use commons::{Attachment, SegmentOptions};

use crate::harness::{futex, nanoseconds};
use crate::placement;

/// Memory of one type that partners share. Zero is a valid value of it.
pub(crate) struct Memory<T> {
    attachment: Attachment,
    object: std::marker::PhantomData<T>,
}

impl<T> Memory<T> {
    /// # Safety
    ///
    /// All zero is a valid `T`, and it is made of what several processes may change at a time.
    pub(crate) unsafe fn zeroed() -> Result<Memory<T>> {
        let size = (size_of::<T>() as u64).max(1);
        let attachment = SegmentOptions::new().size(size).anonymous("bench")?.attach()?;
        Ok(Memory { attachment, object: std::marker::PhantomData })
    }
}

impl<T> std::ops::Deref for Memory<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the attachment is large enough, page-aligned, and the caller of `zeroed` vouched for the rest.
        unsafe { &*self.attachment.as_ptr().cast() }
    }
}

/// A process that does as it is told, until it is dropped.
#[derive(Debug)]
pub(crate) struct Partner {
    pid: libc::pid_t,
}

impl Partner {
    /// Forks one that runs `body` on a core. It ends when `body` returns, when this is dropped, or with its parent.
    pub(crate) fn start(core: usize, body: impl FnOnce()) -> Result<Partner> {
        // SAFETY: the child touches what the parent had before and ends by `_exit`; the benchmark's other thread holds
        // no lock that the child needs.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error()).context("forking a partner"),
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let _ = placement::pin(core);
                body();
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            pid => Ok(Partner { pid }),
        }
    }

    /// Kills it, as by `kill -9`; it is reaped when dropped.
    pub(crate) fn kill(&self) {
        // SAFETY: a child that is not reaped yet.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.kill();
        // SAFETY: reaps it.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

/// A word by which partners begin and end together.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Baton(AtomicU32);

impl Baton {
    /// Changes it, and wakes whoever sleeps until it is [`changed`](Baton::changed).
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Release);
        futex(&self.0, libc::FUTEX_WAKE, u32::MAX >> 1);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Acquire)
    }

    /// Waits, asleep, until it has another value than this; gives that. A partner with nothing to do leaves its core to
    /// the partner of a helper, whose figures it would spoil.
    pub(crate) fn changed(&self, from: u32) -> u32 {
        loop {
            let now = self.get();
            if now != from {
                return now;
            }
            futex(&self.0, libc::FUTEX_WAIT, from);
        }
    }

    /// Waits, spinning, until it has this value.
    pub(crate) fn wait(&self, value: u32) {
        while self.get() != value {
            std::hint::spin_loop();
        }
    }
}

/// Two processes that do the same over and over, and count how often.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Duet {
    /// What to do; 0 to rest.
    order: Baton,
    /// What the partner does: [`BUSY`] or [`RESTS`].
    state: Baton,
    /// How often the partner did it in this round.
    partners: AtomicU64,
}

const BUSY: u32 = 1;
const RESTS: u32 = 2;

impl Duet {
    /// What the partner does, until it is dropped.
    #[inline(always)]
    pub(crate) fn serve(&self, act: impl Fn(u32)) {
        let mut order = 0;
        loop {
            order = self.order.changed(order);
            if order == 0 {
                self.state.set(RESTS);
                continue;
            }
            self.state.set(BUSY);
            let mut acts = 0;
            while self.order.get() == order {
                act(order);
                acts += 1;
            }
            self.partners.fetch_add(acts, Relaxed);
        }
    }

    /// Both do it for so long; `act` is this side's way. Nanoseconds for each, of either.
    #[inline(always)]
    pub(crate) fn round(&self, order: u32, length: Duration, mut act: impl FnMut()) -> f64 {
        const BATCH: u64 = 16;
        self.partners.store(0, Relaxed);
        self.order.set(order);
        self.state.wait(BUSY);
        let started = Instant::now();
        let mut acts = 0;
        while started.elapsed() < length {
            for _ in 0..BATCH {
                act();
            }
            acts += BATCH;
        }
        let took = nanoseconds(started);
        self.order.set(0);
        self.state.wait(RESTS);
        took / (acts + self.partners.load(Relaxed)) as f64
    }
}
