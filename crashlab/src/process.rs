//! The processes of an experiment: forked from the laboratory, which has one thread; bounded in time; gone with it.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::board::{Board, Role};
use crate::flaw::{Check, Flaw};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

/// A forked child; killed and reaped when dropped.
pub(crate) struct Child {
    pid: Pid,
    fd: OwnedFd,
    ended: Option<Ended>,
}

/// Forks a child that runs `body`, says how it went for its role, and ends. Its objects' destructors have run then,
/// those of the parent's have not.
pub(crate) fn fork(board: &'static Board, role: Role, body: impl FnOnce() -> Check) -> Child {
    let parent = rustix::process::getpid();
    // SAFETY: the laboratory has one thread.
    match unsafe { libc::fork() } {
        0 => {
            leave_with(parent);
            run(board, role, body)
        }
        pid => Child::of(pid),
    }
}

/// To be called by a child at first: it ends with its parent.
pub(crate) fn leave_with(parent: Pid) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(parent) {
        exit(0);
    }
}

/// Runs `body` for this role, and ends the process.
pub(crate) fn run(board: &'static Board, role: Role, body: impl FnOnce() -> Check) -> ! {
    board.catch_panics_as(role);
    if let Ok(check) = std::panic::catch_unwind(AssertUnwindSafe(body)) {
        board.say(role, &check);
    }
    exit(0)
}

/// Ends the process without running what the parent has registered for its own end.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

impl Child {
    /// Of what `fork` returned to the parent.
    pub(crate) fn of(pid: i32) -> Child {
        let pid = Pid::from_raw(pid).expect("fork gave a child");
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .expect("a child not reaped yet has a pidfd");
        Child { pid, fd, ended: None }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it does within this time.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<Ended> {
        let until = Instant::now() + limit;
        while self.ended.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
            match rustix::event::poll(&mut polled, timeout.as_ref()) {
                Ok(0) => return None,
                Ok(_) => self.ended = self.reap(),
                Err(_) => {}
            }
        }
        self.ended
    }

    fn reap(&self) -> Option<Ended> {
        let (_, status) = rustix::process::waitpid(Some(self.pid), WaitOptions::empty()).ok()??;
        match status.terminating_signal() {
            Some(signal) => Some(Ended::Killed(signal)),
            None => Some(Ended::Exited(status.exit_status().unwrap_or(0))),
        }
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = rustix::process::pidfd_send_signal(&self.fd, Signal::KILL);
            self.ended = self.reap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, signal);
    }

    /// What it has said for its role, once it has ended; a flaw if it does not end in time, or ends in another way.
    pub(crate) fn verdict(&mut self, board: &Board, role: Role, limit: Duration) -> Check {
        match self.wait(limit) {
            None => {
                let place = kernel_place(self.pid());
                self.kill();
                Err(Flaw::stuck(
                    format!("the {role:?} did not end within {limit:?} ({place})").to_lowercase(),
                ))
            }
            Some(Ended::Exited(0)) => board
                .said(role)
                .unwrap_or_else(|| Err(Flaw::wrong(format!("the {role:?} ended without a word")))),
            Some(ended) => Err(Flaw::wrong(format!("the {role:?} died by itself: {ended:?}"))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In which state the kernel has a process: `R`, `S`, `t` …
pub(crate) fn state(pid: i32) -> Option<u8> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_ends + 2).copied()
}

/// What a process that does not go on is doing, for people.
fn kernel_place(pid: i32) -> String {
    let state = state(pid).map_or('?', char::from);
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    format!("state {state}, system call {}", call.split(' ').next().unwrap_or("?").trim())
}

/// Keeps this process and all that it forks on one processor.
pub(crate) fn pin(processor: usize) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}
