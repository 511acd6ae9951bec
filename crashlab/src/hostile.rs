//! The hostile neighbour: writes random bytes into every segment, truncates files, takes locks that it has no right to,
//! and puts links, fifos and directories in the place of names. Everybody else has guarded attachments, gets errors or
//! senseless values, and lives: nobody dies, nobody hangs, nobody reads what is not the segment's.

use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use commons::snapshot::{self, LoadOptions};
use commons::{AttachOptions, Lifetime, SegmentOptions, Shared, SharedOptions};

use crate::args::Long;
use crate::board::{Board, Role};
use crate::invariants::locks::Locks;
use crate::process;
use crate::random::Random;
use crate::team::{self, Ledger, Team};
use crate::world::World;

const OPERATIONS: [&str; 6] = ["open", "read and write", "locks", "list and sweep", "save and load", "typed"];
const NAMES: [&str; 5] = ["one", "two", "three", "object", "locks too"];
const SIZE: u64 = 64 << 10;

/// What nobody may see: it stands in files outside the namespace, to which the neighbour's links lead.
const SECRET: &[u8; 32] = b"what nobody may see, never, ever";

const ERRORS: usize = 0;
const USES: usize = 1;
const DEEDS: usize = 2;

/// Runs it; whether everybody lived.
pub(crate) fn run(directory: &Path, arguments: &Long) -> std::io::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let board = Board::new()?;
    let world = World::new(directory, board)?;
    let ledger = Ledger::new()?;
    let secret = SECRET.repeat(SIZE as usize / SECRET.len());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(world.file("secret"))?.write_all_at(&secret, 0)?;
    let _neighbours = [0, 1].map(|number| {
        process::fork(board, Role::Companion, || {
            harm(&world, ledger, Random::new(seed ^ (number + 77)));
        })
    });
    let work = |worker: usize, seed: u64| Worker::new(&world, ledger, worker, seed).work();
    let mut team = Team::new(ledger, arguments.processes, seed, &work);
    let begun = Instant::now();
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut round = 0_u64;
    while begun.elapsed() < length && ledger.violations.load(Relaxed) < 50 {
        round += 1;
        // Now and then one is killed, so that the kernel looks at what the neighbour has made of its locks.
        team.disturb(round % 50 == 0);
    }
    team.end();
    let violations = ledger.violations.load(Relaxed);
    let count = |count: usize| ledger.counts[count].load(Relaxed);
    println!(
        "{:.1} min: {} deeds of the neighbour; {} uses by others, of which {} gave errors; {} kills, {} stops",
        begun.elapsed().as_secs_f64() / 60.0,
        count(DEEDS),
        count(USES),
        count(ERRORS),
        team.kills,
        team.stops,
    );
    if violations > 0 {
        team::leave_trace(ledger, "hostile", seed, &OPERATIONS)?;
    }
    println!("uses {}, deaths, hangs and secrets seen {violations}", count(USES));
    Ok(violations == 0)
}

