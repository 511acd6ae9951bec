//! What `info`, `locks` and `unlock` say of locks is what is so, whatever became of their owners.
//!
//! Holders are processes of their own: this program again, told by its environment what to do.

mod common;

use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use common::holder::{self, Holder, ready};
use common::{Place, complaint};
use commons::sync::{LockError, Mutex, RwLock};
use commons::{Lifetime, Namespace, Shareable, Shared, SharedOptions};

#[repr(C)]
#[derive(Shareable)]
struct Board {
    hits: AtomicU32,
    totals: Mutex<[u64; 4]>,
    slots: [Mutex<u64>; 2],
    prices: RwLock<u64>,
}

fn options(place: &std::path::Path) -> SharedOptions<'static, Board> {
    let namespace = Namespace::at(place).unwrap();
    SharedOptions::new().namespace(&namespace).lifetime(Lifetime::UntilDeleted)
}

/// Makes the object, which stays.
fn board(place: &Place) -> Shared<Board> {
    options(place.directory()).open_or_create("board").unwrap()
}

/// The holders' side.
#[test]
fn holds_what_it_is_told_to() {
    let Some((what, place)) = holder::order() else { return };
    let board = options(&place).open("board").unwrap();
    match what.as_str() {
        "totals" => {
            let _guard = board.totals.lock().unwrap();
            ready();
        }
        "totals again" => {
            println!("ready");
            if let Err(LockError::OwnerDied(unmended)) = board.totals.lock() {
                drop(unmended);
                std::process::exit(3);
            }
        }
        "totals in a thread" => std::thread::scope(|scope| {
            scope.spawn(|| {
                let _guard = board.totals.lock().unwrap();
                ready();
            });
        }),
        "prices to read" => {
            let _guard = board.prices.read().unwrap();
            ready();
        }
        "prices to write" => {
            let _guard = board.prices.write().unwrap();
            ready();
        }
        other => panic!("{other}"),
    }
}

/// The locks in the answer of `info`, or of `locks`.
fn parsed(text: &str) -> Vec<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value.get("locks").unwrap_or(&value).as_array().unwrap().clone()
}

fn locks(place: &Place) -> Vec<serde_json::Value> {
    parsed(&place.get(&["locks", "--json"]))
}

/// Makes the totals unrecoverable.
fn leave_unmended(board: &Shared<Board>) {
    let Err(LockError::OwnerDied(guard)) = board.totals.lock() else { panic!("nobody was told") };
    drop(guard);
}

