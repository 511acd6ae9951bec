//! The crash laboratory: kills a program after every instruction, and looks whether the others come to harm.
//!
//! `crashlab short` is what belongs to every change, `crashlab full` all of it; the last line sums up. What a scenario
//! is, [`scenario`] says; how one is killed at an instruction, [`trace`] and [`modes`].

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the crash laboratory steps through programs on Linux, on x86-64 only");

mod args;
mod board;
mod campaign;
mod code;
mod errors;
mod experiment;
mod flaw;
mod home;
mod hostile;
mod invariants;
mod marker;
mod modes;
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

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use modes::Tally;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::List => {
            for scenario in scenarios::all().chain(scenarios::planted()) {
                println!("{:?}: {}", scenario.floor, scenario.name);
            }
            return ExitCode::SUCCESS;
        }
        Command::Short(arguments) => {
            home::within(|directory| Ok(sum_up(&campaign::run(directory, &arguments, false)?)))
        }
        Command::Full(arguments) => {
            home::within(|directory| Ok(sum_up(&campaign::run(directory, &arguments, true)?)))
        }
        Command::Soak(arguments) => home::within(|directory| soak::run(directory, &arguments)),
        Command::Hostile(arguments) => home::within(|directory| hostile::run(directory, &arguments)),
        Command::Peers(_) => todo!(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("crashlab: {error}");
        ExitCode::from(2)
    })
}

/// The last line; whether all is well.
fn sum_up(tally: &Tally) -> bool {
    println!(
        "points tried {}, stuck {}, leaked {}, wrong {}",
        tally.points + tally.stops + tally.pairs + tally.faults,
        tally.stuck,
        tally.leaked,
        tally.wrong
    );
    tally.flaws() == 0
}
