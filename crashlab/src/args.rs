//! The command line.

use clap::{Args, Parser, Subcommand};

/// Kills a program after every instruction, and looks whether the others come to harm.
#[derive(Parser)]
#[command(name = "crashlab", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A short form of everything, within six minutes.
    Short(Campaign),
    /// All of it: every instruction of every scenario, every error of every system call, half an hour of the long run,
    /// ten minutes of the hostile neighbour.
    Full(Campaign),
    /// Processes that do random work on shared names and locks, and are killed, stopped and starved all the while.
    Soak(Long),
    /// A process that writes into everything, truncates, locks and replaces; the others, guarded, have to live with it.
    Hostile(Long),
    /// The same experiments with other libraries, as far as they are installed.
    Peers(Campaign),
    /// In which functions the instructions of acts are: what a scenario with a long path spends it on.
    Path(Campaign),
    /// The names of all scenarios.
    List,
}

#[derive(Args, Clone)]
pub(crate) struct Campaign {
    /// Only scenarios whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Which points are tried, where not all are.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The table as Markdown, for the documentation.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Also scenarios with mistakes in them, to see that they are found.
    #[arg(long)]
    pub(crate) planted: bool,
    /// The processors to run on, with commas between them: each gets scenarios as it has done those before.
    #[arg(long, alias = "processor", value_name = "LIST", value_delimiter = ',', default_value = "0")]
    pub(crate) processors: Vec<usize>,
    /// Without the other libraries, the long run and the hostile neighbour.
    #[arg(long)]
    pub(crate) scenarios_only: bool,
    /// At most so many crash points of each scenario.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) points: Option<usize>,
}

#[derive(Args, Clone)]
pub(crate) struct Long {
    /// How long.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) minutes: f64,
    /// Repeats the choices of another run; what the processes do to each other depends on the machine.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many processes work.
    #[arg(long, default_value_t = 6)]
    pub(crate) processes: usize,
}