#[test]
fn a_held_lock_is_shown_with_its_thread_and_process() {
    let place = Place::new();
    let _board = board(&place);
    assert_eq!(place.get(&["locks"]), "no lock is held or waited for, and none was left behind\n");
    assert_eq!(locks(&place), Vec::<serde_json::Value>::new());
    let holder = Holder::start(&place, "totals in a thread");
    let found = locks(&place);
    assert_eq!(found.len(), 1, "{found:?}");
    let lock = &found[0];
    assert_eq!((&lock["segment"], &lock["path"]), (&"board".into(), &"totals".into()));
    assert_eq!(
        (&lock["kind"], &lock["offset"], &lock["state"]),
        (&"Mutex".into(), &8.into(), &"held".into())
    );
    assert_eq!((&lock["pid"], &lock["waiters"]), (&holder.pid().into(), &false.into()));
    assert!(lock["thread"].as_u64().unwrap() > u64::from(holder.pid()), "another thread has it: {lock}");
    assert!(lock["command"].as_str().unwrap().starts_with("locks"), "{lock}");
    let text = place.get(&["locks"]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let pid = holder.pid().to_string();
    assert_eq!(
        (&row[..4], row[5], row[7]),
        (&["board", "totals", "Mutex", "held"][..], &*pid, "no"),
        "{text}"
    );
    assert_eq!(text.lines().last(), Some("1 lock"));
    holder.end();
    assert_eq!(locks(&place).len(), 0);
}

#[test]
fn all_locks_are_shown_with_the_free_ones() {
    let place = Place::new();
    let _board = board(&place);
    place.get(&["create", "untyped", "64K"]);
    let paths = |text: &str| -> Vec<String> {
        parsed(text).iter().map(|lock| lock["path"].as_str().unwrap().to_owned()).collect()
    };
    let all = place.get(&["locks", "--all", "--json"]);
    assert_eq!(paths(&all), ["totals", "slots[0]", "slots[1]", "prices"]);
    assert!(parsed(&all).iter().all(|lock| lock["state"] == "free"));
    assert_eq!(place.get(&["locks", "--all"]).lines().count(), 6);
    let info = place.get(&["info", "board", "--json"]);
    assert_eq!(paths(&info), ["totals", "slots[0]", "slots[1]", "prices"]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["layout"]["type"], &info["layout"]["intact"]), (&"Board".into(), &true.into()));
    assert!(info["layout"]["text"].as_str().unwrap().starts_with("struct Board size "));
    let untyped: serde_json::Value =
        serde_json::from_str(&place.get(&["info", "untyped", "--json"])).unwrap();
    assert!(untyped["layout"].is_null() && untyped["locks"].is_null());
    let text = place.get(&["info", "board"]);
    assert!(text.contains("\nobject    struct Board size "), "{text}");
    assert!(text.contains("\nlocks     4: 4 free\n"), "{text}");
    assert!(!place.get(&["info", "untyped"]).contains("object"));
}