/// The neighbour.
fn harm(world: &World, ledger: &Ledger, mut random: Random) -> ! {
    let secret = world.file("secret");
    loop {
        let name = NAMES[random.below(NAMES.len() as u64) as usize];
        let path = world.path(name);
        ledger.counts[DEEDS].fetch_add(1, Relaxed);
        let open = || {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
        };
        match random.below(20) {
            0..=9 => {
                let Ok(file) = open() else { continue };
                let len = file.metadata().map_or(0, |metadata| metadata.len()).max(1);
                for _ in 0..random.below(20) {
                    let word = match random.below(4) {
                        0 => 0,
                        1 => random.next() & 0xffff_ffff,
                        2 => u64::from(std::process::id()),
                        _ => random.next(),
                    };
                    let place = if random.once_in(2) { random.below(len) } else { random.below(64) * 8 };
                    if place + 8 <= len {
                        let _ = file.write_all_at(&word.to_ne_bytes(), place);
                    }
                }
            }
            10..=12 => {
                let Ok(file) = open() else { continue };
                let _ = file.set_len(random.below(2 * SIZE));
            }
            13 => {
                let Ok(file) = open() else { continue };
                let _ = file.set_len(0);
                std::thread::sleep(Duration::from_micros(random.below(2000)));
                let _ = file.set_len(SIZE);
            }
            14 => {
                // All the locks there are, for a little.
                let Ok(file) = open() else { continue };
                let lock = libc::flock {
                    l_type: if random.once_in(2) { libc::F_WRLCK } else { libc::F_RDLCK } as i16,
                    l_whence: libc::SEEK_SET as i16,
                    l_start: 0,
                    l_len: 0,
                    l_pid: 0,
                };
                // SAFETY: reads `lock`.
                unsafe {
                    libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_OFD_SETLK, &raw const lock)
                };
                std::thread::sleep(Duration::from_micros(random.below(3000)));
            }
            15 => {
                // Its mark and mode.
                use std::os::unix::fs::PermissionsExt;
                let mode = [0o600, 0o1600, 0o000, 0o1666, 0o4755][random.below(5) as usize];
                let Ok(file) = open() else { continue };
                let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
            }
            _ => {
                let _ = std::fs::remove_file(&path);
                let _ = std::fs::remove_dir(&path);
                match random.below(6) {
                    0 => drop(std::os::unix::fs::symlink(&secret, &path)),
                    1 => {
                        let mode = rustix::fs::Mode::from_raw_mode(0o600);
                        let _ =
                            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0);
                    }
                    2 => drop(std::fs::create_dir(&path)),
                    // Of any size, and any bytes.
                    3 => {
                        let bytes = vec![random.next() as u8; random.below(2 * SIZE) as usize];
                        let mut options = std::fs::OpenOptions::new();
                        options.write(true).create_new(true).mode(0o600);
                        drop(options.open(&path).and_then(|file| file.write_all_at(&bytes, 0)));
                    }
                    _ => {}
                }
                std::thread::sleep(Duration::from_micros(random.below(1000)));
                let _ = std::fs::remove_dir(&path);
                if random.once_in(2)
                    && std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file())
                {
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        if random.once_in(4) {
            std::thread::sleep(Duration::from_micros(random.below(800)));
        }
    }
}

struct Worker<'w> {
    world: &'w World,
    ledger: &'static Ledger,
    number: usize,
    random: Random,
    /// Memory of its own, which nobody else may change.
    own: Vec<u64>,
}

