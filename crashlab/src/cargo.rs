//! Has cargo build something, without a word: programs and libraries that the laboratory examines beside itself.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Builds with these arguments, into this target directory. The workspace is the one that the laboratory was built from.
pub(crate) fn build<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    target: &Path,
) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    if !source.join("Cargo.lock").exists() {
        return Err("the source is not there to build it from".into());
    }
    let done = Command::new(env!("CARGO"))
        .args(["build", "--quiet"])
        .args(arguments)
        .arg("--target-dir")
        .arg(target)
        .current_dir(source)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if done.success() { Ok(()) } else { Err(format!("cargo could not build it: {done}")) }
}
