//! The tables, and the last line.

use std::time::Duration;

use crate::modes::Tally;
use crate::scenario::{Floor, Scenario};

/// What was tried and found, scenario by scenario.
pub(crate) struct Report {
    markdown: bool,
    rows: Vec<(&'static str, Floor, Tally, Duration)>,
}

const HEADS: [&str; 10] =
    ["scenario", "steps", "killed", "stopped", "in pairs", "faults", "stuck", "leaked", "wrong", "seconds"];

impl Report {
    pub(crate) fn new(markdown: bool) -> Report {
        let report = Report { markdown, rows: Vec::new() };
        report.line(&HEADS.map(str::to_owned));
        if markdown {
            println!("| --- |{}", " ---: |".repeat(HEADS.len() - 1));
        }
        report
    }

    /// One scenario is done.
    pub(crate) fn add(&mut self, scenario: &Scenario, tally: Tally, took: Duration) {
        self.rows.push((scenario.name, scenario.floor, tally, took));
        self.line(&columns(scenario.name, &tally, took));
    }

    /// What all of them come to.
    pub(crate) fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for (_, _, tally, _) in &self.rows {
            sum.add(tally);
        }
        sum
    }

    /// The last lines of the table.
    pub(crate) fn finish(&self) {
        let mut floors: Vec<Floor> = self.rows.iter().map(|row| row.1).collect();
        floors.sort();
        floors.dedup();
        for floor in floors {
            let mut sum = Tally::default();
            let mut took = Duration::ZERO;
            for row in self.rows.iter().filter(|row| row.1 == floor) {
                sum.add(&row.2);
                took += row.3;
            }
            self.line(&columns(&format!("{floor:?}: all {}", self.count(floor)), &sum, took));
        }
        let took = self.rows.iter().map(|row| row.3).sum();
        self.line(&columns("all", &self.sum(), took));
    }

    fn count(&self, floor: Floor) -> usize {
        self.rows.iter().filter(|row| row.1 == floor).count()
    }

    fn line(&self, columns: &[String; 10]) {
        if self.markdown {
            println!("| {} |", columns.join(" | "));
            return;
        }
        let mut line = format!("{:<50}", columns[0]);
        for column in &columns[1..] {
            line.push_str(&format!("{column:>10}"));
        }
        println!("{line}");
    }
}

/// The day and the commit, for a table that is kept.
pub(crate) fn when_and_where() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let day = said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(|| "on an unknown day".into());
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    format!("{day}, at commit {commit}{}", if changed { " with changes" } else { "" })
}

fn columns(name: &str, tally: &Tally, took: Duration) -> [String; 10] {
    [
        name.to_owned(),
        tally.instructions.to_string(),
        tally.points.to_string(),
        tally.stops.to_string(),
        tally.pairs.to_string(),
        tally.faults.to_string(),
        tally.stuck.to_string(),
        tally.leaked.to_string(),
        tally.wrong.to_string(),
        format!("{:.1}", took.as_secs_f64()),
    ]
}
