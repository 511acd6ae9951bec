//! `hold`: keeps a segment while a program runs. The program inherits a descriptor of it, so that it is held also if this
//! process is killed.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitCode};

use commons::{Error, Namespace, OwnerPolicy, Segment, SegmentOptions};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::args::Hold;
use crate::failure::{Failure, Outcome};
use crate::forward;

pub(crate) fn hold(namespace: &Namespace, owner: OwnerPolicy, hold: &Hold) -> Outcome<ExitCode> {
    let Some((program, arguments)) = hold.program.split_first() else {
        return Err(Failure::Usage("'hold' needs a program to run, after '--'".to_owned()));
    };
    // Before the segment is there, so that no signal ends this process without leaving it.
    forward::begin().map_err(|error| Failure::system("watch for signals", &error))?;
    let segment = open(namespace, owner, hold)?;
    let mut command = process::Command::new(program);
    command.args(arguments);
    // It goes on holding the segment should this process be killed.
    segment.inherit(&mut command)?;
    let code = run(command, program);
    drop(segment);
    code
}

/// Runs a program to its end, with the signals that come meanwhile passed on to it, and gives its exit code.
pub(crate) fn run(mut command: process::Command, program: &OsStr) -> Outcome<ExitCode> {
    forward::begin().map_err(|error| Failure::system("watch for signals", &error))?;
    let name = program.to_string_lossy();
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Failure::new(format!("cannot run \"{name}\": there is no such program; check the name and PATH"))
        }
        _ => Failure::system(format_args!("run \"{name}\""), &error),
    })?;
    // It has a copy of the descriptor, which would hold the segment as well.
    drop(command);
    let pid = Pid::from_child(&child);
    forward::program_runs(pid.as_raw_nonzero().get());
    let ended = loop {
        // Its id is its own until it is waited for in full, so that no signal goes astray.
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    forward::program_ended();
    let waiting = |error: &std::io::Error| Failure::system(format_args!("wait for \"{name}\""), error);
    ended.map_err(|error| waiting(&error.into()))?;
    let status = child.wait().map_err(|error| waiting(&error))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Opens the segment, or makes it if a size is given. One that may only be read is held by reading.
fn open(namespace: &Namespace, owner: OwnerPolicy, hold: &Hold) -> Outcome<Segment> {
    let options = || SegmentOptions::new().namespace(namespace).owner(owner);
    let opened = match hold.size {
        Some(size) => options().size(size).open_or_create(&hold.name),
        None => options().open(&hold.name),
    };
    match opened {
        Err(Error::PermissionDenied { .. }) => {
            Ok(options().size(hold.size.unwrap_or(0)).read_only(true).open(&hold.name)?)
        }
        other => Ok(other?),
    }
}
