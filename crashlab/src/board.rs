//! What the processes of one experiment tell each other, and the laboratory: a page that all of them inherit.
//!
//! Plain atomics, none of Commons: the laboratory does not rest on what it examines.

use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::flaw::{Check, Flaw, Kind};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes the world before.
    Preparer,
    /// Is killed, or stopped, or refused system calls.
    Victim,
    /// Another one inside the same operation.
    Second,
    /// Lives beside the victim, and through its death.
    Companion,
    /// Looks while the victim stands still, or does afterwards what survivors do.
    Bystander,
    /// Looks at what is left.
    Verifier,
}

const ROLES: usize = 6;
const TEXT: usize = 1000;

#[repr(C)]
struct Part {
    said: AtomicU32,
    len: AtomicU32,
    text: [AtomicU8; TEXT],
}

/// See the module.
#[repr(C)]
pub(crate) struct Board {
    parts: [Part; ROLES],
    /// How many cues the companion has asked for, and has been given.
    wanted: AtomicU32,
    given: AtomicU32,
    /// The victim is dead, or has ended: no more cues.
    over: AtomicU32,
    /// When the victim had ended: nanoseconds of the monotonic clock.
    ended_at: AtomicU64,
    notes: [AtomicU64; 16],
}

const NOTHING: u32 = 0;
const WELL: u32 = 1;
const STUCK: u32 = 2;
const LEAKED: u32 = 3;
const WRONG: u32 = 4;

/// The part that the calling process writes when it panics.
static MINE: AtomicPtr<Part> = AtomicPtr::new(std::ptr::null_mut());

impl Board {
    /// A new one, for this process and all that it forks from now on. It is never freed.
    pub(crate) fn new() -> std::io::Result<&'static Board> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new mapping, somewhere.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size_of::<Board>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
            )?
        };
        // SAFETY: large enough, aligned to a page, all zero, which is a `Board`; and it stays.
        Ok(unsafe { &*base.cast::<Board>() })
    }

    /// As it was at first.
    pub(crate) fn clear(&self) {
        for part in &self.parts {
            part.said.store(NOTHING, Relaxed);
        }
        for word in [&self.wanted, &self.given, &self.over] {
            word.store(0, Relaxed);
        }
        for note in &self.notes {
            note.store(0, Relaxed);
        }
    }

    /// Forgets what one has said.
    pub(crate) fn clear_role(&self, role: Role) {
        self.parts[role as usize].said.store(NOTHING, Relaxed);
    }

    /// What the scenarios keep beside the objects under test.
    pub(crate) fn note(&self, number: usize) -> &AtomicU64 {
        &self.notes[number]
    }

    /// Says how it went, for this role.
    pub(crate) fn say(&self, role: Role, check: &Check) {
        let part = &self.parts[role as usize];
        match check {
            Ok(()) => part.said.store(WELL, Release),
            Err(flaw) => part.write(
                match flaw.kind {
                    Kind::Stuck => STUCK,
                    Kind::Leaked => LEAKED,
                    Kind::Wrong => WRONG,
                },
                &flaw.what,
            ),
        }
    }

    /// What one has said, if it has.
    pub(crate) fn said(&self, role: Role) -> Option<Check> {
        let part = &self.parts[role as usize];
        let kind = match part.said.load(Acquire) {
            NOTHING => return None,
            WELL => return Some(Ok(())),
            STUCK => Kind::Stuck,
            LEAKED => Kind::Leaked,
            _ => Kind::Wrong,
        };
        Some(Err(Flaw { kind, what: part.read() }))
    }

    /// From now on a panic of this process stands in this role's part, and is not printed.
    pub(crate) fn catch_panics_as(&'static self, role: Role) {
        let part = &raw const self.parts[role as usize];
        MINE.store(part.cast_mut(), Relaxed);
    }

    // Cues.

    /// The companion waits for the next cue; at once if all is over.
    pub(crate) fn wait_for_cue(&self) {
        let wanted = self.wanted.fetch_add(1, Release) + 1;
        loop {
            let given = self.given.load(Acquire);
            if given >= wanted || self.over.load(Acquire) != 0 {
                return;
            }
            // Bounded, so that an end between the look and the sleep is seen.
            let bound = rustix::thread::Timespec::try_from(Duration::from_millis(20)).ok();
            let flags = rustix::thread::futex::Flags::empty();
            let _ = rustix::thread::futex::wait(&self.given, flags, given, bound.as_ref());
        }
    }

    /// The companion waits until the victim is gone.
    pub(crate) fn wait_for_end(&self) {
        while self.over.load(Acquire) == 0 {
            self.wait_for_cue();
        }
    }

    /// Whether the companion waits for a cue.
    pub(crate) fn is_waiting(&self) -> bool {
        self.wanted.load(Acquire) > self.given.load(Acquire)
    }

    /// Gives a cue, if one is waited for.
    pub(crate) fn cue(&self) -> bool {
        if !self.is_waiting() {
            return false;
        }
        self.given.fetch_add(1, Release);
        self.wake();
        true
    }

    /// No more cues.
    pub(crate) fn end(&self) {
        self.ended_at.store(now(), Release);
        self.over.store(1, Release);
        self.wake();
    }

    /// How long ago [the end](Board::end) was; `None` before.
    pub(crate) fn since_end(&self) -> Option<Duration> {
        let over = self.over.load(Acquire) != 0;
        over.then(|| Duration::from_nanos(now().saturating_sub(self.ended_at.load(Acquire))))
    }

    fn wake(&self) {
        let flags = rustix::thread::futex::Flags::empty();
        let _ = rustix::thread::futex::wake(&self.given, flags, u32::MAX);
    }
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Part {
    fn write(&self, said: u32, text: &str) {
        let len = text.len().min(TEXT);
        for (place, byte) in self.text.iter().zip(&text.as_bytes()[..len]) {
            place.store(*byte, Relaxed);
        }
        self.len.store(len as u32, Relaxed);
        self.said.store(said, Release);
    }

    fn read(&self) -> String {
        let len = (self.len.load(Relaxed) as usize).min(TEXT);
        let bytes: Vec<u8> = self.text[..len].iter().map(|byte| byte.load(Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Panics of the processes of an experiment are flaws, and stand in their parts of the board.
pub(crate) fn keep_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let part = MINE.load(Relaxed);
        if part.is_null() {
            return usual(info);
        }
        // SAFETY: it is a part of a board, and those are never freed.
        unsafe { &*part }.write(WRONG, &format!("panicked: {info}").replace('\n', " "));
    }));
}
