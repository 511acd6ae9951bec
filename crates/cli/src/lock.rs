//! What is known of a lock in a typed segment, for people and for scripts.

use commons::shared::{Inspection, LockPlace};
use commons::sync::{LockReport, LockState};
use serde::Serialize;

use crate::output::{ALARM, Output, QUIET};
use crate::processes;

/// So many locks of one segment are looked at; whoever can write to it can say that there are more than that.
const MOST: usize = 1 << 20;

/// What a look at a lock showed.
pub(crate) struct Lock {
    pub(crate) place: LockPlace,
    /// `None` for a kind of lock that is not known here.
    report: Option<LockReport>,
    writer: Option<Thread>,
    readers: Vec<Thread>,
}

/// A thread that has a lock. The keys are an interface: keep them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Thread {
    pub(crate) thread: u32,
    /// Its process; `None` if it is gone, hidden, or of another pid namespace.
    pub(crate) pid: Option<u32>,
    pub(crate) command: Option<String>,
    #[serde(skip)]
    gone: bool,
}

impl Thread {
    /// `foreign`: its id is of another pid namespace, and means nothing here.
    fn new(thread: u32, foreign: bool) -> Thread {
        if foreign {
            return Thread { thread, pid: None, command: None, gone: false };
        }
        let pid = processes::process_of(thread);
        let gone = pid.is_none() && !processes::exists(thread);
        Thread { thread, pid, command: pid.and_then(processes::command), gone }
    }

    /// For a sentence: `thread 12 of pid 11 worker`.
    fn describe(&self) -> String {
        match (self.pid, &self.command) {
            _ if self.gone => format!("thread {}, which is gone", self.thread),
            (Some(pid), Some(command)) => format!("thread {} of pid {pid} {command}", self.thread),
            (Some(pid), None) => format!("thread {} of pid {pid}", self.thread),
            (None, _) => format!("thread {} of a process that cannot be seen from here", self.thread),
        }
    }
}

/// What a lock is like, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Free,
    /// A thread has it for itself.
    Held,
    /// Threads have it to read.
    Read,
    /// A thread has it that is gone.
    Abandoned,
    OwnerDied,
    Unrecoverable,
    /// Of a kind that is not known here.
    Unknown,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Held => "held",
            State::Read => "read",
            State::Abandoned => "abandoned",
            State::OwnerDied => "owner-died",
            State::Unrecoverable => "unrecoverable",
            State::Unknown => "unknown",
        }
    }

    pub(crate) fn style(self) -> anstyle::Style {
        match self {
            State::Free | State::Unknown => QUIET,
            State::Held | State::Read => anstyle::Style::new(),
            State::Abandoned | State::OwnerDied | State::Unrecoverable => ALARM,
        }
    }

    /// Whether `commons unlock` has something to do.
    pub(crate) fn is_left_behind(self) -> bool {
        matches!(self, State::Abandoned | State::Unrecoverable)
    }
}

/// All locks of a segment, with what they are like.
pub(crate) fn reports(inspection: &Inspection) -> impl Iterator<Item = (LockPlace, Option<LockReport>)> {
    let locks = inspection.description().locks().take(MOST);
    locks.map(|place| {
        let report = inspection.lock(&place);
        (place, report)
    })
}

impl Lock {
    /// `foreign`: the segment is held from another pid namespace.
    pub(crate) fn new(place: LockPlace, report: Option<LockReport>, foreign: bool) -> Lock {
        let thread = |thread| Thread::new(thread, foreign);
        let writer = match &report {
            Some(LockReport { state: LockState::Held { thread, .. }, .. }) => Some(*thread),
            _ => None,
        };
        let readers = report.iter().flat_map(|report| &report.readers).copied();
        Lock { readers: readers.map(thread).collect(), writer: writer.map(thread), place, report }
    }

    pub(crate) fn state(&self) -> State {
        let Some(report) = &self.report else { return State::Unknown };
        match report.state {
            _ if self.threads().any(|thread| thread.gone) => State::Abandoned,
            LockState::Held { .. } => State::Held,
            LockState::OwnerDied => State::OwnerDied,
            LockState::Unrecoverable => State::Unrecoverable,
            LockState::Free if self.readers.is_empty() => State::Free,
            LockState::Free => State::Read,
            _ => State::Unknown,
        }
    }

