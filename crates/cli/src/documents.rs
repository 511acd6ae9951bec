//! What is made from the command line's own description: completions and manual pages.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Arguments;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

pub(crate) fn completions(shell: Shell) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "commons", &mut script);
    print(&script)
}

/// Prints the manual page of the whole, or writes one for each subcommand besides.
pub(crate) fn man(directory: Option<&Path>) -> Outcome<()> {
    if let Some(directory) = directory {
        let what = || format!("write manual pages to {}", directory.display());
        std::fs::create_dir_all(directory).map_err(|error| Failure::system(what(), &error))?;
        return clap_mangen::generate_to(Arguments::command(), directory)
            .map_err(|error| Failure::system(what(), &error));
    }
    let mut page = Vec::new();
    Man::new(Arguments::command())
        .render(&mut page)
        .map_err(|error| Failure::system("make the manual page", &error))?;
    print(&page)
}

fn print(text: &[u8]) -> Outcome<()> {
    let mut output = Output::new()?;
    output.write(text)?;
    output.finish()
}
