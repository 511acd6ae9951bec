//! Two processes, and every way by which one tells the other: each way has two channels, one for each direction.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Release, SeqCst},
};

use anyhow::{Result, anyhow, bail};
use commons::sync::{AutoEvent, Condvar, Mutex};

use crate::harness::{futex, now};
use crate::partner::{Baton, Memory, Partner};
use crate::peers::{iceoryx2, raw_sync};
use crate::placement::Placement;
use crate::pthread;
use crate::sysv;

/// A way to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tables) enum Way {
    /// A word on a line of its own, looked at without end.
    Line = 1,
    Futex,
    Event,
    Condvar,
    PthreadCond,
    Sem,
    RawSync,
    Pipe,
    SystemV,
    Iceoryx,
}

const WAYS: [Way; 10] = [
    Way::Line,
    Way::Futex,
    Way::Event,
    Way::Condvar,
    Way::PthreadCond,
    Way::Sem,
    Way::RawSync,
    Way::Pipe,
    Way::SystemV,
    Way::Iceoryx,
];

/// Round trips in a round: some microseconds of those that stay awake, so that what interrupts them spoils few rounds.
pub(super) const TRIPS: u32 = 100;
/// Nanoseconds after which whoever waits is asleep.
const ASLEEP: u64 = 300_000;
/// Added to a way's number: pass the turn to and fro, rather than wake once.
const PING: u32 = 100;

#[repr(C, align(128))]
struct Own<T>(T);

#[repr(C)]
struct Shared {
    /// What the partner is to do next; it puts 0 there when it has begun to.
    order: Baton,
    lines: [Own<AtomicU32>; 2],
    words: [Own<AtomicU32>; 2],
    events: [Own<AutoEvent>; 2],
    conditions: [Own<Condvar>; 2],
    flags: [Own<Mutex<u32>>; 2],
    pthread: [pthread::Flag; 2],
    semaphores: [pthread::Semaphore; 2],
    /// When the last wake-up was sent, on the monotonic clock.
    sent: AtomicU64,
}

/// This process's view of both ends.
pub(in crate::tables) struct Ends {
    shared: Memory<Shared>,
    raw_sync: Result<[raw_sync::Signal; 2]>,
    pipes: [(File, File); 2],
    system_v: std::io::Result<sysv::Semaphores>,
    messenger: Result<iceoryx2::Messenger>,
}

fn pipe() -> Result<(File, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((read.into(), write.into()))
}

impl Ends {
    pub(in crate::tables) fn new() -> Result<Ends> {
        // SAFETY: valid when zero, or initialised below.
        let shared = unsafe { Memory::<Shared>::zeroed()? };
        for channel in 0..2 {
            shared.pthread[channel].init()?;
            shared.semaphores[channel].init(0)?;
        }
        let signals = || Ok([raw_sync::Signal::new()?, raw_sync::Signal::new()?]);
        Ok(Ends {
            shared,
            raw_sync: signals(),
            pipes: [pipe()?, pipe()?],
            system_v: sysv::Semaphores::create(2),
            messenger: iceoryx2::Messenger::new("wake"),
        })
    }

    /// Forks the other end.
    pub(in crate::tables) fn partner(&self, placement: &Placement) -> Result<Partner> {
        Partner::start(placement.other, || self.serve())
    }

    /// Whether this way is there.
    pub(in crate::tables) fn has(&self, way: Way) -> Result<()> {
        let why = match way {
            Way::RawSync => self.raw_sync.as_ref().err().map(|error| format!("{error:#}")),
            Way::SystemV => self.system_v.as_ref().err().map(ToString::to_string),
            Way::Iceoryx => self.messenger.as_ref().err().map(|error| format!("{error:#}")),
            _ => None,
        };
        why.map_or(Ok(()), |why| Err(anyhow!(why)))
    }

    pub(in crate::tables) fn listener(&self) -> Result<iceoryx2::Waiter> {
        match &self.messenger {
            Ok(messenger) => messenger.listener(),
            Err(error) => bail!("{error:#}"),
        }
    }

