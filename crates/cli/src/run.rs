//! `run`: starts a program on the drop-ins for older systems, and sweeps when it has ended.
//!
//! The drop-ins are libraries that the loader puts before the program's own (`LD_PRELOAD`). It does so silently, and
//! silently does not for a program that has no loader or is not to be trusted with its environment: so the program is
//! looked at first.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use commons_compat::place::System;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};

use crate::args::Run;
use crate::dropins;
use crate::failure::{Failure, Outcome, complain};
use crate::hold;

/// A drop-in: whose calls it answers, and its library.
struct DropIn {
    system: System,
    flag: &'static str,
    library: &'static str,
}

const SYSTEM_V: DropIn = DropIn { system: System::SystemV, flag: "--sysv", library: "libcommons_sysv.so" };
const NSPR: DropIn = DropIn { system: System::Nspr, flag: "--nspr", library: "libcommons_nspr.so" };

/// Where libraries are installed, besides where the command is.
const INSTALLED: [&str; 4] = ["/usr/local/lib", "/usr/lib", "/usr/local/lib64", "/usr/lib64"];

pub(crate) fn run(namespace: Option<&Path>, run: &Run) -> Outcome<ExitCode> {
    let Some((program, arguments)) = run.program.split_first() else {
        return Err(Failure::Usage("'run' needs a program, after '--'".to_owned()));
    };
    let both = !run.sysv && !run.nspr;
    let wanted = [(SYSTEM_V, run.sysv || both), (NSPR, run.nspr || both)];
    let wanted: Vec<DropIn> = wanted.into_iter().filter_map(|(one, wanted)| wanted.then_some(one)).collect();
    check(program)?;

    let mut command = Command::new(program);
    command.args(arguments);
    let mut preload: Vec<OsString> = Vec::new();
    for one in &wanted {
        preload.push(find(one, wanted.len() > 1)?.into_os_string());
        if let Some(directory) = namespace {
            let directory = std::path::absolute(directory)
                .map_err(|error| Failure::system("find the current directory", &error))?;
            command.env(one.system.variable(), &directory);
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var(one.system.variable(), &directory) };
        }
        let directory = one.system.directory();
        let prepared = one.system.prepare();
        prepared.map_err(|error| {
            Failure::system(format_args!("use the namespace {}", directory.display()), &error)
        })?;
    }
    preload.extend(std::env::var_os("LD_PRELOAD").filter(|before| !before.is_empty()));
    command.env("LD_PRELOAD", preload.join(OsStr::new(":")));

    let code = hold::run(command, program);
    for one in &wanted {
        // The program has ended, and its exit code is what counts.
        if let Err(failure) = dropins::sweep(one.system) {
            complain(failure.text());
        }
    }
    code
}

/// A drop-in's library: beside the command, in `lib` beside its directory, or where libraries are installed.
fn find(one: &DropIn, both: bool) -> Outcome<PathBuf> {
    let mut places = Vec::new();
    if let Ok(command) = std::env::current_exe().and_then(fs::canonicalize) {
        if let Some(beside) = command.parent() {
            places.push(beside.to_owned());
            places.extend(beside.parent().map(|prefix| prefix.join("lib")));
        }
    }
    places.extend(INSTALLED.map(PathBuf::from));
    let found = places.iter().map(|place| place.join(one.library)).find(|path| path.is_file());
    let Some(found) = found else {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let hint = match (both, one.system) {
            (true, System::SystemV) => ", or ask for --nspr alone",
            (true, _) => ", or ask for --sysv alone",
            (false, _) => "",
        };
        return Err(Failure::new(format!(
            "cannot find {} for {}, looked in {}: build it with 'cargo build --workspace' or install it with 'cargo xtask install'{hint}",
            one.library,
            one.flag,
            looked.join(", ")
        )));
    };
    // The loader takes the list apart at these.
    if found.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b':' | b' ' | b'\t' | b'\n')) {
        return Err(Failure::new(format!(
            "cannot preload {}: the loader takes no path with a colon or a space; install it elsewhere",
            found.display()
        )));
    }
    Ok(found)
}

/// The program's file, found as the system finds it.
fn locate(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    let runs = |metadata: &Metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    candidates.into_iter().find(|file| fs::metadata(file).is_ok_and(|metadata| runs(&metadata)))
}

/// An error if the loader would not preload anything into this program. One that cannot be found or read is left to
/// the system to refuse, or to run.
fn check(program: &OsStr) -> Outcome<()> {
    let Some(file) = locate(program) else { return Ok(()) };
    let Ok(metadata) = fs::metadata(&file) else { return Ok(()) };
    let refuse =
        |why: &str| Err(Failure::new(format!("cannot run {} on the drop-ins: {why}", file.display())));
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mode = metadata.permissions().mode();
    let changes_user = mode & 0o4000 != 0 && metadata.uid() != me.0;
    // The set-group-id bit alone, without the right to execute, means something else.
    let changes_group = mode & 0o2010 == 0o2010 && metadata.gid() != me.1;
    if changes_user || changes_group {
        return refuse(
            "it is set-uid or set-gid, and the loader ignores LD_PRELOAD for such programs; run it as its owner",
        );
    }
    let mut beginning = Vec::new();
    let read = fs::File::open(&file).and_then(|file| file.take(1 << 16).read_to_end(&mut beginning));
    if read.is_err() {
        return Ok(());
    }
    match kind(&beginning) {
        Program::Script(interpreter) => check(&interpreter),
        Program::Static => refuse(
            "it is statically linked, so that no library can answer its calls; build it with shared libraries",
        ),
        Program::Foreign => refuse("it is for another kind of processor than the drop-ins are"),
        Program::Dynamic | Program::Other => Ok(()),
    }
}

/// What a program is to the loader.
#[derive(Debug, PartialEq, Eq)]
enum Program {
    Dynamic,
    Static,
    /// For another word size or byte order.
    Foreign,
    Script(OsString),
    Other,
}

fn kind(beginning: &[u8]) -> Program {
    if let Some(rest) = beginning.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        return match words.next() {
            // `env` finds the interpreter by PATH.
            Some(word) if word.ends_with(b"/env") => match words.find(|word| !word.starts_with(b"-")) {
                Some(word) => Program::Script(OsStr::from_bytes(word).to_owned()),
                None => Program::Other,
            },
            Some(word) => Program::Script(OsStr::from_bytes(word).to_owned()),
            None => Program::Other,
        };
    }
    if !beginning.starts_with(&elf::ELFMAG) {
        return Program::Other;
    }
    #[cfg(target_pointer_width = "64")]
    type Header = elf::FileHeader64<object::NativeEndian>;
    #[cfg(target_pointer_width = "32")]
    type Header = elf::FileHeader32<object::NativeEndian>;
    let Ok(header) = Header::parse(beginning) else { return Program::Foreign };
    let Ok(endian) = header.endian() else { return Program::Foreign };
    let Ok(segments) = header.program_headers(endian, beginning) else { return Program::Other };
    let interpreted = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    if interpreted { Program::Dynamic } else { Program::Static }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(kind(&this[..1 << 16]), Program::Dynamic);
        assert_eq!(kind(b"#!/bin/sh -e\n"), Program::Script("/bin/sh".into()));
        assert_eq!(kind(b"#! /usr/bin/env python3\nimport"), Program::Script("python3".into()));
        assert_eq!(kind(b"#!"), Program::Other);
        assert_eq!(kind(b""), Program::Other);
        let mut foreign = this[..1 << 12].to_vec();
        foreign[4] = 3 - foreign[4];
        assert_eq!(kind(&foreign), Program::Foreign);
    }
}
