//! What has to be true after each kill, whatever the others are doing just then.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use commons::Segment;
use commons::snapshot::{self, LoadOptions, SaveOptions};

use crate::content::{SIZES, index};
use crate::worker::{Doing, FILES, NAMES, NEVER, Tally, Words, World, bytes_of};

/// What was found beside broken promises.
#[derive(Default)]
pub(crate) struct Found {
    /// Loads into a segment that were killed before they had begun to copy, and left it untouched.
    pub(crate) untouched: u64,
    /// Those that were killed while they may have been copying, and left the segment as it was, or whole.
    pub(crate) either: u64,
    /// Those that left a part of either: the limit that the library states.
    pub(crate) mixed: u64,
    /// Temporary files that killed saves have left.
    pub(crate) leftovers: u64,
    pub(crate) files: u64,
    pub(crate) segments: u64,
}

pub(crate) struct Verifier<'v> {
    pub(crate) world: &'v World,
    pub(crate) tally: &'v Tally,
    /// Segments of each size to load into, without a name.
    pub(crate) scratch: Vec<Segment>,
    /// A snapshot of each size, which nobody touches.
    pub(crate) golden: Vec<PathBuf>,
    /// What was looked at, and has not changed since: inode, bytes, and when it changed.
    pub(crate) known: HashSet<(u64, u64, i64, i64)>,
    pub(crate) found: Found,
}

