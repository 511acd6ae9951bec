//! The long run: processes of all faces do random work on shared names, and are killed, stopped, continued and starved
//! of memory, while a model of what must be true stands beside them.
//!
//! The model: who holds a segment under a name that nobody deletes finds that name, meaning that segment. Nothing is
//! half-made. What a lock guards is in order, or a death is told; of two counts, one in the segment and one beside it,
//! the next owner finds the same, and after a death at most one more. No more permits are in use by the living than there are. A value that is replaced as a
//! whole is one that somebody wrote. Everybody gets on. At the end one sweep leaves nothing. What is true of the command and of
//! the drop-ins stands in [`faces`].

mod faces;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use commons::snapshot::{self, LoadOptions};
use commons::sync::{LockError, SyncError};
use commons::{Error, Lifetime, Shared};

use crate::args::Long;
use crate::board::Board;
use crate::dropins;
use crate::invariants::locks::{self, Account, Locks, Mendable};
use crate::invariants::names::{SIZE, is_whole, options};
use crate::random::Random;
use crate::team::{self, Ledger, MOST, Team};
use crate::world::World;
use faces::Faces;

const OPERATIONS: [&str; 22] = [
    "open or create",
    "create",
    "open",
    "hold",
    "leave",
    "delete",
    "sweep",
    "mutex",
    "rwlock",
    "permit",
    "value",
    "signal",
    "save",
    "load",
    "grow",
    "barrier",
    "condvar",
    "command",
    "semop with undo",
    "System V's memory",
    "libgpl's memory",
    "NSPR's memory",
];
const KEPT: [&str; 2] = ["kept", "kept too"];
const WILD: [&str; 2] = ["wild", "wild too"];
const PERMITS: u64 = 3;

// Counts in the ledger.
const NO_SPACE: usize = 0;
const BUSY: usize = 1;
const TOLD: usize = 2;
const CREATED: usize = 3;
const MUTEX: usize = 4;
const RWLOCK: usize = 5;
/// The process that has System V's one unit.
const UNIT: usize = 6;
/// From here on: the process of each worker that has a permit.
const HOLDERS: usize = 8;

/// Runs it; whether nothing was found.
pub(crate) fn run(directory: &Path, arguments: &Long) -> std::io::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    dropins::load(directory)?;
    starve(directory);
    say_whether_limited();
    let world = World::new(directory, Board::new()?)?;
    let ledger = Ledger::new()?;
    if let Err(error) = make_locks(&world) {
        return Err(std::io::Error::other(error));
    }
    let faces = Faces::new();
    let work = |worker: usize, seed: u64| {
        Worker::new(&world, ledger, &faces, arguments.processes.max(1), worker, seed).work();
    };
    let mut team = Team::new(ledger, arguments.processes, seed, &work);
    let mut random = Random::new(seed ^ 0x5a5a);
    let begun = Instant::now();
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let mut told = Instant::now();
    let mut hog = None;
    while begun.elapsed() < length && ledger.violations.load(Relaxed) < 50 {
        team.disturb(true);
        // From time to time there is no memory at all.
        if hog.is_none() && random.once_in(400) {
            hog = fill_up(&world);
        } else if random.once_in(20) {
            hog = None;
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("  {:.0} min: {} kills", begun.elapsed().as_secs_f64() / 60.0, team.kills);
        }
    }
    drop(hog);
    team.end();
    // Commands that workers had started die with them, a moment later.
    std::thread::sleep(Duration::from_millis(500));
    if let Err(flaw) = locks_are_to_be_had(&world) {
        ledger.violation(0, &format!("at the end: {flaw}"));
    }
    let count = |count: usize| ledger.counts[count].load(Relaxed);
    let (kills, stops, operations) = (team.kills, team.stops, team.operations());
    // Beside the locks everything goes with its last holder, or is deleted here.
    for name in WILD.into_iter().chain(["by command"]) {
        let _ = world.namespace().delete(name);
    }
    if let Err(flaw) = faces.end(&world) {
        ledger.violation(0, &flaw);
    }
    if let Err(flaw) = world.is_swept(&[locks::NAME]) {
        ledger.violation(0, &format!("at the end: {flaw}"));
    }
    let violations = ledger.violations.load(Relaxed);
    println!(
        "{:.1} min: {kills} kills, {stops} stops, {operations} operations; {} created, {} deaths told, {} times no space, {} times busy",
        begun.elapsed().as_secs_f64() / 60.0,
        count(CREATED),
        count(TOLD),
        count(NO_SPACE),
        count(BUSY),
    );
    if violations > 0 {
        team::leave_trace(ledger, "soak", seed, &OPERATIONS)?;
    }
    println!("kills {kills}, violations {violations}");
    Ok(violations == 0)
}

