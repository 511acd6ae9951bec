//! Stopping all who hold a segment, and letting them go on, whatever happens to this process.
//!
//! A helper process, the [keeper], stops them and lets them go on again. It does so as soon as its line to this
//! process ends, be it that this process is done or that it was killed, or when this process is stopped itself. It
//! has a session of its own. What ends all processes of a container or a control group at once ends it too, and
//! then the others, if they are elsewhere, have to be let go on by hand (`kill -CONT`).

pub(crate) mod keeper;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use commons::Segment;

use crate::failure::{Failure, Outcome, complain};
use crate::processes::{self, Identity};

/// The inode of the first pid namespace, from which all processes are visible; a constant of the kernel's.
const FIRST_NAMESPACE: u64 = 0xefff_fffc;

/// The line to the keeper. Those it has stopped go on when this is dropped.
pub(crate) struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the keeper. To be called before the segment is open, which it is not to hold.
    pub(crate) fn start() -> Outcome<Keeper> {
        let failed =
            |error: &std::io::Error| Failure::system("start a process that lets the others go on", error);
        let mut command = Command::new("/proc/self/exe");
        command.arg0("commons").arg("pause-keeper");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("the process that lets the others go on has no line"));
        };
        let mut keeper = Keeper { child, orders: Some(orders), answers: BufReader::new(answers) };
        match keeper.hear()?.as_str() {
            "ready" => Ok(keeper),
            other => Err(Failure::new(format!("cannot pause anybody: {other}"))),
        }
    }

    /// Stops all who have the segment mapped or open. When it returns, none of them runs.
    pub(crate) fn stop_holders(
        &mut self,
        segment: &Segment,
        identity: Identity,
        name: &str,
    ) -> Outcome<usize> {
        let cannot = |why: String| {
            Failure::new(format!(
                "cannot pause the holders of \"{name}\": {why}; save without --pause, or as root"
            ))
        };
        // Two that pause the same segment would stop each other.
        match rustix::fs::flock(segment.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN) => {
                return Err(cannot("somebody else is pausing them".to_owned()));
            }
            Err(error) => return Err(cannot(std::io::Error::from(error).to_string())),
        }
        let named = segment.name();
        let file_name = named.as_ref().map(|name| name.file_name()).unwrap_or_default();
        let mut stopped = BTreeSet::new();
        let mut hidden;
        let own = [std::process::id(), self.child.id()];
        loop {
            // By the name first, so that no other file is looked at: its filesystem may be served by one of those that
            // are stopped by now.
            let mut scan = processes::scan(|path, _| processes::could_be(path, file_name));
            hidden = scan.hidden;
            let holders = scan.files.remove(&identity).map(|used| used.processes()).unwrap_or_default();
            let new: Vec<u32> =
                holders.into_iter().filter(|pid| !own.contains(pid) && !stopped.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            // Somebody may have come while these were being stopped: look again.
            for pid in new {
                match self.order(pid)?.as_str() {
                    "stopped" | "gone" => stopped.insert(pid),
                    other => return Err(cannot(format!("process {pid}: {other}"))),
                };
            }
        }
        let holders = segment.holders()?;
        // Found by its handle, and not by what it has mapped or open: as on btrfs, whose maps name other devices.
        let missed = holders
            .processes
            .iter()
            .find(|holder| !own.contains(&holder.pid) && !stopped.contains(&holder.pid));
        if let Some(missed) = missed {
            return Err(cannot(format!("process {} holds it, and was not found", missed.pid)));
        }
        let elsewhere = holders.elsewhere;
        let sees_all = rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|stat| stat.st_ino == FIRST_NAMESPACE);
        if elsewhere > 0 && !sees_all {
            return Err(cannot(format!("{elsewhere} handles are of processes in other pid namespaces")));
        }
        if hidden > 0 {
            // Those of other users. Whoever holds it through Commons was found by its handle; what is left are
            // programs without Commons, if the segment's mode lets them in.
            complain(&format!(
                "note: {hidden} processes cannot be looked into; should one of them write to \"{name}\", this is not as of one moment"
            ));
        }
        Ok(stopped.len())
    }

    /// Makes sure that nobody was made to go on meanwhile.
    pub(crate) fn check(&mut self) -> std::io::Result<()> {
        match self.order(keeper::CHECK) {
            Ok(answer) if answer == keeper::THEY_REST => Ok(()),
            Ok(other) => {
                Err(std::io::Error::other(format!("it is not as of one moment: {other}; try again")))
            }
            Err(failure) => Err(std::io::Error::other(failure.text().to_owned())),
        }
    }

    fn order(&mut self, order: impl Display) -> Outcome<String> {
        if let Some(orders) = &mut self.orders {
            writeln!(orders, "{order}")
                .map_err(|error| Failure::system("pause the segment's holders", &error))?;
        }
        self.hear()
    }

    fn hear(&mut self) -> Outcome<String> {
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(0) => Err(Failure::new("the process that lets the others go on ended too early")),
            Ok(_) => Ok(answer.trim_end().to_owned()),
            Err(error) => Err(Failure::system("pause the segment's holders", &error)),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Its line ends, and it lets all go on before it ends.
        self.orders = None;
        let _ = self.child.wait();
    }
}
