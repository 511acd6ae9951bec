//! What is told of the figures: aligned text for people, JSON for programs.

mod unit;
mod work;

use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::placement::Placement;
use crate::statistics::{Limit, Summary, Verdict};

pub(crate) use unit::{Unit, time};
pub(crate) use work::{COMMONS, FLOOR, Work, ratio};
use work::{Claim, Row};

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) placement: String,
    pub(crate) tables: Vec<Measurements>,
}

/// A table's figures.
#[derive(Debug)]
pub(crate) struct Measurements {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) works: Vec<Work>,
}

impl Report {
    pub(crate) fn new(machine: Machine, placement: String) -> Report {
        Report { machine, placement, tables: Vec::new() }
    }

    /// Begins a table.
    pub(crate) fn begin(&mut self, name: &'static str, about: &'static str) {
        self.tables.push(Measurements { name, about, works: Vec::new() });
    }

    /// Adds to the last table.
    pub(crate) fn add(&mut self, works: Vec<Work>) {
        if let Some(table) = self.tables.last_mut() {
            table.works.extend(works);
        }
    }

    /// Whether no bound is certainly missed.
    pub(crate) fn all_hold(&self) -> bool {
        self.claims().all(|(_, _, claim)| claim.verdict() != Some(Verdict::Missed))
    }

    fn works(&self) -> impl Iterator<Item = (&'static str, &Work)> {
        self.tables.iter().flat_map(|table| table.works.iter().map(move |work| (table.name, work)))
    }

    fn claims(&self) -> impl Iterator<Item = (&Work, &Row, &Claim)> {
        let rows = self.works().flat_map(|(_, work)| work.rows.iter().map(move |row| (work, row)));
        rows.flat_map(|(work, row)| row.claims.iter().map(move |claim| (work, row, claim)))
    }

    /// The last table, for people.
    pub(crate) fn text(&self) -> String {
        let Some(measurements) = self.tables.last() else { return String::new() };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(HEADER);
        let mut notes = String::new();
        for work in &measurements.works {
            for row in cells(work) {
                table.add_row(row);
            }
            for note in remarks(work) {
                notes += &format!("\n {}: {note}", work.name);
            }
        }
        for column in [2, 3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
        table.trim_fmt() + &notes
    }

    /// How the bounds came out, in a line or more.
    pub(crate) fn summary(&self) -> String {
        let mut counts = [0; 4];
        let mut lines = String::new();
        for (work, row, claim) in self.claims() {
            let (which, word) = match claim.verdict() {
                Some(Verdict::Holds) => (0, ""),
                Some(Verdict::Missed) => (1, "MISSED"),
                Some(Verdict::Unclear) => (2, "unclear"),
                None => (3, "not measured"),
            };
            counts[which] += 1;
            if which > 0 {
                lines += &format!("\n {word}: {}: {}", work.name, claim.bound(&row.subject));
            }
        }
        let [hold, missed, unclear, missing] = counts;
        format!(
            "bounds: {hold} hold, {missed} missed, {unclear} unclear for noise, {missing} not measured{lines}"
        )
    }

    /// Everything, for programs. A bound's `ratio` is the figure that is bounded: null of what was not measured, or
    /// where the rounds spread too far to tell; `holds` likewise.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<_> = self
            .works()
            .flat_map(|(table, work)| work.rows.iter().map(move |row| row_json(table, work, row)))
            .collect();
        let bounds: Vec<_> =
            self.claims().map(|(work, row, claim)| bound_json(work, &row.subject, claim)).collect();
        let notes: Vec<_> = self
            .works()
            .flat_map(|(_, work)| work.notes.iter().map(|note| json!({ "work": work.name, "note": note })))
            .collect();
        json!({
            "machine": self.machine.json(),
            "placement": self.placement,
            "rows": rows,
            "bounds": bounds,
            "notes": notes,
        })
    }
}

fn row_json(table: &str, work: &Work, row: &Row) -> Value {
    let scale = work.unit.scale();
    let mut json = json!({
        "table": table,
        "work": work.name,
        "subject": row.subject,
        "median": null,
        "iqr": null,
        "unit": work.unit.symbol(),
    });
    match &row.measured {
        Ok(measured) => {
            let summary = &measured.summary;
            json["median"] = json!(summary.median / scale);
            json["iqr"] = json!(pair(summary.quartiles, scale));
            json["rounds"] = json!(summary.rounds);
            json["warm_up_median"] = json!(summary.warm_up.map(|median| median / scale));
        }
        Err(why) => json["missing"] = json!(why),
    }
    json
}

fn bound_json(work: &Work, subject: &str, claim: &Claim) -> Value {
    let scale = claim.unit.map_or(1.0, Unit::scale);
    let mut json = json!({
        "work": work.name,
        "bound": claim.bound(subject),
        "ratio": null,
        "holds": null,
    });
    let (Some(figure), Some(verdict)) = (&claim.figure, claim.verdict()) else {
        json["why"] = json!(format!("{subject} was not measured"));
        return json;
    };
    json["iqr"] = json!(pair(figure.quartiles, scale));
    json["interval"] = json!(pair(figure.interval, scale));
    if verdict == Verdict::Unclear {
        json["why"] = json!("the rounds spread too far to tell");
    } else {
        json["ratio"] = json!(figure.median / scale);
        json["holds"] = json!(verdict == Verdict::Holds);
    }
    json
}