    /// Whether nobody has it and nothing is left behind, as far as is known.
    pub(crate) fn is_free(&self) -> bool {
        self.report.as_ref().is_none_or(LockReport::is_free)
    }

    pub(crate) fn waiters(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.waiters)
    }

    /// Who writes and who reads.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.writer.iter().chain(&self.readers)
    }

    /// Who has it and lives, or cannot be known to be gone.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Thread> {
        self.threads().filter(|thread| !thread.gone)
    }

    /// The rows that show it: a thread and what that does, or what the lock is like without one.
    pub(crate) fn rows(&self) -> Vec<(State, Option<&Thread>)> {
        let state = |thread: &Thread, alive| if thread.gone { State::Abandoned } else { alive };
        let writer = self.writer.iter().map(|thread| (state(thread, State::Held), Some(thread)));
        let readers = self.readers.iter().map(|thread| (state(thread, State::Read), Some(thread)));
        let alone = match self.report.as_ref().map(|report| report.state) {
            Some(LockState::Held { .. }) => None,
            Some(LockState::Free) if !self.readers.is_empty() => None,
            Some(LockState::OwnerDied) => Some((State::OwnerDied, None)),
            Some(LockState::Unrecoverable) => Some((State::Unrecoverable, None)),
            _ => Some((self.state(), None)),
        };
        writer.chain(alone).chain(readers).collect()
    }

    /// The way to it, as `unlock` takes it.
    pub(crate) fn path(&self) -> &str {
        if self.place.name.is_empty() { WHOLE } else { &self.place.name }
    }

    /// All about it, but for its path.
    pub(crate) fn sentence(&self, output: &Output) -> String {
        if self.state() == State::Unknown {
            let bytes = format!("{} bytes of a kind that is not known here", self.place.size);
            return format!("{}, {}", self.place.kind, output.styled(QUIET, bytes));
        }
        let parts: Vec<String> = self
            .rows()
            .into_iter()
            .map(|(state, thread)| {
                let name = output.styled(state.style(), state.name());
                match thread {
                    Some(thread) => format!("{name} by {}", thread.describe()),
                    None => name.into_owned(),
                }
            })
            .collect();
        let waiters = if self.waiters() { "; others wait" } else { "" };
        format!("{}, {}{waiters}", self.place.kind, parts.join(", "))
    }

    /// Who has it, for a sentence.
    pub(crate) fn owners(&self) -> String {
        self.living().map(Thread::describe).collect::<Vec<_>>().join(" and ")
    }

    /// The lock for scripts.
    pub(crate) fn fields(&self) -> Fields {
        let writer = self.writer.as_ref();
        Fields {
            path: self.path().to_owned(),
            kind: self.place.kind.clone(),
            offset: self.place.offset,
            state: self.state(),
            thread: writer.map(|writer| writer.thread),
            pid: writer.and_then(|writer| writer.pid),
            command: writer.and_then(|writer| writer.command.clone()),
            waiters: self.waiters(),
            readers: self.readers.clone(),
        }
    }
}

/// The path of a lock that is the object itself.
pub(crate) const WHOLE: &str = ".";

/// A lock as JSON. The keys are an interface: keep them.
#[derive(Debug, Serialize)]
pub(crate) struct Fields {
    path: String,
    kind: String,
    offset: u64,
    state: State,
    thread: Option<u32>,
    pid: Option<u32>,
    command: Option<String>,
    waiters: bool,
    readers: Vec<Thread>,
}

/// How many there are of what: `3: 1 held, 2 free`.
pub(crate) fn summary(locks: &[Lock]) -> String {
    let states = [
        State::Held,
        State::Read,
        State::Abandoned,
        State::OwnerDied,
        State::Unrecoverable,
        State::Unknown,
        State::Free,
    ];
    let counts = states.into_iter().filter_map(|state| {
        let count = locks.iter().filter(|lock| lock.state() == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    format!("{}: {}", locks.len(), counts.collect::<Vec<_>>().join(", "))
}