impl Verifier<'_> {
    /// Looks at all that a killed worker may have left.
    pub(crate) fn look(&mut self, pid: i32, words: &Words, targets: &[Segment]) {
        for (size, target) in targets.iter().enumerate() {
            self.target(size, target, words);
        }
        for file in 0..FILES.len() {
            self.file(file);
        }
        self.names();
        if words.doing() == Doing::Save {
            self.leftovers_of(pid, words.file.load(SeqCst) as usize);
        }
    }

    /// Whether a file was looked at and has not changed since.
    fn is_known(&mut self, file: BorrowedFd<'_>) -> bool {
        let file = File::from(file.try_clone_to_owned().unwrap()).metadata().unwrap();
        !self.known.insert((file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
    }

    /// A segment that only the killed worker loads into.
    fn target(&mut self, size: usize, target: &Segment, words: &Words) {
        let doing = if words.size.load(SeqCst) as usize == size { words.doing() } else { Doing::Between };
        let before = words.before.load(SeqCst);
        let copying = words.copying.load(SeqCst) != 0;
        if self.is_known(target.as_fd()) && !matches!(doing, Doing::LoadInto | Doing::LoadDamaged) {
            return;
        }
        let bytes = bytes_of(target);
        if bytes.len() as u64 != SIZES[size] {
            self.tally.broken(|| format!("a segment has {} bytes instead of {}", bytes.len(), SIZES[size]));
        }
        let whole = self.world.contents.whole(&bytes);
        match (doing, whole) {
            (Doing::LoadInto, None) if copying => {
                if let Some(why) = self.world.contents.neither(&bytes, before) {
                    self.tally.broken(|| format!("a load left something else than a part of either: {why}"));
                }
                self.found.mixed += 1;
                self.load_again(size, target);
            }
            (Doing::LoadInto, Some(_)) if copying => self.found.either += 1,
            (Doing::LoadInto | Doing::LoadDamaged, whole) => {
                self.found.untouched += u64::from(doing == Doing::LoadInto);
                if whole != Some(before) {
                    self.tally.broken(|| {
                        format!("{doing:?}: a segment was changed before all was checked: {whole:?}")
                    });
                    self.load_again(size, target);
                }
            }
            (_, Some(_)) => {}
            (_, None) => {
                self.tally.broken(|| format!("{doing:?}: a segment is not whole that nobody loaded into"));
                self.load_again(size, target);
            }
        }
    }

    fn load_again(&self, size: usize, target: &Segment) {
        let loaded = LoadOptions::new().load_file_into(target, &self.golden[size]);
        if loaded.is_err() || self.world.contents.whole(&bytes_of(target)).is_none() {
            self.tally.broken(|| format!("loading again does not make it whole: {loaded:?}"));
        }
    }

    /// A file under its final name is a whole snapshot.
    fn file(&mut self, file: usize) {
        let known = &FILES[file];
        let path = self.world.files.join(known.name);
        let tally = self.tally;
        let broken = |what: String| tally.broken(|| format!("file \"{}\": {what}", known.name));
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            Err(error) if !known.kept && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return broken(error.to_string()),
        };
        if self.is_known(opened.as_fd()) {
            return;
        }
        self.found.files += 1;
        // What was opened, even if the name means another by now.
        let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
        if known.raw {
            return match fs::read(&path) {
                Ok(bytes) if self.world.contents.whole(&bytes).is_some() => {}
                Ok(bytes) => broken(format!("its {} bytes are not whole", bytes.len())),
                Err(error) => broken(error.to_string()),
            };
        }
        let header = match LoadOptions::new().check_file(&path) {
            Ok(header) => header,
            Err(error) => return broken(error.to_string()),
        };
        let Some(size) = index(header.size) else { return broken(format!("of {} bytes", header.size)) };
        let loaded = LoadOptions::new().load_file_into(&self.scratch[size], &path);
        match self.world.contents.whole(&bytes_of(&self.scratch[size])) {
            Some(seed) if loaded.is_ok() && header.name == *source(size, seed) => {}
            seed => broken(format!("{loaded:?}, {seed:?}, {header:?}")),
        }
    }

    /// A segment under a name that something is loaded under is whole, also when nobody holds it any more.
    fn names(&mut self) {
        for name in NAMES {
            let path = self.world.namespace.directory().join(name.replace('/', "%2F"));
            let Ok(bytes) = fs::read(path) else { continue };
            self.found.segments += 1;
            if self.world.contents.whole(&bytes).is_none() {
                self.tally.broken(|| format!("\"{name}\": its {} bytes are not whole", bytes.len()));
            }
        }
        if self.world.namespace.directory().join(NEVER).exists() {
            self.tally.broken(|| "what is damaged got a name".to_owned());
        }
    }

    /// After the next save to the same file nothing is left of the one that was killed.
    fn leftovers_of(&mut self, pid: i32, file: usize) {
        // A temporary name tells whose it is.
        let begin = format!(".{}.{pid:x}-", FILES[file].name);
        self.found.leftovers += self.temporaries(&begin).len() as u64;
        self.save(file);
        // Or somebody else has begun to remove it.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = self.temporaries(&begin);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            left = self.temporaries(&begin);
        }
        if !left.is_empty() {
            self.tally.broken(|| format!("{left:?} is left after the next save"));
        }
    }

    fn save(&self, file: usize) {
        let options = SaveOptions::new().raw(FILES[file].raw).sync(false);
        let saved = options.save_file(&self.world.sources[0][0], self.world.files.join(FILES[file].name));
        if let Err(error) = saved {
            self.tally.broken(|| format!("the next save fails: {error}"));
        }
    }

    fn temporaries(&self, begin: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.world.files).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(begin) && name.ends_with(".commons-part")).collect()
    }

    /// With no worker alive: after one sweep and one save to each file, nothing is left that nobody holds.
    pub(crate) fn look_at_rest(&mut self) {
        match self.world.namespace.sweep() {
            Ok(sweep) if sweep.failed == 0 => drop(self.tally.swept.fetch_add(sweep.segments, SeqCst)),
            swept => self.tally.broken(|| format!("the sweep fails: {swept:?}")),
        }
        for entry in fs::read_dir(self.world.namespace.directory()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            // Held by the campaign.
            if name.starts_with("source-") || name.starts_with("target-") {
                continue;
            }
            let stays = entry.metadata().unwrap().permissions().mode() & 0o1000 == 0;
            if !(stays && NAMES.contains(&&*name.replace("%2F", "/"))) {
                self.tally.broken(|| format!("{name:?} is left after one sweep"));
            }
        }
        for file in 0..FILES.len() {
            self.save(file);
        }
        let left = self.temporaries(".");
        if !left.is_empty() {
            self.tally.broken(|| format!("{left:?} are left after a save to each file"));
        }
        let golden = snapshot::check(File::open(&self.golden[0]).unwrap());
        assert!(golden.is_ok(), "nobody touches it: {golden:?}");
    }
}

/// The name of the segment with that content.
pub(crate) fn source(size: usize, seed: u64) -> String {
    format!("source-{size}-{seed}")
}
