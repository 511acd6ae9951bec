//! The keeper: stops the processes that it is told to, and lets them go on when nobody speaks to it any more.

use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use crate::failure::Outcome;

/// How long a process may take to stop: one in the middle of a long read from a disk takes its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Processes that were stopped here; they go on when it is dropped.
#[derive(Default)]
struct Stopped(Vec<OwnedFd>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            // Only one that has ended cannot be told.
            let _ = pidfd_send_signal(process, Signal::CONT);
        }
    }
}

/// Reads ids from standard input, one a line, and answers each with a line.
pub(crate) fn keep() -> Outcome<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGTSTP] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // What is sent to the terminal's processes is not for this one.
    let _ = setsid();
    let mut stopped = Stopped::default();
    let say = |answer: &str| {
        let mut out = std::io::stdout().lock();
        // If nobody hears it, nobody speaks either, and that is seen next.
        let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    };
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let Some(pid) = line.ok().and_then(|line| Pid::from_raw(line.parse().ok()?)) else { break };
        say(&stop(pid, &mut stopped));
    }
    Ok(())
}

fn stop(pid: Pid, stopped: &mut Stopped) -> String {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return "gone".to_owned(),
        Err(error) => return format!("cannot be reached: {}", std::io::Error::from(error)),
    };
    match rests(pid) {
        None => return "gone".to_owned(),
        // It was stopped before, by somebody who will let it go on.
        Some(true) => return "stopped".to_owned(),
        Some(false) => {}
    }
    if let Err(error) = pidfd_send_signal(&process, Signal::STOP) {
        return format!("cannot be stopped: {}", std::io::Error::from(error));
    }
    stopped.0.push(process);
    let begun = Instant::now();
    loop {
        match rests(pid) {
            None => return "gone".to_owned(),
            Some(true) => return "stopped".to_owned(),
            Some(false) if begun.elapsed() > PATIENCE => return "it does not stop".to_owned(),
            Some(false) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whether none of a process's threads runs; `None` if there is no such process.
fn rests(pid: Pid) -> Option<bool> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).ok()?;
    let mut any = false;
    for task in tasks.flatten() {
        match state(&task.path()) {
            Some(b'T' | b't') => any = true,
            // Ended, as a thread or as a process that was not waited for.
            Some(b'Z' | b'X') | None => {}
            Some(_) => return Some(false),
        }
    }
    if any { Some(true) } else { None }
}

/// The letter of a thread's state, see proc_pid_stat(5): behind the name, which is in parentheses and may hold
/// anything.
fn state(task: &Path) -> Option<u8> {
    let stat = std::fs::read(task.join("stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}
