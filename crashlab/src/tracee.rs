//! A process under test: stopped, stepped by one instruction, run to an address, refused a system call, killed.
//!
//! All by `ptrace(2)`. The process is the laboratory's own image, forked, so that its code lies where the laboratory's
//! own lies. Should the laboratory die, the kernel kills it (`PTRACE_O_EXITKILL`).

use std::mem::offset_of;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use libc::{c_void, user_regs_struct};

use crate::board::{Board, Role};
use crate::flaw::{Check, Flaw};
use crate::marker;
use crate::process::{self, Child, Ended};

/// A process that is traced. Killed when dropped.
pub(crate) struct Tracee {
    child: Option<Child>,
    pid: i32,
}

/// Why a process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// One instruction was done, or a breakpoint was met.
    Trap,
    /// A system call begins, or is over.
    Call,
    /// It is about to get this signal.
    Signal(i32),
    Ended(Ended),
}

/// What to do about a process that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asleep {
    Wait,
    GiveUp,
}

/// How long a system call may take before the laboratory looks whether the process sleeps.
const LOOK: Duration = Duration::from_micros(400);
/// How long the laboratory waits for a process that sleeps.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// A place in the registers that the kernel keeps of a stopped process.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Register {
    Pc = offset_of!(user_regs_struct, rip),
    Stack = offset_of!(user_regs_struct, rsp),
    Number = offset_of!(user_regs_struct, orig_rax),
    Result = offset_of!(user_regs_struct, rax),
    First = offset_of!(user_regs_struct, rdi),
    Second = offset_of!(user_regs_struct, rsi),
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    First,
    Second,
}

