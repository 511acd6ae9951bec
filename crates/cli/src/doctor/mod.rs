//! `doctor`: what on this machine will hurt programs that share memory, and the command that mends it.
//!
//! Each group of checks has a module: the directory itself ([`namespace`]) and its room ([`space`]), the
//! [`cgroup`], a process's [`limits`], System V ([`sysv`]), huge [`pages`], and who else deletes ([`system`]).
//! All of them look at a [`Machine`](machine::Machine) and give [`Finding`]s; none of them changes anything, and
//! none fails: what cannot be looked at is a finding as well.

mod cgroup;
mod finding;
mod limits;
mod machine;
mod namespace;
mod pages;
mod place;
mod space;
mod system;
mod sysv;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::failure::{Failure, Outcome, one_line};
use crate::output::{ALARM, GOOD, HEADING, Output, QUIET};
use finding::{Finding, Severity};
use machine::Machine;
use place::{POSIX, Place};

const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Lines of prose are no longer than this, however wide the terminal: longer ones are hard to read.
const WIDEST: usize = 110;

/// How far prose stands under its severity.
const INDENT: usize = 9;

/// Looks at the machine, and at the namespace that programs will use; fails if something is wrong.
pub(crate) fn doctor(namespace: Option<&Path>, json: bool) -> Outcome<ExitCode> {
    let mut findings = examine(&Machine::new("/"), namespace)?;
    // The order within one severity is that of the checks.
    findings.sort_by_key(|finding| finding.severity);
    let mut output = Output::new()?;
    if json {
        output.json(&findings)?;
    } else {
        print(&mut output, &findings)?;
    }
    output.finish()?;
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Wrong);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(machine: &Machine, namespace: Option<&Path>) -> Outcome<Vec<Finding>> {
    let environment = std::env::var_os("COMMONS_NAMESPACE").filter(|value| !value.is_empty());
    let from_environment = namespace.is_none() && environment.is_some();
    let namespace = namespace.map(Path::to_owned).or(environment.map(PathBuf::from));
    let namespace = namespace.unwrap_or_else(|| POSIX.into());
    // In one spelling, as the library has it.
    let namespace: PathBuf = std::path::absolute(&namespace)
        .map_err(|error| Failure::system("find the namespace", &error))?
        .components()
        .collect();

    let mounts = machine.mounts().unwrap_or_default();
    let mut findings = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let wanted = [Path::new(POSIX), &namespace];
    for path in if namespace == Path::new(POSIX) { &wanted[..1] } else { &wanted[..] } {
        match Place::look(machine, path, &mounts) {
            Ok(place) => {
                findings.push(namespace::filesystem(&place, machine, from_environment));
                findings.push(namespace::mode(&place, machine));
                findings.push(namespace::access(&place));
                findings.push(namespace::orphans(&place, machine));
                // A directory in /dev/shm has no room of its own.
                if places.iter().all(|other| other.device != place.device) {
                    findings.extend(space::bytes_in_all(&place, machine));
                    findings.push(space::bytes_free(&place, machine));
                    findings.push(space::files_free(&place));
                    places.push(place);
                }
            }
            Err(absent) => findings.push(namespace::absent(path, &absent)),
        }
    }
    findings.extend(cgroup::examine(machine, &mounts, &places));
    findings.extend(limits::examine(machine));
    findings.extend(sysv::examine(machine));
    findings.extend(pages::examine(machine, &places));
    findings.push(system::remove_ipc(machine, &system::User::current()));
    Ok(findings)
}