/// Puts the directory on a filesystem of little memory, in a mount namespace of its own.
fn starve(directory: &Path) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let tried = || -> rustix::io::Result<()> {
        // SAFETY: a mount namespace of its own changes nothing that memory safety rests on.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)? };
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        mount("crashlab", directory, "tmpfs", MountFlags::empty(), Some(c"size=2m,mode=700"))
    };
    match tried() {
        Ok(()) => println!("on 2 MiB of memory of its own, which is full from time to time"),
        Err(error) => println!("SKIPPED: starving: a mount namespace is refused: {error}"),
    }
}

/// Says whether the kernel's own limit can be had beside the small filesystem: a group with a limit on memory.
fn say_whether_limited() {
    let mine = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = mine.lines().find_map(|line| line.strip_prefix("0::"));
    let controls = |group: &str| {
        let path = format!("/sys/fs/cgroup{}/cgroup.subtree_control", group.trim_end_matches('/'));
        std::fs::read_to_string(&path).is_ok_and(|controls| {
            controls.split_whitespace().any(|control| control == "memory")
                && rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_ok()
        })
    };
    match group {
        Some(group) if controls(group) => {
            println!(
                "SKIPPED: starving by a cgroup's limit: groups can be made here, and the run makes none yet"
            );
        }
        Some(_) => println!("SKIPPED: starving by a cgroup's limit: no group with one may be made here"),
        None => println!("SKIPPED: starving by a cgroup's limit: there is no unified hierarchy"),
    }
}

/// Takes all memory that is left, until the file is dropped.
fn fill_up(world: &World) -> Option<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = world.file("hog");
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).ok()?;
    // Without a name it goes however this ends.
    let _ = std::fs::remove_file(path);
    for size in [1 << 20, 1 << 16, 1 << 12] {
        let mut at = file.metadata().ok()?.len();
        while at < 2 << 20
            && rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, size).is_ok()
        {
            at += size;
        }
    }
    Some(file)
}

fn make_locks(world: &World) -> Result<(), Error> {
    let locks = locks::open(world)?;
    let _ = locks.semaphore.post(PERMITS as u32);
    Ok(())
}

/// When all are dead each lock is to be had at once, and there are as many permits as there were.
fn locks_are_to_be_had(world: &World) -> Result<(), String> {
    const SOON: Duration = Duration::from_secs(2);
    fn had<G>(what: &str, taken: Result<G, LockError<G>>) -> Result<(), String> {
        match taken {
            Ok(_) | Err(LockError::OwnerDied(_)) => Ok(()),
            Err(LockError::Failed(error)) => Err(format!("{what}: {error}")),
        }
    }
    let locks = locks::open(world).map_err(|error| error.to_string())?;
    had("mutex", locks.mutex.lock_timeout(SOON))?;
    had("rwlock", locks.rwlock.write_timeout(SOON))?;
    let permits: Result<Vec<_>, _> = (0..PERMITS).map(|_| locks.semaphore.acquire_timeout(SOON)).collect();
    let permits = permits.map_err(|error| format!("a permit is lost: {error}"))?;
    if locks.semaphore.try_acquire().is_ok() {
        return Err(format!("there are more than {} permits", permits.len()));
    }
    locks.barrier.reset();
    let alone = locks.barrier.join(1).and_then(|member| member.wait_timeout(SOON).map(drop));
    // Who died may have left it agreed on for two.
    if !matches!(alone, Ok(()) | Err(SyncError::Broken | SyncError::Mismatch(_))) {
        return Err(format!("barrier: {alone:?}"));
    }
    locks.value.write_timeout([1; 4], SOON).map_err(|error| format!("value: {error}"))
}