fn pair((low, high): (f64, f64), scale: f64) -> [f64; 2] {
    [low / scale, high / scale]
}

/// The columns of [`cells`].
pub(crate) const HEADER: [&str; 7] =
    ["work", "subject", "median", "quartiles", "commons takes", "bound", "verdict"];

/// A work's remarks, among them what is missing and why.
pub(crate) fn remarks(work: &Work) -> impl Iterator<Item = String> {
    let missing = work.rows.iter().filter_map(|row| {
        row.measured.as_ref().err().map(|why| format!("{} is missing: {why}", row.subject))
    });
    work.notes.iter().cloned().chain(missing)
}

/// A work's rows, as text.
pub(crate) fn cells(work: &Work) -> Vec<[String; 7]> {
    let mut name = work.name.as_str();
    let mut lines = Vec::new();
    for row in &work.rows {
        let [median, spread, ratio] = match &row.measured {
            Ok(measured) => [
                shown(work.unit, measured.summary.median),
                quartiles(work.unit, &measured.summary),
                measured.ratio.as_ref().filter(|ratio| ratio.rounds > 0).map(ratio).unwrap_or_default(),
            ],
            Err(_) => ["missing".into(), String::new(), String::new()],
        };
        let mut line = [
            std::mem::take(&mut name).into(),
            row.subject.clone(),
            median,
            spread,
            ratio,
            String::new(),
            String::new(),
        ];
        for (which, claim) in row.claims.iter().enumerate() {
            if which > 0 {
                lines.push(std::mem::take(&mut line));
            }
            line[5] = claim.bound(&row.subject);
            line[6] = verdict(claim);
        }
        lines.push(line);
    }
    lines
}

/// For people, times are in whatever unit suits them.
fn shown(unit: Unit, figure: f64) -> String {
    if unit.is_time() { time(figure) } else { unit.show(figure) }
}

fn quartiles(unit: Unit, summary: &Summary) -> String {
    let (low, high) = summary.quartiles;
    if summary.rounds > 1 { format!("{} – {}", shown(unit, low), shown(unit, high)) } else { String::new() }
}

/// A verdict in words, with the figure where the bound is of speed, which the other columns do not show.
fn verdict(claim: &Claim) -> String {
    let word = match claim.verdict() {
        Some(Verdict::Holds) => "holds",
        Some(Verdict::Missed) => "MISSED",
        Some(Verdict::Unclear) => "unclear",
        None => "not measured",
    };
    match (claim.limit, claim.unit, &claim.figure) {
        (Limit::AtLeast(_), None, Some(figure)) => format!("{word}: {}", ratio(figure)),
        _ => word.into(),
    }
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
    use crate::statistics::Series;

    fn report() -> Report {
        let (base, other) = (Series::of(vec![1000.0; 5]), Series::of(vec![2000.0; 5]));
        let noisy = Series::of(vec![1000.0, 2000.0]);
        let mut report = Report::new(Machine::now(), String::new());
        report.begin("t", "about");
        report.add(vec![
            Work::new("one", Unit::Microseconds)
                .row(COMMONS, &other)
                .row(FLOOR, &base)
                .bound(FLOOR, Limit::AtMost(1.5))
                .missing("a peer", "not installed")
                .bound("a peer", Limit::AtLeast(2.0))
                .note("a remark"),
            Work::new("two", Unit::Seconds).row(COMMONS, &base).bound(COMMONS, Limit::AtMost(1.0)),
            Work::new("three", Unit::Microseconds)
                .row(COMMONS, &noisy)
                .row(FLOOR, &base)
                .bound(FLOOR, Limit::AtMost(1.5)),
        ]);
        report
    }

    #[test]
    fn json_has_rows_and_bounds() {
        let json = report().json();
        assert_eq!(json["rows"][0]["median"], 2.0);
        assert_eq!(json["rows"][0]["unit"], "µs");
        assert_eq!(json["rows"][0]["subject"], "commons");
        assert_eq!(json["rows"][2]["missing"], "not installed");
        assert_eq!(json["bounds"][0]["bound"], "at most 1.5× the floor");
        assert_eq!(json["bounds"][0]["ratio"], 2.0);
        assert_eq!(json["bounds"][0]["holds"], false);
        assert_eq!(json["bounds"][1]["holds"], Value::Null);
        assert_eq!(json["bounds"][2]["ratio"], 1e-6);
        assert_eq!(json["bounds"][2]["holds"], true);
        assert_eq!(json["bounds"][3]["holds"], Value::Null);
        assert_eq!(json["bounds"][3]["ratio"], Value::Null);
    }

    #[test]
    fn text_tells_verdicts_and_remarks() {
        let report = report();
        let text = report.text();
        let parts = [
            "MISSED",
            "holds",
            "unclear",
            "2.00 µs",
            "2.00×",
            "spread too wide",
            "a peer is missing: not installed",
            "one: a remark",
        ];
        for part in parts {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(
            report.summary().starts_with("bounds: 1 hold, 1 missed, 1 unclear for noise, 1 not measured")
        );
        assert!(!report.all_hold());
    }
}
