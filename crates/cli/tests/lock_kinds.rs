//! What `info`, `locks` and `unlock` say of semaphores, events, barriers and all else that is no mutex, is what is so.

mod common;

use std::time::{Duration, Instant};

use common::Place;
use common::holder::{self, Holder, ready};
use commons::sync::{
    AutoEvent, Barrier, Condvar, Event, Mutex, Once, OnceLock, Semaphore, SeqLock, SyncError,
};
use commons::{Lifetime, Namespace, Shareable, Shared, SharedOptions};
use serde_json::Value;

#[repr(C)]
#[derive(Shareable)]
struct Kinds {
    seats: Semaphore,
    changed: Condvar,
    ready: Event,
    next: AutoEvent,
    together: Barrier,
    table: Once,
    seed: OnceLock<u64>,
    position: SeqLock<[u32; 2]>,
    lock: Mutex<u32>,
}

fn options(place: &std::path::Path) -> SharedOptions<'static, Kinds> {
    let namespace = Namespace::at(place).unwrap();
    SharedOptions::new().namespace(&namespace).lifetime(Lifetime::UntilDeleted)
}

/// Makes the object, which stays.
fn kinds(place: &Place) -> Shared<Kinds> {
    options(place.directory()).open_or_create("kinds").unwrap()
}

/// The holders' side.
#[test]
fn holds_what_it_is_told_to() {
    let Some((what, place)) = holder::order() else { return };
    let kinds = options(&place).open("kinds").unwrap();
    match what.as_str() {
        "a permit" => {
            let _permit = kinds.seats.acquire().unwrap();
            ready();
        }
        "a place" => {
            let member = kinds.together.join(2).unwrap();
            ready();
            drop(member);
        }
        "waits in a place" => {
            let member = kinds.together.join(2).unwrap();
            println!("ready");
            assert_eq!(member.wait().err(), Some(SyncError::Broken));
        }
        "waits for an event" => {
            println!("ready");
            kinds.ready.wait();
        }
        "waits for a change" => {
            let guard = kinds.lock.lock().unwrap();
            println!("ready");
            drop(kinds.changed.wait_while(guard, |value| *value == 0).unwrap());
        }
        "makes the table" => kinds.table.call_once(ready).unwrap(),
        "makes the seed" => {
            kinds
                .seed
                .get_or_init(|| {
                    ready();
                    7
                })
                .unwrap();
        }
        "writes the position" => kinds
            .position
            .update(|position| {
                ready();
                position
            })
            .unwrap(),
        other => panic!("{other}"),
    }
}

/// The locks in the answer of `info` or `locks`.
fn parsed(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).unwrap();
    value.get("locks").unwrap_or(&value).as_array().unwrap().clone()
}

/// The lock with this path, among all.
fn lock(place: &Place, path: &str) -> Value {
    let locks = parsed(&place.get(&["info", "kinds", "--json"]));
    locks.into_iter().find(|lock| lock["path"] == path).unwrap()
}