struct Worker<'w> {
    world: &'w World,
    ledger: &'static Ledger,
    faces: &'w Faces,
    /// How many work.
    processes: u64,
    number: usize,
    random: Random,
    locks: Shared<Locks>,
}

impl<'w> Worker<'w> {
    fn new(
        world: &'w World,
        ledger: &'static Ledger,
        faces: &'w Faces,
        processes: usize,
        number: usize,
        seed: u64,
    ) -> Worker<'w> {
        loop {
            if let Ok(locks) = locks::open(world) {
                let (processes, random) = (processes as u64, Random::new(seed));
                return Worker { world, ledger, faces, processes, number, random, locks };
            }
        }
    }

    fn violation(&self, text: &str) {
        self.ledger.violation(self.number, &format!("worker {}: {text}", self.number));
    }

    fn count(&self, count: usize) {
        self.ledger.counts[count].fetch_add(1, Relaxed);
    }

    fn step(&self, operation: u32) {
        self.ledger.step(self.number, operation);
    }

    fn work(&mut self) -> ! {
        loop {
            match self.random.below(22) {
                0..=4 => self.segment(),
                5 => {
                    self.step(6);
                    if let Err(error) = self.world.namespace().sweep() {
                        self.error("sweep", &error);
                    }
                }
                6..=8 => self.mutex(),
                9..=10 => self.rwlock(),
                11..=12 => self.permit(),
                13 => self.value(),
                14 => self.signal(),
                15 => self.barrier(),
                16 => self.condvar(),
                17..=20 => self.another_face(),
                _ => self.snapshot(),
            }
        }
    }

    fn error(&self, what: &str, error: &Error) {
        match error {
            Error::NotFound(_) | Error::Exists(_) | Error::TimedOut { .. } | Error::Shrink { .. } => {}
            Error::NoSpace { .. } => self.count(NO_SPACE),
            Error::Busy { .. } => self.count(BUSY),
            error => self.violation(&format!("{what}: {error}")),
        }
    }

    fn segment(&mut self) {
        let kept = !self.random.once_in(3);
        let name = if kept { KEPT } else { WILD }[self.random.below(2) as usize];
        let mut options = options(self.world).patience(Duration::from_secs(2));
        if !kept && self.random.once_in(3) {
            options = options.lifetime(Lifetime::UntilDeleted);
        }
        if self.random.once_in(4) {
            options = options.publish_by_renaming();
        }
        let operation = self.random.below(4) as u32;
        self.step(operation.min(2));
        let opened = match operation {
            1 => options.create(name),
            2 => options.open(name),
            _ => options.open_or_create(name),
        };
        let segment = match opened {
            Ok(segment) => segment,
            Err(error) => return self.error("open", &error),
        };
        if segment.was_created() {
            self.count(CREATED);
        }
        self.step(3);
        let attachment = match segment.attach() {
            Ok(attachment) => attachment,
            Err(error) => return self.error("attach", &error),
        };
        let mine = rustix::fs::fstat(&segment).map(|stat| stat.st_ino).unwrap_or(0);
        let path = self.world.path(name);
        for _ in 0..2 {
            if let Err(flaw) = is_whole(&attachment) {
                self.violation(&format!("{name}: {flaw}"));
            }
            if kept && !std::fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == mine) {
                self.violation(&format!("{name} was taken from a holder"));
            }
            if self.random.once_in(4) {
                std::thread::sleep(Duration::from_micros(self.random.below(500)));
            }
        }
        if self.random.once_in(6) {
            self.step(14);
            if let Err(error) = segment.grow(SIZE + self.random.below(2 * SIZE)) {
                self.error("grow", &error);
            }
        }
        if !kept && self.random.once_in(3) {
            self.step(5);
            if let Err(error) = segment.delete() {
                self.error("delete", &error);
            }
        }
        self.step(4);
        if self.random.once_in(2) {
            drop(segment);
            drop(attachment);
        } else {
            drop(attachment);
            drop(segment);
        }
    }

    /// What is under a lock, and the count beside it, which is changed under the same lock.
    fn change(&self, account: &mut Account, beside: usize, told: bool) {
        let before = self.ledger.counts[beside].load(Relaxed);
        if told {
            self.count(TOLD);
            account.mend();
        } else if !account.is_in_order() {
            self.violation("a death was not told: the data is half changed");
        }
        let most = if told { before + 1 } else { before };
        if account.one < before || account.one > most {
            self.violation(&format!("{} changes under a lock, {before} beside it", account.one));
        }
        // Beside it as it is here, before it is changed again: or two deaths in a row would count as one.
        self.ledger.counts[beside].store(account.one, Relaxed);
        account.change();
        if self.number % 2 == 0 {
            // Some have it for longer, so that they are killed and stopped with it.
            account.begin_change();
            std::thread::sleep(Duration::from_micros(50));
            account.mend();
        }
        self.ledger.counts[beside].store(account.one, Relaxed);
    }

    fn take<G: Mendable>(&self, taken: Result<G, LockError<G>>, beside: usize) {
        match taken {
            Ok(mut guard) => self.change(&mut guard, beside, false),
            Err(LockError::OwnerDied(mut guard)) => {
                // Repaired with the lock had, and only then said to be good.
                self.change(&mut guard, beside, true);
                drop(guard.recovered());
            }
            Err(LockError::Failed(SyncError::TimedOut | SyncError::WouldBlock)) => {}
            Err(LockError::Failed(error)) => self.violation(&format!("lock: {error}")),
        }
    }

    fn mutex(&mut self) {
        self.step(7);
        let time = Duration::from_micros(self.random.below(200_000));
        self.take(self.locks.mutex.lock_timeout(time), MUTEX);
    }

    fn rwlock(&mut self) {
        self.step(8);
        let time = Duration::from_micros(self.random.below(200_000));
        if self.random.once_in(2) {
            return self.take(self.locks.rwlock.write_timeout(time), RWLOCK);
        }
        match self.locks.rwlock.read_timeout(time) {
            Ok(guard) => {
                if !guard.is_in_order() {
                    self.violation("a reader sees data that is half changed");
                }
            }
            Err(LockError::OwnerDied(guard)) => self.take(Err(LockError::OwnerDied(guard)), RWLOCK),
            Err(LockError::Failed(SyncError::TimedOut | SyncError::WouldBlock)) => {}
            Err(LockError::Failed(error)) => self.violation(&format!("read: {error}")),
        }
    }

    fn permit(&mut self) {
        self.step(9);
        let holders = &self.ledger.counts[HOLDERS..HOLDERS + MOST];
        match self.locks.semaphore.acquire_timeout(Duration::from_micros(self.random.below(100_000))) {
            Ok(permit) => {
                holders[self.number].store(u64::from(std::process::id()), Relaxed);
                let living = holders.iter().map(|holder| holder.load(Relaxed));
                let living = living.filter(|pid| *pid != 0 && self.ledger.is_living(*pid));
                if living.count() as u64 > PERMITS {
                    self.violation("more permits are in use than there are");
                }
                holders[self.number].store(0, Relaxed);
                drop(permit);
            }
            Err(SyncError::TimedOut | SyncError::WouldBlock) => {}
            Err(error) => self.violation(&format!("permit: {error}")),
        }
    }

    fn value(&mut self) {
        self.step(10);
        let value = self.locks.value.read();
        if value.iter().any(|word| *word != value[0]) {
            self.violation(&format!("a torn value: {value:?}"));
        }
        let new = [self.random.next(); 4];
        match self.locks.value.write_timeout(new, Duration::from_millis(100)) {
            Ok(()) | Err(SyncError::TimedOut) => {}
            Err(error) => self.violation(&format!("write a value: {error}")),
        }
    }

    fn signal(&mut self) {
        self.step(11);
        match self.random.below(6) {
            0 => self.locks.event.set(),
            1 => self.locks.event.reset(),
            2 => {
                self.locks.event.wait_timeout(Duration::from_millis(2));
            }
            3 => self.locks.auto.set(),
            4 => {
                self.locks.auto.wait_timeout(Duration::from_millis(2));
            }
            _ => match self.locks.once.get_or_init(|| 7) {
                Ok(7) => {}
                Ok(value) => self.violation(&format!("made once: {value}")),
                Err(error) => self.violation(&format!("once: {error}")),
            },
        }
    }

    /// Two that wait for each other; who is told that it is broken makes it whole again.
    fn barrier(&mut self) {
        self.step(15);
        let barrier = &self.locks.barrier;
        let ended = barrier.join(2).and_then(|member| {
            for _ in 0..self.random.below(4) {
                member.wait_timeout(Duration::from_millis(3))?;
            }
            Ok(())
        });
        match ended {
            Ok(()) | Err(SyncError::TimedOut | SyncError::Full) => {}
            Err(SyncError::Broken) => {
                barrier.reset();
            }
            Err(error) => self.violation(&format!("barrier: {error}")),
        }
    }

    /// Waits for somebody to change what the mutex guards, or changes it and says so.
    fn condvar(&mut self) {
        self.step(16);
        let time = Duration::from_micros(self.random.below(3000));
        let waits = self.random.once_in(2);
        match self.locks.mutex.lock_timeout(Duration::from_millis(100)) {
            Ok(guard) if waits => {
                let waited = self.locks.condvar.wait_timeout(guard, time);
                self.take(waited.map(|(guard, _)| guard).map_err(of_the_guard), MUTEX);
            }
            taken => {
                self.take(taken, MUTEX);
                self.locks.condvar.notify_one();
            }
        }
    }

    fn snapshot(&mut self) {
        let file = self.world.file("snapshot");
        if self.random.once_in(2) {
            self.step(12);
            if let Ok(segment) = options(self.world).open_or_create(KEPT[0]) {
                match snapshot::save(&segment, &file) {
                    Err(error) if !no_space(&error) => self.error("save", &error),
                    _ => {}
                }
            }
            return;
        }
        self.step(13);
        let load = LoadOptions::new()
            .name(WILD[0])
            .namespace(self.world.namespace())
            .lifetime(Lifetime::UntilLastDetach);
        match load.load_file(&file) {
            Ok(loaded) => match loaded.segment.attach() {
                Ok(attachment) => {
                    if let Err(flaw) = is_whole(&attachment) {
                        self.violation(&format!("loaded: {flaw}"));
                    }
                }
                Err(error) => self.error("attach what was loaded", &error),
            },
            Err(_) if !file.exists() => {}
            Err(error) if no_space(&error) => self.count(NO_SPACE),
            Err(error) => self.error("load", &error),
        }
    }
}

/// What came with a guard, without what became of the wait for it.
fn of_the_guard<G, W>(error: LockError<(G, W)>) -> LockError<G> {
    match error {
        LockError::OwnerDied((guard, _)) => LockError::OwnerDied(guard),
        LockError::Failed(error) => LockError::Failed(error),
    }
}

/// Also where it comes from a file beside.
fn no_space(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. }) || error.to_string().contains("os error 28")
}
