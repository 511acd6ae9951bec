//! Children: this program run again, or a peer's helper, pinned to a core. They answer one line for each line that
//! they are asked, an error as `error: WHY`, and end with their parent.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::contest::Run;
use crate::interrupt;
use crate::placement;
use crate::tables;

/// What a child does: given its arguments, and its parent's end of the talk.
pub(crate) type Role = fn(&[String], &mut Parent) -> Result<()>;

/// How long a child may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running child, killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// `None` only while it is being dropped.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it said last, if that was an error.
    error: Option<String>,
}

impl Child {
    /// Starts this program as a child on a core; it may be asked at once.
    pub(crate) fn start(role: &str, core: usize, arguments: &[&str]) -> Result<Child> {
        Child::of(Child::command(role, core, arguments)?, core)
    }

    /// How [`Child::start`] does it, to change the environment.
    pub(crate) fn command(role: &str, core: usize, arguments: &[&str]) -> Result<Command> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["--child", role, &core.to_string()]).args(arguments);
        Ok(command)
    }

    /// Starts any program that answers as children do.
    pub(crate) fn of(mut command: Command, core: usize) -> Result<Child> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec the closure makes system calls and touches no memory but its own.
        unsafe {
            command.pre_exec(move || {
                placement::pin(core).map_err(std::io::Error::other)?;
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // Ctrl-C is for the parent, which then cleans up.
                libc::signal(libc::SIGINT, libc::SIG_IGN);
                if rustix::process::getppid() != Some(parent) {
                    return Err(std::io::Error::other("the parent is gone"));
                }
                Ok(())
            });
        }
        let mut process = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("a child without pipes");
        };
        Ok(Child { process, questions: Some(questions), answers: BufReader::new(answers), error: None })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// What the child says; that it has ended.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        if let Some(questions) = &mut self.questions {
            // One that has ended may have said why.
            let _ = writeln!(questions, "{question}");
        }
        self.wait_for_answer(question)?;
        let mut answer = String::new();
        let length = self.answers.read_line(&mut answer).context("waiting for a child")?;
        if length == 0 {
            let ended = || format!("a child ended instead of answering {question:?}");
            bail!("{}", self.error.clone().unwrap_or_else(ended));
        }
        let answer = answer.trim_end();
        self.error = answer.strip_prefix("error: ").map(String::from);
        if let Some(why) = &self.error {
            bail!("{why}");
        }
        Ok(answer.into())
    }

    /// Waits until there is something to read, or the child has ended. Being interrupted ends it, and so does a
    /// child that says nothing.
    fn wait_for_answer(&mut self, question: &str) -> Result<()> {
        let begun = Instant::now();
        while self.answers.buffer().is_empty() {
            interrupt::check()?;
            if begun.elapsed() > PATIENCE {
                let _ = self.process.kill();
                bail!("a child does not answer {question:?}");
            }
            let mut ready =
                libc::pollfd { fd: self.answers.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure, which outlives the call.
            if unsafe { libc::poll(&raw mut ready, 1, 200) } > 0 {
                break;
            }
        }
        Ok(())
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
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A child that takes part in contests: it answers with nanoseconds. Or the reason why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Helper(Result<Rc<RefCell<Child>>, String>);

impl Helper {
    pub(crate) fn new(child: Result<Child>) -> Helper {
        Helper(child.map(|child| Rc::new(RefCell::new(child))).map_err(|error| format!("{error:#}")))
    }

    /// A round is one question.
    pub(crate) fn run<'a>(&self, question: impl Into<String>) -> Result<Run<'a>> {
        let question = question.into();
        match &self.0 {
            Ok(child) => {
                let child = Rc::clone(child);
                Ok(Box::new(move || Ok(child.borrow_mut().ask(&question)?.parse()?)))
            }
            Err(why) => bail!("{why}"),
        }
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

/// What a child's `main` does: `ROLE CORE ARGUMENTS…`. A failure is the answer to whatever is asked next.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let [role, core, rest @ ..] = arguments else { bail!("a child needs a role and a core") };
    let (_, act) = tables::roles()
        .find(|(name, _)| name == role)
        .with_context(|| format!("there is no role {role:?}"))?;
    placement::pin(core.parse()?)?;
    if let Err(error) = act(rest, &mut Parent) {
        println!("error: {error:#}");
        std::process::exit(1);
    }
    Ok(())
}
