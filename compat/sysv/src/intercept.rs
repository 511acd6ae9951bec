//! Functions of libc's that this library stands in for so that its own are not passed by, or learn what they must.
//!
//! - `syscall`: the calls that are this library's go to it, and all others on.
//! - `munmap`, `mmap`, `mremap`, `mprotect`: a change of the address space that concerns an attachment is noted.
//! - `dlopen`: without `RTLD_DEEPBIND`, which would let a library find libc's functions first. In [`tail`].
//! - `fopen` of two files: in [`crate::proc`].

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use commons_compat::code;
use libc::{c_int, c_long, c_void};

use crate::{export, kernel, shm};

#[cfg(naked_functions)]
pub mod tail;

/// The function that would be called without this library; null if there is none.
pub struct Next(AtomicPtr<c_void>);

impl Next {
    pub(crate) const fn new() -> Next {
        Next(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn find(&self, name: &CStr) -> *mut c_void {
        let found = self.get();
        if !found.is_null() {
            return found;
        }
        // SAFETY: a name that ends with a NUL byte.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        self.0.store(found, Relaxed);
        found
    }

    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        self.0.load(Relaxed)
    }
}

static SYSCALL: Next = Next::new();

/// Looks for what is stood in for, before the program begins.
pub(crate) fn find_next() {
    SYSCALL.find(c"syscall");
    #[cfg(naked_functions)]
    tail::find_next();
}

type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// `syscall(2)`. All calls that are not this library's go on as they are, with all six arguments.
///
/// # Safety
///
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if is_ours(number) {
        // SAFETY: as the caller promises.
        return unsafe { ours(number, a, b, c, d, e, f) };
    }
    let next = SYSCALL.get();
    if next.is_null() {
        // Before the library's start.
        // SAFETY: as the caller promises.
        return unsafe { answer(kernel::call(number, [a, b, c, d, e, f])) };
    }
    // SAFETY: libc's function, or another stand-in, is of this type: it is variadic, and takes what it needs from the
    // same registers, and from the same place on the stack.
    unsafe { std::mem::transmute::<*mut c_void, Syscall>(next)(number, a, b, c, d, e, f) }
}

/// Whether a call is one that this library has a function for.
#[inline]
fn is_ours(number: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    return matches!(number, 29..=31 | 64..=67 | 220 | 9..=11 | 25);
    #[cfg(not(target_arch = "x86_64"))]
    return matches!(
        number,
        libc::SYS_shmget
            | libc::SYS_shmat
            | libc::SYS_shmdt
            | libc::SYS_shmctl
            | libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mremap
            | libc::SYS_mprotect
            | libc::SYS_semget
            | libc::SYS_semop
            | libc::SYS_semctl
            | libc::SYS_semtimedop
    );
}

/// # Safety
///
/// As for the call.
unsafe fn ours(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    // SAFETY: each gets what the call takes.
    unsafe {
        match number {
            libc::SYS_shmget => export::shmget(a as c_int, b, c as c_int).into(),
            libc::SYS_shmat => export::shmat(a as c_int, b as *const c_void, c as c_int).addr() as c_long,
            libc::SYS_shmdt => export::shmdt(a as *const c_void).into(),
            libc::SYS_shmctl => export::shmctl(a as c_int, b as c_int, c as *mut c_void).into(),
            libc::SYS_mmap => changed(number, [a, b, c, d, e, f]),
            libc::SYS_munmap | libc::SYS_mremap | libc::SYS_mprotect => changed(number, [a, b, c, d, e, f]),
            _ => match crate::semaphore_call(number, a, b, c, d) {
                Some(answer) => answer,
                None => answer(kernel::call(number, [a, b, c, d, e, f])),
            },
        }
    }
}

/// What libc makes of what the kernel says.
fn answer(result: Result<usize, c_int>) -> c_long {
    match result {
        Ok(value) => value as c_long,
        Err(error) => {
            code::set_errno(error);
            -1
        }
    }
}

/// A change of the address space.
///
/// # Safety
///
/// As for the call.
#[inline]
unsafe fn changed(number: c_long, arguments: [usize; 6]) -> c_long {
    let [address, len, _, flags, to, _] = arguments;
    match number {
        libc::SYS_mmap if flags as c_int & libc::MAP_FIXED == 0 => {}
        libc::SYS_mremap => {
            shm::touch(address, len);
            if flags as c_int & libc::MREMAP_FIXED != 0 {
                shm::touch(to, arguments[2]);
            }
        }
        _ => shm::touch(address, len),
    }
    // SAFETY: as the caller promises.
    answer(unsafe { kernel::call(number, arguments) })
}

/// `munmap(2)`.
///
/// # Safety
///
/// As for that call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, len: usize) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { changed(libc::SYS_munmap, [address.addr(), len, 0, 0, 0, 0]) as c_int }
}

/// `mprotect(2)`.
///
/// # Safety
///
/// As for that call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mprotect(address: *mut c_void, len: usize, protection: c_int) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { changed(libc::SYS_mprotect, [address.addr(), len, protection as usize, 0, 0, 0]) as c_int }
}

/// `mremap(2)`, whose last argument counts only with `MREMAP_FIXED` or `MREMAP_DONTUNMAP`.
///
/// # Safety
///
/// As for that call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mremap(
    address: *mut c_void,
    len: usize,
    new: usize,
    flags: c_int,
    to: *mut c_void,
) -> *mut c_void {
    let arguments = [address.addr(), len, new, flags as usize, to.addr(), 0];
    // SAFETY: as the caller promises.
    unsafe { changed(libc::SYS_mremap, arguments) as usize as *mut c_void }
}

/// `mmap(2)`.
///
/// # Safety
///
/// As for that call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let arguments =
        [address.addr(), len, protection as usize, flags as usize, file as usize, offset as usize];
    // SAFETY: as the caller promises.
    unsafe { changed(libc::SYS_mmap, arguments) as usize as *mut c_void }
}

/// The same, under the name that programs with large offsets use.
///
/// # Safety
///
/// As for [`mmap`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    len: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // SAFETY: as the caller promises.
    unsafe { mmap(address, len, protection, flags, file, offset) }
}
