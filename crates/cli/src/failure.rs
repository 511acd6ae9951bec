//! How the command fails: one line on standard error, and an exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;

/// What a subcommand gives.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why a subcommand could not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for wrongly.
    Usage(String),
    /// It did not work.
    Failed(String),
    /// Nobody reads the output any more, which is no error: `commons ls | head`.
    NobodyReads,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure::Failed(text.into())
    }

    /// What is said of it.
    pub(crate) fn text(&self) -> &str {
        match self {
            Failure::Usage(text) | Failure::Failed(text) => text,
            Failure::NobodyReads => "",
        }
    }

    /// A failure of the system's at something: `failed("read standard input", error)`.
    pub(crate) fn system(what: impl Display, error: &io::Error) -> Failure {
        Failure::Failed(format!("cannot {what}: {error}"))
    }

    pub(crate) fn writing(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::system("write to standard output", error),
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Failure::Usage(text) => {
                complain(text);
                ExitCode::from(2)
            }
            Failure::Failed(text) => {
                complain(text);
                ExitCode::FAILURE
            }
            Failure::NobodyReads => ExitCode::SUCCESS,
        }
    }
}

impl From<commons::Error> for Failure {
    fn from(error: commons::Error) -> Failure {
        Failure::Failed(match error {
            commons::Error::ForeignOwner { attempt, owner } => format!(
                "cannot {attempt}: it belongs to user {owner}; if that user is trusted, allow it with --any-owner"
            ),
            error => error.to_string(),
        })
    }
}

/// A line on standard error, whatever is in `text`.
pub(crate) fn complain(text: &str) {
    let line = format!("commons: {}\n", one_line(text));
    // There is nowhere left to say that standard error is closed.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// What is wrong with the command line; or the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Failure::writing(&error).report(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => Failure::Usage(summary(&error.render().to_string())).report(),
    }
}

/// The paragraphs of a message of clap's as one line.
fn summary(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let paragraphs = message.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let text = words.join(" ");
        match text.strip_prefix("Usage: ") {
            Some(usage) => format!("usage: {usage}"),
            None => text,
        }
    });
    let kept: Vec<String> =
        paragraphs.filter(|text| !text.is_empty() && !text.starts_with("For more information")).collect();
    kept.join("; ")
}

/// Control characters escaped, so that it stays on one line and a terminal takes no orders from it.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        // Marks of direction could make a line read otherwise than it is.
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_paragraphs_becomes_one_line() {
        let message = "error: the following required arguments were not provided:\n  <NAME>\n  <SIZE>\n\n\
            Usage: commons create <NAME> <SIZE>\n\nFor more information, try '--help'.\n";
        let expected = "the following required arguments were not provided: <NAME> <SIZE>; \
            usage: commons create <NAME> <SIZE>";
        assert_eq!(summary(message), expected);
    }

    #[test]
    fn control_characters_do_not_get_through() {
        assert_eq!(one_line("a\nb\x1b[2J\u{9b}é"), "a\\nb\\u{1b}[2J\\u{9b}é");
    }
}
