//! The columns of the table, and putting rows in order by one of them.
//!
//! Quick for a hundred thousand rows: they come by name already, what they are compared by is looked up once
//! for each, and rows that are alike stay by name.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::record;

use super::rows::Row;

/// What can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Name,
    Kind,
    Size,
    Growth,
    Total,
    Resident,
    Holders,
    Lifetime,
    Owner,
    Age,
}

/// What a row is compared by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Unknown,
    Number(i128),
    Text(String),
}

impl Column {
    /// In the order in which they stand, and of the keys 1 to 9 and 0.
    pub(crate) const ALL: [Column; 10] = [
        Column::Name,
        Column::Kind,
        Column::Size,
        Column::Growth,
        Column::Total,
        Column::Resident,
        Column::Holders,
        Column::Lifetime,
        Column::Owner,
        Column::Age,
    ];

    /// Numbers begin with the largest, unless they are turned.
    pub(crate) fn is_number(self) -> bool {
        matches!(
            self,
            Column::Size | Column::Growth | Column::Total | Column::Resident | Column::Holders | Column::Age
        )
    }

    fn worth(self, row: &Row) -> Worth {
        let number = |number: Option<i128>| number.map_or(Worth::Unknown, Worth::Number);
        let record = &row.record;
        match self {
            Column::Name => Worth::Text(row.title.clone()),
            Column::Kind => Worth::Number(record.kind as i128),
            Column::Size => Worth::Number(record.size.into()),
            Column::Growth => Worth::Number(row.growth.into()),
            Column::Total => Worth::Number(row.total.into()),
            Column::Resident => number(record.resident.map(i128::from)),
            Column::Holders => number(record.holders.map(|holders| holders as i128)),
            // Orphans first: somebody has to see to them.
            Column::Lifetime if record.orphan => Worth::Number(0),
            Column::Lifetime => Worth::Text(record::lifetime(record.lifetime).to_owned()),
            Column::Owner => Worth::Text(row.owner.clone()),
            // The earlier it was modified, the older.
            Column::Age => number(record.modified.map(|then| match then.duration_since(UNIX_EPOCH) {
                Ok(since) => -nanoseconds(since),
                Err(before) => nanoseconds(before.duration()),
            })),
        }
    }
}

fn nanoseconds(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

/// The order of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sorting {
    pub(crate) column: Column,
    /// From the smallest.
    pub(crate) rising: bool,
}

impl Sorting {
    /// As one wants to see the column first.
    pub(crate) fn by(column: Column) -> Sorting {
        Sorting { column, rising: !column.is_number() }
    }

    /// By the column before or after.
    pub(crate) fn beside(self, forwards: bool) -> Sorting {
        let count = Column::ALL.len();
        let step = if forwards { 1 } else { count - 1 };
        Sorting::by(Column::ALL[(self.column as usize + step) % count])
    }

    pub(crate) fn reversed(self) -> Sorting {
        Sorting { rising: !self.rising, ..self }
    }

    /// Sorts rows that are by name.
    pub(crate) fn sort(self, rows: &mut [Arc<Row>]) {
        match (self.column, self.rising) {
            (Column::Name, true) => {}
            (Column::Name, false) => rows.reverse(),
            (column, true) => rows.sort_by_cached_key(|row| column.worth(row)),
            (column, false) => rows.sort_by_cached_key(|row| Reverse(column.worth(row))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::rows::Ledger;
    use super::super::rows::tests::record;
    use super::*;

    #[test]
    fn every_column_sorts_and_equals_stay_by_name() {
        let mut old = record("old", 10);
        old.modified = Some(UNIX_EPOCH - Duration::from_secs(1));
        old.orphan = true;
        let mut young = record("young", 20);
        young.modified = Some(UNIX_EPOCH + Duration::from_secs(1));
        young.holders = None;
        young.kind = record::Kind::Memfd;
        let mut same = record("same", 20);
        same.modified = young.modified;
        let rows = Ledger::default().enter(vec![young, same, old], Instant::now());
        for (column, expected) in [
            (Column::Name, ["old", "same", "young"]),
            (Column::Kind, ["old", "same", "young"]),
            (Column::Size, ["same", "young", "old"]),
            (Column::Growth, ["old", "same", "young"]),
            (Column::Total, ["old", "same", "young"]),
            (Column::Resident, ["same", "young", "old"]),
            (Column::Holders, ["old", "same", "young"]),
            (Column::Lifetime, ["old", "same", "young"]),
            (Column::Owner, ["old", "same", "young"]),
            (Column::Age, ["old", "same", "young"]),
        ] {
            let sorted = |sorting: Sorting| {
                let mut rows = rows.clone();
                sorting.sort(&mut rows);
                rows.iter().map(|row| row.title.clone()).collect::<Vec<_>>()
            };
            assert_eq!(sorted(Sorting::by(column)), expected, "{column:?}");
        }
        let mut turned = rows.clone();
        Sorting::by(Column::Size).reversed().sort(&mut turned);
        assert_eq!(turned[0].title, "old");
    }

    #[test]
    fn the_columns_are_a_ring() {
        let mut sorting = Sorting::by(Column::Name);
        for column in Column::ALL {
            assert_eq!(sorting.column, column);
            assert_eq!(sorting.beside(true).beside(false).column, column);
            sorting = sorting.beside(true);
        }
        assert_eq!(sorting.column, Column::Name);
    }
}
