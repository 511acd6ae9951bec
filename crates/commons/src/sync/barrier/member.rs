//! Waiting at a barrier: what a thread that has joined does until all have come, or one cannot come any more. Why that
//! loses no wake-up, and what a death at each step comes to, is argued [above](super).

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use super::state::{BROKEN, ONE, PHASE, SLEEPERS, come, epoch, flags_of, next_phase, parties};
use super::{Barrier, PLACES};
use crate::sync::backoff::{Deadline, Pace};
use crate::sync::error::SyncError;
use crate::sync::owner;
use crate::sync::primitive::{self, Waited};
use crate::sync::spin::Spin;
use crate::sync::thread::Record;
use crate::sync::word::{LOOK, OWNER, OWNER_DIED, WAITERS, Word};

/// Whether a dead thread was a member in this epoch, and has its place still.
fn is_dead(place: &Word, epoch: u32) -> bool {
    let is_marked = || {
        let word = place.load(Acquire);
        word & OWNER == 0 && word & OWNER_DIED != 0
    };
    // Once more, since somebody may have taken the place of an earlier epoch's dead and written its own epoch.
    is_marked() && place.flags().load(Acquire) == flags_of(epoch) && is_marked()
}

/// A thread's part in a [`Barrier`]; dropped, the thread takes part no longer.
///
/// Stays in its thread. Dropped while others wait, or by a panic, it breaks the barrier. Dropped in a forked child it
/// does nothing.
#[must_use = "dropping it ends the thread's taking part"]
pub struct BarrierMember<'b> {
    barrier: &'b Barrier,
    place: &'b Word,
    parties: u32,
    epoch: u32,
    stays: PhantomData<*const ()>,
}

/// What a member learns when all have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// True for one of the members: the last one that came.
    pub fn is_leader(self) -> bool {
        self.0
    }
}

