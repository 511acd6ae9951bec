//! `create`, `grow`, `rm` and `sweep`: what makes segments, and what takes them away.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use commons::{Error, Lifetime, Namespace, OwnerPolicy, SegmentOptions};

use crate::args::{Create, Lives};
use crate::dropins::Names;
use crate::failure::{Failure, Outcome, complain};
use crate::output::{self, Output};
use crate::pattern::Pattern;
use crate::record::Record;
use crate::survey;

pub(crate) fn create(namespace: &Namespace, create: &Create) -> Outcome<()> {
    let Create { name, size, mode, lifetime, exclusive, sparse } = create;
    if *lifetime == Lives::UntilLastDetach {
        return Err(Failure::Usage(format!(
            "'create' ends at once, and with it a segment that lives until the last detach; use 'commons hold {} --size {size} -- PROGRAM'",
            name.to_string_lossy()
        )));
    }
    let options = SegmentOptions::new()
        .namespace(namespace)
        .size(*size)
        .mode(*mode)
        .lifetime(Lifetime::UntilDeleted)
        .sparse(*sparse);
    let segment = match exclusive {
        true => options.create(name),
        false => options.open_or_create(name),
    };
    let segment = segment.map_err(|error| match error {
        Error::ForeignOwner { attempt, owner } => Failure::new(format!(
            "cannot {attempt}: it is there and belongs to user {owner}; choose another name"
        )),
        error => error.into(),
    })?;
    if segment.lifetime() != Lifetime::UntilDeleted {
        let text = format!(
            "cannot create \"{}\" in {}: it is there and goes with its last holder; delete it first, or choose another name",
            segment.name().map(|name| name.to_string()).unwrap_or_default(),
            namespace.directory().display()
        );
        return Err(Failure::new(text));
    }
    Ok(())
}

pub(crate) fn grow(namespace: &Namespace, owner: OwnerPolicy, name: &OsStr, size: u64) -> Outcome<()> {
    let segment = SegmentOptions::new().namespace(namespace).owner(owner).open(name)?;
    Ok(segment.grow(size)?)
}

/// Deletes all that are named or match; goes on after a failure, so that one does not keep the others.
pub(crate) fn remove(namespace: &Namespace, names: &[OsString]) -> Outcome<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut fail = |text: &str| {
        complain(text);
        code = ExitCode::FAILURE;
    };
    let mut patterns = Vec::new();
    for name in names {
        match survey::meant_system_v(namespace, name) {
            Ok(None) => patterns.push(Pattern::new(name)),
            Ok(Some(segment)) => segment.remove().unwrap_or_else(|error| fail(&error.to_string())),
            Err(failure) => fail(failure.text()),
        }
    }
    for name in patterns.iter().filter_map(Pattern::as_name) {
        if let Err(error) = namespace.delete(name) {
            fail(&error.to_string());
        }
    }
    let mut patterns: Vec<(&Pattern, bool)> = patterns
        .iter()
        .filter(|pattern| pattern.as_name().is_none())
        .map(|pattern| (pattern, false))
        .collect();
    if patterns.is_empty() {
        return Ok(code);
    }
    for entry in namespace.list()? {
        let entry = entry?;
        let name = entry.name().to_os_string();
        let mut wanted = false;
        for (_, matched) in patterns.iter_mut().filter(|(pattern, _)| pattern.matches(&name)) {
            *matched = true;
            wanted = true;
        }
        if !wanted {
            continue;
        }
        match entry.delete() {
            // Gone by itself is as good.
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => fail(&error.to_string()),
        }
    }
    for (pattern, _) in patterns.iter().filter(|(_, matched)| !matched) {
        fail(&format!(
            "cannot delete \"{pattern}\" in {}: no segment matches; see 'commons ls'",
            namespace.directory().display()
        ));
    }
    Ok(code)
}

pub(crate) fn sweep(namespace: &Namespace, dry_run: bool) -> Outcome<()> {
    let mut output = Output::new()?;
    let mut printed = Ok(());
    let (segments, bytes, failed) = if dry_run {
        let (mut segments, mut bytes) = (0, 0);
        let names = Names::of(namespace);
        for entry in namespace.list()? {
            let record = Record::of(&entry?, &names)?;
            let Some(record) = record.filter(|record| record.orphan) else { continue };
            output.line(&format!("{}  {}", record.title(), output::size(record.reserved)))?;
            segments += 1;
            bytes += record.reserved;
        }
        (segments, bytes, 0)
    } else {
        // A sweep goes on where nobody reads what it says.
        let sweep = namespace.sweep_with(|name, bytes| {
            if printed.is_ok() {
                printed = output.line(&format!("{name}  {}", output::size(bytes)));
            }
        })?;
        (sweep.segments, sweep.bytes, sweep.failed)
    };
    printed?;
    let orphans = match segments {
        0 => "no orphan".to_owned(),
        1 => "1 orphan".to_owned(),
        more => format!("{more} orphans"),
    };
    let bytes = output::size(bytes);
    output.line(&match (segments, dry_run) {
        (0, _) => format!("{orphans} found"),
        (_, true) => format!("{orphans} would be deleted, and {bytes} come back"),
        (_, false) => format!("{orphans} deleted, {bytes} came back"),
    })?;
    if failed > 0 {
        output.line(&format!("{failed} could not be looked into or deleted: other users'"))?;
    }
    output.finish()
}
