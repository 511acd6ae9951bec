//! `info`: all about one segment, and who holds it.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::SystemTime;

use commons::sysv::SystemV;
use commons::{Entry, Error, Holder, Holders, Namespace};
use serde::Serialize;

use crate::args;
use crate::failure::{self, Failure, Outcome};
use crate::list::Owners;
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
    let record = match Record::of(&entry, namespace)? {
        Some(record) => record,
        None => return Err(gone(namespace, info)),
    };
    let holders = match entry.holders() {
        Ok(holders) => Some(holders),
        Err(Error::PermissionDenied { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut output = Output::new()?;
    if info.json {
        let details = Details::new(&record, holders.as_ref());
        output.json(&details)?;
    } else {
        sheet(&mut output, namespace, &entry, &record, holders.as_ref())?;
    }
    output.finish()
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
        plural(
            holders.hidden,
            "process could not be looked into and may have it mapped",
            "processes could not be looked into and may have it mapped",
        ),
    ];
    lines.extend(unknown.into_iter().flatten());
    lines
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
    fn new(record: &Record, holders: Option<&'a Holders>) -> Details<'a> {
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
        }
    }
}