impl<'b> BarrierMember<'b> {
    /// Of the thread that has just taken the place.
    pub(super) fn new(barrier: &'b Barrier, place: &'b Word, parties: u32, epoch: u32) -> BarrierMember<'b> {
        BarrierMember { barrier, place, parties, epoch, stays: PhantomData }
    }

    /// Waits until all have come.
    ///
    /// # Errors
    ///
    /// [`SyncError::Broken`] if a member died, or left while others waited, or the barrier was reset: then drop this, and
    /// join anew after a [reset](Barrier::reset). [`SyncError::Mismatch`] in a forked child, which takes no part, and if somebody
    /// wrote over the number of parties.
    #[doc(alias = "pthread_barrier_wait")]
    #[inline]
    pub fn wait(&self) -> Result<BarrierWaitResult, SyncError> {
        self.come_and_wait(|| Deadline::Never)
    }

    /// Waits until all have come, so long at most.
    ///
    /// # Errors
    ///
    /// [`SyncError::TimedOut`]: then it is as if this member had not come, and it may wait again. Otherwise as
    /// [`wait`](BarrierMember::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, SyncError> {
        self.come_and_wait(|| Deadline::after(timeout))
    }

    /// Waits until all have come, until that moment at most, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](BarrierMember::wait_timeout).
    pub fn wait_until(&self, moment: Instant) -> Result<BarrierWaitResult, SyncError> {
        self.come_and_wait(|| Deadline::At(moment))
    }

    /// Asks the clock only if it comes to waiting.
    fn come_and_wait(&self, deadline: impl FnOnce() -> Deadline) -> Result<BarrierWaitResult, SyncError> {
        if !self.is_mine() {
            return Err(SyncError::Mismatch("a forked child takes no part in its parent's barrier; join it"));
        }
        let state = &self.barrier.state;
        let mut seen = state.load(Relaxed);
        loop {
            if seen & BROKEN != 0 || epoch(seen) != self.epoch {
                return Err(SyncError::Broken);
            }
            if parties(seen) != self.parties {
                return Err(SyncError::Mismatch("the barrier's number of parties has been overwritten"));
            }
            let last = come(seen) + 1 >= self.parties;
            let next = if last { next_phase(seen) } else { seen + ONE };
            match state.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Err(now) => seen = now,
                Ok(_) if last => {
                    if seen & SLEEPERS != 0 {
                        primitive::wake(state, u32::MAX);
                    }
                    return Ok(BarrierWaitResult(true));
                }
                Ok(_) => return self.wait_slowly(seen, deadline()),
            }
        }
    }

    /// What became of the phase in which this member came; `None` if nothing yet.
    fn outcome(&self, came: u32, now: u32) -> Option<Result<BarrierWaitResult, SyncError>> {
        if epoch(now) != self.epoch {
            return Some(Err(SyncError::Broken));
        }
        if now & PHASE != came & PHASE {
            return Some(Ok(BarrierWaitResult(false)));
        }
        (now & BROKEN != 0).then_some(Err(SyncError::Broken))
    }

    #[cold]
    fn wait_slowly(&self, came: u32, deadline: Deadline) -> Result<BarrierWaitResult, SyncError> {
        let state = &self.barrier.state;
        let mut spin = Spin::new();
        let mut pace = Pace::new();
        loop {
            let seen = state.load(Acquire);
            if let Some(outcome) = self.outcome(came, seen) {
                spin.came();
                return outcome;
            }
            if spin.again() {
                continue;
            }
            let told = seen | SLEEPERS;
            if seen != told && state.compare_exchange(seen, told, Relaxed, Relaxed).is_err() {
                continue;
            }
            let left = match deadline.left() {
                Ok(left) => left,
                Err(error) => return self.give_up(came, error),
            };
            self.sleep(told, left, &mut pace);
            // Before anything else: this may be the only one that was woken by somebody's death.
            if self.others().any(|place| is_dead(place, self.epoch)) {
                self.barrier.break_it(self.epoch);
                continue;
            }
            let seen = state.load(Acquire);
            if seen & BROKEN != 0 || epoch(seen) != self.epoch {
                primitive::wake(state, u32::MAX);
            }
        }
    }

    /// Sleeps while all is as it was seen. If anybody is dead, or dies meanwhile, it does not sleep (on).
    fn sleep(&self, told: u32, left: Option<Duration>, pace: &mut Pace) {
        let state = &self.barrier.state;
        let mut words = [(state, told); PLACES];
        let mut count = 1;
        for place in self.others() {
            let mut seen = place.load(Relaxed);
            while seen & WAITERS == 0 {
                match place.futex().compare_exchange_weak(seen, seen | WAITERS, Relaxed, Relaxed) {
                    Ok(_) => seen |= WAITERS,
                    Err(now) => seen = now,
                }
            }
            if is_dead(place, self.epoch) {
                return;
            }
            words[count] = (place.futex(), seen);
            count += 1;
        }
        if primitive::wait_any(&words[..count], pace.next(left), LOOK.0) == Waited::TimedOut {
            self.others().for_each(|place| owner::look_after(place, 0));
        }
    }

    /// Its time is over: as if it had not come, unless all have come meanwhile.
    fn give_up(&self, came: u32, error: SyncError) -> Result<BarrierWaitResult, SyncError> {
        let state = &self.barrier.state;
        let mut seen = state.load(Acquire);
        loop {
            if let Some(outcome) = self.outcome(came, seen) {
                return outcome;
            }
            let less = if come(seen) == 0 { seen } else { seen - ONE };
            match state.compare_exchange_weak(seen, less, AcqRel, Acquire) {
                Ok(_) => return Err(error),
                Err(now) => seen = now,
            }
        }
    }

    /// The places of all others, the empty ones included.
    fn others(&self) -> impl Iterator<Item = &Word> {
        self.barrier.places(self.parties).iter().filter(|place| !std::ptr::eq(*place, self.place))
    }

    /// Not in a forked child.
    fn is_mine(&self) -> bool {
        let record = Record::current();
        record.is_ready() && record.holds(self.place)
    }
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        if !self.is_mine() {
            return;
        }
        let state = self.barrier.state.load(Acquire);
        let missed = come(state) > 0 || std::thread::panicking();
        if missed && state & BROKEN == 0 && epoch(state) == self.epoch {
            self.barrier.break_it(self.epoch);
        }
        self.place.unlock_silently();
    }
}

impl fmt::Debug for BarrierMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierMember").field("barrier", self.barrier).finish()
    }
}
