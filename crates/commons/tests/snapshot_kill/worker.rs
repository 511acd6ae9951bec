//! What is killed: saves, loads and checks, one after the other, and what a worker says of itself meanwhile.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use commons::snapshot::{self, LoadOptions, SaveOptions};
use commons::{Error, Lifetime, Namespace, Segment};

use crate::common::campaign::Random;
use crate::content::{Contents, SEEDS, index};

/// A file that is saved to and loaded from.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) raw: bool,
    /// Whether it is never removed, so that it always has to be there.
    pub(crate) kept: bool,
}

pub(crate) const FILES: [Target; 5] = [
    Target { name: "kept", raw: false, kept: true },
    Target { name: "kept.raw", raw: true, kept: true },
    // Its temporary names begin as those of "kept" do.
    Target { name: "kept.too", raw: false, kept: true },
    Target { name: "fresh", raw: false, kept: false },
    Target { name: "fresh.raw", raw: true, kept: false },
];
/// Names under which segments are loaded.
pub(crate) const NAMES: [&str; 3] = ["new", "new/too", "new-as-well"];
/// The name under which what is damaged would be loaded.
pub(crate) const NEVER: &str = "never";

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Doing {
    Between,
    Save,
    LoadNew,
    LoadInto,
    LoadDamaged,
    Check,
}

/// How many kinds of doing there are.
pub(crate) const KINDS: usize = 6;

impl Doing {
    pub(crate) const ALL: [Doing; KINDS] =
        [Doing::Between, Doing::Save, Doing::LoadNew, Doing::LoadInto, Doing::LoadDamaged, Doing::Check];
}

/// How often each is done: so that each has its share of the time, and of the kills.
pub(crate) const OFTEN: [Doing; 10] = [
    Doing::Save,
    Doing::Save,
    Doing::LoadNew,
    Doing::LoadNew,
    Doing::LoadInto,
    Doing::LoadInto,
    Doing::LoadInto,
    Doing::LoadInto,
    Doing::LoadDamaged,
    Doing::Check,
];

/// What a worker says of itself, in memory that it shares with the campaign.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Words {
    doing: AtomicU64,
    /// Which of the files it saves to.
    pub(crate) file: AtomicU64,
    /// Which of its segments it loads into, and the seed that this has.
    pub(crate) size: AtomicU64,
    pub(crate) before: AtomicU64,
    /// Whether all may have been checked, so that bytes may change from now on.
    pub(crate) copying: AtomicU64,
    /// How many rounds it has done.
    pub(crate) rounds: AtomicU64,
}

impl Words {
    pub(crate) fn doing(&self) -> Doing {
        Doing::ALL[self.doing.load(SeqCst) as usize]
    }

    pub(crate) fn begin(&self, doing: Doing) {
        self.doing.store(doing as u64, SeqCst);
    }
}

/// What is counted, in shared memory too.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) done: [AtomicU64; KINDS],
    pub(crate) swept: AtomicU64,
    /// Promises that were broken.
    pub(crate) broken: AtomicU64,
    /// Whether it was said already that nameless files could not be forbidden.
    pub(crate) said: AtomicU64,
    pub(crate) workers: [Words; 16],
}

impl Tally {
    /// Counts a broken promise, and says so for the first of them.
    pub(crate) fn broken(&self, what: impl FnOnce() -> String) {
        if self.broken.fetch_add(1, SeqCst) < 10 {
            eprintln!("broken: {}", what());
        }
    }
}

/// What all workers work with.
pub(crate) struct World {
    pub(crate) contents: Contents,
    pub(crate) namespace: Namespace,
    pub(crate) files: PathBuf,
    /// A segment for each size and seed, which nobody changes.
    pub(crate) sources: Vec<Vec<Segment>>,
}

/// The bytes of a segment.
pub(crate) fn bytes_of(segment: &Segment) -> Vec<u8> {
    let file = File::from(segment.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) struct Worker<'w> {
    pub(crate) world: &'w World,
    pub(crate) tally: &'w Tally,
    pub(crate) number: usize,
    /// A segment of each size, which this worker alone loads into.
    pub(crate) targets: &'w [Segment],
    pub(crate) random: Random,
}

impl<'w> Worker<'w> {
    /// Goes on until it is killed.
    pub(crate) fn work(mut self) -> ! {
        loop {
            let doing = OFTEN[self.random.below(OFTEN.len() as u64) as usize];
            let file = self.random.below(FILES.len() as u64) as usize;
            let path = self.world.files.join(FILES[file].name);
            match doing {
                Doing::Save => self.save(file, &path),
                Doing::LoadNew => self.load_new(file, &path),
                Doing::LoadInto => self.load_into(file, &path),
                Doing::LoadDamaged if !FILES[file].raw => self.load_damaged(&path),
                Doing::Check if !FILES[file].raw => self.check(file, &path),
                _ => continue,
            }
            self.words().begin(Doing::Between);
            self.tally.done[doing as usize].fetch_add(1, SeqCst);
            self.words().rounds.fetch_add(1, SeqCst);
            if self.random.once_in(50) {
                match self.world.namespace.sweep() {
                    Ok(sweep) => drop(self.tally.swept.fetch_add(sweep.segments, SeqCst)),
                    Err(error) => self.unexpected(&error),
                }
            }
        }
    }

