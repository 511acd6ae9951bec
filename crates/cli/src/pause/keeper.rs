//! The keeper: stops the processes that it is told to, and lets them go on when nobody speaks to it any more, or
//! when the one that speaks to it was stopped itself: two that pause each other would stand for ever.

use std::io::{BufRead, Stdin, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal, setsid};

use crate::failure::Outcome;

/// How long a process may take to stop: one in the middle of a long read from a disk takes its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether who gives the orders was stopped, and after how many times that counts.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
const LOOKS: u32 = 4;

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
    let parent = getppid();
    let (mut stopped, mut resting) = (Stopped::default(), Vec::new());
    let say = |answer: &str| {
        let mut out = std::io::stdout().lock();
        // If nobody hears it, nobody speaks either, and that is seen next.
        let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    };
    say("ready");
    let stdin = std::io::stdin();
    let mut line = String::new();
    while wait_for_order(&stdin, parent) {
        line.clear();
        if stdin.lock().read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
        match line.trim_end() {
            CHECK => say(&check(&resting)),
            order => {
                let Some(pid) = order.parse().ok().and_then(Pid::from_raw) else { break };
                say(&stop(pid, &mut stopped));
                resting.push(pid);
            }
        }
    }
    Ok(())
}

/// Asks whether all still rest.
pub(super) const CHECK: &str = "check";

/// The answer, if they do.
pub(super) const THEY_REST: &str = "they rest";

fn check(resting: &[Pid]) -> String {
    match resting.iter().find(|pid| rests(**pid) == Some(false)) {
        None => THEY_REST.to_owned(),
        Some(pid) => format!("process {} was made to go on meanwhile", pid.as_raw_nonzero()),
    }
}

/// Waits until there is something to read; `false` if the parent has ended, or stands still itself.
fn wait_for_order(stdin: &Stdin, parent: Option<Pid>) -> bool {
    let mut stands = 0;
    loop {
        match poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) => {}
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
        }
        let Some(parent) = parent.filter(|parent| getppid() == Some(*parent)) else { return false };
        let task = format!("/proc/{}", parent.as_raw_nonzero());
        stands = if state(Path::new(&task)) == Some(b'T') { stands + 1 } else { 0 };
        if stands >= LOOKS {
            return false;
        }
    }
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
    match pidfd_send_signal(&process, Signal::STOP) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return "gone".to_owned(),
        Err(error) => return format!("cannot be stopped: {}", std::io::Error::from(error)),
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
