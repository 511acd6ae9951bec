//! Where an experiment takes place: a directory of its own, with a namespace in it, made anew for each.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use commons::Namespace;
use commons_compat::{gpl, nspr, sysv};

use crate::board::Board;
use crate::dropins::{self, System};
use crate::flaw::{Check, Flaw, Must};

/// How long anybody in an experiment waits for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// What drop-ins keep for as long as anybody works with them: the tables of ids and of who owes what, and the lock on names, which the process
/// that sweeps here may have itself.
const STAYING: [&str; 4] =
    [sysv::Kind::Memory.table_name(), sysv::Kind::Semaphores.table_name(), "undo", gpl::DATABASE];

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
    /// Where the drop-ins keep theirs.
    dropins: Vec<(System, PathBuf, Namespace)>,
}

impl World {
    /// In this directory, which is there and is somebody else's to remove.
    pub(crate) fn new(directory: &Path, board: &'static Board) -> io::Result<World> {
        let names = directory.join("names");
        let files = directory.join("files");
        std::fs::create_dir_all(&names)?;
        std::fs::create_dir_all(&files)?;
        let namespace = Namespace::at(&names).map_err(io::Error::other)?;
        let dropins = System::ALL
            .into_iter()
            .map(|system| {
                let directory = dropins::directory(directory, system);
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
                let namespace = Namespace::at(&directory).map_err(io::Error::other)?;
                Ok((system, directory, namespace))
            })
            .collect::<io::Result<_>>()?;
        Ok(World { board, names, files, namespace, dropins })
    }

    /// Where names live.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.names
    }

    /// The file of the segment with this plain name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.names.join(name)
    }

    /// A file that is no segment: a snapshot.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Where a drop-in's names live.
    pub(crate) fn dropin(&self, system: System) -> &Path {
        let found = self.dropins.iter().find(|(which, ..)| *which == system);
        &found.expect("all are there").1
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
        let dropins = self.dropins.iter().map(|(_, directory, _)| directory);
        for directory in [&self.names, &self.files].into_iter().chain(dropins) {
            for name in list(directory) {
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
        if !left.is_empty() || sweep.failed > 0 {
            return Err(Flaw::leaked(format!("left after one sweep ({sweep:?}): {}", left.join(", "))));
        }
        self.dropins.iter().try_for_each(|(system, directory, namespace)| {
            if list(directory).is_empty() {
                return Ok(());
            }
            // As `commons sweep` does it.
            let sweep = namespace.sweep().must("sweep")?;
            if *system == System::Nspr {
                nspr::sweep_links(directory);
            }
            let mut left = list(directory);
            left.retain(|name| !STAYING.contains(&name.as_str()) && !remains.contains(&name.as_str()));
            if left.is_empty() && sweep.failed == 0 {
                return Ok(());
            }
            Err(Flaw::leaked(format!("left of {system:?} after one sweep ({sweep:?}): {}", left.join(", "))))
        })
    }
}

fn list(directory: &Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
