//! What is told of the figures: aligned text for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::placement::Placement;
use crate::statistics::{Limit, Series, Summary, Verdict};

/// What figures are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Mebibytes,
    /// How many times as much.
    Times,
    /// How many there are.
    Count,
}

impl Unit {
    /// Series of time are in nanoseconds, those of memory in bytes; how many of these a unit has.
    fn scale(self) -> f64 {
        match self {
            Unit::Nanoseconds => 1.0,
            Unit::Microseconds => 1e3,
            Unit::Milliseconds => 1e6,
            Unit::Seconds => 1e9,
            Unit::Mebibytes => f64::from(1 << 20),
            Unit::Times | Unit::Count => 1.0,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Mebibytes => "MiB",
            Unit::Times => "×",
            Unit::Count => "",
        }
    }

    fn show(self, figure: f64) -> String {
        let (figure, symbol) = (figure / self.scale(), self.symbol());
        let digits = match figure.abs() {
            _ if self == Unit::Count => 0,
            ..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        let space = if matches!(self, Unit::Times | Unit::Count) { "" } else { " " };
        format!("{figure:.digits$}{space}{symbol}")
    }
}

/// One measured series.
#[derive(Clone, Debug)]
struct Row {
    subject: String,
    unit: Unit,
    summary: Summary,
    claim: Option<Claim>,
}

/// What is said of a row: usually its ratio to another one, and its bound.
#[derive(Clone, Debug)]
struct Claim {
    unit: Unit,
    figure: Summary,
    /// In `unit`.
    limit: Option<Limit>,
}

impl Claim {
    /// The limit for people, in the claim's unit.
    fn limit(&self) -> Option<String> {
        let symbol = self.unit.symbol();
        let space = if matches!(self.unit, Unit::Times | Unit::Count) { "" } else { " " };
        self.limit.map(|limit| match limit {
            Limit::AtMost(most) => format!("at most {most}{space}{symbol}"),
            Limit::AtLeast(least) => format!("at least {least}{space}{symbol}"),
        })
    }

