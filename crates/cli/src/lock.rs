//! What is known of a lock in a typed segment, for people and for scripts.

use commons::shared::{Inspection, LockPlace};
use commons::slot::Slot;
use commons::sync::{LockDetails, LockReport, LockState};
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
    writer: Option<Owner>,
    readers: Vec<Owner>,
    /// Who takes part in a barrier.
    members: Vec<Owner>,
    /// Who has a semaphore's permits.
    permits: Vec<Owner>,
}

/// A thread that has a lock, or a process that has a permit. The keys are an interface: keep them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Owner {
    /// `None` for a process.
    pub(crate) thread: Option<u32>,
    /// Its process; `None` if it is gone, hidden, or of another pid namespace.
    pub(crate) pid: Option<u32>,
    pub(crate) command: Option<String>,
    #[serde(skip)]
    gone: bool,
}

impl Owner {
    /// `foreign`: its id is of another pid namespace, and means nothing here.
    fn thread(thread: u32, foreign: bool) -> Owner {
        if foreign {
            return Owner { thread: Some(thread), pid: None, command: None, gone: false };
        }
        let pid = processes::process_of(thread);
        let gone = pid.is_none() && !processes::exists(thread);
        Owner { thread: Some(thread), pid, command: pid.and_then(processes::command), gone }
    }

    /// Whoever has this slot.
    fn process(slot: Slot) -> Owner {
        let pid = slot.is_in_my_namespace().then(|| slot.pid());
        let gone = pid.is_some_and(|pid| !processes::exists(pid));
        Owner { thread: None, pid, command: pid.and_then(processes::command), gone }
    }

    /// For a sentence: `thread 12 of pid 11 worker`.
    fn describe(&self) -> String {
        let process = match (self.pid, &self.command) {
            (Some(pid), Some(command)) => format!("pid {pid} {command}"),
            (Some(pid), None) => format!("pid {pid}"),
            (None, _) => "a process that cannot be seen from here".to_owned(),
        };
        match self.thread {
            Some(thread) if self.gone => format!("thread {thread}, which is gone"),
            Some(thread) => format!("thread {thread} of {process}"),
            None if self.gone => format!("{process}, which is gone"),
            None => process,
        }
    }
}

/// What a lock is like, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Free,
    /// A thread has it for itself, or processes have permits of it.
    Held,
    /// Threads have it to read.
    Read,
    /// Threads take part in it.
    Joined,
    /// A thread has it, or a process a permit, that is gone.
    Abandoned,
    OwnerDied,
    Unrecoverable,
    /// A barrier that a member died of, or left.
    Broken,
    Set,
    NotSet,
    Done,
    NotDone,
    /// Of a kind that is not known here.
    Unknown,
}