impl Tracee {
    /// Forks a process that runs `body`, which calls [`marker::between`], and waits until it is at the first marker.
    pub(crate) fn start(
        board: &'static Board,
        role: Role,
        body: impl FnOnce() -> Check,
    ) -> Result<Tracee, Flaw> {
        let parent = rustix::process::getpid();
        // SAFETY: the laboratory has one thread.
        let pid = match unsafe { libc::fork() } {
            0 => {
                process::leave_with(parent);
                // SAFETY: asks to be traced by the parent.
                unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
                process::run(board, role, body)
            }
            pid => pid,
        };
        let mut tracee = Tracee { child: Some(Child::of(pid)), pid };
        match tracee.wait(&mut |_| Asleep::Wait) {
            Ok(Stop::Trap) if tracee.pc() == marker::behind_begin() => {}
            Ok(Stop::Ended(_)) => {
                return Err(match board.said(role) {
                    Some(Err(flaw)) => flaw,
                    _ => Flaw::wrong(format!("the {role:?} ended before it began")),
                });
            }
            Ok(stop) => return Err(Flaw::wrong(format!("the {role:?} stopped before it began: {stop:?}"))),
            Err(()) => return Err(Flaw::stuck(format!("the {role:?} did not get to its beginning"))),
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        tracee.request(libc::PTRACE_SETOPTIONS, ptr::null_mut(), options as usize as *mut c_void);
        Ok(tracee)
    }

    /// Where it stands.
    pub(crate) fn pc(&self) -> u64 {
        self.register(Register::Pc)
    }

    /// The words on top of its stack.
    pub(crate) fn stack(&self) -> Vec<u64> {
        let bytes = self.read(self.register(Register::Stack), 512 * 8);
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect()
    }

    /// The beginning of the text that an argument of the system call that it is in points to.
    pub(crate) fn argument_text(&self, argument: Argument) -> Vec<u8> {
        let register = match argument {
            Argument::First => Register::First,
            Argument::Second => Register::Second,
        };
        let mut text = self.read(self.register(register), 16);
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        text
    }

    /// What stands at an address of its memory: so many bytes, or fewer if there are no more.
    fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0_u8; len];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let remote =
            libc::iovec { iov_base: ptr::with_exposed_provenance_mut(address as usize), iov_len: len };
        // SAFETY: writes into `bytes` only, within its length; the other address is looked up in the other process.
        let read = unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) };
        bytes.truncate(usize::try_from(read).unwrap_or(0));
        bytes
    }

    /// Does one instruction that cannot sleep.
    #[inline]
    pub(crate) fn step(&mut self) -> Stop {
        self.request(libc::PTRACE_SINGLESTEP, ptr::null_mut(), ptr::null_mut());
        let mut status = 0;
        // SAFETY: a child of ours; writes to `status`.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } < 0 {
            // Interrupted.
        }
        self.understand(status)
    }

    /// Does one instruction that may sleep; `asleep` is asked what to do then.
    pub(crate) fn step_over_call(&mut self, asleep: &mut dyn FnMut(Duration) -> Asleep) -> Result<Stop, ()> {
        self.request(libc::PTRACE_SINGLESTEP, ptr::null_mut(), ptr::null_mut());
        self.wait(asleep)
    }

    /// Runs until it is at this address, or something else stops it. The code there must be the laboratory's own, too.
    pub(crate) fn run_to(&mut self, pc: u64, asleep: &mut dyn FnMut(Duration) -> Asleep) -> Result<Stop, ()> {
        let address = ptr::with_exposed_provenance_mut::<c_void>(pc as usize);
        // SAFETY: the caller vouches that this is code, which is mapped for reading; it may lie at any address.
        let code = unsafe { address.cast::<u64>().read_unaligned() };
        let broken = code & !0xff | 0xcc;
        self.request(libc::PTRACE_POKETEXT, address, ptr::with_exposed_provenance_mut(broken as usize));
        let stop = self.go_on(0, asleep);
        if !matches!(stop, Ok(Stop::Ended(_))) {
            self.request(libc::PTRACE_POKETEXT, address, ptr::with_exposed_provenance_mut(code as usize));
        }
        if stop == Ok(Stop::Trap) && self.pc() == pc + 1 {
            self.set_register(Register::Pc, pc);
        }
        stop
    }

    /// Runs until it comes to this address for the so-many-th time from now on, or something else stops it: the kernel
    /// counts, by a breakpoint of the processor's. `None` if it cannot.
    pub(crate) fn run_to_nth(
        &mut self,
        pc: u64,
        times: u64,
        asleep: &mut dyn FnMut(Duration) -> Asleep,
    ) -> Option<Result<Stop, ()>> {
        let counter = Counter::of(self.pid, pc, times)?;
        let stop = self.go_on(0, asleep);
        drop(counter);
        Some(stop)
    }

    /// Runs until something stops it.
    pub(crate) fn go_on(
        &mut self,
        signal: i32,
        asleep: &mut dyn FnMut(Duration) -> Asleep,
    ) -> Result<Stop, ()> {
        self.request(libc::PTRACE_CONT, ptr::null_mut(), signal as usize as *mut c_void);
        self.wait(asleep)
    }

    /// Runs until a system call begins or is over.
    pub(crate) fn run_to_call(&mut self, asleep: &mut dyn FnMut(Duration) -> Asleep) -> Result<Stop, ()> {
        self.request(libc::PTRACE_SYSCALL, ptr::null_mut(), ptr::null_mut());
        self.wait(asleep)
    }

    /// The number of the system call that it is in.
    pub(crate) fn call_number(&self) -> i64 {
        self.register(Register::Number) as i64
    }

    /// Lets the system call that begins be none; afterwards [`refuse`](Tracee::refuse).
    pub(crate) fn skip_call(&self) {
        self.set_register(Register::Number, u64::MAX);
    }

    /// Lets the system call that is over have failed with this error.
    pub(crate) fn refuse(&self, error: i32) {
        self.set_register(Register::Result, i64::from(-error) as u64);
    }

    /// Lets it go on, past the second marker, untraced to its end.
    pub(crate) fn finish(
        mut self,
        limit: Duration,
        asleep: &mut dyn FnMut(Duration) -> Asleep,
    ) -> Result<Child, Flaw> {
        match self.go_on(0, asleep) {
            Ok(Stop::Trap) if self.pc() == marker::end() + 1 => {}
            Ok(stop) => return Err(Flaw::wrong(format!("it did not end well: {stop:?}"))),
            Err(()) => return Err(Flaw::stuck(format!("it did not end within {limit:?}"))),
        }
        Ok(self.let_go())
    }

    /// Lets it go on untraced from where it stands, which is past the second marker.
    pub(crate) fn let_go(mut self) -> Child {
        self.request(libc::PTRACE_DETACH, ptr::null_mut(), ptr::null_mut());
        self.child.take().expect("it was not let go before")
    }

    /// Kills it where it stands; it is gone afterwards.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill();
        }
    }

    fn wait(&mut self, asleep: &mut dyn FnMut(Duration) -> Asleep) -> Result<Stop, ()> {
        let begun = Instant::now();
        let mut status = 0;
        // Most often it is there at once. After that: an alarm interrupts the waiting from time to time.
        let alarm = Alarm::every(LOOK);
        loop {
            // SAFETY: a child of ours; writes to `status`.
            let found = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
            if found == self.pid {
                drop(alarm);
                return Ok(self.understand(status));
            }
            if process::state(self.pid) != Some(b'S') {
                if begun.elapsed() > LIMIT {
                    return Err(());
                }
                continue;
            }
            if asleep(begun.elapsed()) == Asleep::GiveUp || begun.elapsed() > LIMIT {
                return Err(());
            }
        }
    }

    fn understand(&mut self, status: i32) -> Stop {
        if libc::WIFEXITED(status) {
            self.child = None;
            return Stop::Ended(Ended::Exited(libc::WEXITSTATUS(status)));
        }
        if libc::WIFSIGNALED(status) {
            self.child = None;
            return Stop::Ended(Ended::Killed(libc::WTERMSIG(status)));
        }
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => Stop::Trap,
            signal if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            signal => Stop::Signal(signal),
        }
    }

    #[inline]
    fn request(&self, request: libc::c_uint, address: *mut c_void, data: *mut c_void) {
        // SAFETY: none of the requests that come here writes to this process's memory.
        unsafe { libc::ptrace(request, self.pid, address, data) };
    }

    fn register(&self, register: Register) -> u64 {
        // SAFETY: reads a register, which is what it returns.
        unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.pid, register as usize, 0) as u64 }
    }

    fn set_register(&self, register: Register, value: u64) {
        let place = register as usize as *mut c_void;
        self.request(libc::PTRACE_POKEUSER, place, ptr::with_exposed_provenance_mut(value as usize));
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stops a process by a trap, when it has come to an address so many times. See `perf_event_open(2)`.
struct Counter {
    _event: OwnedFd,
}

/// `struct perf_event_attr`, as of Linux 5.13.
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_kind: u32,
    breakpoint_address: u64,
    breakpoint_len: u64,
    others: [u64; 7],
}

