//! `dlopen`, as a jump.
//!
//! The loader looks at where `dlopen` was called from: that library's `RUNPATH` says where to search, and its namespace
//! is the one to load into. A function that called the real one would be the caller. So this clears one bit of the second
//! argument, and jumps: the return address on the stack, or in its register, stays the program's.

use std::arch::naked_asm;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use libc::{c_char, c_int};

use super::Next;

/// Where to jump to.
static TARGET: AtomicPtr<c_void> = AtomicPtr::new(find_and_open as *mut c_void);

static NEXT: Next = Next::new();

/// Finds the real one, so that jumping to it takes nothing else.
pub(super) fn find_next() {
    let next = NEXT.find(c"dlopen");
    if !next.is_null() {
        TARGET.store(next, Relaxed);
    }
}

/// For who calls before the library's start; and where there is no other `dlopen` it fails.
extern "C" fn find_and_open(name: *const c_char, flags: c_int) -> *mut c_void {
    find_next();
    let next = NEXT.get();
    if next.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: this is `dlopen`.
    unsafe {
        std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char, c_int) -> *mut c_void>(next)(
            name, flags,
        )
    }
}

/// `dlopen(3)` without `RTLD_DEEPBIND`.
///
/// # Safety
///
/// As for that function.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        "and esi, {keep}",
        "jmp qword ptr [rip + {target}]",
        keep = const !libc::RTLD_DEEPBIND,
        target = sym TARGET,
    )
}

/// `dlopen(3)` without `RTLD_DEEPBIND`.
///
/// # Safety
///
/// As for that function.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    naked_asm!(
        "and w1, w1, {keep}",
        "adrp x16, {target}",
        "ldr x16, [x16, :lo12:{target}]",
        "br x16",
        keep = const !libc::RTLD_DEEPBIND as u32,
        target = sym TARGET,
    )
}
