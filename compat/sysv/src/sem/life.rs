//! Whose undo values are whose, and whether that process still lives.
//!
//! # An owner
//!
//! A process that uses `SEM_UNDO` has a number: 22 bits of its process id, for whoever is to be named as the last to have
//! touched a semaphore, and 21 bits of chance. As long as it lives it has a read lock on the byte of that number in a
//! file of the namespace, [`FILE`], by a description of its own. No descriptor stays open; one page of the file, mapped without any rights, pins
//! the description, and that mapping is kept from forked children. So the kernel gives the byte up as the process ends or
//! executes another program, however that comes, and never because a process id is somebody else's by now. Whether an owner
//! lives is one question to the kernel, through a description that has no locks.
//!
//! # Fork
//!
//! What is known of this process lies in a page that a forked child finds empty: so it has no number, until it needs its own.
//! While the number is being had the file is open for some microseconds, in which no `fork` happens ([`Quiet`]). A `vfork`ed
//! child and its parent are one, until it executes something; and the descriptor is one that goes with that. (A raw `clone`
//! in these microseconds is a stated limit.)
//!
//! # Exec
//!
//! Undo values stay over an `exec`, and so has the number to. The functions that execute a program are ours too
//! ([`exec`](super::exec)): if this process owes anything, they open the file once more, without close-on-exec, lock the same
//! byte, and write the number where the kernel keeps it: as the descriptor's offset. That is the one descriptor in the program's
//! table; it is closed if the call comes back. The new image finds it as it is loaded, takes the byte by a mapping of its own, and closes it. An image that
//! knows nothing of all this keeps it open, and so the process its undo values until it ends, as with the kernel. Descriptors of
//! the same kind that belong to another process (a child spawned by who then called `exec` in vain) have another process id in their number, and are closed and not used.

use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use commons::{Lifetime, OwnerPolicy, SegmentOptions};
use commons_compat::code::{self, last_errno};
use libc::c_int;

use crate::ids::{Kind, Table};
use crate::kernel::{self, Descriptor, Lock, Range};
use crate::quiet::Quiet;

/// What the file is called.
const FILE: &str = "undo";

const CHANCE_BITS: u32 = 21;
const PID_BITS: u32 = 22;

/// What is known of this process, and of none that it was forked from.
#[repr(C)]
struct Process {
    pid: AtomicU32,
    /// 1 while a thread is having the number.
    busy: AtomicU32,
    /// Its number, or 0.
    owner: AtomicU64,
    /// Whether it has the number from the image before, and so may owe something to sets that it has not mapped.
    adopted: AtomicU32,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(null_mut());
/// Serves where no memory is to be had that the kernel wipes.
static SPARE: Process = Process {
    pid: AtomicU32::new(0),
    busy: AtomicU32::new(0),
    owner: AtomicU64::new(0),
    adopted: AtomicU32::new(0),
};
/// The descriptor that hands the number over an `exec` that is under way; -1 for none.
static HANDING: AtomicI32 = AtomicI32::new(-1);

#[inline]
fn process() -> &'static Process {
    // SAFETY: null, or memory that is never given back.
    match unsafe { PROCESS.load(Relaxed).as_ref() } {
        Some(process) => process,
        None => set_up(),
    }
}

#[cold]
fn set_up() -> &'static Process {
    const PAGE: usize = 4096;
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let memory = unsafe { libc::mmap(null_mut(), PAGE, read_write, private, -1, 0) };
    let mut new = (&raw const SPARE).cast_mut();
    // SAFETY: the mapping is ours.
    if memory != libc::MAP_FAILED && unsafe { libc::madvise(memory, PAGE, libc::MADV_WIPEONFORK) } == 0 {
        new = memory.cast();
    }
    // SAFETY: the handlers change atomics and close descriptors, as a handler of signals may.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    // Of two threads that do this at once, one has made a page in vain.
    let _ = PROCESS.compare_exchange(null_mut(), new, AcqRel, Acquire);
    // SAFETY: not null any more, and never given back.
    unsafe { &*PROCESS.load(Acquire) }
}

