//! `info`: all about one segment: who holds it, and if it has an object with a type, what that is and who has its locks.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::SystemTime;

use commons::shared::{Description, Inspection};
use commons::sysv::SystemV;
use commons::{Entry, Error, Holder, Holders, Namespace};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::args;
use crate::dropins::Names;
use crate::failure::{self, Failure, Outcome};
use crate::list::Owners;
use crate::lock::{self, Lock};
use crate::output::{self, ALARM, HEADING, Output};
use crate::processes;
use crate::record::{self, Fields, Record};
use crate::survey;

pub(crate) fn info(namespace: &Namespace, info: &args::Info) -> Outcome<()> {
    if let Some(segment) = survey::meant_system_v(namespace, &info.name)? {
        return system_v(segment, info.json);
    }
    let entry = namespace.entry(&info.name)?;
    // Gone between the two looks: say so as the first look would have.
    let record = match Record::of(&entry, &Names::of(namespace))? {
        Some(record) => record,
        None => return Err(gone(namespace, info)),
    };
    let holders = match entry.holders() {
        Ok(holders) => Some(holders),
        Err(Error::PermissionDenied { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let object = match Inspection::open(&entry) {
        Ok(Some(inspection)) => {
            let foreign = holders.as_ref().is_some_and(|holders| holders.elsewhere > 0);
            let lock = |(place, report)| Lock::new(place, report, foreign);
            let locks = lock::reports(&inspection).map(lock).collect();
            Some(Object { description: inspection.description().clone(), locks })
        }
        Ok(None) | Err(Error::PermissionDenied { .. } | Error::NotFound(_) | Error::NotASegment { .. }) => {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let mut output = Output::new()?;
    if info.json {
        let details = Details::new(&record, holders.as_ref(), object.as_ref());
        output.json(&details)?;
    } else {
        sheet(&mut output, namespace, &entry, &record, holders.as_ref())?;
        if let Some(object) = &object {
            object.print(&mut output)?;
        }
    }
    output.finish()
}

/// What is in a typed segment.
struct Object {
    description: Description,
    locks: Vec<Lock>,
}

/// So many locks are shown one by one, free ones as well.
const FEW: usize = 32;

impl Object {
    fn print(&self, output: &mut Output) -> Outcome<()> {
        let damaged = match self.description.is_intact() {
            true => "".into(),
            false => {
                output.styled(ALARM, " (somebody wrote over this: it is not as it was made)").into_owned()
            }
        };
        write_rows(output, [("object", format!("{}{damaged}", self.description.headline()))])?;
        for line in self.description.text().lines().skip(1) {
            output.line(&format!("{:10}{}", "", line.strip_prefix("  ").unwrap_or(line)))?;
        }
        if self.locks.is_empty() {
            return Ok(());
        }
        write_rows(output, [("locks", lock::summary(&self.locks))])?;
        let few = self.locks.len() <= FEW;
        let shown: Vec<&Lock> = self.locks.iter().filter(|lock| few || !lock.is_idle()).collect();
        let width = shown.iter().map(|lock| lock.path().width()).max().unwrap_or(0);
        for lock in shown {
            let path = lock.path();
            let padding = " ".repeat(width - path.width());
            output.line(&format!("{:10}{path}{padding}  {}", "", lock.sentence(output)))?;
        }
        Ok(())
    }
}

/// All about a System V segment.
fn system_v(segment: SystemV, json: bool) -> Outcome<()> {
    let Some((record, known)) = survey::one_system_v(segment)? else {
        return Err(Failure::new(format!(
            "cannot look at sysv:{}: there is no such segment; see 'commons ls --kind sysv'",
            segment.id()
        )));
    };
    let mut output = Output::new()?;
    if json {
        let details = Details {
            fields: record.fields(),
            reserved: record.reserved,
            pids: Some(record.processes.iter().map(|pid| mapper(*pid)).collect()),
            unknown: None,
            layout: None,
            locks: None,
        };
        output.json(&details)?;
        return output.finish();
    }
    let process = |pid: i32| match (pid, processes::command(pid.unsigned_abs())) {
        (0, _) => "unknown".to_owned(),
        (pid, Some(command)) => format!("pid {pid} {command}"),
        (pid, None) => format!("pid {pid}, which has ended"),
    };
    let lifetime = match record.orphan {
        true => format!(
            "{} (until-deleted, and nobody who made or used it is left: 'commons rm sysv:{}' deletes it)",
            output.styled(ALARM, "orphan"),
            segment.id()
        ),
        false => record::lifetime(record.lifetime).to_owned(),
    };
    let rows = [
        ("name", record.name.to_string_lossy().into_owned()),
        ("key", if known.key == 0 { "none".to_owned() } else { record::key(known.key) }),
        ("kind", "sysv, of the kernel's".to_owned()),
        ("size", bytes(record.size)),
        ("resident", record.resident.map_or("unknown".to_owned(), bytes)),
        ("swapped", known.swapped.map_or("unknown".to_owned(), bytes)),
        ("lifetime", lifetime),
        ("mode", record::mode(record.mode)),
        ("owner", owner(&record)),
        ("made by", process(known.creator)),
        ("last", if known.last == 0 { "never attached".to_owned() } else { process(known.last) }),
        ("attached", format!("{} times", known.attached)),
    ];
    write_rows(&mut output, rows)?;
    for pid in &record.processes {
        let command = processes::command(*pid).unwrap_or_else(|| "(hidden)".to_owned());
        output.line(&format!("          pid {pid} {command}: mapped"))?;
    }
    output.finish()
}

fn write_rows<const N: usize>(output: &mut Output, rows: [(&str, String); N]) -> Outcome<()> {
    for (title, value) in rows {
        // Padded before it is styled, for styles have a width of their own here.
        let title = output.styled(HEADING, format!("{title:<8}"));
        output.line(&format!("{title}  {value}"))?;
    }
    Ok(())
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => output::size(bytes),
        _ => format!("{bytes} bytes ({})", output::size(bytes)),
    }
}

fn owner(record: &Record) -> String {
    format!("{} (uid {}, gid {})", Owners::default().name(record.uid), record.uid, record.gid)
}

fn gone(namespace: &Namespace, info: &args::Info) -> Failure {
    match namespace.entry(&info.name) {
        Err(error) => error.into(),
        Ok(_) => Failure::new("the segment was made anew meanwhile; look again"),
    }
}

fn sheet(
    output: &mut Output,
    namespace: &Namespace,
    entry: &Entry,
    record: &Record,
    holders: Option<&Holders>,
) -> Outcome<()> {
    let path: PathBuf = namespace.directory().components().collect();
    let path = path.join(entry.name().file_name());
    let lifetime = match record.orphan {
        true => format!(
            "{} ({}, and nobody holds it: 'commons sweep' deletes it)",
            output.styled(ALARM, "orphan"),
            record::lifetime(record.lifetime)
        ),
        false => record::lifetime(record.lifetime).to_owned(),
    };
    let modified = match record.modified.and_then(|then| Some((then, record::time(then)?))) {
        Some((then, time)) => format!("{time} ({} ago)", output::age(then, SystemTime::now())),
        None => "unknown".to_owned(),
    };
    let holding = match record.holders {
        Some(1) => "1 handle".to_owned(),
        Some(handles) => format!("{handles} handles"),
        None => "unknown: it may not be opened for reading".to_owned(),
    };
    let rows = [
        ("name", record.title()),
        ("path", failure::one_line(&path.to_string_lossy())),
        ("kind", format!("{}, on {}", record.kind.name(), namespace.filesystem_name())),
        ("size", bytes(record.size)),
        ("reserved", bytes(record.reserved)),
        ("resident", record.resident.map_or("unknown".to_owned(), bytes)),
        ("lifetime", lifetime),
        ("mode", record::mode(record.mode)),
        ("owner", owner(record)),
        ("modified", modified),
        ("holders", holding),
    ];
    write_rows(output, rows)?;
    for line in holders.map(describe).unwrap_or_default() {
        output.line(&format!("          {line}"))?;
    }
    Ok(())
}

/// Who holds it, and what is unknown of that, one a line.
fn describe(holders: &Holders) -> Vec<String> {
    let mut lines: Vec<String> = holders.processes.iter().map(describe_process).collect();
    let plural = |count: usize, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let unknown = [
        plural(holders.elsewhere, "handle from another pid namespace", "handles from other pid namespaces"),
        plural(
            holders.inherited,
            "handle whose opener has ended, held by something it forked",
            "handles whose openers have ended, held by something they forked",
        ),
        hidden(&holders.hidden_pids),
    ];
    lines.extend(unknown.into_iter().flatten());
    lines
}

/// Which processes could not be looked into, the first of them by id.
fn hidden(pids: &[u32]) -> Option<String> {
    const SHOWN: usize = 8;
    let mut ids = pids.iter().take(SHOWN).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if pids.len() > SHOWN {
        ids += ", …";
    }
    match pids.len() {
        0 => None,
        1 => Some(format!("pid {ids} could not be looked into and may have it mapped")),
        count => {
            Some(format!("{count} processes could not be looked into and may have it mapped: pid {ids}"))
        }
    }
}

fn describe_process(holder: &Holder) -> String {
    let command = holder.command.as_deref().map_or("(hidden)".into(), failure::one_line);
    let handles = match (holder.handles, holder.mapped) {
        (0, _) => "mapped, without a handle of its own".to_owned(),
        (1, true) => "1 handle, mapped".to_owned(),
        (1, false) => "1 handle".to_owned(),
        (handles, true) => format!("{handles} handles, mapped"),
        (handles, false) => format!("{handles} handles"),
    };
    format!("pid {} {command}: {handles}", holder.pid)
}

/// A segment with its holders as JSON. The keys are an interface: keep them.
#[derive(Debug, Serialize)]
struct Details<'a> {
    #[serde(flatten)]
    fields: Fields,
    reserved: u64,
    pids: Option<Vec<Process<'a>>>,
    unknown: Option<Unknown>,
    layout: Option<Layout<'a>>,
    locks: Option<Vec<lock::Fields>>,
}

/// What a typed segment says of its object.
#[derive(Debug, Serialize)]
struct Layout<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    size: u64,
    align: u64,
    fingerprint: String,
    intact: bool,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct Process<'a> {
    pid: u32,
    command: Option<Cow<'a, str>>,
    handles: usize,
    mapped: bool,
}

#[derive(Debug, Serialize)]
struct Unknown {
    elsewhere: usize,
    inherited: usize,
    hidden: usize,
}

/// A process that is known to have it mapped, and no more.
fn mapper(pid: u32) -> Process<'static> {
    Process { pid, command: processes::command(pid).map(Cow::from), handles: 0, mapped: true }
}

impl<'a> Details<'a> {
    fn new(record: &Record, holders: Option<&'a Holders>, object: Option<&'a Object>) -> Details<'a> {
        let process = |holder: &'a Holder| Process {
            pid: holder.pid,
            command: holder.command.as_deref().map(Cow::from),
            handles: holder.handles,
            mapped: holder.mapped,
        };
        Details {
            fields: record.fields(),
            reserved: record.reserved,
            pids: holders.map(|holders| holders.processes.iter().map(process).collect()),
            unknown: holders.map(|holders| Unknown {
                elsewhere: holders.elsewhere,
                inherited: holders.inherited,
                hidden: holders.hidden,
            }),
            layout: object.map(|Object { description, .. }| Layout {
                kind: description.type_name(),
                size: description.size(),
                align: description.align(),
                fingerprint: format!("{:#018x}", description.fingerprint()),
                intact: description.is_intact(),
                text: description.text(),
            }),
            locks: object.map(|object| object.locks.iter().map(Lock::fields).collect()),
        }
    }
}
