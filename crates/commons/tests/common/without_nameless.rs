//! A process for which no filesystem has nameless files, so that what is published goes by a temporary name.

use std::mem::offset_of;

/// Makes `O_TMPFILE` fail in this process from now on, as on filesystems that lack it; `false` if the kernel does not
/// let it.
pub fn forbid() -> bool {
    let flag = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    // The kernel gives arguments in 64 bits; the flags are in the lower half of the third.
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    let flags = offset_of!(libc::seccomp_data, args) as u32 + 16 + low;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let any_of = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = [
        step(load, offset_of!(libc::seccomp_data, nr) as u32),
        jump(equal, libc::SYS_openat as u32, 3),
        step(load, flags),
        jump(any_of, flag, 1),
        step(answer, libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32),
        step(answer, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter outlive the calls, which change this process only.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