extern "C" fn in_child() {
    SPARE.pid.store(0, Relaxed);
    SPARE.busy.store(0, Relaxed);
    SPARE.owner.store(0, Relaxed);
    SPARE.adopted.store(0, Relaxed);
    close(HANDING.swap(-1, Relaxed));
    super::presence::in_child();
    super::cache::in_child();
}

/// This process's id.
#[inline]
pub(super) fn pid() -> u32 {
    let process = process();
    match process.pid.load(Relaxed) {
        0 => {
            let pid = std::process::id();
            process.pid.store(pid, Relaxed);
            pid
        }
        pid => pid,
    }
}

/// This process's number, if it has one already; 0 otherwise.
#[inline]
pub(super) fn known_owner() -> u64 {
    process().owner.load(Acquire)
}

/// Whether this process has its number from the image before.
pub(super) fn is_adopted() -> bool {
    process().adopted.load(Relaxed) != 0
}

/// This process's number, had if need be.
///
/// # Errors
///
/// What the file cannot be opened or locked for; `ENOLCK` if no number is free.
#[inline]
pub(super) fn owner() -> Result<u64, i32> {
    match known_owner() {
        0 => take_number(),
        owner => Ok(owner),
    }
}

/// The process id in a number.
pub(super) fn pid_of(owner: u64) -> u32 {
    (owner >> CHANCE_BITS) as u32 & ((1 << PID_BITS) - 1)
}

#[cold]
fn take_number() -> Result<u64, i32> {
    let process = process();
    while process.busy.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        // Another thread is at it. In a forked child the page is empty, so that nobody waits for a thread that is not there.
        // SAFETY: has no preconditions.
        unsafe { libc::sched_yield() };
    }
    let known = process.owner.load(Acquire);
    let had = if known == 0 { draw_number() } else { Ok(known) };
    if let Ok(owner) = had {
        process.owner.store(owner, Release);
    }
    process.busy.store(0, Release);
    had
}

fn draw_number() -> Result<u64, i32> {
    make_file()?;
    let _quiet = Quiet::new();
    for _ in 0..100 {
        let mut chance = [0_u8; 4];
        // SAFETY: fills the array.
        let drawn = unsafe { kernel::call(libc::SYS_getrandom, [chance.as_mut_ptr().addr(), 4, 0, 0, 0, 0]) };
        if drawn != Ok(4) {
            chance = (kernel::monotonic() as u32).to_ne_bytes();
        }
        let chance = u64::from(u32::from_ne_bytes(chance)) & ((1 << CHANCE_BITS) - 1);
        let owner = u64::from(pid()) << CHANCE_BITS | chance;
        if owner != 0 && !is_alive(owner) {
            hold(owner)?;
            return Ok(owner);
        }
    }
    Err(libc::ENOLCK)
}

/// Has the byte locked until this image ends. To be called while quiet, or before there are other threads.
fn hold(owner: u64) -> Result<(), i32> {
    const PAGE: usize = 4096;
    let file = open(libc::O_RDWR)?;
    // SAFETY: a new mapping, at an address that the kernel chooses, that is never accessed.
    let pin = unsafe { libc::mmap(null_mut(), PAGE, libc::PROT_NONE, libc::MAP_SHARED, file.number(), 0) };
    if pin == libc::MAP_FAILED {
        return Err(last_errno());
    }
    // SAFETY: the mapping is ours.
    let kept = if unsafe { libc::madvise(pin, PAGE, libc::MADV_DONTFORK) } == 0 {
        kernel::try_lock(&file, Lock::Read, byte(owner)).map(|_| ())
    } else {
        Err(last_errno())
    };
    if kept.is_err() {
        // SAFETY: as above, and known to nobody.
        unsafe { libc::munmap(pin, PAGE) };
    }
    kept
}

fn byte(owner: u64) -> Range {
    Range { start: owner, len: 1 }
}

/// Whether the process with this number lives. One that cannot be asked about does.
pub(super) fn is_alive(owner: u64) -> bool {
    if owner >= 1 << (CHANCE_BITS + PID_BITS) {
        // Nobody's.
        return false;
    }
    if owner != 0 && owner == known_owner() {
        return true;
    }
    match open(libc::O_RDONLY) {
        Ok(file) => kernel::conflict(&file, byte(owner)).is_ok_and(|lock| lock.is_some()),
        Err(code) => code != libc::ENOENT,
    }
}

