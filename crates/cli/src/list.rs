//! `ls`: which segments there are.

use std::collections::HashMap;
use std::time::SystemTime;

use commons::Namespace;

use crate::args::List;
use crate::failure::{Failure, Outcome};
use crate::output::{self, ALARM, Output, QUIET};
use crate::pattern::Pattern;
use crate::record::{self, Record};
use crate::survey;
use crate::table::{self, Cell, Column};

pub(crate) fn list(namespace: &Namespace, list: &List) -> Outcome<()> {
    let pattern = list.pattern.as_deref().map(Pattern::new);
    let mut records = survey::segments(namespace)?;
    if let Some(pattern) = pattern {
        records.retain(|record| pattern.matches(&record.name));
    }
    records.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut output = Output::new()?;
    if list.json {
        let fields: Vec<_> = records.iter().map(Record::fields).collect();
        let text = serde_json::to_vec_pretty(&fields).map_err(|error| Failure::new(error.to_string()))?;
        output.write(&text)?;
        output.write(b"\n")?;
    } else {
        print(&mut output, &records)?;
    }
    output.finish()
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
    ];
    let now = SystemTime::now();
    let mut owners = Owners::default();
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
        ]
    };
    let rows: Vec<_> = records.iter().map(row).collect();
    table::print(output, &columns, &rows)
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
            Some(user) => crate::failure::one_line(&user.name().to_string_lossy()),
            None => uid.to_string(),
        })
    }
}
