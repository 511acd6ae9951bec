//! Random `kill -9` over the C calls, by several processes on the same few paths: at no time does anybody see half-made
//! memory or a semaphore without its value, or wait for ever; and when each path has been deleted, nothing is left.
//!
//! `cargo test --release -p commons-nspr --test kill -- --kills 5000` is a longer form; without arguments a short one
//! runs. `--processes N` and `--seed N` choose the campaign.
//!
//! The library is loaded with `dlopen`, as programs have it. A process with one thread forks the workers, so this has
//! its own `main`.

#![allow(non_snake_case, reason = "named as the calls are")]

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[path = "../../../crates/commons/tests/common/campaign.rs"]
#[allow(dead_code, unreachable_pub, reason = "used in part")]
mod campaign;
use campaign::Random;

/// The calls, found in the library.
struct Calls {
    PR_OpenSharedMemory: unsafe extern "C" fn(*const c_char, usize, c_int, c_uint) -> *mut c_void,
    PR_AttachSharedMemory: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    PR_DetachSharedMemory: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
    PR_CloseSharedMemory: unsafe extern "C" fn(*mut c_void) -> c_int,
    PR_DeleteSharedMemory: unsafe extern "C" fn(*const c_char) -> c_int,
    PR_OpenSemaphore: unsafe extern "C" fn(*const c_char, c_int, c_uint, c_uint) -> *mut c_void,
    PR_WaitSemaphore: unsafe extern "C" fn(*mut c_void) -> c_int,
    PR_PostSemaphore: unsafe extern "C" fn(*mut c_void) -> c_int,
    PR_CloseSemaphore: unsafe extern "C" fn(*mut c_void) -> c_int,
    PR_DeleteSemaphore: unsafe extern "C" fn(*const c_char) -> c_int,
    PR_GetError: unsafe extern "C" fn() -> c_int,
    PR_GetOSError: unsafe extern "C" fn() -> c_int,
}

impl Calls {
    #[allow(clippy::missing_transmute_annotations, reason = "the fields have the types")]
    fn load(library: &Path) -> Calls {
        let path = CString::new(library.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string; what the library does when it is loaded is ours.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "dlopen {}", library.display());
        let find = |name: &CStr| -> *mut c_void {
            // SAFETY: an open handle and a string.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!found.is_null(), "{name:?}");
            found
        };
        macro_rules! calls {
            ($($name:ident)*) => {
                // SAFETY: each has the type that NSPR's header declares.
                unsafe { Calls { $($name: std::mem::transmute(
                    find(CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()).unwrap())
                )),* } }
            };
        }
        calls!(PR_OpenSharedMemory PR_AttachSharedMemory PR_DetachSharedMemory PR_CloseSharedMemory
            PR_DeleteSharedMemory PR_OpenSemaphore PR_WaitSemaphore PR_PostSemaphore PR_CloseSemaphore
            PR_DeleteSemaphore PR_GetError PR_GetOSError)
    }
}

/// What the workers count, in memory that they share with the campaign.
#[repr(C)]
#[derive(Default)]
struct Tally {
    opened: AtomicU64,
    created: AtomicU64,
    attached: AtomicU64,
    deleted: AtomicU64,
    waited: AtomicU64,
    /// Memory that was not whole: not all there, or with bytes that nobody wrote.
    half_made: AtomicU64,
    /// Two of the program's that were made exclusively at the same time, or a semaphore with more than it was given.
    wrong: AtomicU64,
    /// An error that no call may give here.
    errors: AtomicU64,
    rounds: [AtomicU64; 16],
}

const PATHS: usize = 3;
const SIZE: usize = 3 * 4096;
/// What a semaphore is made with: what processes take and die with never comes back, and more never comes.
const VALUE: u32 = 1000;
/// No round takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(10);

const CREATE: c_int = 1;
const EXCLUSIVE: c_int = 2;

struct Worker<'w> {
    calls: &'w Calls,
    tally: &'w Tally,
    paths: Vec<CString>,
    random: Random,
}

