//! `locks`: who has which lock, and which ones dead owners left behind.

use commons::shared::Inspection;
use commons::{Error, Namespace};
use serde::Serialize;

use crate::args;
use crate::failure::Outcome;
use crate::lock::{self, Lock};
use crate::output::{ALARM, Output, QUIET};
use crate::table::{self, Cell, Column};

pub(crate) fn locks(namespace: &Namespace, locks: &args::Locks) -> Outcome<()> {
    let (found, hidden) = find(namespace, locks.all)?;
    let mut output = Output::new()?;
    if locks.json {
        let fields: Vec<_> =
            found.iter().map(|Found { segment, lock, .. }| Fields { segment, lock: lock.fields() }).collect();
        output.json(&fields)?;
        return output.finish();
    }
    if !found.is_empty() {
        print(&mut output, &found)?;
    }
    total(&mut output, &found, hidden, locks.all)?;
    output.finish()
}

/// A lock, and where it is.
struct Found {
    /// The segment's name, for scripts.
    segment: String,
    /// The same, written so that no two look alike.
    title: String,
    lock: Lock,
}

/// The locks of all typed segments, by name; and how many segments could not be looked into.
fn find(namespace: &Namespace, free_too: bool) -> Outcome<(Vec<Found>, usize)> {
    let mut found = Vec::new();
    let mut hidden = 0;
    for entry in namespace.list()? {
        let entry = entry?;
        let inspection = match Inspection::open(&entry) {
            Ok(Some(inspection)) => inspection,
            // Gone by now, or another thing.
            Ok(None) | Err(Error::NotFound(_) | Error::NotASegment { .. }) => continue,
            // Mostly other users'. One that cannot be read hides no others.
            Err(_) => {
                hidden += 1;
                continue;
            }
        };
        // Looked for once a lock is held, which is seldom.
        let mut foreign = None;
        let mut is_foreign =
            || *foreign.get_or_insert_with(|| entry.look().is_some_and(|look| look.elsewhere > 0));
        for (place, report) in lock::reports(&inspection) {
            let in_use = report.as_ref().is_some_and(|report| !report.is_free() || report.waiters);
            if in_use || free_too {
                found.push(Found {
                    segment: entry.name().to_os_string().to_string_lossy().into_owned(),
                    title: entry.name().to_string(),
                    lock: Lock::new(place, report, in_use && is_foreign()),
                });
            }
        }
    }
    // Those of one segment stay in their order.
    found.sort_by(|one, other| one.segment.cmp(&other.segment));
    Ok((found, hidden))
}

fn print(output: &mut Output, found: &[Found]) -> Outcome<()> {
    let columns = [
        Column("segment", false),
        Column("lock", false),
        Column("kind", false),
        Column("state", false),
        Column("thread", true),
        Column("pid", true),
        Column("command", false),
        Column("waiters", false),
        Column("details", false),
    ];
    let mut rows = Vec::with_capacity(found.len());
    for Found { title, lock, .. } in found {
        for (state, owner) in lock.rows() {
            let known = |text: Option<String>| text.map_or(Cell::new("-"), Cell::new);
            rows.push([
                Cell::new(title.clone()),
                Cell::new(lock.path().to_owned()),
                Cell::new(lock.place.kind.clone()),
                Cell::styled(state.style(), state.name()),
                known(owner.and_then(|owner| owner.thread).map(|thread| thread.to_string())),
                known(owner.and_then(|owner| owner.pid).map(|pid| pid.to_string())),
                known(owner.and_then(|owner| owner.command.clone())),
                Cell::new(if lock.waiters() { "yes" } else { "no" }),
                known(lock.particulars()),
            ]);
        }
    }
    table::print(output, &columns, &rows)
}

/// The line below the table.
fn total(output: &mut Output, found: &[Found], hidden: usize, free_too: bool) -> Outcome<()> {
    let line = match (found.len(), free_too) {
        (0, true) => "no lock found".to_owned(),
        (0, false) => "no lock is held or waited for, and none was left behind".to_owned(),
        (1, _) => "1 lock".to_owned(),
        (more, _) => format!("{more} locks"),
    };
    let mut line = output.styled(QUIET, line).into_owned();
    if hidden > 0 {
        let segments = if hidden == 1 { "1 segment".to_owned() } else { format!("{hidden} segments") };
        line += &output.styled(QUIET, format!("; {segments} could not be looked into"));
    }
    let left = found.iter().filter(|found| found.lock.state().is_left_behind()).count();
    if left > 0 {
        let (were, them) = if left == 1 { ("was", "it") } else { ("were", "them") };
        let text = format!("; {left} {were} left behind: 'commons unlock SEGMENT LOCK' frees {them}");
        line += &output.styled(ALARM, text);
    }
    output.line(&line)
}

/// A lock with its segment as JSON. The keys are an interface: keep them.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    segment: &'a str,
    #[serde(flatten)]
    lock: lock::Fields,
}
