//! A barrier: all wait until all have come; and if one cannot come any more, all are told.
//!
//! # Layout
//!
//! | bytes       | what                                                                                  |
//! | ----------- | ------------------------------------------------------------------------------------- |
//! | 0 to 3      | the state                                                                             |
//! | 8 to 1287   | 32 places of 40 bytes, each a [word](super::word), held by a member's thread for as long as it is one; in its flags (bytes 4 to 7 of the place), from bit 1, the epoch in which it joined |
//!
//! Of the state:
//!
//! | bits     | what                                                                          |
//! | -------- | ----------------------------------------------------------------------------- |
//! | 0 to 4   | how many have come in this phase                                              |
//! | 5 to 10  | how many have to come, the parties; 0 until the first one joins. Places from there on are unused |
//! | 11       | `SLEEPERS`: somebody may be asleep                                            |
//! | 12       | `BROKEN`                                                                      |
//! | 13 to 15 | the phase, one more each time that all have come                              |
//! | 16 to 31 | the epoch, one more with each reset                                           |
//!
//! All zero is a barrier that nobody has joined.
//!
//! # Transitions of the state
//!
//! | what changes                                   | by                                               |
//! | ---------------------------------------------- | ------------------------------------------------ |
//! | parties, from 0                                | the first one to join                            |
//! | one more has come                              | a member that waits and is not the last          |
//! | one less                                       | a member whose time is over                      |
//! | phase + 1, none has come, no `SLEEPERS`        | the last one to come (the leader), who then wakes all if there was `SLEEPERS` |
//! | `SLEEPERS`                                     | who is about to sleep                            |
//! | `BROKEN`                                       | a member that sees a dead one, or leaves while others wait, who then wakes all; or `abort`, in one step of the kernel's that also wakes all |
//! | epoch + 1, all else 0                          | `reset`, if it is `BROKEN`                       |
//!
//! With `BROKEN` nobody comes and nobody falls asleep. A member that waits finds, at last, one of three: another phase,
//! and then all have come, whatever happened since; or `BROKEN`; or another epoch, which is no different. Between two
//! phases it is needed itself, so that it can miss none. Since phase and `BROKEN` are in one word, all who wait in a
//! phase find the same.
//!
//! # Why no wake-up is lost
//!
//! Whoever waits sleeps on the state and on *all places but its own* at once (`futex_waitv`), those that are not taken
//! included. The state has `SLEEPERS` then, and all places have `WAITERS`, which is never taken away from them. So it is
//! woken by
//!
//! - the leader, and by who makes it `BROKEN`, who wake all who sleep on the state;
//! - any member's death: the kernel marks its place, and wakes one of those who sleep on it.
//!
//! Who was woken looks at all places before anything else, and if there is a dead member makes it `BROKEN` and wakes all
//! others, even if it then finds that its own phase is over. It also wakes them if it finds `BROKEN`, or another epoch.
//! If it dies before that, its own place is marked, and since all others sleep on that one too, one of them is woken and
//! does the same.
//!
//! # Why a crash between any two steps is safe
//!
//! A thread that dies has a place, from before it first came until after it left; so its death is seen as above, by
//! those who sleep, and by those who do not sleep yet before they do. That includes a leader that dies before it woke
//! the others (they find their phase over), and one that dies after it made it `BROKEN` and before it woke them.
//!
//! Somebody may have taken the dead one's place before those who were woken look. If the epoch is still the same, that
//! one found it marked, and makes it `BROKEN` and wakes all, or dies in turn, so that the place is marked again. If it
//! is another, those who were woken see that.
//!
//! One that dies while it joins has taken a place: before it wrote the epoch, the mark of its death counts only if the
//! one who had the place before was of this epoch; after it, it is a member's death. One that joins and gets the place
//! of a dead member makes the barrier `BROKEN` before it gives that place back, and if it dies before that the place is
//! marked again.
//!
//! # Kernels before Linux 5.16
//!
//! They cannot let a thread sleep on many words. There, one sleeps on the state alone, and looks at the places every
//! 50 ms.
//!
//! # What a wrong word does
//!
//! More or fewer who seem to have come make a phase too short or too long; a number of parties that is not the one that
//! a member joined with is an error; a wrong epoch is `Broken`.