impl<'w> Worker<'w> {
    fn new(world: &'w World, ledger: &'static Ledger, number: usize, seed: u64) -> Worker<'w> {
        let mut random = Random::new(seed);
        let own = (0..1024).map(|_| random.next()).collect();
        Worker { world, ledger, number, random: Random::new(seed), own }
    }

    fn step(&self, operation: u32) {
        self.ledger.counts[USES].fetch_add(1, Relaxed);
        self.ledger.step(self.number, operation);
    }

    fn had<T, E>(&self, result: Result<T, E>) -> Option<T> {
        if result.is_err() {
            self.ledger.counts[ERRORS].fetch_add(1, Relaxed);
        }
        result.ok()
    }

    fn violation(&self, text: &str) {
        self.ledger.violation(self.number, &format!("worker {}: {text}", self.number));
    }

    fn work(&mut self) -> ! {
        let seed_of_own = self.own.clone();
        loop {
            let begun = Instant::now();
            match self.random.below(8) {
                0..=2 => self.bytes(),
                3..=4 => self.locks(),
                5 => {
                    self.step(3);
                    if let Some(entries) = self.had(self.world.namespace().list()) {
                        for entry in entries.flatten() {
                            let _ = self.had(entry.info());
                            let _ = self.had(entry.holders());
                        }
                    }
                    let _ = self.had(self.world.namespace().sweep());
                }
                6 => self.snapshot(),
                _ => self.typed(),
            }
            if begun.elapsed() > Duration::from_secs(8) {
                self.violation(&format!("an operation took {:?}", begun.elapsed()));
            }
            if self.own != seed_of_own {
                self.violation("memory of its own was changed");
            }
        }
    }

    fn options(&mut self) -> SegmentOptions<'static> {
        let lifetime =
            if self.random.once_in(2) { Lifetime::UntilDeleted } else { Lifetime::UntilLastDetach };
        SegmentOptions::new()
            .size(SIZE)
            .namespace(self.world.namespace())
            .lifetime(lifetime)
            .patience(Duration::from_millis(50))
    }

    fn bytes(&mut self) {
        self.step(0);
        let name = NAMES[self.random.below(3) as usize];
        let options = self.options();
        let Some(segment) = self.had(options.open_or_create(name)) else { return };
        let attach = AttachOptions::new().reserve(2 * SIZE as usize);
        let Some(attachment) = self.had(segment.attach_with(&attach)) else { return };
        if self.had(attachment.guard()).is_none() {
            return;
        }
        let mut buffer = vec![0; 4096];
        for _ in 0..self.random.below(30) {
            self.step(1);
            let offset = self.random.below(2 * SIZE) as usize;
            if self.had(attachment.read_at(offset, &mut buffer)).is_some()
                && buffer.windows(SECRET.len()).any(|bytes| bytes == SECRET)
            {
                self.violation("it was led to another file");
            }
            let _ = self.had(attachment.write_at(offset, &buffer[..64]));
            if let Some(words) = self.had(attachment.atomics::<AtomicU64>(..4096)) {
                for word in words {
                    word.fetch_add(1, Relaxed);
                }
            }
            let _ = self.had(attachment.check());
            match self.random.below(12) {
                0 => {
                    let size = SIZE + self.random.below(SIZE);
                    let _ = self.had(segment.grow(size));
                }
                1 => {
                    let _ = self.had(attachment.refresh(&segment));
                }
                2 => drop(self.had(segment.holders())),
                3 => {
                    let _ = self.had(segment.delete());
                }
                _ => {}
            }
        }
    }

    /// In memory that somebody else may have written anything to: all waits have an end.
    fn locks(&mut self) {
        self.step(2);
        let options = self.options();
        let Some(segment) = self.had(options.open_or_create(NAMES[4])) else { return };
        let Some(attachment) = self.had(segment.attach()) else { return };
        if self.had(attachment.guard()).is_none() {
            return;
        }
        let Some(locks) = self.had(attachment.object::<Locks>(0)) else { return };
        let time = Duration::from_millis(3);
        for _ in 0..self.random.below(20) {
            self.step(2);
            use_locks(locks, &mut self.random, time);
            let _ = self.had(attachment.check());
        }
    }

    fn typed(&mut self) {
        self.step(5);
        let options = SharedOptions::<Locks>::new()
            .namespace(self.world.namespace())
            .lifetime(Lifetime::UntilLastDetach);
        let Some(shared): Option<Shared<Locks>> = self.had(options.open_or_create(NAMES[3])) else { return };
        if self.had(shared.attachment().guard()).is_none() {
            return;
        }
        for _ in 0..self.random.below(5) {
            self.step(5);
            use_locks(&shared, &mut self.random, Duration::from_millis(3));
        }
    }

    fn snapshot(&mut self) {
        self.step(4);
        let name = NAMES[self.random.below(3) as usize];
        let file = self.world.file(&format!("snapshot {}", self.number));
        let options = self.options();
        let Some(segment) = self.had(options.open(name)) else { return };
        if self.had(snapshot::save(&segment, &file)).is_some() {
            let load = LoadOptions::new()
                .name("loaded")
                .namespace(self.world.namespace())
                .lifetime(Lifetime::UntilLastDetach);
            drop(self.had(load.load_file(&file)));
            let _ = self.had(LoadOptions::new().load_file_into(&segment, &file));
        }
    }
}

fn use_locks(locks: &Locks, random: &mut Random, time: Duration) {
    use commons::sync::LockError;
    match random.below(10) {
        0 | 1 => match locks.mutex.lock_timeout(time) {
            Ok(mut guard) => guard.change(),
            Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
            Err(LockError::Failed(_)) => {
                locks.mutex.reset();
            }
        },
        2 => match locks.rwlock.write_timeout(time) {
            Ok(mut guard) => guard.change(),
            Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
            Err(LockError::Failed(_)) => {
                locks.rwlock.reset();
            }
        },
        3 => drop(locks.rwlock.read_timeout(time)),
        4 => drop(locks.semaphore.acquire_timeout(time)),
        5 => {
            let _ = locks.semaphore.post(1);
            let _ = locks.semaphore.wait_timeout(time);
        }
        6 => {
            locks.event.set();
            locks.event.reset();
            locks.event.wait_timeout(time);
            locks.auto.set();
            locks.auto.wait_timeout(time);
        }
        7 => {
            if let Ok(guard) = locks.mutex.lock_timeout(time) {
                drop(locks.condvar.wait_timeout(guard, time));
            }
            locks.condvar.notify_all();
        }
        8 => {
            let _ = locks.value.try_read();
            let _ = locks.value.write_timeout([1; 4], time);
        }
        _ => {
            if let Ok(member) = locks.barrier.join(2) {
                let _ = member.wait_timeout(time);
            }
            locks.barrier.abort();
            locks.barrier.reset();
        }
    }
}
