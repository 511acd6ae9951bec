//! `ls`: which segments there are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::time::SystemTime;

use commons::Namespace;

use crate::args::{List, Sort};
use crate::failure::{self, Outcome};
use crate::output::{self, ALARM, Output, QUIET};
use crate::pattern::Pattern;
use crate::processes;
use crate::record::{self, Kind, Record};
use crate::survey::{self, Scope};
use crate::table::{self, Cell, Column};

pub(crate) fn list(namespace: &Namespace, asked_for: bool, list: &List) -> Outcome<()> {
    let pattern = list.pattern.as_deref().map(Pattern::new);
    let mut records = survey::everything(&Scope::new(namespace, asked_for, &list.kind))?;
    let me = rustix::process::geteuid().as_raw();
    records.retain(|record| {
        pattern.as_ref().is_none_or(|pattern| pattern.matches(&record.name))
            && (record.orphan || !list.orphans)
            && (record.uid == me || !list.mine)
    });
    sort(&mut records, list.sort);
    if list.reverse {
        records.reverse();
    }
    let mut output = Output::new()?;
    if list.json {
        let fields: Vec<_> = records.iter().map(Record::fields).collect();
        output.json(&fields)?;
    } else {
        print(&mut output, &records)?;
        match &list.pattern {
            Some(pattern) if records.is_empty() => nothing_matches(&mut output, pattern)?,
            _ => total(&mut output, &records)?,
        }
    }
    output.finish()
}

/// Sorts as asked for: names from the first to the last, figures from the largest to the smallest; by name where
/// that is equal.
fn sort(records: &mut [Record], by: Sort) {
    use std::cmp::Reverse;
    records.sort_unstable_by(|one, other| (&one.name, one.kind).cmp(&(&other.name, other.kind)));
    match by {
        Sort::Name => {}
        Sort::Kind => records.sort_by_key(|record| record.kind),
        Sort::Size => records.sort_by_key(|record| Reverse(record.size)),
        Sort::Resident => records.sort_by_key(|record| Reverse(record.resident)),
        Sort::Holders => records.sort_by_key(|record| Reverse(record.holders)),
        Sort::Owner => records.sort_by_key(|record| record.uid),
        Sort::Age => records.sort_by_key(|record| record.modified),
    }
}

/// In place of the total.
fn nothing_matches(output: &mut Output, pattern: &OsStr) -> Outcome<()> {
    let pattern = failure::one_line(&pattern.to_string_lossy());
    let line = format!("nothing matches \"{pattern}\"; 'commons ls' shows all");
    let line = output.styled(QUIET, line).into_owned();
    output.line(&line)
}

/// The line below the table.
fn total(output: &mut Output, records: &[Record]) -> Outcome<()> {
    let sum = |bytes: fn(&Record) -> u64| records.iter().map(bytes).fold(0, u64::saturating_add);
    let (size, resident) = (sum(|record| record.size), sum(|record| record.resident.unwrap_or(0)));
    let orphans: Vec<&Record> = records.iter().filter(|record| record.orphan).collect();
    let line =
        format!("{} in all: {}, {} resident", records.len(), output::size(size), output::size(resident));
    let line = output.styled(QUIET, line).into_owned();
    if orphans.is_empty() {
        return output.line(&line);
    }
    let held = orphans.iter().map(|record| record.reserved).fold(0, u64::saturating_add);
    let kernel = orphans.iter().any(|record| record.kind == Kind::Sysv);
    let ours = orphans.iter().any(|record| record.kind != Kind::Sysv);
    let (belong, them) = if orphans.len() == 1 { ("belongs", "it") } else { ("belong", "them") };
    let advice = match (ours, kernel) {
        (true, true) => "'commons sweep' and 'commons rm sysv:ID' delete",
        (_, true) => "'commons rm sysv:ID' deletes",
        _ => "'commons sweep' deletes",
    };
    let (count, held) = (orphans.len(), output::size(held));
    let orphans = format!("; {count} of them {belong} to nobody any more, with {held}: {advice} {them}");
    let orphans = output.styled(ALARM, orphans).into_owned();
    output.line(&format!("{line}{orphans}"))
}

fn print(output: &mut Output, records: &[Record]) -> Outcome<()> {
    let columns = [
        Column("name", false),
        Column("kind", false),
        Column("size", true),
        Column("resident", true),
        Column("holders", true),
        Column("lifetime", false),
        Column("owner", false),
        Column("mode", false),
        Column("age", true),
        Column("used by", false),
    ];
    let now = SystemTime::now();
    let mut owners = Owners::default();
    let mut commands = Commands::default();
    let row = |record: &Record| {
        let lifetime = if record.orphan {
            Cell::styled(ALARM, "orphan")
        } else {
            Cell::new(record::lifetime(record.lifetime))
        };
        let known = |text: Option<String>| text.map_or(Cell::new("-"), Cell::new);
        [
            Cell::new(record.title()),
            Cell::new(record.kind.name()),
            Cell::new(output::short_size(record.size)),
            known(record.resident.map(output::short_size)),
            known(record.holders.map(|holders| holders.to_string())),
            lifetime,
            Cell::new(owners.name(record.uid).to_owned()),
            Cell::new(record::mode(record.mode)),
            Cell::styled(QUIET, record.modified.map_or("-".to_owned(), |time| output::age(time, now))),
            Cell::new(commands.line(&record.processes)),
        ]
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    table::print(output, &columns, &rows)
}

/// The commands of processes, each looked up once.
#[derive(Default)]
pub(crate) struct Commands {
    known: HashMap<u32, String>,
}

impl Commands {
    /// The first of these processes, and how many more there are.
    pub(crate) fn line(&mut self, processes: &[u32]) -> String {
        let Some((first, more)) = processes.split_first() else { return String::new() };
        let command =
            self.known.entry(*first).or_insert_with(|| processes::command(*first).unwrap_or("?".to_owned()));
        match more.len() {
            0 => format!("{command} {first}"),
            more => format!("{command} {first} +{more}"),
        }
    }
}

/// The names of users, each looked up once.
#[derive(Default)]
pub(crate) struct Owners {
    known: HashMap<u32, String>,
}

impl Owners {
    /// The user's name; the id, where there is none.
    pub(crate) fn name(&mut self, uid: u32) -> &str {
        self.known.entry(uid).or_insert_with(|| match uzers::get_user_by_uid(uid) {
            Some(user) => failure::one_line(&user.name().to_string_lossy()),
            None => uid.to_string(),
        })
    }
}