mod member;
mod state;

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::backoff::Deadline;
use super::error::SyncError;
use super::primitive::{self, AtomicU32, Change, constructor};
use super::thread::Record;
use super::word::{Taken, Word};
use state::{BROKEN, PARTIES_AT, come, epoch, next_epoch, parties};

pub use member::{BarrierMember, BarrierWaitResult};
pub(super) use state::{Reading, flags_of};

/// How many can take part.
const PLACES: usize = 32;

/// Lets a number of threads, of any processes, wait for each other; if one of them dies, the others are told.
///
/// All zero is a barrier that nobody has joined. Each thread [joins](Barrier::join) first, and waits by what it gets
/// for that. When the agreed number of members waits, all go on, and the barrier is ready for the next time. If a
/// member dies, whether it was waiting or working, or leaves while others wait, or panics, then all who wait, and all
/// who come later, get [`SyncError::Broken`], until the barrier is [reset](Barrier::reset) and all join anew.
///
/// A member that leaves while nobody waits makes room: those who come then wait until somebody has joined in its place.
///
/// Waiting takes no system call if all have come, or come within some microseconds, and is not broken by signals. Up to
/// [32 members](Barrier::MAX_PARTIES). A death is told at once by Linux 5.16 and later, within 50 ms by older ones. Not
/// for use in signal handlers.
///
/// ```
/// use commons::sync::Barrier;
///
/// let barrier = Barrier::new();
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| {
///             let member = barrier.join(2)?;
///             // … a first piece of work …
///             if member.wait()?.is_leader() {
///                 // one of them
///             }
///             // … a second one …
///             member.wait()?;
///             Ok::<(), commons::sync::SyncError>(())
///         });
///     }
/// });
/// assert!(!barrier.is_broken());
/// ```
#[repr(C)]
#[doc(alias = "pthread_barrier_t")]
pub struct Barrier {
    state: AtomicU32,
    unused: u32,
    pub(super) places: [Word; PLACES],
}

#[cfg(not(commons_model))]
const _: () = {
    assert!(std::mem::offset_of!(Barrier, places) == 8 && size_of::<Barrier>() == 1288);
    assert!(PLACES < crate::sys::futex::MOST_WORDS);
};

impl Barrier {
    /// How many can take part.
    pub const MAX_PARTIES: u32 = PLACES as u32;

    constructor! {
        /// That nobody has joined.
        #[doc(alias = "pthread_barrier_init")]
        pub fn new() -> Self {
            #[cfg(not(commons_model))]
            let places = [const { Word::new() }; PLACES];
            #[cfg(commons_model)]
            let places = std::array::from_fn(|_| Word::new());
            Barrier { state: AtomicU32::new(0), unused: 0, places }
        }
    }

    /// Takes part, as one of so many; all have to name the same number, until a [reset](Barrier::reset). Does not wait.
    ///
    /// # Errors
    ///
    /// [`SyncError::Mismatch`] if others named another number, or if it is 0 or larger than
    /// [`MAX_PARTIES`](Barrier::MAX_PARTIES). [`SyncError::Full`] if so many take part already. [`SyncError::Broken`].
    /// [`SyncError::WouldDeadlock`] if this thread takes part already. [`SyncError::TooManyLocks`],
    /// [`SyncError::Unsupported`].
    pub fn join(&self, parties: u32) -> Result<BarrierMember<'_>, SyncError> {
        if parties == 0 || parties > Barrier::MAX_PARTIES {
            return Err(SyncError::Mismatch("a barrier is for 1 to 32 parties"));
        }
        loop {
            let epoch = self.agree(parties)?;
            let Some(place) = self.take_place(parties, epoch)? else { return Err(SyncError::Full) };
            let member = BarrierMember::new(self, place, parties, epoch);
            let state = self.state.load(Acquire);
            if state::epoch(state) != epoch {
                // Reset in between, and perhaps for another number of parties.
                continue;
            }
            return if state & BROKEN == 0 { Ok(member) } else { Err(SyncError::Broken) };
        }
    }

    /// Sees to it that there are to be so many; the epoch.
    fn agree(&self, parties: u32) -> Result<u32, SyncError> {
        let mut state = self.state.load(Acquire);
        loop {
            match state::parties(state) {
                _ if state & BROKEN != 0 => return Err(SyncError::Broken),
                0 => {
                    let agreed = state | parties << PARTIES_AT;
                    match self.state.compare_exchange_weak(state, agreed, AcqRel, Acquire) {
                        Ok(_) => return Ok(epoch(state)),
                        Err(now) => state = now,
                    }
                }
                agreed if agreed == parties => return Ok(epoch(state)),
                _ => {
                    return Err(SyncError::Mismatch(
                        "others joined this barrier for another number of parties",
                    ));
                }
            }
        }
    }

    /// Takes a place that nobody has.
    fn take_place(&self, parties: u32, epoch: u32) -> Result<Option<&Word>, SyncError> {
        let places = self.places(parties);
        let record = Record::ready()?;
        if places.iter().any(|place| record.holds(place)) {
            return Err(SyncError::WouldDeadlock);
        }
        for place in places {
            match place.lock(Deadline::Now) {
                Ok(Taken::OwnerDied) if place.flags().load(Relaxed) == flags_of(epoch) => {
                    self.break_it(epoch);
                    place.unlock_silently();
                    return Err(SyncError::Broken);
                }
                Ok(_) => {
                    place.flags().store(flags_of(epoch), Release);
                    return Ok(Some(place));
                }
                Err(SyncError::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Breaks it: whoever waits, or comes later, gets [`SyncError::Broken`] until it is reset. For a member that knows
    /// that it cannot go on, and for administrators.
    pub fn abort(&self) {
        primitive::change_and_wake(&self.state, Change::Or(BROKEN), u32::MAX);
    }

    /// Begins anew, if it is broken: nobody takes part any more, and whoever did gets [`SyncError::Broken`] still and has
    /// to [join](Barrier::join) again, after dropping what it got for that before. Another number of parties may be
    /// named then. Whether this call did it: if all who were told do the same, one of them does it, once.
    pub fn reset(&self) -> bool {
        let state = self.state.load(Acquire);
        let epoch = epoch(state);
        let mut seen = state;
        while seen & BROKEN != 0 && state::epoch(seen) == epoch {
            match self.state.compare_exchange_weak(seen, next_epoch(seen), AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Whether a member died or left, so that nobody can wait until it is [reset](Barrier::reset).
    pub fn is_broken(&self) -> bool {
        self.state.load(Acquire) & BROKEN != 0
    }

    fn places(&self, parties: u32) -> &[Word] {
        &self.places[..(parties as usize).min(PLACES)]
    }

    /// All who sleep, and all who come in this epoch, are told. By one that has a place, so that its death in between
    /// is noticed.
    #[cold]
    fn break_it(&self, epoch: u32) {
        let mut state = self.state.load(Acquire);
        while state & BROKEN == 0 && state::epoch(state) == epoch {
            match self.state.compare_exchange_weak(state, state | BROKEN, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        primitive::wake(&self.state, u32::MAX);
    }
}

impl Default for Barrier {
    fn default() -> Self {
        Barrier::new()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Relaxed);
        f.debug_struct("Barrier")
            .field("parties", &parties(state))
            .field("waiting", &come(state))
            .field("broken", &(state & BROKEN != 0))
            .finish_non_exhaustive()
    }
}
