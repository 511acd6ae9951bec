//! Measures Commons against its bounds and its peers, on machines that are not quiet: variants take turns in
//! short rounds, and ratios are taken within a round.

mod child;
mod contest;
mod harness;
mod interrupt;
mod library;
mod machine;
mod markdown;
mod partner;
mod peers;
mod pictures;
mod placement;
mod pthread;
mod raw;
mod report;
mod scratch;
mod statistics;
mod sysv;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::harness::Context;
use crate::machine::Machine;
use crate::placement::Placement;
use crate::report::Report;

/// Measure Commons against its bounds and its peers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Which table to measure: `all`, or one by name.
    #[arg(default_value = "all", value_parser = tables::choices())]
    table: String,
    /// Fewer rounds: all within two minutes.
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if a bound does not hold. One that cannot be told for noise is no failure.
    #[arg(long)]
    check: bool,
    /// Also write the figures there, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a page about them there, as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the page's pictures go: by default `pictures` beside the page, in a directory `performance`.
    #[arg(long, value_name = "DIRECTORY", requires = "markdown")]
    pictures: Option<PathBuf>,
    /// Runs as a helper of another run.
    #[arg(long, hide = true, num_args = 1.., value_name = "ROLE")]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::remove_var("COMMONS_NAMESPACE") };
    let arguments = Arguments::parse();
    let done = match &arguments.child {
        Some(role) => child::main(role).map(|()| true),
        None => measure(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("commons-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well, as far as that was asked.
fn measure(arguments: &Arguments) -> Result<bool> {
    if cfg!(debug_assertions) {
        bail!("figures of an unoptimised build say nothing; use cargo run --release");
    }
    if let Err(error) = sysv::unshare() {
        println!("System V objects are made among the machine's own: no IPC namespace ({error})");
    }
    interrupt::watch();
    let _nothing_left = scratch::Leftovers;
    let machine = Machine::now();
    let context = Context { placement: Placement::choose()?, quick: arguments.quick };
    let placement = report::placement(&context.placement);
    println!("{machine}\n{placement}");
    let mut report = Report::new(machine, placement);
    for table in tables::chosen(&arguments.table) {
        report.begin(table.name, table.about);
        println!("\n{}: {}", table.name, table.about);
        for (label, work) in table.works {
            report::progress(label);
            let works = work(&context).with_context(|| format!("{}, {label}", table.name));
            report::progress("");
            if works.is_err() {
                // A child that was interrupted too looks like a failure of its own.
                interrupt::check()?;
            }
            report.add(works?);
        }
        println!("{}", report.text());
    }
    println!("\n{}", report.summary());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(page) = &arguments.markdown {
        let beside = || page.with_file_name("pictures").join("performance");
        markdown::write(&report, page, &arguments.pictures.clone().unwrap_or_else(beside))?;
    }
    Ok(!arguments.check || report.all_hold())
}