/// What is bad as paragraphs, the worst first; what is good as a list, a line each; and a line that sums up.
fn print(output: &mut Output, findings: &[Finding]) -> Outcome<()> {
    let width = findings.iter().map(|finding| finding.check.width()).max().unwrap_or(0);
    let columns = columns();
    let indent = " ".repeat(INDENT);
    for finding in findings {
        // Padded before it is styled, for styles have a width of their own here.
        let severity = output.styled(style(finding.severity), format!("{:<7}", finding.severity.name()));
        let what = one_line(&finding.what);
        if finding.severity == Severity::Fine {
            output.line(&format!("{severity}  {:<width$}  {}", finding.check, output.styled(QUIET, what)))?;
            continue;
        }
        output.line(&format!("{severity}  {}", output.styled(HEADING, &*finding.check)))?;
        for line in wrapped(&what, columns) {
            output.line(&format!("{indent}{line}"))?;
        }
        for line in wrapped(&one_line(&finding.why), columns) {
            output.line(&format!("{indent}{}", output.styled(QUIET, line)))?;
        }
        // Never broken, so that it can be copied.
        if let Some(command) = &finding.command {
            output.line(&format!("{indent}mend it: {}", output.styled(GOOD, one_line(command))))?;
        }
        output.line("")?;
    }
    if findings.iter().any(|finding| finding.severity == Severity::Fine) {
        output.line("")?;
    }
    let commands = findings.iter().any(|finding| finding.command.is_some());
    if commands && !rustix::process::geteuid().is_root() {
        output.line("Commands that change the machine are for root: see 'sudo -s'.")?;
    }
    output.line(&summary(output, findings))
}

/// `2 wrong, 1 warning, 14 fine`.
fn summary(output: &Output, findings: &[Finding]) -> String {
    let part = |severity: Severity| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        let text = match (severity, count) {
            (Severity::Unknown, 0) => return None,
            (Severity::Warning, 0 | 2..) => format!("{count} warnings"),
            _ => format!("{count} {}", severity.name()),
        };
        Some(if count == 0 { text.into() } else { output.styled(style(severity), text) })
    };
    Severity::ALL.into_iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Wrong => ALARM,
        Severity::Warning => WARNING,
        Severity::Unknown => HEADING,
        Severity::Fine => GOOD,
    }
}

/// How wide prose may be; `None` where nobody looks at it on a terminal.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    // Some terminals do not know.
    let width = if size.ws_col == 0 { 80 } else { usize::from(size.ws_col) };
    Some(width.saturating_sub(INDENT).clamp(20, WIDEST))
}

fn wrapped(text: &str, columns: Option<usize>) -> Vec<String> {
    match columns {
        None => vec![text.to_owned()],
        Some(columns) => {
            let options = textwrap::Options::new(columns).break_words(false);
            textwrap::wrap(text, options).into_iter().map(std::borrow::Cow::into_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::machine::tests::{GARBAGE, made_up};
    use super::*;

    #[test]
    fn a_machine_of_nothing_or_of_garbage_is_looked_at_to_the_end() {
        let (_directory, nothing) = made_up(&[]);
        let findings = examine(&nothing, Some(Path::new("/dev/shm"))).unwrap();
        assert!(findings.iter().any(|finding| finding.severity == Severity::Wrong));
        for garbage in GARBAGE {
            let files = [
                ("/dev/shm/x", garbage),
                ("/proc/meminfo", garbage),
                ("/proc/self/mountinfo", garbage),
                ("/proc/self/cgroup", garbage),
                ("/etc/systemd/logind.conf", garbage),
            ];
            let (_directory, machine) = made_up(&files);
            let findings = examine(&machine, Some(Path::new("/srv"))).unwrap();
            let missing = findings.iter().find(|finding| finding.check == "namespace-filesystem").unwrap();
            assert_eq!(missing.severity, Severity::Wrong, "{garbage:?}");
        }
    }

    #[test]
    fn identifiers_are_unique() {
        let (_directory, machine) = made_up(&[("/dev/shm/x", "")]);
        let mut checks: Vec<_> = examine(&machine, Some(Path::new("/")))
            .unwrap()
            .into_iter()
            .map(|finding| finding.check)
            .collect();
        let all = checks.len();
        checks.sort();
        checks.dedup();
        assert_eq!(checks.len(), all, "{checks:?}");
    }
}
