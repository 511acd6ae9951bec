//! The `commons` command: see, make, keep and sweep shared memory.
//!
//! Each group of subcommands has a module; all of them take parsed [arguments](args), print through
//! [`output`] and fail with a [`Failure`], which is one line on standard error. Exit codes:
//! 0 done, 1 failed, 2 wrong usage; `hold` and `run` end with their program's.

mod args;
mod bench;
mod bytes;
mod demo;
mod doctor;
mod documents;
mod dropins;
mod dump;
mod failure;
mod forward;
mod hold;
mod info;
mod list;
mod lock;
mod locks;
mod manage;
mod output;
mod pattern;
mod pause;
mod processes;
mod record;
mod run;
mod snapshots;
mod survey;
mod table;
mod unlock;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use commons::{Namespace, OwnerPolicy};

use args::{Arguments, Command};
use failure::Outcome;

fn main() -> ExitCode {
    // Whoever started this may have had children reaped behind its back; here they are waited for.
    // SAFETY: no handler is put in place, and there is one thread.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(mut arguments: Arguments) -> Outcome<ExitCode> {
    match &arguments.command {
        Command::Completions { shell } => return documents::completions(*shell).map(|()| ExitCode::SUCCESS),
        Command::Man { directory } => {
            return documents::man(directory.as_deref()).map(|()| ExitCode::SUCCESS);
        }
        Command::PauseKeeper => return pause::keeper::keep().map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    // A namespace that is missing is something to find, not to fail at.
    if let Command::Doctor { json } = arguments.command {
        return doctor::doctor(arguments.namespace.as_deref(), json);
    }
    if let Command::Run(run) = &arguments.command {
        return run::run(arguments.namespace.as_deref(), run);
    }
    let system = arguments.system()?;
    let namespace = match (&arguments.namespace, system) {
        (Some(directory), _) => Namespace::at(directory)?,
        (None, Some(system)) => Namespace::at(system.directory())?,
        (None, None) => Namespace::from_env()?,
    };
    arguments.names_of_dropins(&namespace)?;
    arguments.names_for_paths(namespace.directory());
    // Looking harms nobody; who changes or holds a segment trusts its owner.
    let owner = if arguments.any_owner { OwnerPolicy::Any } else { OwnerPolicy::Me };
    match arguments.command {
        Command::Create(create) => manage::create(&namespace, &create)?,
        Command::Ls(ls) => list::list(&namespace, arguments.namespace.is_some(), &ls)?,
        Command::Info(info) => info::info(&namespace, &info)?,
        Command::Rm { names } => {
            let code = manage::remove(&namespace, &names);
            dropins::tidy(&namespace);
            return code;
        }
        Command::Sweep { dry_run } => {
            manage::sweep(&namespace, dry_run)?;
            if !dry_run {
                dropins::tidy(&namespace);
            }
        }
        Command::Grow { name, size } => manage::grow(&namespace, owner, &name, size)?,
        Command::Read(range) => bytes::read(&namespace, &range)?,
        Command::Write(range) => bytes::write(&namespace, owner, &range)?,
        Command::Dump(range) => dump::dump(&namespace, &range)?,
        Command::Save(save) => snapshots::save(&namespace, &save)?,
        Command::Load(load) => snapshots::load(&namespace, owner, &load)?,
        Command::Locks(locks) => locks::locks(&namespace, &locks)?,
        Command::Unlock(unlock) => unlock::unlock(&namespace, owner, &unlock)?,
        Command::Hold(hold) => return hold::hold(&namespace, owner, &hold),
        Command::Watch(watch) => return watch::watch(&namespace, arguments.namespace.is_some(), &watch),
        Command::Bench { json } => bench::bench(&namespace, json)?,
        Command::Demo { files } => demo::demo(&namespace, &files)?,
        Command::DemoWorker(worker) => demo::worker::work(&namespace, &worker)?,
        Command::Run(_)
        | Command::Doctor { .. }
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::PauseKeeper => {}
    }
    Ok(ExitCode::SUCCESS)
}
