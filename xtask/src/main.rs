//! What is done with the workspace: `cargo xtask install --prefix DIR` puts everything in place that users have.
//!
//! The command, the drop-ins' libraries with their headers and pkg-config files, manual pages, and completions. What
//! drop-ins there are is found by looking: each folder in `compat/` whose package makes a library that C programs
//! link, with what it has in `include/`.

mod install;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What is done with the workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build for release, and install: the command, the drop-ins, headers, pkg-config files, manual pages, completions
    Install(Install),
}

#[derive(Debug, clap::Args)]
struct Install {
    /// Where to: bin, lib, include and share are made below it
    #[arg(long, default_value = "/usr/local", value_name = "DIR")]
    prefix: PathBuf,
    /// Write below this directory what is to be moved to the prefix later, as packagers want it
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Build quickly rather than for speed, to try the installation
    #[arg(long)]
    debug: bool,
}

fn main() -> ExitCode {
    let Arguments { command: Command::Install(install) } = Arguments::parse();
    match install::install(&install.prefix, install.destdir.as_deref(), install.debug) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