    /// Tells through a channel; `before` runs just before.
    #[inline(always)]
    fn tell(&self, way: Way, channel: usize, trip: u32, before: impl FnOnce()) {
        let shared = &*self.shared;
        match way {
            Way::Line => shared.lines[channel].0.store(trip, Release),
            Way::Futex => {
                before();
                shared.words[channel].0.store(1, SeqCst);
                futex(&shared.words[channel].0, libc::FUTEX_WAKE, 1);
            }
            Way::Event => {
                before();
                shared.events[channel].0.set();
            }
            Way::Condvar => {
                if let Ok(mut flag) = shared.flags[channel].0.lock() {
                    *flag = 1;
                }
                before();
                shared.conditions[channel].0.notify_one();
            }
            Way::PthreadCond => shared.pthread[channel].set(before),
            Way::Sem => {
                before();
                shared.semaphores[channel].post();
            }
            Way::RawSync => {
                before();
                if let Ok(signals) = &self.raw_sync {
                    signals[channel].set();
                }
            }
            Way::Pipe => {
                before();
                let _ = (&self.pipes[channel].1).write_all(&[1]);
            }
            Way::SystemV => {
                before();
                if let Ok(semaphores) = &self.system_v {
                    let _ = semaphores.change(channel as u16, 1, 0);
                }
            }
            Way::Iceoryx => before(),
        }
    }

    /// Waits until told through a channel.
    #[inline(always)]
    fn wait(&self, way: Way, channel: usize, trip: u32) {
        let shared = &*self.shared;
        match way {
            Way::Line => while shared.lines[channel].0.load(Acquire) != trip {},
            Way::Futex => {
                while shared.words[channel].0.swap(0, SeqCst) == 0 {
                    futex(&shared.words[channel].0, libc::FUTEX_WAIT, 0);
                }
            }
            Way::Event => shared.events[channel].0.wait(),
            Way::Condvar => {
                let mut flag = shared.flags[channel].0.lock();
                while let Ok(mut set) = flag {
                    if *set == 1 {
                        *set = 0;
                        break;
                    }
                    flag = shared.conditions[channel].0.wait(set);
                }
            }
            Way::PthreadCond => shared.pthread[channel].wait(),
            Way::Sem => shared.semaphores[channel].wait(),
            Way::RawSync => {
                if let Ok(signals) = &self.raw_sync {
                    signals[channel].wait();
                }
            }
            Way::Pipe => {
                let _ = (&self.pipes[channel].0).read_exact(&mut [0]);
            }
            Way::SystemV => {
                if let Ok(semaphores) = &self.system_v {
                    while semaphores.change(channel as u16, -1, 0).is_err() {}
                }
            }
            Way::Iceoryx => {}
        }
    }

    /// What the partner does.
    fn serve(&self) {
        let mut notifier = None;
        loop {
            let order = self.shared.order.changed(0);
            self.shared.order.set(0);
            let Some(way) = WAYS.into_iter().find(|way| *way as u32 == order % PING) else { continue };
            if order > PING {
                for trip in 1..=TRIPS {
                    self.wait(way, 0, trip);
                    self.tell(way, 1, trip, || ());
                }
                continue;
            }
            if way == Way::Iceoryx && notifier.is_none() {
                notifier = self.messenger.as_ref().ok().and_then(|messenger| messenger.notifier().ok());
            }
            let begun = now();
            while now() - begun < ASLEEP {
                std::hint::spin_loop();
            }
            self.tell(way, 0, 1, || self.shared.sent.store(now(), SeqCst));
            if let (Way::Iceoryx, Some(notifier)) = (way, &notifier) {
                let _ = notifier.wake();
            }
        }
    }

    /// Nanoseconds from just before the wake-up until this process runs again. Give a `listener` for iceoryx2.
    pub(in crate::tables) fn woken(&self, way: Way, listener: Option<&iceoryx2::Waiter>) -> Result<f64> {
        self.shared.order.set(way as u32);
        match listener {
            Some(listener) => listener.wait()?,
            None => self.wait(way, 0, 1),
        }
        Ok(now().saturating_sub(self.shared.sent.load(SeqCst)) as f64)
    }

    /// Nanoseconds for a round trip.
    pub(in crate::tables) fn trip(&self, way: Way) -> Result<f64> {
        self.shared.lines.iter().for_each(|line| line.0.store(0, SeqCst));
        self.shared.order.set(way as u32 + PING);
        self.shared.order.wait(0);
        let begun = now();
        for trip in 1..=TRIPS {
            self.tell(way, 0, trip, || ());
            self.wait(way, 1, trip);
        }
        Ok((now() - begun) as f64 / f64::from(TRIPS))
    }
}