/// Makes the file, if it is not there.
fn make_file() -> Result<(), i32> {
    let table = Table::of(Kind::Semaphores)?;
    let directory =
        kernel::c_string(std::os::unix::ffi::OsStrExt::as_bytes(table.namespace.directory().as_os_str()))?;
    // Everybody locks here whom the directory lets in.
    let mode = kernel::stat_path(&directory)?.mode & 0o666 | 0o600;
    let options = SegmentOptions::new().namespace(&table.namespace).owner(OwnerPolicy::Any).mode(mode);
    let made = options.lifetime(Lifetime::UntilDeleted).size(1).open_or_create(FILE);
    made.map(drop).map_err(|error| code::errno(&error))
}

fn open(access: c_int) -> Result<Descriptor, i32> {
    let table = Table::of(Kind::Semaphores)?;
    let path = table.namespace.directory().join(FILE);
    kernel::open(&kernel::c_string(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?, access)
}

fn close(number: c_int) {
    if number >= 0 {
        // SAFETY: a descriptor of this module's.
        let _ = unsafe { kernel::call(libc::SYS_close, [number as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A descriptor that hands the number over an `exec`; closed when dropped, if that came back.
pub(crate) struct Handed(c_int);

impl Drop for Handed {
    fn drop(&mut self) {
        if HANDING.compare_exchange(self.0, -1, Relaxed, Relaxed).is_ok() {
            close(self.0);
        }
    }
}

/// Whether it is this very process that calls, not a child that shares its memory, and it has a number.
pub(super) fn has_number() -> bool {
    // SAFETY: null, or memory that is never given back.
    let Some(process) = (unsafe { PROCESS.load(Acquire).as_ref() }) else { return false };
    process.owner.load(Acquire) != 0 && process.pid.load(Relaxed) == kernel::pid() as u32
}

/// Opens the descriptor that hands this process's number to the next image.
pub(super) fn hand_over() -> Option<Handed> {
    let owner = known_owner();
    let file = open(libc::O_RDWR).ok()?;
    kernel::try_lock(&file, Lock::Read, byte(owner)).ok()?;
    let number = file.number() as usize;
    // SAFETY: a descriptor and numbers.
    unsafe { kernel::call(libc::SYS_lseek, [number, owner as usize, libc::SEEK_SET as usize, 0, 0, 0]) }
        .ok()?;
    // A copy without close-on-exec; it is the same description.
    // SAFETY: as above.
    let copy = unsafe { kernel::call(libc::SYS_dup, [number, 0, 0, 0, 0, 0]) }.ok()? as c_int;
    HANDING.store(copy, Relaxed);
    Some(Handed(copy))
}

/// Takes over what the image before handed on. To be called as the library is loaded.
pub(super) fn adopt() {
    use std::os::unix::fs::MetadataExt;
    let path = commons_compat::place::System::SystemV.directory().join(FILE);
    let Ok(file) = std::fs::metadata(path) else { return };
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = descriptors.flatten().filter_map(|one| one.file_name().to_str()?.parse::<c_int>().ok());
    // All read first: what is opened below is not to be found.
    for number in numbers.collect::<Vec<_>>() {
        // SAFETY: used for one call; should the number be nobody's by then, that says so.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        match kernel::stat_of(&descriptor) {
            Ok(stat) if (stat.device, stat.inode) == (file.dev(), file.ino()) => {}
            _ => continue,
        }
        // SAFETY: a descriptor and numbers.
        let offset =
            unsafe { kernel::call(libc::SYS_lseek, [number as usize, 0, libc::SEEK_CUR as usize, 0, 0, 0]) };
        let owner = offset.unwrap_or(0) as u64;
        // One at 0 is somebody's who looks at the file, not one of ours.
        if owner == 0 || owner >= 1 << (CHANCE_BITS + PID_BITS) {
            continue;
        }
        if pid_of(owner) == pid() && known_owner() == 0 && hold(owner).is_ok() {
            process().owner.store(owner, Release);
            process().adopted.store(1, Relaxed);
        }
        // It was made to be closed by who finds it.
        close(number);
    }
}
