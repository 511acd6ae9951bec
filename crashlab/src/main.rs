//! The crash laboratory: kills a program after every instruction, and looks whether the others come to harm.
//!
//! `crashlab short` is what belongs to every change, `crashlab full` all of it; the last line sums up. What a scenario
//! is, [`scenario`] says; how one is killed at an instruction, [`trace`] and [`modes`].

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the crash laboratory steps through programs on Linux, on x86-64 only");

mod args;
mod board;
mod campaign;
mod cargo;
mod code;
mod dropins;
mod errors;
mod experiment;
mod flaw;
mod home;
mod hostile;
mod invariants;
mod marker;
mod modes;
mod others;
mod process;
mod random;
mod report;
mod scenario;
mod scenarios;
mod soak;
mod team;
mod trace;
mod tracee;
mod world;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use args::{Arguments, Campaign, Command, Long};
use clap::Parser;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::List => {
            let mut out = std::io::stdout().lock();
            for scenario in scenarios::all().chain(scenarios::peers()).chain(scenarios::planted()) {
                // Nobody may want the rest of it.
                if writeln!(out, "{:?}: {}", scenario.floor, scenario.name).is_err() {
                    break;
                }
            }
            return ExitCode::SUCCESS;
        }
        Command::Short(arguments) => home::within(|directory| all(directory, &arguments, false)),
        Command::Full(arguments) => home::within(|directory| all(directory, &arguments, true)),
        Command::Path(arguments) => home::within(|directory| campaign::show_paths(directory, &arguments)),
        Command::Peers(arguments) => {
            home::within(|directory| peers(directory, &arguments, true).map(|()| true))
        }
        Command::Soak(arguments) => home::within(|directory| soak::run(directory, &arguments)),
        Command::Hostile(arguments) => home::within(|directory| hostile::run(directory, &arguments)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("crashlab: {error}");
        ExitCode::from(2)
    })
}

/// Everything, in its short or its full form; whether all is well. The last line sums up.
fn all(directory: &Path, arguments: &Campaign, full: bool) -> std::io::Result<bool> {
    if arguments.markdown {
        println!("Made {}.\n", report::when_and_where());
    }
    let tally = campaign::run(directory, arguments, full)?;
    let mut well = tally.flaws() == 0;
    if !arguments.scenarios_only && arguments.only.is_none() {
        println!();
        peers(directory, arguments, full)?;
        let (soak, hostile) = if full { (30.0, 10.0) } else { (0.5, 0.5) };
        let long = |minutes| Long { minutes, seed: Some(arguments.seed), processes: 6 };
        println!("\nThe hostile neighbour");
        well &= hostile::run(directory, &long(hostile))?;
        println!("\nThe long run");
        well &= soak::run(directory, &long(soak))?;
        println!();
    }
    println!(
        "points tried {}, stuck {}, leaked {}, wrong {}{}",
        tally.points + tally.stops + tally.pairs + tally.faults,
        tally.stuck,
        tally.leaked,
        tally.wrong,
        if well || tally.flaws() > 0 { "" } else { "; the long runs found something, see above" },
    );
    Ok(well)
}

/// Other libraries, and what a crash leaves there: no failure of this laboratory's.
fn peers(directory: &Path, arguments: &Campaign, patient: bool) -> std::io::Result<()> {
    println!("Other libraries: at how many crash points they are left stuck, leaking or wrong");
    let chosen: Vec<_> = scenarios::peers().collect();
    campaign::try_all(directory, arguments, false, &chosen)?;
    others::run(directory, arguments.seed, 25, patient)
}
