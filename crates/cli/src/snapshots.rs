//! `save` and `load`: segments to files and back.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;
use std::path::Path;

use commons::snapshot::{self, Header, LoadOptions, SaveOptions};
use commons::{Error, Lifetime, Namespace, OwnerPolicy, Segment, SegmentOptions};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Load, Save};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output};
use crate::pause::Keeper;
use crate::record;

pub(crate) fn save(namespace: &Namespace, save: &Save) -> Outcome<()> {
    let to_stdout = is_dash(&save.file);
    if to_stdout && stdout().is_terminal() {
        return Err(Failure::Usage("a snapshot is not for a terminal; give a file, or a pipe".to_owned()));
    }
    let to_file = std::fs::metadata(&save.file).map_or(!to_stdout, |there| there.is_file());
    if save.pause && !to_file {
        return Err(Failure::Usage(
            "--pause needs a file to save to: who reads a pipe may be among those that are stopped"
                .to_owned(),
        ));
    }
    // Beyond the limit on the size of files there is an error, and not a signal.
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let mut keeper = if save.pause { Some(Keeper::start()?) } else { None };
    let options = SegmentOptions::new().namespace(namespace).owner(OwnerPolicy::Any).read_only(true);
    let segment = options.open(&save.name)?;
    if let Some(keeper) = &mut keeper {
        let failed = |error: rustix::io::Errno| Failure::system("look at the segment", &error.into());
        let stat = rustix::fs::fstat(segment.as_fd()).map_err(failed)?;
        keeper.stop_holders(&segment, (stat.st_dev, stat.st_ino), &save.name.to_string_lossy())?;
    }
    // Who shows the terminal may be among those that are stopped.
    let bar = if save.pause { ProgressBar::hidden() } else { bar() };
    let keeper = RefCell::new(keeper);
    let confirm = || keeper.borrow_mut().as_mut().map_or(Ok(()), Keeper::check);
    let mut options = SaveOptions::new()
        .confirm(confirm)
        .raw(save.raw)
        .sync(!save.no_sync)
        .progress(|done, all| show(&bar, done, all));
    if let Some(level) = save.zstd {
        options = options.zstd(level);
    }
    let saved = match to_stdout {
        true => options.save(&segment, stdout().lock()),
        false => options.save_file(&segment, &save.file),
    };
    bar.finish_and_clear();
    drop(options);
    drop(keeper);
    let saved = saved.map_err(nobody_reads)?;
    if !saved.knows_holes {
        // Worth a word only where it makes a difference.
        crate::failure::complain("note: hugetlbfs does not tell holes, so that all bytes were saved");
    }
    Ok(())
}

/// A pipe that nobody reads any more is as for the other commands.
fn nobody_reads(error: Error) -> Failure {
    if error.raw_os_error() == Some(libc::EPIPE) { Failure::NobodyReads } else { error.into() }
}

pub(crate) fn load(namespace: &Namespace, owner: OwnerPolicy, load: &Load) -> Outcome<()> {
    let from_stdin = is_dash(&load.file);
    if from_stdin && stdin().is_terminal() {
        return Err(Failure::Usage(
            "a snapshot does not come from a terminal; give a file, or a pipe".to_owned(),
        ));
    }
    let bar = bar();
    let mut options = LoadOptions::new()
        .raw(load.raw)
        .namespace(namespace)
        // With another lifetime it would be gone as this command ends.
        .lifetime(Lifetime::UntilDeleted)
        .progress(|done, all| show(&bar, done, all));
    if let Some(mode) = load.mode {
        options = options.mode(mode);
    }
    if load.sparse {
        options = options.sparse(true);
    }
    if load.check {
        let header = match from_stdin {
            true => options.check(stdin().lock()),
            false => options.check_file(&load.file),
        }?;
        bar.finish_and_clear();
        return describe(&header);
    }
    let name = match &load.name {
        Some(name) => Some(name.clone()),
        // A pipe is read once.
        None if from_stdin || load.raw || !std::fs::metadata(&load.file).is_ok_and(|it| it.is_file()) => None,
        None => Some(snapshot::header(&load.file)?.name).filter(|name| !name.is_empty()),
    };
    let existing = name.as_deref().map(|name| existing(namespace, owner, name)).transpose()?.flatten();
    if let Some(name) = name {
        options = options.name(name);
    }
    let loaded = match (existing, from_stdin) {
        (Some(segment), true) => options.load_into(&segment, stdin().lock()),
        (Some(segment), false) => options.load_file_into(&segment, &load.file),
        (None, true) => options.load(stdin().lock()).map(|_| ()),
        (None, false) => options.load_file(&load.file).map(|_| ()),
    };
    bar.finish_and_clear();
    Ok(loaded?)
}

/// The segment of that name, to be loaded into.
fn existing(namespace: &Namespace, owner: OwnerPolicy, name: &OsStr) -> Outcome<Option<Segment>> {
    match SegmentOptions::new().namespace(namespace).owner(owner).open(name) {
        Ok(segment) => Ok(Some(segment)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn describe(header: &Header) -> Outcome<()> {
    let mut output = Output::new()?;
    let name = match header.name.is_empty() {
        true => "(anonymous)".to_owned(),
        false => crate::failure::one_line(&header.name.to_string_lossy()),
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows = [
        ("name", name),
        ("size", output::size(header.size)),
        ("mode", record::mode(header.mode)),
        ("lifetime", record::lifetime(header.lifetime).to_owned()),
        ("sparse", yes(header.sparse)),
        ("compressed", yes(header.compressed)),
        ("saved", record::time(header.saved).unwrap_or("unknown".to_owned())),
        ("checked", "all blocks are whole".to_owned()),
    ];
    for (title, value) in rows {
        let title = output.styled(output::HEADING, format!("{title:<10}"));
        output.line(&format!("{title}  {value}"))?;
    }
    output.finish()
}

fn is_dash(file: &Path) -> bool {
    file == Path::new("-")
}

/// A progress bar on standard error, if that is a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template(
        "{bar:30} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}
