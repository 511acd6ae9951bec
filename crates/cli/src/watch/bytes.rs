//! The bytes that are looked at, what changed among them, and when.
//!
//! Knows a range of the segment, never all of it. What it is given are the bytes that were read from the
//! range's beginning on; where they end, the segment ends.

use std::ops::Range;
use std::time::{Duration, Instant};

/// How bright a byte is that changed, by how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Glow {
    Dark,
    Faint,
    Warm,
    Bright,
}

/// Until when it glows how.
const FADING: [(Duration, Glow); 3] = [
    (Duration::from_millis(350), Glow::Bright),
    (Duration::from_millis(700), Glow::Warm),
    (Duration::from_millis(1100), Glow::Faint),
];

/// How long a change can be jumped to.
const RECENT: Duration = Duration::from_secs(60);

impl Glow {
    pub(crate) fn of(changed: Option<Instant>, now: Instant) -> Glow {
        let Some(changed) = changed else { return Glow::Dark };
        let age = now.saturating_duration_since(changed);
        FADING.into_iter().find(|(until, _)| age < *until).map_or(Glow::Dark, |(_, glow)| glow)
    }

    /// When what changed then glows less.
    fn next(changed: Instant, now: Instant) -> Option<Instant> {
        FADING.into_iter().map(|(until, _)| changed + until).find(|then| *then > now)
    }
}

/// What there is at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// Not read yet, or not readable.
    Unknown,
    Here(u8),
    /// Past the end, where there was a byte before.
    Gone,
    /// Past the end.
    Never,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    byte: Byte,
    changed: Option<Instant>,
}

const UNKNOWN: Cell = Cell { byte: Byte::Unknown, changed: None };

/// A range of a segment, as it was at the last look.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    start: u64,
    cells: Vec<Cell>,
}

impl Bytes {
    /// The range that is known, whether there are bytes or not.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start + self.cells.len() as u64
    }

    /// Knows another range from now on; what is in both stays known.
    pub(crate) fn cover(&mut self, range: Range<u64>) {
        if range == self.range() {
            return;
        }
        let cells = range.clone().map(|offset| self.cell(offset)).collect();
        *self = Bytes { start: range.start, cells };
    }

    /// Whether a part of the range is not known yet.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.cells.iter().any(|cell| cell.byte == Byte::Unknown)
    }

    /// Takes what was read; gives how many bytes changed of those in `seen`. `largest` is the size that the
    /// segment had at most.
    pub(crate) fn take(&mut self, read: &[u8], largest: u64, seen: &Range<u64>, now: Instant) -> u64 {
        let mut changes = 0;
        for (place, cell) in self.cells.iter_mut().enumerate() {
            let offset = self.start + place as u64;
            let byte = after_look(read, place, offset, largest);
            match (cell.byte, byte) {
                (Byte::Here(before), Byte::Here(after)) if before != after => {
                    cell.changed = Some(now);
                    changes += u64::from(seen.contains(&offset));
                }
                // The segment grew.
                (Byte::Gone | Byte::Never, Byte::Here(_)) => cell.changed = Some(now),
                (_, Byte::Gone | Byte::Never) => cell.changed = None,
                _ => {}
            }
            cell.byte = byte;
        }
        changes
    }

    /// Takes of what was read only what is not known yet.
    pub(crate) fn complete(&mut self, read: &[u8], largest: u64) {
        for (place, cell) in self.cells.iter_mut().enumerate() {
            if cell.byte == Byte::Unknown {
                cell.byte = after_look(read, place, self.start + place as u64, largest);
            }
        }
    }

    fn cell(&self, offset: u64) -> Cell {
        let place = offset.checked_sub(self.start).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.cells.get(place)).copied().unwrap_or(UNKNOWN)
    }

    pub(crate) fn byte(&self, offset: u64) -> Byte {
        self.cell(offset).byte
    }

    pub(crate) fn glow(&self, offset: u64, now: Instant) -> Glow {
        Glow::of(self.cell(offset).changed, now)
    }

    /// The bytes from an offset on, up to the first that is not there.
    pub(crate) fn from(&self, offset: u64) -> Vec<u8> {
        let bytes = (offset..self.range().end).map_while(|offset| match self.byte(offset) {
            Byte::Here(byte) => Some(byte),
            _ => None,
        });
        bytes.collect()
    }

    /// When something glows less than now; `None` if nothing glows.
    pub(crate) fn next_fading(&self, now: Instant) -> Option<Instant> {
        self.cells.iter().filter_map(|cell| Glow::next(cell.changed?, now)).min()
    }

    /// The next offset behind `from` that changed in the last minute, or the next before it; round the end.
    pub(crate) fn next_change(&self, from: u64, forwards: bool, now: Instant) -> Option<u64> {
        let recent = |offset: &u64| {
            let changed = self.cell(*offset).changed;
            changed.is_some_and(|changed| now.saturating_duration_since(changed) < RECENT)
        };
        let Range { start, end } = self.range();
        let from = from.clamp(start, end);
        if forwards {
            (from.saturating_add(1)..end).chain(start..from).find(recent)
        } else {
            (start..from).rev().chain((from.saturating_add(1)..end).rev()).find(recent)
        }
    }
}

