//! Trying again while others are between two states, for a bounded time.

use std::time::{Duration, Instant};

use super::place::Place;
use crate::error::Error;

/// How long is tried where the caller says nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Backing off, with an end.
pub(crate) struct Patience {
    limit: Duration,
    started: Option<Instant>,
    tries: u32,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { limit, started: None, tries: 0 }
    }

    /// Lets others go on; `false` once the patience is at its end.
    pub(crate) fn pause(&mut self) -> bool {
        let started = *self.started.get_or_insert_with(Instant::now);
        self.tries += 1;
        if self.tries <= 8 {
            std::thread::yield_now();
            return true;
        }
        let step = Duration::from_micros(20 << (self.tries - 8).min(9));
        let Some(left) = self.limit.checked_sub(started.elapsed()) else { return false };
        std::thread::sleep(step.min(left));
        true
    }

    pub(crate) fn busy(&self, place: &Place, verb: &'static str) -> Error {
        let waited = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        Error::Busy { attempt: place.attempt(verb), waited }
    }
}