impl Counter {
    fn of(pid: i32, pc: u64, times: u64) -> Option<Counter> {
        /// `PERF_TYPE_BREAKPOINT`, `HW_BREAKPOINT_X`.
        const BREAKPOINT: u32 = 5;
        const EXECUTE: u32 = 4;
        /// `pinned`, `exclude_kernel`, `exclude_hv`, `remove_on_exec`, `sigtrap`.
        const FLAGS: u64 = 1 << 2 | 1 << 5 | 1 << 6 | 1 << 36 | 1 << 37;
        let attributes = EventAttributes {
            kind: BREAKPOINT,
            size: size_of::<EventAttributes>() as u32,
            sample_period: times,
            flags: FLAGS,
            breakpoint_kind: EXECUTE,
            breakpoint_address: pc,
            breakpoint_len: size_of::<libc::c_long>() as u64,
            ..EventAttributes::default()
        };
        const CLOSE_ON_EXEC: libc::c_ulong = 8;
        // SAFETY: reads `attributes`, of the size that it says.
        let event = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, -1, -1, CLOSE_ON_EXEC)
        };
        // SAFETY: a new descriptor, which nobody else has.
        (event >= 0).then(|| Counter { _event: unsafe { OwnedFd::from_raw_fd(event as i32) } })
    }
}

/// Interrupts a wait that would go on for ever.
struct Alarm;

impl Alarm {
    fn every(time: Duration) -> Alarm {
        Alarm::set(time);
        Alarm
    }

    fn set(time: Duration) {
        let time = libc::timeval { tv_sec: 0, tv_usec: time.as_micros() as libc::suseconds_t };
        let timer = libc::itimerval { it_interval: time, it_value: time };
        // SAFETY: reads `timer`.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        Alarm::set(Duration::ZERO);
    }
}

/// Lets alarms interrupt this process's waiting, and do nothing else. Once, before the first experiment.
pub(crate) fn prepare_alarms() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing; without SA_RESTART, calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
    }
}