impl Worker<'_> {
    /// Counts a failure that is none of those that the others' doings explain.
    fn failed(&self, call: &str, explained: &[c_int]) {
        // SAFETY: have no preconditions.
        let (code, system) = unsafe { ((self.calls.PR_GetError)(), (self.calls.PR_GetOSError)()) };
        if !explained.contains(&system) && self.tally.errors.fetch_add(1, Relaxed) < 5 {
            eprintln!("unexpected: {call}: {code}/{system}");
        }
    }

    fn round(&mut self) {
        let path = self.paths[self.random.below(PATHS as u64) as usize].clone();
        match self.random.below(10) {
            0 => self.delete_memory(&path),
            1..=6 => self.memory(&path),
            7 => self.delete_semaphore(),
            _ => self.semaphore(),
        }
    }

    fn memory(&mut self, path: &CStr) {
        let calls = self.calls;
        let flags = [0, CREATE, CREATE, CREATE | EXCLUSIVE][self.random.below(4) as usize];
        // SAFETY: a string.
        let memory = unsafe { (calls.PR_OpenSharedMemory)(path.as_ptr(), SIZE, flags, 0o600) };
        if memory.is_null() {
            let explained = match flags {
                0 => vec![libc::ENOENT],
                CREATE => vec![],
                _ => vec![libc::EEXIST],
            };
            return self.failed("PR_OpenSharedMemory", &explained);
        }
        let counter = if flags == CREATE | EXCLUSIVE { &self.tally.created } else { &self.tally.opened };
        counter.fetch_add(1, Relaxed);
        let mut addresses = vec![];
        for _ in 0..=self.random.below(2) {
            let read_only = c_int::from(self.random.below(4) == 0);
            // SAFETY: an open handle.
            let address = unsafe { (calls.PR_AttachSharedMemory)(memory, read_only) };
            if address.is_null() {
                self.failed("PR_AttachSharedMemory", &[]);
                continue;
            }
            self.tally.attached.fetch_add(1, Relaxed);
            // All bytes are there, and zero or what the workers write: each page's first word counts up.
            for page in 0..SIZE / 4096 {
                // SAFETY: within what is attached, by atomic accesses only.
                let words: &[AtomicU64; 512] = unsafe { &*address.add(page * 4096).cast() };
                let whole = words[1..].iter().all(|word| word.load(Relaxed) == 0);
                self.tally.half_made.fetch_add(u64::from(!whole), Relaxed);
                if read_only == 0 {
                    words[0].fetch_add(1, Relaxed);
                }
            }
            addresses.push(address);
        }
        let first = self.random.below(2) == 0;
        if first {
            // SAFETY: a handle that is not used any more.
            if unsafe { (calls.PR_CloseSharedMemory)(memory) } != 0 {
                self.failed("PR_CloseSharedMemory", &[]);
            }
        }
        for address in addresses {
            // SAFETY: attached above.
            if unsafe { (calls.PR_DetachSharedMemory)(ptr::null_mut(), address) } != 0 {
                self.failed("PR_DetachSharedMemory", &[]);
            }
        }
        // SAFETY: as above.
        if !first && unsafe { (calls.PR_CloseSharedMemory)(memory) } != 0 {
            self.failed("PR_CloseSharedMemory", &[]);
        }
    }

    fn delete_memory(&self, path: &CStr) {
        // SAFETY: a string.
        match unsafe { (self.calls.PR_DeleteSharedMemory)(path.as_ptr()) } {
            0 => drop(self.tally.deleted.fetch_add(1, Relaxed)),
            _ => self.failed("PR_DeleteSharedMemory", &[libc::ENOENT]),
        }
    }

    fn semaphore(&mut self) {
        let (calls, path) = (self.calls, &self.paths[PATHS]);
        // SAFETY: a string.
        let semaphore = unsafe { (calls.PR_OpenSemaphore)(path.as_ptr(), CREATE, 0o600, VALUE) };
        if semaphore.is_null() {
            return self.failed("PR_OpenSemaphore", &[]);
        }
        for _ in 0..self.random.below(20) {
            // SAFETY: an open handle.
            if unsafe { (calls.PR_WaitSemaphore)(semaphore) } != 0 {
                // Deleted, by another.
                self.failed("PR_WaitSemaphore", &[libc::EINVAL, libc::EIDRM]);
                break;
            }
            self.tally.waited.fetch_add(1, Relaxed);
            // SAFETY: as above.
            if unsafe { (calls.PR_PostSemaphore)(semaphore) } != 0 {
                self.failed("PR_PostSemaphore", &[libc::EINVAL]);
                break;
            }
        }
        // SAFETY: a handle that is not used any more.
        unsafe { (calls.PR_CloseSemaphore)(semaphore) };
    }

    fn delete_semaphore(&self) {
        // SAFETY: a string.
        if unsafe { (self.calls.PR_DeleteSemaphore)(self.paths[PATHS].as_ptr()) } != 0 {
            self.failed("PR_DeleteSemaphore", &[libc::ENOENT]);
        }
    }
}

struct Campaign {
    kills: u64,
    processes: usize,
    seed: u64,
}

