//! Where the drop-ins' libraries are: beside the command, unless `COMMONS_LIBRARIES` names another directory.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release");

/// The file of a library, such as `libcommons_sysv.so`.
///
/// # Errors
///
/// If it is not there.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let directory =
        std::env::var_os("COMMONS_LIBRARIES").map_or_else(|| Path::new(BUILT).into(), PathBuf::from);
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{name} is missing; 'cargo build --release --workspace' makes it, COMMONS_LIBRARIES names where it is"
    );
    Ok(path.canonicalize()?)
}
