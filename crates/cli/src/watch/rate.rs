//! How many bytes change a second: now, and in each second of the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Seconds that are remembered.
const MINUTE: usize = 60;

#[derive(Debug)]
pub(crate) struct Rate {
    begun: Instant,
    /// What the rate of now is taken over.
    span: Duration,
    /// The looks within the span: when, and how many bytes had changed.
    looks: VecDeque<(Instant, u64)>,
    /// Changes in each second, the one that is under way last.
    seconds: VecDeque<u64>,
    /// How many seconds were begun.
    count: u64,
}

impl Rate {
    /// For looks at this interval.
    pub(crate) fn new(now: Instant, interval: Duration) -> Rate {
        let span = interval.max(Duration::from_secs(1));
        Rate { begun: now, span, looks: VecDeque::new(), seconds: VecDeque::new(), count: 0 }
    }

    /// Takes note of a look.
    pub(crate) fn add(&mut self, now: Instant, changes: u64) {
        self.looks.push_back((now, changes));
        while self.looks.front().is_some_and(|(then, _)| now.saturating_duration_since(*then) >= self.span) {
            self.looks.pop_front();
        }
        let begun = now.saturating_duration_since(self.begun).as_secs() + 1;
        // After a long pause, only the last minute counts.
        let new = begun.saturating_sub(self.count).min(MINUTE as u64);
        self.seconds.extend((0..new).map(|_| 0));
        self.count = self.count.max(begun);
        self.seconds.drain(..self.seconds.len().saturating_sub(MINUTE));
        if let Some(last) = self.seconds.back_mut() {
            *last += changes;
        }
    }

    /// Bytes a second, over the last second or the last look, whichever is longer.
    pub(crate) fn now(&self) -> f64 {
        let changes: u64 = self.looks.iter().map(|(_, changes)| changes).sum();
        changes as f64 / self.span.as_secs_f64()
    }

    /// Bytes in each of the last `seconds` seconds, a minute at most; the oldest first.
    pub(crate) fn history(&self, seconds: usize) -> Vec<u64> {
        let skipped = self.seconds.len().saturating_sub(seconds);
        self.seconds.iter().skip(skipped).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let begin = Instant::now();
        let mut rate = Rate::new(begin, Duration::from_millis(250));
        for look in 0..8 {
            rate.add(begin + Duration::from_millis(250 * look), 10);
        }
        assert_eq!(rate.now(), 40.0);
        assert_eq!(rate.history(60), [40, 40]);
        rate.add(begin + Duration::from_millis(2900), 0);
        assert_eq!(rate.now(), 0.0);
        assert_eq!(rate.history(60), [40, 40, 0]);
        assert_eq!(rate.history(2), [40, 0]);
    }

    #[test]
    fn slow_looks_are_spread_over_their_interval() {
        let begin = Instant::now();
        let mut rate = Rate::new(begin, Duration::from_secs(5));
        rate.add(begin + Duration::from_secs(5), 10);
        assert_eq!(rate.now(), 2.0);
    }

    #[test]
    fn no_more_than_a_minute_is_kept() {
        let begin = Instant::now();
        let mut rate = Rate::new(begin, Duration::from_secs(1));
        for second in 0..200 {
            rate.add(begin + Duration::from_secs(second), second);
        }
        assert_eq!(rate.history(100), (140..200).collect::<Vec<_>>());
        rate.add(begin + Duration::from_secs(1_000_000), 7);
        let history = rate.history(100);
        assert_eq!((history.len(), history[58], history[59]), (60, 0, 7));
    }
}
