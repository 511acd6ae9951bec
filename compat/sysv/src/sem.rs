//! `semget`, `semop`, `semtimedop`, `semctl`, in user space.
//!
//! A set of semaphores is a segment of its own in the namespace of the System V drop-in, mapped once in each process that uses it.
//!
//! | file         | holds                                                                                   |
//! | ------------ | --------------------------------------------------------------------------------------- |
//! | `set.rs`     | where everything lies in a set's memory                                                 |
//! | `locked.rs`  | **changes that are done whole or not at all, and done for waiters**                      |
//! | `queue.rs`   | who waits, alive, in which order                                                        |
//! | `operate.rs` | `semop`: at once, or queued and asleep                                                  |
//! | `undo.rs`    | what processes owe, and when that of the dead is applied                                |
//! | `life.rs`    | **whose undo values are whose, whether that process lives, over fork and exec**          |
//! | `exec.rs`    | the functions that execute a program                                                    |
//! | `cache.rs`   | the sets that are mapped, by their ids                                                  |
//! | `presence.rs` | which mapped set each thread uses                                                     |
//! | `control.rs` | `semctl`                                                                                |
//! | `catalog.rs` | keys, ids, permissions, files                                                           |
//! | `user.rs`    | memory of the program that may not be there                                             |
//!
//! # What differs from the kernel's
//!
//! - A signal handler that runs in an instant in which the library is awake between two sleeps of a `semop` may not end it with
//!   `EINTR`; nor does being stopped and continued.
//! - A handler that interrupts a call on a set, in the some ten nanoseconds in which that has the set's lock, and
//!   itself calls one on the same set, gets `EDEADLK`.
//! - Permissions are looked at when a set is first used, and when they change; not when the process changes its user.
//!   Who may only read a set can look at it, and not wait for zero.
//! - A wild pointer to operations ends the program, unless it is one that no program can have.
//! - Of processes killed while they owe something, a waiter learns within 50 ms.

use libc::{c_int, key_t, sembuf, size_t, timespec};

use commons_compat::code::set_errno;

mod cache;
mod catalog;
mod control;
pub(crate) mod exec;
mod futex;
mod life;
mod locked;
mod operate;
mod presence;
mod queue;
mod set;
mod undo;
mod user;

use set::{MOST_OPERATIONS, Operation};

const _: () = assert!(size_of::<sembuf>() == size_of::<Operation>());

/// What C expects: the value, or −1 and `errno`. A panic, which would be a fault of ours, is `EIO`.
fn give(result: Result<c_int, c_int>) -> c_int {
    match result {
        Ok(value) => value,
        Err(code) => {
            set_errno(code);
            -1
        }
    }
}

/// What a panic may not cross. (Nothing here is meant to panic.)
#[inline]
fn guarded(run: impl FnOnce() -> Result<c_int, c_int>) -> c_int {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    give(result.unwrap_or(Err(libc::EIO)))
}

/// `semget(2)`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn semget(key: key_t, count: c_int, flags: c_int) -> c_int {
    guarded(|| catalog::get(key, count, flags))
}

/// `semop(2)`.
///
/// # Safety
///
/// `operations` points to so many, or where no program has anything.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn semop(id: c_int, operations: *mut sembuf, count: size_t) -> c_int {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { operate(id, operations, count, None) })
}

/// `semtimedop(2)`.
///
/// # Safety
///
/// As for [`semop`]; `timeout` points to a time, is null, or points where no program has anything.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn semtimedop(
    id: c_int,
    operations: *mut sembuf,
    count: size_t,
    timeout: *const timespec,
) -> c_int {
    let mut most = None;
    if !timeout.is_null() {
        if user::is_bad(timeout.addr()) {
            return give(Err(libc::EFAULT));
        }
        // SAFETY: as the caller promises.
        let time = unsafe { timeout.read_unaligned() };
        // The kernel looks at the time first, but for the operations being too many or none.
        if count > MOST_OPERATIONS {
            return give(Err(libc::E2BIG));
        }
        if time.tv_sec < 0 || !(0..1_000_000_000).contains(&time.tv_nsec) {
            return give(Err(libc::EINVAL));
        }
        most = Some((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64));
    }
    // SAFETY: as the caller promises.
    guarded(|| unsafe { operate(id, operations, count, most) })
}

/// # Safety
///
/// As for [`semop`].
#[inline]
unsafe fn operate(
    id: c_int,
    operations: *mut sembuf,
    count: size_t,
    timeout: Option<u64>,
) -> Result<c_int, c_int> {
    if count > MOST_OPERATIONS {
        return Err(libc::E2BIG);
    }
    if count < 1 {
        return Err(libc::EINVAL);
    }
    if user::is_bad(operations.addr()) {
        return Err(libc::EFAULT);
    }
    if id < 0 {
        return Err(libc::EINVAL);
    }
    // Copied, so that they stay what they were while the thread waits.
    let (one, mut many);
    let operations = operations.cast::<Operation>();
    let copied = if count == 1 {
        // SAFETY: as the caller promises; the structure is C's, in C's layout.
        one = unsafe { operations.read_unaligned() };
        std::slice::from_ref(&one)
    } else {
        many = [Operation::default(); MOST_OPERATIONS];
        // SAFETY: as the caller promises; there is room for so many.
        unsafe {
            std::ptr::copy_nonoverlapping(
                operations.cast::<u8>(),
                many.as_mut_ptr().cast(),
                count * size_of::<Operation>(),
            )
        };
        &many[..count]
    };
    let using = cache::using(id)?.into_changing()?;
    if let [operation] = copied {
        if operate::operate_at_once(&using, *operation).is_some() {
            return Ok(0);
        }
    }
    operate::operate(&using, copied, timeout).map(|()| 0)
}

/// `semctl(2)`. In C its fourth argument is a `union semun`, which is passed as a pointer is.
///
/// # Safety
///
/// `argument` is what the command takes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn semctl(id: c_int, number: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: as the caller promises.
    guarded(|| unsafe { control::control(id, number, command, argument) })
}

/// One of these calls as it is made through `syscall`; `None` if it is another. Errors are in `errno`.
///
/// # Safety
///
/// As for the call.
pub(crate) unsafe fn semaphore_call(
    call: libc::c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) -> Option<libc::c_long> {
    // SAFETY: each gets what the call takes.
    let result = unsafe {
        match call {
            libc::SYS_semget => semget(a as key_t, b as c_int, c as c_int),
            libc::SYS_semop => semop(a as c_int, b as *mut sembuf, c),
            libc::SYS_semtimedop => semtimedop(a as c_int, b as *mut sembuf, c, d as *const timespec),
            libc::SYS_semctl => semctl(a as c_int, b as c_int, c as c_int, d),
            _ => return None,
        }
    };
    Some(result.into())
}

extern "C" fn at_load() {
    exec::find();
    presence::register();
    life::adopt();
}

extern "C" fn at_exit() {
    let _ = std::panic::catch_unwind(cache::pay_all);
}

/// Runs as the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// Runs as the program ends by itself.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
