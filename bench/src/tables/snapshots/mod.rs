//! Saving and loading: what checksums, and whole files, cost over a plain copy; and looking at a busy machine.
//!
//! The command is measured, process and all, as `cp` is.

mod busy;
mod full;
mod memory;
mod sparse;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::Table;
use crate::contest::Run;
use crate::harness::nanoseconds;

pub(super) static TABLE: Table = Table {
    name: "snapshots",
    about: "what saving, loading and looking cost",
    works: &[
        ("saving 1 GiB", full::measure),
        ("saving a sparse segment", sparse::measure),
        ("memory of saving and loading 4 GiB", memory::measure),
        ("looking at a busy machine", busy::measure),
    ],
    roles: &[(busy::SHARER, busy::share)],
};

/// Where the command is, if it was built.
const COMMAND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/commons");

/// Whether the command is there.
fn is_there() -> Result<()> {
    ensure!(Path::new(COMMAND).exists(), "the command is missing; 'cargo build --release' makes it");
    Ok(())
}

/// What the command does in a contest.
fn by_command<'a>(run: impl FnMut() -> Result<f64> + 'a) -> Result<Run<'a>> {
    is_there().map(|()| Box::new(run) as Run<'a>)
}

fn command(arguments: &[&str]) -> Result<Command> {
    is_there()?;
    let mut command = Command::new(COMMAND);
    command.args(arguments).stdin(Stdio::null()).env_remove("COMMONS_NAMESPACE");
    Ok(command)
}

/// Runs a command to its end; nanoseconds.
fn time(mut command: Command) -> Result<f64> {
    let started = Instant::now();
    let output = command.output().with_context(|| format!("running {:?}", command.get_program()))?;
    let took = nanoseconds(started);
    ensure!(
        output.status.success(),
        "{:?}: {}",
        command.get_program(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// Writes bytes that do not repeat to a range of a file.
fn fill(file: &File, from: u64, len: u64) -> Result<()> {
    let mut bytes = vec![0; 1 << 20];
    let mut state = from | 1;
    let mut at = from;
    while at < from + len {
        for eight in bytes.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            eight.copy_from_slice(&state.to_le_bytes());
        }
        let now = bytes.len().min((from + len - at) as usize);
        file.write_all_at(&bytes[..now], at)?;
        at += now as u64;
    }
    Ok(())
}
