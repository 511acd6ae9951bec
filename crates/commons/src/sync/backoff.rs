//! How long to spin, how long to sleep, and when to give up.

use std::time::{Duration, Instant};

use super::error::SyncError;
use super::primitive::{self, MODEL};
use super::word::LOOK;

/// Until when to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deadline {
    /// Not at all.
    Now,
    /// Until this moment.
    At(Instant),
    /// For as long as it takes.
    Never,
}

impl Deadline {
    /// So long from now; a time too long to be told is for ever.
    pub(super) fn after(time: Duration) -> Deadline {
        primitive::now().checked_add(time).map_or(Deadline::Never, Deadline::At)
    }

    #[inline]
    pub(super) fn is_now(self) -> bool {
        matches!(self, Deadline::Now)
    }

    /// How long there is left; `None` for as long as it takes.
    pub(super) fn left(self) -> Result<Option<Duration>, SyncError> {
        match self {
            Deadline::Now => Err(SyncError::WouldBlock),
            Deadline::Never => Ok(None),
            Deadline::At(_) if MODEL => Ok(None),
            Deadline::At(moment) => match moment.checked_duration_since(primitive::now()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(SyncError::TimedOut),
            },
        }
    }
}

/// How long to sleep before looking again, though nobody woke: longer each time.
#[derive(Debug)]
pub(super) struct Pace(Duration);

impl Pace {
    pub(super) fn new() -> Pace {
        Pace(LOOK.0)
    }

    /// The next sleep, if there is so much time left.
    pub(super) fn next(&mut self, left: Option<Duration>) -> Option<Duration> {
        if MODEL {
            return None;
        }
        let now = self.0;
        self.0 = (now * 2).min(LOOK.1);
        Some(left.map_or(now, |left| left.min(now)))
    }
}

/// Spinning before sleeping: one more look at the word, after a pause.
///
/// Each look takes the word's cache line from the owner, who needs it to go on. A thread that looks all the time gets the
/// lock after each short section, and then the line travels with every single one: seen to halve the throughput of two
/// processes, or worse. So whoever waits leaves the owner alone for about a microsecond first, in which that one can take
/// the lock and give it back dozens of times. Seen with one look after 64 pauses: 1.7 to 3 times the throughput of a
/// `pthread_mutex_t`, at 0.1 to 0.4 of its longest waits; more looks gain nothing, and make waits longer than its own where
/// the cores are near each other. Who finds the lock taken then sleeps.
#[derive(Debug)]
pub(super) struct Backoff {
    looked: bool,
}

/// Pauses before the look.
const PAUSES: u32 = 64;

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff { looked: false }
    }

    /// Spins, and says so; `false` if it is time to sleep.
    #[inline]
    pub(super) fn spin(&mut self) -> bool {
        if self.looked || MODEL {
            return false;
        }
        for _ in 0..PAUSES {
            primitive::spin();
        }
        self.looked = true;
        true
    }
}
