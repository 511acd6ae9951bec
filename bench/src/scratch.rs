//! Names and directories in shared memory that carry this process's id and go with their guard, on errors and
//! panics as well.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use commons::Namespace;

/// Where POSIX shared memory lives.
const SHARED_MEMORY: &str = "/dev/shm";

/// A directory of its own in shared memory.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it.
    pub(crate) fn new(label: &str) -> Result<Directory> {
        let path = Path::new(SHARED_MEMORY).join(full(label));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Directory(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The directory as a namespace.
    pub(crate) fn namespace(&self) -> Result<Namespace> {
        Ok(Namespace::at(&self.0)?)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A name in POSIX shared memory; whatever has it when the guard goes is deleted.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Name {
    /// Nothing is made yet.
    pub(crate) fn new(label: &str) -> Name {
        Name(full(label))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As `shm_open` wants it.
    pub(crate) fn posix(&self) -> Result<CString> {
        Ok(CString::new(format!("/{}", self.0))?)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(SHARED_MEMORY).join(&self.0));
    }
}

/// Removes, when the run ends, what a child that was killed left in shared memory under this run's names.
#[derive(Debug)]
pub(crate) struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        let mine = full("");
        for entry in std::fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&mine) {
                let path = entry.path();
                let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
            }
        }
    }
}

/// A name that only this run has.
pub(crate) fn full(label: &str) -> String {
    format!("commons-bench-{}-{label}", std::process::id())
}
