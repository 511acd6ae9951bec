//! Where the part of a scenario begins that is killed after each instruction, and where it ends.
//!
//! Two breakpoint instructions of the laboratory's own, at addresses that it knows. The process under test stops at the
//! first; the laboratory steps it from there, and knows the second by its address.

use std::arch::global_asm;

global_asm!(
    ".globl crashlab_begin",
    ".hidden crashlab_begin",
    ".type crashlab_begin,@function",
    "crashlab_begin:",
    "int3",
    "ret",
    ".globl crashlab_end",
    ".hidden crashlab_end",
    ".type crashlab_end,@function",
    "crashlab_end:",
    "int3",
    "ret",
);

unsafe extern "C" {
    fn crashlab_begin();
    fn crashlab_end();
}

/// Runs `act` between the two markers. Only in a process that is traced: another one dies of the first.
pub(crate) fn between<R>(act: impl FnOnce() -> R) -> R {
    // SAFETY: a breakpoint and a return, which touch no register and no memory of the caller's.
    unsafe { crashlab_begin() };
    let result = act();
    // SAFETY: as above.
    unsafe { crashlab_end() };
    result
}

/// Where a process stands that has stopped at the first marker.
pub(crate) fn behind_begin() -> u64 {
    crashlab_begin as *const () as u64 + 1
}

/// Where the second marker is: a process that comes here has finished.
pub(crate) fn end() -> u64 {
    crashlab_end as *const () as u64
}
