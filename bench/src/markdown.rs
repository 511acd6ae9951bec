//! The page about speed, written as measured: for each table a picture and the figures behind it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::pictures;
use crate::report::{self, HEADER, Measurements, Report};

const INTRODUCTION: &str = "\
# Performance

What Commons costs, beside the floor that the hardware and the kernel set and beside what a program might use instead,
all measured in one run. This page is written by the benchmark; nothing here is typed by hand.

";

const READING: &str = "\
The variants of a work take turns in short rounds, each pinned to a core; figures are medians, with the middle half of
the rounds beside them. *commons takes* is what Commons takes over what the subject of that row takes, round by round: below
1× Commons is faster. A ratio whose rounds spread too far is given as an interval. A bound holds, or is missed, if the
99 % interval of the median lies wholly on one side of it; else it is unclear. The distance of the cores is printed
since it decides latency more than any code does.

";

/// Writes the page, and its pictures into a directory.
pub(crate) fn write(report: &Report, page: &Path, pictures: &Path) -> Result<()> {
    std::fs::create_dir_all(pictures).with_context(|| format!("making {}", pictures.display()))?;
    let mut text = String::from(INTRODUCTION);
    let machine = &report.machine;
    writeln!(text, "- The machine: {machine}.\n- Its cores: {}.", report.placement)?;
    text += "- To repeat it, about a quarter of an hour on a quiet machine, as root for huge pages and System V's own \
        namespace:\n\n";
    text += "```sh\nbench/peers                       # installs the peers that Debian carries; cargo fetches the crates\n\
        cargo build --release --workspace\n\
        cargo run --release --manifest-path bench/Cargo.toml -- --markdown docs/performance.md\n```\n\n";
    text += READING;
    behind(report, &mut text)?;
    writeln!(text, "## Bounds\n")?;
    for line in report.summary().lines() {
        let line = line.trim();
        writeln!(
            text,
            "{}{line}{}",
            if line.starts_with("bounds") { "" } else { "- " },
            if line.starts_with("bounds") { "\n" } else { "" }
        )?;
    }
    for table in &report.tables {
        write_table(table, page, pictures, &mut text)?;
    }
    let text = text.trim_end().to_string() + "\n";
    std::fs::write(page, text).with_context(|| format!("writing {}", page.display()))
}

/// Where a peer is faster, and why.
fn behind(report: &Report, text: &mut String) -> Result<()> {
    writeln!(text, "## Where Commons is behind\n")?;
    let mut none = true;
    for work in report.tables.iter().flat_map(|table| &table.works) {
        let faster: Vec<_> =
            work.behind().map(|(subject, figure)| format!("{} {subject}", report::ratio(figure))).collect();
        if faster.is_empty() {
            continue;
        }
        none = false;
        let why = work.why.map(|why| format!(" {why}")).unwrap_or_default();
        writeln!(text, "- *{}*: {}.{why}", work.name, faster.join(", "))?;
    }
    if none {
        writeln!(text, "Nowhere in this run.")?;
    }
    writeln!(text)?;
    Ok(())
}

fn write_table(table: &Measurements, page: &Path, pictures: &Path, text: &mut String) -> Result<()> {
    writeln!(text, "\n## {}: {}\n", capital(table.name), table.about)?;
    if let Some(svg) = pictures::draw(table)? {
        let file = pictures.join(format!("{}.svg", table.name));
        std::fs::write(&file, svg).with_context(|| format!("writing {}", file.display()))?;
        writeln!(text, "![What each takes, on a logarithmic scale]({})\n", link(page, &file).display())?;
    }
    writeln!(text, "| {} |\n|{}", HEADER.join(" | "), " --- |".repeat(HEADER.len()))?;
    for work in &table.works {
        for row in report::cells(work) {
            writeln!(text, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "))?;
        }
    }
    writeln!(text)?;
    for work in &table.works {
        for remark in report::remarks(work) {
            writeln!(text, "- *{}*: {remark}.", work.name)?;
        }
    }
    Ok(())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A file as a page names it that lies in the directory above, or elsewhere.
fn link(page: &Path, file: &Path) -> PathBuf {
    let directory = page.parent().unwrap_or(Path::new(""));
    file.strip_prefix(directory).unwrap_or(file).into()
}