/// What `info` says of it to people.
fn line(place: &Place, path: &str) -> String {
    let text = place.get(&["info", "kinds"]);
    let (_, locks) = text.split_once("\nlocks ").unwrap();
    let line = locks.lines().find(|line| line.split_whitespace().next() == Some(path)).unwrap();
    line.trim_start().strip_prefix(path).unwrap().trim_start().to_owned()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn idle_ones_show_only_if_all_are_asked_for() {
    let place = Place::new();
    let _kinds = kinds(&place);
    assert_eq!(place.get(&["locks"]), "no lock is held or waited for, and none was left behind\n");
    let all = parsed(&place.get(&["locks", "--all", "--json"]));
    let states: Vec<_> = all.iter().map(|lock| lock["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        ["free", "free", "not-set", "not-set", "free", "not-done", "not-done", "free", "free"],
        "{all:?}"
    );
    assert_eq!(place.get(&["unlock", "kinds", "seats"]), "seats: is free, nothing to do\n");
    assert!(place.get(&["unlock", "kinds", "ready"]).contains("nothing to release"));
    assert!(place.get(&["unlock", "kinds", "changed"]).contains("nothing to release"));
}

#[test]
fn a_semaphore_shows_its_value_and_who_has_its_permits() {
    let place = Place::new();
    let kinds = kinds(&place);
    kinds.seats.post(5).unwrap();
    assert_eq!(line(&place, "seats"), "Semaphore, free, value 5");
    let holders = [Holder::start(&place, "a permit"), Holder::start(&place, "a permit")];
    let seats = lock(&place, "seats");
    assert_eq!((&seats["state"], &seats["details"]["value"]), (&"held".into(), &3.into()));
    let permits = seats["details"]["permits"].as_array().unwrap();
    let mut pids: Vec<_> = permits.iter().map(|permit| permit["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    let mut expected = holders.each_ref().map(|holder| u64::from(holder.pid()));
    expected.sort_unstable();
    assert_eq!(pids, expected, "{seats}");
    assert!(
        permits[0]["thread"].is_null() && permits[0]["command"].as_str().unwrap().starts_with("lock_kinds")
    );
    let text = place.get(&["locks"]);
    assert_eq!(text.matches(" held ").count(), 2, "{text}");
    assert!(text.lines().nth(1).unwrap().ends_with("value 3"), "{text}");
    let refused = place.fail(1, &["unlock", "kinds", "seats"]);
    assert!(refused.contains("come back") && refused.contains(&holders[0].pid().to_string()), "{refused}");
    place.fail(1, &["unlock", "kinds", "seats", "--force"]);
    assert_eq!(kinds.seats.value(), 3);
    let [dead, alive] = holders;
    let dead = dead.kill();
    assert_eq!(lock(&place, "seats")["state"], "abandoned");
    assert!(line(&place, "seats").contains(&format!("abandoned by pid {dead}, which is gone")));
    assert!(place.get(&["locks"]).contains("left behind"));
    assert_eq!(place.get(&["unlock", "kinds", "seats"]), "seats: 1 permit was given back\n");
    assert_eq!((kinds.seats.value(), kinds.seats.holders().count()), (4, 1));
    alive.end();
    assert_eq!(lock(&place, "seats")["state"], "free");
}

#[test]
fn events_and_condition_variables_show_whether_somebody_waits() {
    let place = Place::new();
    let kinds = kinds(&place);
    let waiter = Holder::start(&place, "waits for an event");
    until("nobody waits", || lock(&place, "ready")["waiters"] == true);
    assert_eq!(line(&place, "ready"), "Event, not-set; somebody may be waiting");
    let shown = parsed(&place.get(&["locks", "--json"]));
    assert_eq!(
        (shown.len(), &shown[0]["path"], &shown[0]["details"]["set"]),
        (1, &"ready".into(), &false.into())
    );
    kinds.ready.set();
    waiter.end();
    assert_eq!(line(&place, "ready"), "Event, set");
    kinds.next.set();
    assert_eq!(lock(&place, "next")["details"]["set"], true);
    let waiter = Holder::start(&place, "waits for a change");
    until("nobody waits", || lock(&place, "changed")["waiters"] == true);
    assert_eq!(line(&place, "changed"), "Condvar, free; somebody may be waiting");
    *kinds.lock.lock().unwrap() = 1;
    kinds.changed.notify_all();
    waiter.end();
    assert_eq!(line(&place, "changed"), "Condvar, free");
}

#[test]
fn a_barrier_shows_who_takes_part_who_waits_and_that_it_is_broken() {
    let place = Place::new();
    let kinds = kinds(&place);
    assert_eq!(line(&place, "together"), "Barrier, free, nobody has joined");
    let mut waiter = Holder::start(&place, "waits in a place");
    until("nobody waits", || lock(&place, "together")["details"]["arrived"] == 1);
    let member = Holder::start(&place, "a place");
    let together = lock(&place, "together");
    assert_eq!((&together["state"], &together["details"]["parties"]), (&"joined".into(), &2.into()));
    let members = together["details"]["members"].as_array().unwrap();
    let pids: Vec<_> = members.iter().map(|member| member["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [u64::from(waiter.pid()), u64::from(member.pid())]);
    assert!(line(&place, "together").ends_with("1 of 2 wait; somebody may be waiting"));
    let refused = place.fail(1, &["unlock", "kinds", "together"]);
    assert!(refused.contains("takes part") && refused.contains("--force"), "{refused}");
    member.kill();
    assert!(waiter.child.wait().unwrap().success());
    assert_eq!(lock(&place, "together")["state"], "broken");
    assert!(place.get(&["unlock", "kinds", "together"]).contains("has to reset it"));
    assert!(kinds.together.reset());
    assert_eq!(lock(&place, "together")["details"]["parties"], 0);
    // Broken for those who live, by force.
    let mut waiter = Holder::start(&place, "waits in a place");
    until("nobody waits", || lock(&place, "together")["details"]["arrived"] == 1);
    let member = Holder::start(&place, "a place");
    assert!(place.run(&["unlock", "kinds", "together", "--force"]).status.success());
    assert!(waiter.child.wait().unwrap().success());
    assert_eq!(lock(&place, "together")["state"], "broken");
    member.end();
}

#[test]
fn what_is_done_once_shows_who_does_it() {
    let place = Place::new();
    let kinds = kinds(&place);
    for (path, what) in [("table", "makes the table"), ("seed", "makes the seed")] {
        let doing = Holder::start(&place, what);
        let found = lock(&place, path);
        assert_eq!((&found["state"], &found["pid"]), (&"held".into(), &doing.pid().into()));
        assert_eq!(found["details"]["done"], false);
        assert!(line(&place, path).ends_with("not done yet"));
        assert!(place.fail(1, &["unlock", "kinds", path]).contains("has it; wait"));
        doing.kill();
        let found = lock(&place, path);
        assert_eq!((&found["state"], &found["pid"]), (&"not-done".into(), &Value::Null));
        Holder::start(&place, what).end();
        assert_eq!(lock(&place, path)["state"], "done");
        assert_eq!(place.get(&["unlock", "kinds", path]), format!("{path}: is free, nothing to do\n"));
    }
    assert_eq!(kinds.seed.get(), Some(&7));
}

#[test]
fn a_seqlock_shows_which_copy_is_current_and_who_writes() {
    let place = Place::new();
    let kinds = kinds(&place);
    (1..=3).for_each(|number| kinds.position.write([number, 0]).unwrap());
    let found = lock(&place, "position");
    assert_eq!((&found["state"], &found["details"]["writes"]), (&"free".into(), &3.into()));
    assert_eq!(line(&place, "position"), "SeqLock, free, written 3 times, copy 1 is current");
    let writer = Holder::start(&place, "writes the position");
    let found = lock(&place, "position");
    assert_eq!((&found["state"], &found["pid"]), (&"held".into(), &writer.pid().into()));
    writer.kill();
    let found = lock(&place, "position");
    assert_eq!((&found["state"], &found["details"]["copy"]), (&"free".into(), &1.into()));
    // One that the kernel did not tell of, and nobody waits.
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let offset = found["offset"].as_u64().unwrap() as usize;
    kinds.attachment().write_at(offset, &gone.id().to_ne_bytes()).unwrap();
    assert_eq!(lock(&place, "position")["state"], "abandoned");
    assert_eq!(place.get(&["unlock", "kinds", "position"]), "position: freed\n");
    assert_eq!(kinds.position.read(), [3, 0]);
    kinds.position.write([4, 0]).unwrap();
}

#[test]
fn whatever_stands_in_them_is_shown_and_harms_nobody() {
    let place = Place::new();
    let kinds = kinds(&place);
    let mut state = 88172645463325252_u64;
    for _ in 0..20 {
        for at in (0..size_of::<Kinds>() - 8).step_by(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            kinds.attachment().write_at(at, &state.to_ne_bytes()).unwrap();
        }
        let all = parsed(&place.get(&["locks", "--all", "--json"]));
        assert_eq!(all.len(), 9);
        for lock in all {
            let output = place.run(&["unlock", "kinds", lock["path"].as_str().unwrap()]);
            assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
        }
        place.get(&["info", "kinds"]);
    }
}
