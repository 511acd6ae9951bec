//! Children: this program run again, pinned to a core, in a role that a table gives it. They answer one line
//! for each line that they are asked, and end with their parent.

use std::io::{BufRead, BufReader, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::placement;
use crate::tables;

/// What a child does: given its arguments, and its parent's end of the talk.
pub(crate) type Role = fn(&[String], &mut Parent) -> Result<()>;

/// A running child, killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// `None` only while it is being dropped.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a child on a core; it may be asked at once.
    pub(crate) fn start(role: &str, core: usize, arguments: &[&str]) -> Result<Child> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut process = Command::new(program)
            .args(["--child", role, &core.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting a child as {role}"))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("a child without pipes");
        };
        Ok(Child { process, questions: Some(questions), answers: BufReader::new(answers) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// If the child has ended; why, it has said on standard error.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions, "{question}").context("asking a child")?;
        }
        let mut answer = String::new();
        let length = self.answers.read_line(&mut answer).context("waiting for a child")?;
        ensure!(length > 0, "a child ended instead of answering {question:?}");
        Ok(answer.trim_end().into())
    }

    /// Kills it, as by `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    /// Lets it clean up, which the end of its questions tells it to. One that does not end by itself is killed.
    fn drop(&mut self) {
        drop(self.questions.take());
        for _ in 0..100 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A child's view of its parent.
#[derive(Debug)]
pub(crate) struct Parent;

impl Parent {
    /// Answers each question, until there are no more.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(&str) -> Result<String>) -> Result<()> {
        for question in std::io::stdin().lines() {
            println!("{}", answer(&question?)?);
        }
        Ok(())
    }
}

/// What a child's `main` does: `ROLE CORE ARGUMENTS…`.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let [role, core, rest @ ..] = arguments else { bail!("a child needs a role and a core") };
    let (_, act) = tables::roles()
        .find(|(name, _)| name == role)
        .with_context(|| format!("there is no role {role:?}"))?;
    placement::pin(core.parse()?)?;
    act(rest, &mut Parent)
}
