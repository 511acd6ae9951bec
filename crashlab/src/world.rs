//! Where an experiment takes place: a directory of its own, with a namespace in it, made anew for each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use commons::Namespace;

use crate::board::Board;
use crate::flaw::{Check, Flaw, Must};

/// How long anybody in an experiment waits for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Where the victim keeps its number.
pub(crate) const VICTIM: usize = 0;
/// Where the second one keeps its own.
pub(crate) const SECOND: usize = 15;

/// Where the calling process keeps its own.
static MINE: AtomicUsize = AtomicUsize::new(VICTIM);

/// To be called in the second one.
pub(crate) fn be_second() {
    MINE.store(SECOND, Relaxed);
}

/// See the module.
pub(crate) struct World {
    pub(crate) board: &'static Board,
    names: PathBuf,
    files: PathBuf,
    namespace: Namespace,
}

impl World {
    /// In this directory, which is there and is somebody else's to remove.
    pub(crate) fn new(directory: &Path, board: &'static Board) -> io::Result<World> {
        let names = directory.join("names");
        let files = directory.join("files");
        std::fs::create_dir_all(&names)?;
        std::fs::create_dir_all(&files)?;
        let namespace = Namespace::at(&names).map_err(io::Error::other)?;
        Ok(World { board, names, files, namespace })
    }

    /// Where names live.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The file of the segment with this plain name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.names.join(name)
    }

    /// A file that is no segment: a snapshot.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// What there is in the namespace's directory, whatever it is.
    pub(crate) fn names(&self) -> Vec<String> {
        list(&self.names)
    }

    /// What there is beside it.
    pub(crate) fn files(&self) -> Vec<String> {
        list(&self.files)
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        for (directory, names) in [(&self.names, self.names()), (&self.files, self.files())] {
            for name in names {
                let _ = std::fs::remove_file(directory.join(name));
            }
        }
        self.board.clear();
    }

    /// Keeps a number beside the objects under test.
    pub(crate) fn note(&self, note: usize, value: u64) {
        self.board.note(note).store(value, Relaxed);
    }

    /// Keeps a number for the victim, or for the second one beside it: whichever calls.
    pub(crate) fn note_mine(&self, value: u64) {
        self.note(MINE.load(Relaxed), value);
    }

    /// The same, one more.
    pub(crate) fn count(&self, note: usize) {
        self.board.note(note).fetch_add(1, Relaxed);
    }

    /// What was kept.
    pub(crate) fn noted(&self, note: usize) -> u64 {
        self.board.note(note).load(Relaxed)
    }

    /// Nothing is left after one sweep but these.
    pub(crate) fn is_swept(&self, remains: &[&str]) -> Check {
        let sweep = self.namespace.sweep().must("sweep")?;
        let left: Vec<String> =
            self.names().into_iter().filter(|name| !remains.contains(&name.as_str())).collect();
        if left.is_empty() && sweep.failed == 0 {
            return Ok(());
        }
        Err(Flaw::leaked(format!("left after one sweep ({sweep:?}): {}", left.join(", "))))
    }
}

fn list(directory: &Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