#[test]
fn waiters_show() {
    let place = Place::new();
    let _board = board(&place);
    let holder = Holder::start(&place, "totals");
    let mut waiter = Holder::start(&place, "totals again");
    let end = Instant::now() + Duration::from_secs(10);
    while locks(&place)[0]["waiters"] != true {
        assert!(Instant::now() < end, "nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = place.get(&["info", "board"]);
    let expected = format!("of pid {} ", holder.pid());
    let line = text.lines().find(|line| line.trim_start().starts_with("totals ") && line.contains("held by"));
    let line = line.unwrap();
    assert!(line.contains(&expected) && line.ends_with("; others wait"), "{text}");
    holder.end();
    assert!(waiter.child.wait().unwrap().success());
}

#[test]
fn readers_and_writers_show() {
    let place = Place::new();
    let _board = board(&place);
    let readers = [Holder::start(&place, "prices to read"), Holder::start(&place, "prices to read")];
    let lock = locks(&place).remove(0);
    assert_eq!((&lock["state"], &lock["kind"]), (&"read".into(), &"RwLock".into()));
    let mut pids: Vec<_> =
        lock["readers"].as_array().unwrap().iter().map(|reader| reader["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    let mut expected = readers.each_ref().map(|reader| u64::from(reader.pid()));
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert_eq!(place.get(&["locks"]).matches(" read ").count(), 2);
    readers.into_iter().for_each(Holder::end);
    let writer = Holder::start(&place, "prices to write");
    let lock = locks(&place).remove(0);
    assert_eq!((&lock["state"], &lock["pid"]), (&"held".into(), &writer.pid().into()));
    writer.kill();
    assert_eq!(locks(&place)[0]["state"], "owner-died");
}

#[test]
fn what_a_killed_owner_left_shows_and_an_unrecoverable_lock_is_freed() {
    let place = Place::new();
    let board = board(&place);
    Holder::start(&place, "totals").kill();
    assert_eq!(locks(&place)[0]["state"], "owner-died");
    assert!(place.get(&["unlock", "board", "totals"]).contains("is free already"));
    let coloured = place.command(&["locks"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let coloured = String::from_utf8(coloured.stdout).unwrap();
    assert!(coloured.contains("\x1b[1m\x1b[31mowner-died\x1b[0m"), "{coloured:?}");
    leave_unmended(&board);
    assert_eq!(locks(&place)[0]["state"], "unrecoverable");
    assert!(board.totals.lock().is_err_and(|error| error.failed().is_ok()));
    assert!(place.get(&["locks"]).ends_with("1 was left behind: 'commons unlock SEGMENT LOCK' frees it\n"));
    let text = place.get(&["unlock", "board", "totals"]);
    assert_eq!(text, "totals: freed; the next one to lock it is told that its owner died\n");
    assert_eq!(board.totals.lock_or_recover(|totals| totals.fill(7)).unwrap()[3], 7);
    assert_eq!(locks(&place).len(), 0);
    assert_eq!(place.get(&["unlock", "board", "totals"]), "totals: is free, nothing to do\n");
}

#[test]
fn a_living_owners_lock_is_refused_and_taken_only_by_force() {
    let place = Place::new();
    let board = board(&place);
    let holder = Holder::start(&place, "totals");
    let text = place.fail(1, &["unlock", "board", "totals"]);
    assert!(text.contains(&format!("of pid {} ", holder.pid())) && text.contains("--force"), "{text}");
    assert_eq!(locks(&place)[0]["state"], "held");
    let output = place.run(&["unlock", "board", "totals", "--force"]);
    assert!(complaint(0, &output).contains("may be half changed"), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("freed; the next one"));
    drop(board.totals.lock_or_recover(|_| {}).unwrap());
    // The owner gives back what it does not have any more, and nothing comes of it.
    holder.end();
    assert_eq!(locks(&place).len(), 0);
    drop(board.totals.lock().unwrap());

    let reader = Holder::start(&place, "prices to read");
    place.fail(1, &["unlock", "board", "prices"]);
    assert!(place.run(&["unlock", "board", "prices", "--force"]).status.success());
    assert!(board.prices.try_write().is_ok());
    reader.end();
}

#[test]
fn a_lock_of_a_thread_that_does_not_exist_is_freed() {
    let place = Place::new();
    let board = board(&place);
    // As it would be left by an owner of which the kernel did not tell.
    let gone = {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    board.attachment().write_at(8, &gone.to_ne_bytes()).unwrap();
    let lock = locks(&place).remove(0);
    assert_eq!(
        (&lock["state"], &lock["thread"], &lock["pid"]),
        (&"abandoned".into(), &gone.into(), &().into())
    );
    assert!(place.get(&["info", "board"]).contains(&format!("abandoned by thread {gone}, which is gone")));
    let text = place.get(&["unlock", "board", "totals"]);
    assert!(text.starts_with("totals: freed; "), "{text}");
    assert!(matches!(board.totals.lock(), Err(LockError::OwnerDied(_))));
}

#[test]
fn waiters_wake_when_an_abandoned_lock_is_freed() {
    let place = Place::new();
    let board = board(&place);
    // One that exists, so that whoever waits has no doubts: this process, which has it not.
    board.attachment().write_at(8, &std::process::id().to_ne_bytes()).unwrap();
    let mut waiter = Holder::start_unready(&place, "totals again");
    waiter.wait_for("ready");
    let end = Instant::now() + Duration::from_secs(10);
    while locks(&place)[0]["waiters"] != true {
        assert!(Instant::now() < end, "nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(place.run(&["unlock", "board", "totals", "--force"]).status.success());
    // It is told, and mends nothing.
    assert_eq!(waiter.child.wait().unwrap().code(), Some(3));
    assert_eq!(locks(&place)[0]["state"], "unrecoverable");
}

#[test]
fn threads_of_another_pid_namespace_are_not_taken_for_ones_of_this() {
    let unshare = ["--pid", "--fork", "--kill-child"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not make a pid namespace");
        return;
    }
    let place = Place::new();
    drop(board(&place));
    let mut command = Command::new("unshare");
    command.args(unshare).arg(std::env::current_exe().unwrap());
    let mut holder = Holder::start_by(command, &place, "totals");
    holder.wait_for("ready");
    let lock = locks(&place).remove(0);
    assert_eq!((&lock["state"], &lock["pid"], &lock["command"]), (&"held".into(), &().into(), &().into()));
    assert!(lock["thread"].as_u64().unwrap() < 10, "{lock}");
    let text = place.get(&["info", "board"]);
    assert!(text.contains("of a process that cannot be seen from here"), "{text}");
    let text = place.fail(1, &["unlock", "board", "totals"]);
    assert!(text.contains("pid namespace"), "{text}");
    assert_eq!(locks(&place).len(), 1);
    assert!(place.run(&["unlock", "board", "totals", "--force"]).status.success());
    assert_eq!(locks(&place)[0]["state"], "owner-died");
    holder.end();
}

#[test]
fn what_cannot_be_unlocked_is_said() {
    let place = Place::new();
    let board = board(&place);
    place.get(&["create", "untyped", "64K"]);
    for (arguments, reason) in [
        (["unlock", "nothing", "totals"], "no such segment"),
        (["unlock", "untyped", "totals"], "there is nothing to release: the segment is plain bytes"),
        (
            ["unlock", "board", "hits"],
            "there is nothing to release: it is no lock, but plain bytes of type AtomicU32",
        ),
        (["unlock", "board", "slots[1].data"], "plain bytes of type u64"),
        (["unlock", "board", "slots[2]"], "no such lock"),
        (["unlock", "board", "nothing"], "no such lock"),
        (
            ["unlock", "board", "."],
            "there is nothing to release: the object itself is no lock, but \"struct Board",
        ),
    ] {
        let text = place.fail(1, &arguments);
        assert!(text.contains(reason), "{text}");
    }
    place.fail(2, &["unlock", "board"]);
    // The fingerprint is not that of the text any more: what is said to be a lock may be none.
    let size = board.attachment().len();
    board.attachment().write_at(size - 40, &[0x55]).unwrap();
    let text = place.fail(1, &["unlock", "board", "totals"]);
    assert!(text.contains("wrote over"), "{text}");
    assert!(place.get(&["info", "board"]).contains("somebody wrote over this"));
}

#[test]
fn a_lock_of_an_unknown_kind_is_bytes() {
    let place = Place::new();
    drop(board(&place));
    let mut bytes = std::fs::read(place.path("board")).unwrap();
    let kind = b"totals Mutex<";
    let at = bytes.windows(kind.len()).position(|window| window == kind).unwrap();
    bytes[at..][..kind.len()].copy_from_slice(b"totals Novel<");
    std::fs::write(place.path("board"), bytes).unwrap();
    let text = place.get(&["info", "board"]);
    assert!(text.contains("Novel, 72 bytes of a kind that is not known here"), "{text}");
    let all = parsed(&place.get(&["locks", "--all", "--json"]));
    assert_eq!((&all[0]["kind"], &all[0]["state"]), (&"Novel".into(), &"unknown".into()));
    assert_eq!(locks(&place).len(), 0);
}

#[test]
fn whatever_stands_in_the_locks_is_shown_and_harms_nobody() {
    let place = Place::new();
    let board = board(&place);
    let size = board.attachment().len();
    let object: usize = std::mem::size_of::<Board>();
    let mut state = 88172645463325252_u64;
    for _ in 0..20 {
        for at in (0..object - 8).step_by(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            board.attachment().write_at(at, &state.to_ne_bytes()).unwrap();
        }
        assert_eq!(parsed(&place.get(&["locks", "--all", "--json"])).len(), 4);
        place.get(&["locks"]);
        place.get(&["info", "board"]);
    }
    // Cut off, and then without a tag.
    drop(board);
    let file = std::fs::OpenOptions::new().write(true).open(place.path("board")).unwrap();
    file.set_len(size as u64 - 64).unwrap();
    assert_eq!(locks(&place).len(), 0);
    file.set_len(0).unwrap();
    assert_eq!(locks(&place).len(), 0);
}