    fn words(&self) -> &'w Words {
        &self.tally.workers[self.number]
    }

    fn unexpected(&self, error: &Error) {
        self.tally.broken(|| format!("an error that nothing here may give: {error}"));
    }

    /// An error that says nothing but that a file is not there which is not always there.
    fn absent(&self, file: usize, error: &Error) -> bool {
        !FILES[file].kept && error.raw_os_error() == Some(libc::ENOENT)
    }

    fn save(&mut self, file: usize, path: &Path) {
        // The largest takes longest, to look at too.
        let size = [0, 0, 1, 1, 1, 2, 2, 3][self.random.below(8) as usize];
        let seed = self.random.below(SEEDS) as usize;
        let options = SaveOptions::new().raw(FILES[file].raw).sync(self.random.once_in(6));
        #[cfg(feature = "zstd")]
        let options = if self.random.once_in(3) { options.zstd(1) } else { options };
        if !FILES[file].kept && self.random.once_in(2) {
            let _ = fs::remove_file(path);
        }
        self.words().file.store(file as u64, SeqCst);
        self.words().begin(Doing::Save);
        if let Err(error) = options.save_file(&self.world.sources[size][seed], path) {
            self.unexpected(&error);
        }
    }

    fn load_new(&mut self, file: usize, path: &Path) {
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize];
        let lifetime =
            if self.random.once_in(2) { Lifetime::UntilDeleted } else { Lifetime::UntilLastDetach };
        let options = LoadOptions::new()
            .namespace(&self.world.namespace)
            .name(name)
            .lifetime(lifetime)
            .raw(FILES[file].raw)
            .sparse(self.random.once_in(2));
        let streams = self.random.once_in(4);
        self.words().begin(Doing::LoadNew);
        let loaded = match File::open(path) {
            Ok(file) if streams => options.load(file),
            _ => options.load_file(path),
        };
        match loaded {
            Ok(loaded) => {
                if self.world.contents.whole(&bytes_of(&loaded.segment)).is_none() {
                    self.tally.broken(|| format!("\"{name}\" is not whole"));
                }
                if self.random.once_in(4) {
                    std::thread::sleep(Duration::from_micros(self.random.below(300)));
                }
            }
            Err(Error::Exists(_)) => {}
            Err(error) if self.absent(file, &error) => {}
            Err(error) => self.unexpected(&error),
        }
        if self.random.once_in(2) {
            match self.world.namespace.delete(name) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => self.unexpected(&error),
            }
        }
    }

    /// Says what it is going to load into: the segment of that size, and which content that has.
    fn announce(&self, size: usize) -> u64 {
        let before = self.world.contents.whole(&bytes_of(&self.targets[size]));
        let before = before.unwrap_or_else(|| {
            self.tally.broken(|| "a segment was not whole before anything was loaded into it".to_owned());
            0
        });
        let words = self.words();
        words.size.store(size as u64, SeqCst);
        words.before.store(before, SeqCst);
        words.copying.store(0, SeqCst);
        before
    }

    fn load_into(&mut self, file: usize, path: &Path) {
        let raw = FILES[file].raw;
        let size = match raw {
            true => fs::metadata(path).map(|metadata| metadata.len()).ok(),
            false => snapshot::header(path).map(|header| header.size).ok(),
        };
        // If it is not there; what else may be wrong shows elsewhere.
        let Some(size) = size.and_then(index) else { return };
        let before = self.announce(size);
        let words = self.words();
        // Of raw bytes nothing can be checked.
        words.copying.store(u64::from(raw), SeqCst);
        let options = LoadOptions::new().raw(raw).progress(|done, all| {
            if done == all {
                words.copying.store(1, SeqCst);
            }
        });
        let (target, streams) = (&self.targets[size], self.number == 0);
        words.begin(Doing::LoadInto);
        let loaded = match File::open(path) {
            Ok(file) if streams => options.load_into(target, file),
            _ => options.load_file_into(target, path),
        };
        let now = self.world.contents.whole(&bytes_of(target));
        match loaded {
            Ok(()) if now.is_none() => self.tally.broken(|| "what was loaded is not whole".to_owned()),
            Ok(()) => {}
            // Somebody else saved another size meanwhile.
            Err(Error::WrongSize { .. }) if now == Some(before) => {}
            Err(error) if self.absent(file, &error) && now == Some(before) => {}
            Err(error) => self.unexpected(&error),
        }
    }

    fn load_damaged(&mut self, path: &Path) {
        // It may be absent just now; what else may be wrong with it shows elsewhere.
        let Ok(mut bytes) = fs::read(path) else { return };
        let Some(size) = snapshot::check(&bytes[..]).ok().and_then(|header| index(header.size)) else {
            return;
        };
        let at = self.random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.random.below(8);
        let damaged = self.world.files.join(format!("damaged-{}", self.number));
        fs::write(&damaged, bytes).unwrap();
        let before = self.announce(size);
        self.words().begin(Doing::LoadDamaged);
        let options = LoadOptions::new().namespace(&self.world.namespace).name(NEVER);
        let refused = match self.random.once_in(2) {
            true => options.load_file_into(&self.targets[size], &damaged),
            false => options.load_file(&damaged).map(drop),
        };
        if !matches!(refused, Err(Error::Damaged { .. })) {
            self.tally.broken(|| format!("damage at byte {at} was not found: {refused:?}"));
        }
        if self.world.contents.whole(&bytes_of(&self.targets[size])) != Some(before) {
            self.tally.broken(|| format!("what is damaged at byte {at} was loaded"));
        }
    }

    fn check(&self, file: usize, path: &Path) {
        self.words().begin(Doing::Check);
        match LoadOptions::new().check_file(path) {
            Ok(header) if index(header.size).is_some() => {}
            Ok(header) => self.tally.broken(|| format!("{path:?} is a snapshot of {} bytes", header.size)),
            Err(error) if self.absent(file, &error) => {}
            Err(error) => self.unexpected(&error),
        }
    }
}