/// Runs it; whether all promises were kept.
fn run(campaign: &Campaign, calls: &Calls, namespace: &Path) -> bool {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let paths: Vec<CString> = (0..=PATHS)
        .map(|number| {
            CString::new(place.path().join(number.to_string()).into_os_string().into_encoded_bytes())
        })
        .map(Result::unwrap)
        .collect();
    let shared = commons::Segment::anonymous(size_of::<Tally>() as u64).unwrap().attach().unwrap();
    // SAFETY: the attachment is large enough, page-aligned and zero, lives until the end, and the structure has nothing
    // but atomics.
    let tally: &Tally = unsafe { &*shared.as_ptr().cast() };
    let mut random = Random(campaign.seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let mut worker = Worker { calls, tally, paths: paths.clone(), random: Random(seed | 1) };
                loop {
                    worker.round();
                    tally.rounds[number].fetch_add(1, Relaxed);
                }
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..campaign.processes).map(|number| start(number, &mut random)).collect();
    let mut seen: Vec<(u64, Instant)> = vec![(0, begun); campaign.processes];
    let (mut hangs, mut died) = (0, 0);
    let kill = |pid: i32| {
        let mut status = 0;
        // SAFETY: our own child, not reaped yet.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, &raw mut status, 0);
        }
        u64::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL))
    };
    for _ in 0..campaign.kills {
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        for (number, seen) in seen.iter_mut().enumerate() {
            let rounds = tally.rounds[number].load(Relaxed);
            if rounds != seen.0 {
                *seen = (rounds, Instant::now());
            } else if seen.1.elapsed() > HANG {
                hangs += 1;
                *seen = (rounds, Instant::now());
            }
        }
        let victim = random.below(campaign.processes as u64) as usize;
        died += kill(workers[victim]);
        workers[victim] = start(victim, &mut random);
        seen[victim].1 = Instant::now();
    }
    for worker in workers {
        died += kill(worker);
    }
    let took = begun.elapsed();

    // What a path leads to is whole, and can be deleted; then nothing is left.
    let mut worker = Worker { calls, tally, paths: paths.clone(), random: Random(1) };
    let names = common::files(namespace).len();
    for path in &paths[..PATHS] {
        worker.memory(path);
        // SAFETY: strings.
        unsafe {
            (calls.PR_CloseSharedMemory)((calls.PR_OpenSharedMemory)(path.as_ptr(), SIZE, CREATE, 0o600));
            if (calls.PR_DeleteSharedMemory)(path.as_ptr()) != 0 {
                worker.failed("PR_DeleteSharedMemory", &[]);
            }
        }
    }
    worker.semaphore();
    // SAFETY: a string.
    unsafe {
        let semaphore = (calls.PR_OpenSemaphore)(paths[PATHS].as_ptr(), CREATE, 0o600, VALUE);
        let mut count = 0;
        // Post until it is full: so much is missing of 32,767 as was in it.
        while (calls.PR_PostSemaphore)(semaphore) == 0 {
            count += 1;
        }
        if count < 32767 - VALUE {
            tally.wrong.fetch_add(1, Relaxed);
        }
        (calls.PR_CloseSemaphore)(semaphore);
    }
    worker.delete_semaphore();
    let left = common::files(namespace);
    let files = common::files(place.path());

    let get = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{} kills of {} processes in {:.1} s: created {} opened {} attached {} deleted {} waited {}; names at the end {names}",
        campaign.kills,
        campaign.processes,
        took.as_secs_f64(),
        get(&tally.created),
        get(&tally.opened),
        get(&tally.attached),
        get(&tally.deleted),
        get(&tally.waited),
    );
    let (half, wrong, errors) = (get(&tally.half_made), get(&tally.wrong), get(&tally.errors));
    println!(
        "  half-made {half}, wrong values {wrong}, unexpected errors {errors}, hangs {hangs}, died by themselves {died}, left {} {left:?}, files left {}",
        left.len(),
        files.len(),
    );
    half + wrong + errors + hangs + died + (left.len() + files.len()) as u64 == 0
        && get(&tally.created) > 0
        && get(&tally.opened) > 0
        && get(&tally.deleted) > 0
        && get(&tally.waited) > 0
}

fn main() {
    let Some(arguments) = campaign::arguments("kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    let kills = number("--kills").unwrap_or(400);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let library = common::library();
    let namespace = tempfile::tempdir_in("/dev/shm").unwrap();
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("COMMONS_NSPR_NAMESPACE", namespace.path()) };
    let calls = Calls::load(library);
    let sizes = number("--processes").map_or(vec![2, 6], |processes| vec![(processes as usize).clamp(1, 16)]);
    let campaigns = sizes.len() as u64;
    let mut kept = true;
    for processes in sizes {
        kept &= run(&Campaign { kills: kills / campaigns, processes, seed }, &calls, namespace.path());
    }
    drop(namespace);
    if !kept {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
