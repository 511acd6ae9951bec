//! Telling another process that something happened: when it is asleep, and when it waits spinning.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Release, SeqCst},
};

use anyhow::Result;
use commons::sync::{AutoEvent, Condvar, Mutex};

use super::{futex, now};
use crate::harness::{Context, Variant, interleave};
use crate::partner::{Baton, Memory, Partner};
use crate::report::{Unit, Work};
use crate::statistics::Limit;

#[repr(C, align(128))]
struct Line<T>(T);

#[repr(C)]
struct Shared {
    /// What the partner is to do next; it puts 0 there when it has begun to.
    order: Baton,
    events: [Line<AutoEvent>; 2],
    words: [Line<AtomicU32>; 2],
    condvar: Line<Condvar>,
    flag: Line<Mutex<u32>>,
    sent: AtomicU64,
}

const WAKE_FUTEX: u32 = 1;
const WAKE_EVENT: u32 = 2;
const WAKE_CONDVAR: u32 = 3;
const PING_LINE: u32 = 4;
const PING_EVENT: u32 = 5;

/// Round trips in a round.
const TRIPS: u32 = 2_000;
/// Nanoseconds after which whoever waits is asleep.
const ASLEEP: u64 = 300_000;

impl Shared {
    fn partner(&self) {
        loop {
            let order = self.order.changed(0);
            self.order.set(0);
            match order {
                WAKE_FUTEX | WAKE_EVENT | WAKE_CONDVAR => {
                    let begun = now();
                    while now() - begun < ASLEEP {
                        std::hint::spin_loop();
                    }
                    if order == WAKE_CONDVAR {
                        if let Ok(mut flag) = self.flag.0.lock() {
                            *flag = 1;
                        }
                    }
                    self.sent.store(now(), SeqCst);
                    match order {
                        WAKE_FUTEX => {
                            self.words[0].0.store(1, SeqCst);
                            futex(&self.words[0].0, libc::FUTEX_WAKE, 1);
                        }
                        WAKE_EVENT => self.events[0].0.set(),
                        _ => self.condvar.0.notify_one(),
                    }
                }
                PING_LINE => {
                    for trip in 0..TRIPS {
                        while self.words[0].0.load(Acquire) != trip + 1 {}
                        self.words[1].0.store(trip + 1, Release);
                    }
                }
                _ => {
                    for _ in 0..TRIPS {
                        self.events[0].0.wait();
                        self.events[1].0.set();
                    }
                }
            }
        }
    }

    /// Nanoseconds from just before the wake-up until this process runs again.
    fn woken(&self, order: u32) -> f64 {
        self.words[0].0.store(0, SeqCst);
        self.order.set(order);
        match order {
            WAKE_FUTEX => {
                while self.words[0].0.load(SeqCst) == 0 {
                    futex(&self.words[0].0, libc::FUTEX_WAIT, 0);
                }
            }
            WAKE_EVENT => self.events[0].0.wait(),
            _ => {
                let mut flag = self.flag.0.lock();
                while let Ok(mut set) = flag {
                    if *set == 1 {
                        *set = 0;
                        break;
                    }
                    flag = self.condvar.0.wait(set);
                }
            }
        }
        now().saturating_sub(self.sent.load(SeqCst)) as f64
    }

    /// Nanoseconds for a round trip.
    fn ping(&self, order: u32) -> f64 {
        self.words.iter().for_each(|word| word.0.store(0, SeqCst));
        self.order.set(order);
        self.order.wait(0);
        let begun = now();
        for trip in 0..TRIPS {
            if order == PING_LINE {
                self.words[0].0.store(trip + 1, Release);
                while self.words[1].0.load(Acquire) != trip + 1 {}
            } else {
                self.events[0].0.set();
                self.events[1].0.wait();
            }
        }
        (now() - begun) as f64 / f64::from(TRIPS)
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero.
    let shared = unsafe { Memory::<Shared>::zeroed()? };
    let shared = &*shared;
    let _partner = Partner::start(context.placement.other, || shared.partner())?;
    let mut variants = [("a raw futex", WAKE_FUTEX), ("AutoEvent", WAKE_EVENT), ("Condvar", WAKE_CONDVAR)]
        .map(|(name, order)| Variant::new(name, move || Ok([shared.woken(order)])));
    let asleep = interleave(context.rounds(1000, 100), &mut variants)?;
    let mut variants = [("a cache line", PING_LINE), ("AutoEvent", PING_EVENT)]
        .map(|(name, order)| Variant::new(name, move || Ok([shared.ping(order)])));
    let spinning = interleave(context.rounds(200, 20), &mut variants)?;
    let ([[raw], [event], [condvar]], [[line], [spun]]) = (&asleep[..], &spinning[..]) else {
        unreachable!("three variants and two")
    };
    Ok(vec![
        Work::new("wake a process that is asleep")
            .row("a raw futex", Unit::Microseconds, raw)
            .row("commons, AutoEvent", Unit::Microseconds, event)
            .ratio(&event.over(raw), Some(Limit::AtMost(1.15)))
            .row("commons, Condvar", Unit::Microseconds, condvar)
            .ratio(&condvar.over(raw), Some(Limit::AtMost(1.15))),
        Work::new("round trip between two processes that wait spinning")
            .row("a cache line", Unit::Nanoseconds, line)
            .row("commons, AutoEvent", Unit::Nanoseconds, spun)
            .ratio(&spun.over(line), Some(Limit::AtMost(1.5))),
    ])
}