    fn verdict(&self) -> Option<Verdict> {
        let scale = self.unit.scale();
        self.limit.map(|limit| match limit {
            Limit::AtMost(most) => Limit::AtMost(most * scale).verdict(&self.figure),
            Limit::AtLeast(least) => Limit::AtLeast(least * scale).verdict(&self.figure),
        })
    }
}

/// One work, done by several subjects.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    name: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Work {
    /// A work without figures yet. Its name is unlike every other's in all tables.
    pub(crate) fn new(name: impl Into<String>) -> Work {
        Work { name: name.into(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a subject's series; time in nanoseconds.
    pub(crate) fn row(mut self, subject: impl Into<String>, unit: Unit, series: &Series) -> Work {
        self.rows.push(Row { subject: subject.into(), unit, summary: Summary::of(series), claim: None });
        self
    }

    /// Says how the last row's subject compares, and what the bound for that is.
    pub(crate) fn ratio(mut self, ratios: &Series, limit: Option<Limit>) -> Work {
        let figure = Summary::of(ratios);
        if let Some(row) = self.rows.last_mut() {
            row.claim = Some(Claim { unit: Unit::Times, figure, limit });
        }
        self
    }

    /// Bounds the last row's figure itself, in its own unit.
    pub(crate) fn bound(mut self, limit: Limit) -> Work {
        if let Some(row) = self.rows.last_mut() {
            row.claim = Some(Claim { unit: row.unit, figure: row.summary, limit: Some(limit) });
        }
        self
    }

    /// Adds a remark, such as what could not be measured and why.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Work {
        self.notes.push(note.into());
        self
    }
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    tables: Vec<(&'static str, Vec<Work>)>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Report {
        Report { machine, tables: Vec::new() }
    }

    /// Begins a table.
    pub(crate) fn begin(&mut self, table: &'static str) {
        self.tables.push((table, Vec::new()));
    }

    /// Adds to the last table.
    pub(crate) fn add(&mut self, works: Vec<Work>) {
        if let Some((_, all)) = self.tables.last_mut() {
            all.extend(works);
        }
    }

    /// Whether no bound is certainly missed.
    pub(crate) fn all_hold(&self) -> bool {
        let claims = self.works().flat_map(|(_, work)| &work.rows).filter_map(|row| row.claim.as_ref());
        claims.filter_map(Claim::verdict).all(|verdict| verdict != Verdict::Missed)
    }

    fn works(&self) -> impl Iterator<Item = (&'static str, &Work)> {
        self.tables.iter().flat_map(|(table, works)| works.iter().map(move |work| (*table, work)))
    }

    /// The last table, for people.
    pub(crate) fn text(&self) -> String {
        let Some((_, works)) = self.tables.last() else { return String::new() };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["work", "subject", "median", "quartiles", "ratio", "quartiles", "bound", ""]);
        let mut notes = String::new();
        for work in works {
            let mut name = work.name.as_str();
            for row in &work.rows {
                table.add_row(cells(std::mem::take(&mut name), row));
            }
            for note in &work.notes {
                notes += &format!("\n {}: {note}", work.name);
            }
        }
        for column in [2, 3, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
        table.trim_fmt() + &notes
    }

    /// Everything, for programs. A bound's `ratio` is the figure that is bounded, in the bound's own unit;
    /// `holds` is null where the rounds spread too far to tell.
    pub(crate) fn json(&self) -> Value {
        let mut rows = Vec::new();
        let mut bounds = Vec::new();
        for (table, work) in self.works() {
            for row in &work.rows {
                let scale = row.unit.scale();
                rows.push(json!({
                    "table": table,
                    "work": work.name,
                    "subject": row.subject,
                    "median": row.summary.median / scale,
                    "iqr": pair(row.summary.quartiles, scale),
                    "unit": row.unit.symbol(),
                    "rounds": row.summary.rounds,
                    "warm_up_median": row.summary.warm_up.map(|median| median / scale),
                }));
                let Some(claim) = &row.claim else { continue };
                let (Some(limit), Some(verdict)) = (claim.limit(), claim.verdict()) else { continue };
                let scale = claim.unit.scale();
                bounds.push(json!({
                    "work": work.name,
                    "bound": limit,
                    "ratio": claim.figure.median / scale,
                    "iqr": pair(claim.figure.quartiles, scale),
                    "interval": pair(claim.figure.interval, scale),
                    "holds": match verdict {
                        Verdict::Holds => Some(true),
                        Verdict::Missed => Some(false),
                        Verdict::Unclear => None,
                    },
                }));
            }
        }
        let notes: Vec<_> = self
            .works()
            .flat_map(|(_, work)| work.notes.iter().map(|note| json!({ "work": work.name, "note": note })))
            .collect();
        json!({ "machine": self.machine.json(), "rows": rows, "bounds": bounds, "notes": notes })
    }
}

fn pair((low, high): (f64, f64), scale: f64) -> [f64; 2] {
    [low / scale, high / scale]
}

fn cells(name: &str, row: &Row) -> [String; 8] {
    let spread = |unit: Unit, summary: &Summary| {
        let (low, high) = summary.quartiles;
        if summary.rounds > 1 { format!("{} – {}", unit.show(low), unit.show(high)) } else { String::new() }
    };
    let ratio = row.claim.as_ref().filter(|claim| claim.unit == Unit::Times);
    let verdict = row.claim.as_ref().and_then(Claim::verdict);
    [
        name.into(),
        row.subject.clone(),
        row.unit.show(row.summary.median),
        spread(row.unit, &row.summary),
        ratio.map(|ratio| ratio.unit.show(ratio.figure.median)).unwrap_or_default(),
        ratio.map(|ratio| spread(ratio.unit, &ratio.figure)).unwrap_or_default(),
        row.claim.as_ref().and_then(Claim::limit).unwrap_or_default(),
        verdict
            .map_or("", |verdict| match verdict {
                Verdict::Holds => "holds",
                Verdict::Missed => "MISSED",
                Verdict::Unclear => "unclear",
            })
            .into(),
    ]
}

/// Where things run, for people.
pub(crate) fn placement(placement: &Placement) -> String {
    match &placement.one_way {
        Some(time) => format!(
            "core {} measured, helpers on core {}; a cache line takes {:.0} ns one way ({:.0} – {:.0})",
            placement.own, placement.other, time.median, time.quartiles.0, time.quartiles.1,
        ),
        None => format!("core {} for everything: no other may be used", placement.own),
    }
}

/// On a terminal, shows what is going on; nothing clears it.
pub(crate) fn progress(label: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K{label}");
        let _ = terminal.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let (base, other) = (Series::of(vec![1000.0; 5]), Series::of(vec![2000.0; 5]));
        let mut report = Report::new(Machine::now());
        report.begin("t");
        report.add(vec![
            Work::new("one")
                .row("floor", Unit::Microseconds, &base)
                .row("commons", Unit::Microseconds, &other)
                .ratio(&other.over(&base), Some(Limit::AtMost(1.5)))
                .note("a remark"),
            Work::new("two").row("commons", Unit::Seconds, &base).bound(Limit::AtMost(1.0)),
            Work::new("three")
                .row("commons", Unit::Microseconds, &base)
                .ratio(&Series::of(vec![1.0, 2.0]), Some(Limit::AtMost(1.5))),
        ]);
        report
    }

    #[test]
    fn json_has_rows_and_bounds() {
        let json = report().json();
        assert_eq!(json["rows"][1]["median"], 2.0);
        assert_eq!(json["rows"][1]["unit"], "µs");
        assert_eq!(json["bounds"][0]["bound"], "at most 1.5×");
        assert_eq!(json["bounds"][0]["holds"], false);
        assert_eq!(json["bounds"][1]["ratio"], 1e-6);
        assert_eq!(json["bounds"][1]["holds"], true);
        assert_eq!(json["bounds"][2]["holds"], Value::Null);
    }

    #[test]
    fn text_tells_verdicts_and_remarks() {
        let report = report();
        let text = report.text();
        for part in ["MISSED", "holds", "unclear", "2.00 µs", "2.00×", "one: a remark"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!report.all_hold());
    }
}
