//! A barrier in all threads that run, of all processes that registered: `membarrier(2)`.

/// From now on [`all`], called by any process, reaches the threads of this one. `false` if the kernel cannot do that.
///
/// Once for each process; again is cheap. In a process with several threads the first time takes some milliseconds.
pub(crate) fn register() -> bool {
    command(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// When it returns, each running thread of a process that registered has passed a full barrier since it was called; one
/// that does not run passed one when it was taken off its processor. Left out can be a processor that ran such a process
/// before it registered, and nothing but its idle loop since. `false` if the kernel cannot do that.
pub(crate) fn all() -> bool {
    command(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn command(command: libc::c_int) -> bool {
    // SAFETY: reads and writes no memory of this process.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
