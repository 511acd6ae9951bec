//! The demo's worker processes, as their parent sees them.
//!
//! The parent learns from the kernel, by waiting for its children, that a worker has ended; only then it frees
//! what that one had taken. However the demo ends, none is left: dropping the team kills and waits for the
//! rest, and workers whose parent is killed are killed with it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use commons::Namespace;

use super::board::{Board, WORKERS};
use crate::args::Stop;
use crate::failure::{Failure, Outcome};

/// The numbers of those that are killed, and where.
pub(super) const VICTIMS: [(u64, Stop); 2] = [(2, Stop::InChunk), (3, Stop::WithLock)];

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to sleep before looking again.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Team<'b> {
    board: &'b Board<'b>,
    members: Vec<Member>,
    deadline: Instant,
}

struct Member {
    number: u64,
    process: Child,
    has_ended: bool,
    /// The chunk it was killed in.
    chunk: usize,
}

/// Where a worker was when it was killed.
pub(super) struct Killed {
    pub(super) pid: u32,
    pub(super) chunk: usize,
    pub(super) counted: u64,
    pub(super) bytes: usize,
}

impl<'b> Team<'b> {
    /// Starts all workers, and waits until each has taken a chunk.
    pub(super) fn start(namespace: &Namespace, name: &str, board: &'b Board<'b>) -> Outcome<Team<'b>> {
        let failed = |error| Failure::system("start a worker", &error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut team = Team { board, members: Vec::new(), deadline: Instant::now() + PATIENCE };
        for number in 1..=WORKERS as u64 {
            let mut command = Command::new(&program);
            command.arg("--namespace").arg(namespace.directory()).arg("demo-worker");
            command.args([name, &number.to_string(), &std::process::id().to_string()]);
            if let Some((_, stop)) = VICTIMS.iter().find(|(victim, _)| *victim == number) {
                command.args(["--stop", stop.name()]);
            }
            let process = command.spawn().map_err(failed)?;
            team.members.push(Member { number, process, has_ended: false, chunk: 0 });
        }
        let any_ended = |team: &Team<'_>| team.members.iter().any(|member| member.has_ended);
        team.watch_until("start", |team| team.board.all_ready() || any_ended(team))?;
        if any_ended(&team) {
            Err(Failure::new("a worker of the demo ended before it began"))
        } else {
            Ok(team)
        }
    }

    pub(super) fn pids(&self) -> Vec<String> {
        self.members.iter().map(|member| member.process.id().to_string()).collect()
    }

    /// The process id of a worker; 0 if there is none of that number.
    pub(super) fn pid(&self, number: u64) -> u32 {
        self.members.iter().find(|member| member.number == number).map_or(0, |member| member.process.id())
    }

    /// The chunk that a worker was killed in.
    pub(super) fn chunk_of(&self, number: u64) -> usize {
        self.members.iter().find(|member| member.number == number).map_or(0, |member| member.chunk)
    }

    /// Waits until a worker has stopped where it is to be killed, kills it, and frees its chunk.
    pub(super) fn kill(&mut self, number: u64) -> Outcome<Killed> {
        self.watch_until("come to where one is killed", |team| team.board.has_stopped(number))?;
        let Some(member) = self.members.iter_mut().find(|member| member.number == number) else {
            return Err(Failure::new(format!("there is no worker {number}")));
        };
        member.process.kill().map_err(|error| Failure::system("kill a worker", &error))?;
        let status = member.process.wait().map_err(|error| Failure::system("wait for a worker", &error))?;
        member.has_ended = true;
        if status.signal() != Some(rustix::process::Signal::KILL.as_raw()) {
            return Err(Failure::new(format!(
                "the demo does not add up: a killed worker ended with {status}"
            )));
        }
        // What it had noted: a survivor overwrites it as soon as the chunk is free.
        let noted: Vec<u64> = self.board.chunks().map(|chunk| chunk.counts().bytes).collect();
        let freed = self.board.free(number);
        let [chunk] = freed.as_slice() else {
            let count = freed.len();
            return Err(Failure::new(format!(
                "the demo does not add up: a killed worker had {count} chunks"
            )));
        };
        member.chunk = chunk.index;
        let (pid, counted) = (member.process.id(), noted[chunk.index]);
        Ok(Killed { pid, chunk: chunk.index, counted, bytes: chunk.len() })
    }

    /// Waits until all that live have counted all there is, and ended.
    pub(super) fn wait(&mut self) -> Outcome<()> {
        self.watch_until("finish", |team| team.members.iter().all(|member| member.has_ended))
    }

    /// Waits for something, with an end, and an eye on the workers: one that fails is a failure.
    fn watch_until(&mut self, what: &str, done: impl Fn(&Team<'_>) -> bool) -> Outcome<()> {
        loop {
            for member in self.members.iter_mut().filter(|member| !member.has_ended) {
                let status = member.process.try_wait();
                let Some(status) = status.map_err(|error| Failure::system("wait for a worker", &error))?
                else {
                    continue;
                };
                member.has_ended = true;
                // One that somebody else kills is no trouble either, while another lives.
                self.board.free(member.number);
                if !status.success() && status.signal().is_none() {
                    return Err(Failure::new(format!("a worker of the demo failed, with {status}")));
                }
            }
            if done(self) {
                return Ok(());
            }
            if self.members.iter().all(|member| member.has_ended) {
                return Err(Failure::new(format!("no worker of the demo lives, and they did not {what}")));
            }
            if Instant::now() > self.deadline {
                let seconds = PATIENCE.as_secs();
                return Err(Failure::new(format!("the demo's workers did not {what} within {seconds} s")));
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        for member in self.members.iter_mut().filter(|member| !member.has_ended) {
            // One that has ended by itself cannot be killed, and is waited for all the same.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}