fn after_look(read: &[u8], place: usize, offset: u64, largest: u64) -> Byte {
    match read.get(place) {
        Some(byte) => Byte::Here(*byte),
        None if offset < largest => Byte::Gone,
        None => Byte::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: u64, read: &[u8], now: Instant) -> Bytes {
        let mut bytes = Bytes::default();
        bytes.cover(start..start + 8);
        assert!(bytes.is_incomplete());
        assert_eq!(bytes.take(read, start + read.len() as u64, &(0..100), now), 0);
        bytes
    }

    #[test]
    fn what_changed_glows_and_fades_within_about_a_second() {
        let now = Instant::now();
        let mut bytes = at(0, b"abcdefgh", now);
        assert_eq!(bytes.next_fading(now), None);
        assert_eq!(bytes.take(b"abXdefgY", 8, &(0..4), now), 1, "only what is seen counts");
        assert_eq!((bytes.byte(2), bytes.glow(2, now)), (Byte::Here(b'X'), Glow::Bright));
        assert_eq!(bytes.glow(1, now), Glow::Dark);
        let mut then = now;
        let mut glows = Vec::new();
        while let Some(next) = bytes.next_fading(then) {
            then = next;
            glows.push(bytes.glow(2, then));
        }
        assert_eq!(glows, [Glow::Warm, Glow::Faint, Glow::Dark]);
        assert!(then - now < Duration::from_millis(1500));
    }

    #[test]
    fn moving_keeps_what_is_known_and_lights_nothing() {
        let now = Instant::now();
        let mut bytes = at(0, b"abcdefgh", now);
        bytes.take(b"abcdXfgh", 12, &(0..100), now);
        bytes.cover(4..12);
        assert_eq!(bytes.glow(4, now), Glow::Bright);
        assert_eq!(bytes.byte(8), Byte::Unknown);
        bytes.complete(b"????ijkl", 12);
        assert_eq!(bytes.from(4), b"Xfghijkl", "what was known is not read again");
        assert_eq!(bytes.take(b"Xfghijkl", 12, &(0..100), now), 0);
        bytes.cover(1000..1008);
        assert_eq!(bytes.from(1000), b"");
        assert_eq!(bytes.byte(4), Byte::Unknown);
    }

    #[test]
    fn growing_is_lit_and_truncated_bytes_are_gone() {
        let now = Instant::now();
        let mut bytes = at(0, b"abcd", now);
        assert_eq!(bytes.byte(4), Byte::Never);
        assert_eq!(bytes.take(b"abcdef", 6, &(0..100), now), 0, "growing is no change of bytes");
        assert_eq!((bytes.byte(5), bytes.glow(5, now)), (Byte::Here(b'f'), Glow::Bright));
        bytes.take(b"ab", 6, &(0..100), now);
        assert_eq!((bytes.byte(5), bytes.glow(5, now)), (Byte::Gone, Glow::Dark));
        assert_eq!(bytes.byte(6), Byte::Never);
        assert_eq!(bytes.from(0), b"ab");
    }

    #[test]
    fn changes_are_found_in_both_directions_and_round_the_end() {
        let now = Instant::now();
        let mut bytes = at(100, b"abcdefgh", now);
        assert_eq!(bytes.next_change(100, true, now), None);
        bytes.take(b"aBcdefGh", 108, &(0..0), now);
        for (from, forwards, expected) in [
            (100, true, 101),
            (101, true, 106),
            (106, true, 101),
            (103, false, 101),
            (101, false, 106),
            (0, true, 101),
            (0, false, 106),
            (u64::MAX, true, 101),
            (u64::MAX, false, 106),
        ] {
            assert_eq!(bytes.next_change(from, forwards, now), Some(expected), "{from} {forwards}");
        }
        assert_eq!(bytes.next_change(100, true, now + RECENT), None);
    }
}