/// All of them, those that matter most first.
const STATES: [State; 13] = [
    State::Held,
    State::Read,
    State::Joined,
    State::Abandoned,
    State::OwnerDied,
    State::Unrecoverable,
    State::Broken,
    State::Unknown,
    State::Set,
    State::NotSet,
    State::Done,
    State::NotDone,
    State::Free,
];

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Held => "held",
            State::Read => "read",
            State::Joined => "joined",
            State::Abandoned => "abandoned",
            State::OwnerDied => "owner-died",
            State::Unrecoverable => "unrecoverable",
            State::Broken => "broken",
            State::Set => "set",
            State::NotSet => "not-set",
            State::Done => "done",
            State::NotDone => "not-done",
            State::Unknown => "unknown",
        }
    }

    pub(crate) fn style(self) -> anstyle::Style {
        match self {
            State::Free | State::NotSet | State::Done | State::NotDone | State::Unknown => QUIET,
            State::Held | State::Read | State::Joined | State::Set => anstyle::Style::new(),
            State::Abandoned | State::OwnerDied | State::Unrecoverable | State::Broken => ALARM,
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
        let thread = |thread: &u32| Owner::thread(*thread, foreign);
        let writer = match &report {
            Some(LockReport { state: LockState::Held { thread, .. }, .. }) => Some(*thread),
            _ => None,
        };
        let (members, permits) = match report.as_ref().map(|report| &report.details) {
            Some(LockDetails::Barrier { members, .. }) => (members.as_slice(), &[][..]),
            Some(LockDetails::Semaphore { permits, .. }) => (&[][..], permits.as_slice()),
            _ => Default::default(),
        };
        Lock {
            writer: writer.as_ref().map(thread),
            readers: report.iter().flat_map(|report| &report.readers).map(thread).collect(),
            members: members.iter().map(thread).collect(),
            permits: permits.iter().copied().map(Owner::process).collect(),
            place,
            report,
        }
    }

    pub(crate) fn state(&self) -> State {
        if self.owners().any(|owner| owner.gone) { State::Abandoned } else { self.apart_from_gone() }
    }

    /// What it is like, as if all lived who have it.
    fn apart_from_gone(&self) -> State {
        let Some(report) = &self.report else { return State::Unknown };
        match (&report.details, report.state) {
            (LockDetails::Barrier { broken, dead, .. }, _) if *broken || *dead > 0 => State::Broken,
            (_, LockState::Held { .. }) => State::Held,
            (_, LockState::OwnerDied) => State::OwnerDied,
            (_, LockState::Unrecoverable) => State::Unrecoverable,
            (LockDetails::Semaphore { .. }, _) if !self.permits.is_empty() => State::Held,
            (LockDetails::Barrier { .. }, _) if !self.members.is_empty() => State::Joined,
            (LockDetails::Event { set }, _) => {
                if *set {
                    State::Set
                } else {
                    State::NotSet
                }
            }
            (LockDetails::Once { done }, _) => {
                if *done {
                    State::Done
                } else {
                    State::NotDone
                }
            }
            (_, LockState::Free) if self.readers.is_empty() => State::Free,
            (_, LockState::Free) => State::Read,
            _ => State::Unknown,
        }
    }

    /// Whether nobody has it or waits for it and nothing is left behind, as far as is known.
    pub(crate) fn is_idle(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.is_free() && !report.waiters)
    }

    pub(crate) fn waiters(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.waiters)
    }

    /// Who writes, who reads, who takes part, who has permits.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.writer.iter().chain(&self.readers).chain(&self.members).chain(&self.permits)
    }

    /// Who has it and lives, or cannot be known to be gone.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Owner> {
        self.owners().filter(|owner| !owner.gone)
    }

    /// The rows that show it: an owner and what that does, or what the lock is like without one.
    pub(crate) fn rows(&self) -> Vec<(State, Option<&Owner>)> {
        let state = |owner: &Owner, alive| if owner.gone { State::Abandoned } else { alive };
        let row = |alive| move |owner| (state(owner, alive), Some(owner));
        let alone = match self.apart_from_gone() {
            State::Held | State::Read | State::Joined => None,
            alone => Some((alone, None)),
        };
        let first = self.writer.iter().map(row(State::Held));
        let readers = self.readers.iter().map(row(State::Read));
        let members = self.members.iter().map(row(State::Joined));
        let permits = self.permits.iter().map(row(State::Held));
        first.chain(alone).chain(readers).chain(members).chain(permits).collect()
    }

    /// The way to it, as `unlock` takes it.
    pub(crate) fn path(&self) -> &str {
        if self.place.name.is_empty() { WHOLE } else { &self.place.name }
    }

    /// What there is to know of its kind, for a sentence, where that is more than its state.
    pub(crate) fn particulars(&self) -> Option<String> {
        match &self.report.as_ref()?.details {
            LockDetails::Semaphore { value, .. } => Some(format!("value {value}")),
            LockDetails::Barrier { parties: 0, .. } => Some("nobody has joined".to_owned()),
            LockDetails::Barrier { parties, arrived, .. } => Some(format!("{arrived} of {parties} wait")),
            LockDetails::Once { done: false } if self.writer.is_some() => Some("not done yet".to_owned()),
            LockDetails::SeqLock { writes } => {
                Some(format!("written {writes} times, copy {} is current", writes & 1))
            }
            _ => None,
        }
    }

    /// All about it, but for its path.
    pub(crate) fn sentence(&self, output: &Output) -> String {
        if self.state() == State::Unknown {
            let bytes = format!("{} bytes of a kind that is not known here", self.place.size);
            return format!("{}, {}", self.place.kind, output.styled(QUIET, bytes));
        }
        let parts = self.rows().into_iter().map(|(state, owner)| {
            let name = output.styled(state.style(), state.name());
            match owner {
                Some(owner) => format!("{name} by {}", owner.describe()),
                None => name.into_owned(),
            }
        });
        let parts: Vec<String> = parts.chain(self.particulars()).collect();
        let waiters = match self.waiters() {
            false => "",
            true if self.writer.is_some() || !self.readers.is_empty() => "; others wait",
            true => "; somebody may be waiting",
        };
        format!("{}, {}{waiters}", self.place.kind, parts.join(", "))
    }

    /// Who has it, for a sentence.
    pub(crate) fn describe_living(&self) -> String {
        self.living().map(Owner::describe).collect::<Vec<_>>().join(" and ")
    }

    /// The lock for scripts.
    pub(crate) fn fields(&self) -> Fields {
        let writer = self.writer.as_ref();
        Fields {
            path: self.path().to_owned(),
            kind: self.place.kind.clone(),
            offset: self.place.offset,
            state: self.state(),
            thread: writer.and_then(|writer| writer.thread),
            pid: writer.and_then(|writer| writer.pid),
            command: writer.and_then(|writer| writer.command.clone()),
            waiters: self.waiters(),
            readers: self.readers.clone(),
            details: self.details(),
        }
    }

    fn details(&self) -> Option<Details> {
        match self.report.as_ref()?.details {
            LockDetails::Semaphore { value, .. } => {
                Some(Details::Semaphore { value, permits: self.permits.clone() })
            }
            LockDetails::Event { set } => Some(Details::Event { set }),
            LockDetails::Barrier { parties, arrived, broken, dead, .. } => {
                let members = self.members.clone();
                Some(Details::Barrier { parties, arrived, broken: broken || dead > 0, members })
            }
            LockDetails::Once { done } => Some(Details::Once { done }),
            LockDetails::SeqLock { writes } => Some(Details::SeqLock { writes, copy: writes & 1 }),
            _ => None,
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
    readers: Vec<Owner>,
    /// What only locks of its kind have.
    details: Option<Details>,
}

/// The keys of each kind are an interface: keep them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Details {
    Semaphore { value: u32, permits: Vec<Owner> },
    Event { set: bool },
    Barrier { parties: u32, arrived: u32, broken: bool, members: Vec<Owner> },
    Once { done: bool },
    SeqLock { writes: u32, copy: u32 },
}

/// How many there are of what: `3: 1 held, 2 free`.
pub(crate) fn summary(locks: &[Lock]) -> String {
    let counts = STATES.into_iter().filter_map(|state| {
        let count = locks.iter().filter(|lock| lock.state() == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    format!("{}: {}", locks.len(), counts.collect::<Vec<_>>().join(", "))
}
