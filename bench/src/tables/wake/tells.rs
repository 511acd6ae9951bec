//! Telling another process that something happened: when it is asleep, and when both wait for each other.

use anyhow::Result;

use super::ends::{Ends, TRIPS, Way};
use crate::contest::{Contest, Run};
use crate::harness::Context;
use crate::peers::Helpers;
use crate::report::{FLOOR, Unit, Work};
use crate::statistics::Limit;

const EVENT: &str = "commons, AutoEvent";
const CONDVAR: &str = "commons, Condvar";

/// What is compared with a condition variable; the rest, with an event.
fn conditions(subject: &str) -> bool {
    matches!(subject, FLOOR | "pthread cond" | "Boost interprocess_condition")
}

fn events(subject: &str) -> bool {
    subject == FLOOR || !conditions(subject)
}

pub(super) fn asleep(context: &Context) -> Result<Vec<Work>> {
    let ends = &Ends::new()?;
    let _partner = ends.partner(&context.placement)?;
    let woken = |way| move || ends.woken(way, None);
    let peer = |way| -> Result<Run<'_>> { ends.has(way).map(|()| Box::new(woken(way)) as Run<'_>) };
    let listener = ends.listener();
    let iceoryx =
        listener.map(|listener| Box::new(move || ends.woken(Way::Iceoryx, Some(&listener))) as Run<'_>);
    let boost = Helpers::of(context).boost();
    let results = Contest::new()
        .add(FLOOR, woken(Way::Futex))
        .add(EVENT, woken(Way::Event))
        .add(CONDVAR, woken(Way::Condvar))
        .peer("sem_t", peer(Way::Sem))
        .peer("pthread cond", peer(Way::PthreadCond))
        .peer("pipe", peer(Way::Pipe))
        .peer("System V semop", peer(Way::SystemV))
        .peer("raw_sync Event", peer(Way::RawSync))
        .peer("Boost interprocess_semaphore", boost.run("wake-semaphore 1"))
        .peer("Boost interprocess_condition", boost.run("wake-condition 1"))
        .peer("iceoryx2 event", iceoryx)
        .run(context.rounds(600, 50))?;
    let limit = Limit::AtMost(1.15);
    let remark = "the floor is a raw futex";
    Ok(vec![
        results
            .work_against("wake a process that is asleep, by an event", Unit::Microseconds, EVENT, events)?
            .bound(FLOOR, limit)
            .note(remark),
        results
            .work_against(
                "wake a process that is asleep, by a condition",
                Unit::Microseconds,
                CONDVAR,
                conditions,
            )?
            .bound(FLOOR, limit)
            .note(remark)
            .note("neither raw_sync nor iceoryx2 has a condition"),
    ])
}

pub(super) fn trips(context: &Context) -> Result<Vec<Work>> {
    let ends = &Ends::new()?;
    let _partner = ends.partner(&context.placement)?;
    let boost = Helpers::of(context).boost();
    let trip = |way| move || ends.trip(way);
    let peer = |way| -> Result<Run<'_>> { ends.has(way).map(|()| Box::new(trip(way)) as Run<'_>) };
    let results = Contest::new()
        .add(FLOOR, trip(Way::Line))
        .add(EVENT, trip(Way::Event))
        .add(CONDVAR, trip(Way::Condvar))
        .peer("futex", peer(Way::Futex))
        .peer("sem_t", peer(Way::Sem))
        .peer("pthread cond", peer(Way::PthreadCond))
        .peer("pipe", peer(Way::Pipe))
        .peer("System V semop", peer(Way::SystemV))
        .peer("raw_sync Event", peer(Way::RawSync))
        .peer("Boost interprocess_semaphore", boost.run(format!("trip-semaphore {TRIPS}")))
        .peer("Boost interprocess_condition", boost.run(format!("trip-condition {TRIPS}")))
        .run(context.rounds(500, 120))?;
    let remark = "the floor is a word that both look at without end";
    Ok(vec![
        results
            .work_against(
                "round trip of two processes that wait for each other, events",
                Unit::Nanoseconds,
                EVENT,
                events,
            )?
            .bound(FLOOR, Limit::AtMost(1.5))
            .note(remark)
            .note(
                "iceoryx2's events go through a socket, one listener for each: it is measured where one wakes the other",
            ),
        results
            .work_against(
                "round trip of two processes that wait for each other, conditions",
                Unit::Nanoseconds,
                CONDVAR,
                conditions,
            )?
            .note(remark),
    ])
}
