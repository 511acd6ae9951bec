//! Two processes that meet at a barrier, over and over.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};
use std::time::Instant;

use anyhow::Result;
use commons::sync::{Barrier, BarrierMember};

use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::partner::{Baton, Memory, Partner};
use crate::peers::Helpers;
use crate::pthread;
use crate::report::{COMMONS, FLOOR, Unit, Work};

/// Meetings in a round.
const MEETINGS: u32 = 500;

#[repr(C, align(128))]
struct Own<T>(T);

#[repr(C)]
struct Shared {
    /// Which barrier to meet at; the partner puts 0 there.
    order: Baton,
    commons: Own<Barrier>,
    pthread: Own<pthread::Barrier>,
    arrived: Own<AtomicU32>,
    generation: Own<AtomicU32>,
}

const PTHREAD: u32 = 1;
const BARE: u32 = 2;
const OWN: u32 = 3;

impl Shared {
    fn meet(&self, which: u32, member: &BarrierMember<'_>) {
        match which {
            PTHREAD => self.pthread.0.wait(),
            BARE => {
                let generation = self.generation.0.load(Acquire);
                if self.arrived.0.fetch_add(1, AcqRel) == 1 {
                    self.arrived.0.store(0, Release);
                    self.generation.0.store(generation.wrapping_add(1), Release);
                } else {
                    while self.generation.0.load(Acquire) == generation {}
                }
            }
            _ => drop(member.wait()),
        }
    }

    fn partner(&self) {
        let Ok(member) = self.commons.0.join(2) else { return };
        loop {
            let which = self.order.changed(0);
            self.order.set(0);
            for _ in 0..MEETINGS {
                self.meet(which, &member);
            }
        }
    }

    fn round(&self, which: u32, member: &BarrierMember<'_>) -> f64 {
        self.order.set(which);
        self.order.wait(0);
        let started = Instant::now();
        for _ in 0..MEETINGS {
            self.meet(which, member);
        }
        nanoseconds(started) / f64::from(MEETINGS)
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    // SAFETY: valid when zero, or initialised below before it is used.
    let shared = unsafe { Memory::<Shared>::zeroed()? };
    shared.pthread.0.init(2)?;
    let _partner = Partner::start(context.placement.other, || shared.partner())?;
    let member = &shared.commons.0.join(2)?;
    let round = |which| {
        let shared = &shared;
        move || Ok(shared.round(which, member))
    };
    let results = Contest::new()
        .add("pthread barrier", round(PTHREAD))
        .add(FLOOR, round(BARE))
        .add(COMMONS, round(OWN))
        .peer(
            "CPython multiprocessing.Barrier",
            Helpers::of(context).python().run(format!("barrier {}", MEETINGS / 5)),
        )
        .run(context.rounds(300, 60))?;
    Ok(vec![
        results
            .work("two processes meet at a barrier", Unit::Nanoseconds, COMMONS)?
            .note("the floor is a counter and a word that both look at without end")
            .note("Boost.Interprocess, raw_sync and iceoryx2 have no barrier"),
    ])
}
