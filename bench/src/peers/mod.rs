//! What a user might pick instead of Commons. Those in Rust run in this process; the others in helpers, which
//! answer as children do. What is not installed is told as missing; the script `peers` installs it.

pub(crate) mod iceoryx2;
pub(crate) mod raw_sync;
pub(crate) mod shared_memory;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::child::{Child, Helper};
use crate::harness::Context;
use crate::scratch;

/// The helpers of one contest, started when first asked for, ended when dropped.
pub(crate) struct Helpers<'a> {
    context: &'a Context,
}

impl<'a> Helpers<'a> {
    pub(crate) fn of(context: &'a Context) -> Helpers<'a> {
        Helpers { context }
    }

    /// Boost.Interprocess, by a program in C++ that is compiled when it is first needed.
    pub(crate) fn boost(&self) -> Helper {
        Helper::new(self.start(boost))
    }

    /// CPython's `SharedMemory` and `multiprocessing`, by a script.
    pub(crate) fn python(&self) -> Helper {
        Helper::new(self.start(python))
    }

    fn start(&self, command: fn() -> Result<Command>) -> Result<Child> {
        let placement = &self.context.placement;
        let mut command = command()?;
        command.arg(placement.other.to_string()).arg(scratch::full("helper"));
        Child::of(command, placement.own)
    }
}

fn python() -> Result<Command> {
    let version = Command::new("python3").arg("--version").stdin(Stdio::null()).output();
    ensure!(version.is_ok_and(|output| output.status.success()), "no python3; bench/peers installs it");
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("python.py")]);
    Ok(command)
}

const BOOST: &str = include_str!("boost.cpp");

fn boost() -> Result<Command> {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers"));
    std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let (source, program) = (directory.join("boost.cpp"), directory.join("boost"));
    let same = std::fs::read_to_string(&source).is_ok_and(|text| text == BOOST);
    if !(same && program.exists()) {
        compile(&source, &program)?;
    }
    Ok(Command::new(program))
}

fn compile(source: &Path, program: &Path) -> Result<()> {
    std::fs::write(source, BOOST)?;
    // Under another name until it is whole.
    let part = program.with_extension("part");
    let mut compiler = Command::new("c++");
    compiler.args(["-O2", "-std=c++17"]).arg(source).arg("-o").arg(&part).args(["-lrt", "-pthread"]);
    let output = compiler.stdin(Stdio::null()).output().context("no c++; bench/peers installs it")?;
    if !output.status.success() {
        // It is compiled anew next time.
        let _ = std::fs::remove_file(source);
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("boost/interprocess") && text.contains("No such file") {
            bail!("no Boost.Interprocess; bench/peers installs libboost-dev");
        }
        bail!("c++: {}", text.lines().next().unwrap_or("failed"));
    }
    Ok(std::fs::rename(part, program)?)
}
