//! The rows of the table: what each survey found, and how that differs from the survey before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr;

use crate::list::Owners;
use crate::record::Record;

/// How long what is new or gone is marked.
pub(crate) const MOMENT: Duration = Duration::from_secs(3);

/// What tells rows apart: the kind, the name, and a count, for what has no name may have the same title.
pub(crate) type Key = (&'static str, OsString, usize);

/// Whether it has just come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    New,
    Gone,
}

/// A piece of shared memory, as the last survey found it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) record: Record,
    /// The name for people, and how many columns it takes.
    pub(crate) title: String,
    pub(crate) width: usize,
    pub(crate) owner: String,
    /// Bytes a second that it grew since the survey before, by the memory allocated to it.
    pub(crate) growth: i64,
    /// Bytes that it grew since it was seen first.
    pub(crate) total: i64,
    first: u64,
    /// When it came, unless it was there from the beginning; when it was missed, if it is gone.
    came: Option<Instant>,
    went: Option<Instant>,
}

impl Row {
    pub(crate) fn mark(&self, now: Instant) -> Mark {
        let recent =
            |then: Option<Instant>| then.is_some_and(|then| now.saturating_duration_since(then) < MOMENT);
        match (self.went, self.came) {
            (Some(_), _) => Mark::Gone,
            (None, came) if recent(came) => Mark::New,
            _ => Mark::None,
        }
    }

    /// When there is nothing left to show of it, if it is gone.
    pub(crate) fn over(&self) -> Option<Instant> {
        self.went.map(|then| then + MOMENT)
    }
}

/// Keeps the last survey, to compare the next one with.
#[derive(Default)]
pub(crate) struct Ledger {
    rows: HashMap<Key, Arc<Row>>,
    /// When that was; `None` before the first.
    last: Option<Instant>,
    owners: Owners,
}

impl Ledger {
    /// Enters a survey; gives its rows, and those of what has just gone, by name.
    pub(crate) fn enter(&mut self, records: Vec<Record>, now: Instant) -> Vec<Arc<Row>> {
        let mut rows = HashMap::with_capacity(records.len());
        let mut repeated: HashMap<(&'static str, OsString), usize> = HashMap::new();
        for record in records {
            let (kind, name) = (record.kind.name(), record.name.clone());
            let count = match rows.contains_key(&(kind, name.clone(), 0)) {
                false => 0,
                true => {
                    let count = repeated.entry((kind, name.clone())).or_default();
                    *count += 1;
                    *count
                }
            };
            let key = (kind, name, count);
            let row = Arc::new(self.row(key.clone(), record, now));
            rows.insert(key, row);
        }
        for (key, before) in self.rows.drain() {
            let Entry::Vacant(place) = rows.entry(key) else { continue };
            if before.over().is_none_or(|over| over > now) {
                let went = before.went.or(Some(now));
                place.insert(Arc::new(Row { went, growth: 0, ..(*before).clone() }));
            }
        }
        self.rows = rows;
        self.last = Some(now);
        let mut rows: Vec<Arc<Row>> = self.rows.values().cloned().collect();
        rows.sort_unstable_by(|one, other| (&one.title, &one.key).cmp(&(&other.title, &other.key)));
        rows
    }

    fn row(&mut self, key: Key, record: Record, now: Instant) -> Row {
        // One that had gone is another one.
        let before = self.rows.get(&key).filter(|before| before.went.is_none());
        let title = record.title();
        let first = before.map_or(record.reserved, |before| before.first);
        let growth = before.zip(self.last).map_or(0, |(before, last)| {
            let seconds = now.saturating_duration_since(last).as_secs_f64().max(0.001);
            (difference(record.reserved, before.record.reserved) as f64 / seconds).round() as i64
        });
        Row {
            width: title.width(),
            title,
            owner: self.owners.name(record.uid).to_owned(),
            growth,
            total: difference(record.reserved, first),
            first,
            came: before.map_or(self.last.and(Some(now)), |before| before.came),
            went: None,
            key,
            record,
        }
    }
}

fn difference(after: u64, before: u64) -> i64 {
    let difference = i128::from(after) - i128::from(before);
    difference.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::Kind;
    use commons::Lifetime;

    /// A record of a segment with so many bytes reserved.
    pub(crate) fn record(name: &str, reserved: u64) -> Record {
        Record {
            kind: Kind::Posix,
            name: name.into(),
            key: 0,
            namespace: Some("/dev/shm".into()),
            size: reserved,
            reserved,
            resident: Some(reserved / 2),
            holders: Some(1),
            processes: Vec::new(),
            lifetime: Lifetime::UntilDeleted,
            orphan: false,
            uid: 0,
            gid: 0,
            mode: 0o600,
            modified: None,
        }
    }

    fn row(rows: &[Arc<Row>], name: &str) -> Arc<Row> {
        rows.iter().find(|row| row.title == name).unwrap().clone()
    }

    #[test]
    fn growth_is_since_the_last_look_and_in_all() {
        let begin = Instant::now();
        let mut ledger = Ledger::default();
        for (second, reserved, growth, total) in
            [(0, 4096, 0, 0), (2, 12_288, 4096, 8192), (3, 12_288, 0, 8192), (4, 0, -12_288, -4096)]
        {
            let now = begin + Duration::from_secs(second);
            let rows = ledger.enter(vec![record("x", reserved), record("y", 1)], now);
            assert_eq!(rows.len(), 2);
            let row = row(&rows, "x");
            assert_eq!((row.growth, row.total, row.mark(now)), (growth, total, Mark::None));
        }
        let rows = ledger.enter(vec![record("x", u64::MAX)], begin + Duration::from_secs(5));
        assert_eq!(row(&rows, "x").total, i64::MAX);
    }

    #[test]
    fn what_comes_and_goes_is_marked_for_a_moment() {
        let begin = Instant::now();
        let mut ledger = Ledger::default();
        ledger.enter(vec![record("old", 1)], begin);
        let second = Duration::from_secs(1);
        let rows = ledger.enter(vec![record("new", 1)], begin + second);
        assert_eq!(row(&rows, "new").mark(begin + second), Mark::New);
        assert_eq!(row(&rows, "new").mark(begin + second + MOMENT), Mark::None);
        let old = row(&rows, "old");
        assert_eq!(old.mark(begin + second), Mark::Gone);
        assert_eq!(old.over(), Some(begin + second + MOMENT));
        let rows = ledger.enter(vec![record("new", 1)], begin + second + MOMENT);
        assert_eq!(rows.len(), 1);
        let rows = ledger.enter(vec![record("new", 1), record("old", 5)], begin + 2 * MOMENT);
        assert_eq!((row(&rows, "old").mark(begin + 2 * MOMENT), row(&rows, "old").total), (Mark::New, 0));
    }

    #[test]
    fn rows_with_one_name_are_told_apart() {
        let mut ledger = Ledger::default();
        let rows = ledger.enter(vec![record("x", 1), record("x", 2), record("x", 3)], Instant::now());
        let mut counts: Vec<usize> = rows.iter().map(|row| row.key.2).collect();
        counts.sort_unstable();
        assert_eq!(counts, [0, 1, 2]);
    }
}
