//! What tests of locks between processes need: memory that forked children share, children that are asleep for sure,
//! and how long something took.

use std::time::{Duration, Instant};

use super::campaign::Random;

/// Zeroed memory that children share, for something that is valid when it is all zero. It is never unmapped.
///
/// # Safety
///
/// All zero is a value of the type.
pub unsafe fn zeroed<T: Sync>() -> &'static T {
    let memory = map(size_of::<T>(), -1);
    // SAFETY: mapped, aligned to a page, never unmapped; and as the caller promises.
    unsafe { &*memory.cast::<T>() }
}

/// The same memory twice: writable, and mapped for reading only.
///
/// # Safety
///
/// As for [`zeroed`].
pub unsafe fn zeroed_and_read_only<T: Sync>() -> (&'static T, &'static T) {
    // SAFETY: makes a file without a name, as long as the value, and maps it twice.
    unsafe {
        let file = libc::memfd_create(c"between".as_ptr(), 0);
        assert!(file >= 0 && libc::ftruncate(file, size_of::<T>() as libc::off_t) == 0);
        let both = (map(size_of::<T>(), file), map(size_of::<T>(), file));
        assert_eq!(libc::mprotect(both.1, size_of::<T>(), libc::PROT_READ), 0);
        (&*both.0.cast::<T>(), &*both.1.cast::<T>())
    }
}

fn map(size: usize, file: i32) -> *mut libc::c_void {
    let anonymous = if file < 0 { libc::MAP_ANONYMOUS } else { 0 };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: maps new memory wherever there is room.
    let memory =
        unsafe { libc::mmap(std::ptr::null_mut(), size, protection, libc::MAP_SHARED | anonymous, file, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    memory
}

/// Fills the object with bytes that no one would write.
pub fn scribble<T>(object: &T, random: &mut Random) {
    let words = std::ptr::from_ref(object).cast::<std::sync::atomic::AtomicU32>();
    for at in 0..size_of::<T>() / 4 {
        // Now and then nothing, or a single bit.
        let word = match random.below(4) {
            0 => 0,
            1 => 1 << random.below(32),
            _ => random.below(1 << 32) as u32,
        };
        // SAFETY: within the object, which lies in shared memory and is made of atomics.
        unsafe { (*words.add(at)).store(word, std::sync::atomic::Ordering::Relaxed) };
    }
}

/// Waits until the process sleeps, as the kernel shows it.
pub fn until_asleep(pid: i32) {
    let path = format!("/proc/{pid}/stat");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let stat = std::fs::read_to_string(&path).unwrap();
        if stat.rsplit(") ").next().unwrap().starts_with('S') {
            return;
        }
        assert!(Instant::now() < end, "it does not fall asleep");
        std::thread::yield_now();
    }
}

/// Keeps the calling thread on one processor, the first that it may use.
pub fn stay_on_one_processor() {
    // SAFETY: reads and changes the calling thread's set of processors, in a variable of its own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| libc::CPU_ISSET(*cpu, &set)).unwrap();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(first, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0);
    }
}

/// From now on the calling thread runs only when its processor has nothing else to do.
pub fn yield_to_all() {
    let least = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes how the calling thread is scheduled.
    assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const least) }, 0);
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Less than it takes until one that sleeps looks again by itself, which is 50 ms: so somebody woke it.
pub const WOKEN: Duration = Duration::from_millis(25);
