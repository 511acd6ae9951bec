//! The same experiments with what the C library has, for comparison.
//!
//! Libraries that need programs of their own are in [`others`](crate::others).

use std::cell::UnsafeCell;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{VICTIM, World};

const FILE: &str = "peer";

/// How long a lock may take that nobody living has.
const LONG: Duration = Duration::from_millis(60);

#[repr(C)]
struct Peers {
    plain: UnsafeCell<libc::pthread_mutex_t>,
    robust: UnsafeCell<libc::pthread_mutex_t>,
    semaphore: UnsafeCell<libc::sem_t>,
    counts: UnsafeCell<[u64; 2]>,
}

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::Peer, name, arrange, verify)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("pthread_mutex_t, plain", plain, plain_is_free).prepare(make),
    scenario("pthread_mutex_t, robust", robust, robust_is_free).prepare(make),
    scenario("sem_t: wait, change, post", semaphore, semaphore_is_free).prepare(make),
    scenario("shm_open, ftruncate, mmap, fill", by_hand, whole_or_absent),
];

fn map(world: &World) -> Result<&'static Peers, String> {
    let text = |error: std::io::Error| error.to_string();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(world.file(FILE))
        .map_err(text)?;
    file.set_len(4096).map_err(text)?;
    // SAFETY: a new mapping, somewhere.
    let base = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &file,
            0,
        )
    };
    let base = base.map_err(|error| error.to_string())?;
    // SAFETY: a page, which is large enough and aligned; it stays; any bytes are a value of the fields.
    Ok(unsafe { &*base.cast::<Peers>() })
}

fn make(world: &World) -> Check {
    let peers = map(world).must("map")?;
    // SAFETY: nobody else has these yet; the attributes are initialised before they are used.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutex_init(peers.plain.get(), &raw const attributes);
        libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        libc::pthread_mutex_init(peers.robust.get(), &raw const attributes);
        libc::sem_init(peers.semaphore.get(), 1, 1);
    }
    Ok(())
}

/// Changes both counts; had under a lock.
fn change(peers: &Peers) {
    let counts = peers.counts.get();
    // SAFETY: the caller has the lock, and the place is mapped; volatile, so that the steps stay steps.
    unsafe {
        let next = (&raw const (*counts)[0]).read_volatile() + 1;
        (&raw mut (*counts)[0]).write_volatile(next);
        (&raw mut (*counts)[1]).write_volatile(next);
    }
}

fn in_order(peers: &Peers) -> Check {
    // SAFETY: the caller has the lock, and the place is mapped.
    let counts = unsafe { *peers.counts.get() };
    ensure(counts[0] == counts[1], || format!("half changed, and nobody was told: {counts:?}"))
}

fn soon() -> libc::timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let nanoseconds = now.tv_nsec + LONG.as_nanos() as i64;
    libc::timespec { tv_sec: now.tv_sec + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000 }
}

fn plain(world: &World) -> Result<Act<'_>, String> {
    let peers = map(world)?;
    Ok(Box::new(move || {
        // SAFETY: an initialised mutex, which stays.
        unsafe { libc::pthread_mutex_lock(peers.plain.get()) };
        change(peers);
        // SAFETY: as above; this thread has it.
        unsafe { libc::pthread_mutex_unlock(peers.plain.get()) };
        Ok(())
    }))
}

fn robust(world: &World) -> Result<Act<'_>, String> {
    let peers = map(world)?;
    Ok(Box::new(move || {
        // SAFETY: an initialised mutex, which stays.
        unsafe { libc::pthread_mutex_lock(peers.robust.get()) };
        world.note(VICTIM, 1);
        change(peers);
        world.note(VICTIM, 2);
        // SAFETY: as above; this thread has it.
        unsafe { libc::pthread_mutex_unlock(peers.robust.get()) };
        Ok(())
    }))
}

fn semaphore(world: &World) -> Result<Act<'_>, String> {
    let peers = map(world)?;
    Ok(Box::new(move || {
        // SAFETY: an initialised semaphore, which stays.
        unsafe { libc::sem_wait(peers.semaphore.get()) };
        change(peers);
        // SAFETY: as above.
        unsafe { libc::sem_post(peers.semaphore.get()) };
        Ok(())
    }))
}

/// As programs do it that know of nothing better.
fn by_hand(world: &World) -> Result<Act<'_>, String> {
    let path = world.path("by hand");
    Ok(Box::new(move || {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| error.to_string())?;
        file.set_len(4096).map_err(|error| error.to_string())?;
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], 0).map_err(|error| error.to_string())
    }))
}

fn whole_or_absent(world: &World, _: Fate) -> Check {
    let path = world.path("by hand");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    ensure(bytes == [7; 4096], || format!("half-made: {} bytes", bytes.len()))?;
    let _ = std::fs::remove_file(path);
    Ok(())
}

fn plain_is_free(world: &World, _: Fate) -> Check {
    let peers = map(world).must("map")?;
    let until = soon();
    // SAFETY: an initialised mutex, which stays; reads `until`.
    match unsafe { libc::pthread_mutex_timedlock(peers.plain.get(), &raw const until) } {
        0 => in_order(peers),
        _ => Err(Flaw::stuck("the mutex is a dead one's")),
    }
}

fn robust_is_free(world: &World, _: Fate) -> Check {
    let peers = map(world).must("map")?;
    let until = soon();
    // SAFETY: an initialised mutex, which stays; reads `until`.
    match unsafe { libc::pthread_mutex_timedlock(peers.robust.get(), &raw const until) } {
        0 => {
            ensure(world.noted(VICTIM) != 1, || "an owner died inside, and nobody was told".into())?;
            in_order(peers)
        }
        libc::EOWNERDEAD => Ok(()),
        _ => Err(Flaw::stuck("the mutex is a dead one's")),
    }
}

fn semaphore_is_free(world: &World, _: Fate) -> Check {
    let peers = map(world).must("map")?;
    let until = soon();
    // SAFETY: an initialised semaphore, which stays; reads `until`.
    match unsafe { libc::sem_timedwait(peers.semaphore.get(), &raw const until) } {
        0 => in_order(peers),
        _ => Err(Flaw::stuck("the semaphore's unit went with a dead one")),
    }
}
