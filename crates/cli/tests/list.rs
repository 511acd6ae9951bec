//! `ls` and `info` show what there is without touching it, for people and for scripts.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::Place;
use commons::{Lifetime, Namespace, SegmentOptions};
use serde_json::{Value, json};

const KEYS: [&str; 13] = [
    "name",
    "kind",
    "key",
    "processes",
    "namespace",
    "size",
    "resident",
    "holders",
    "lifetime",
    "orphan",
    "uid",
    "mode",
    "modified",
];

fn sorted(keys: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut keys: Vec<String> = keys.into_iter().map(Into::into).collect();
    keys.sort();
    keys
}

fn keys(value: &Value) -> Vec<String> {
    sorted(value.as_object().unwrap().keys())
}

#[test]
fn json_has_exactly_its_keys_in_the_order_of_names() {
    let place = Place::new();
    assert_eq!(place.get(&["ls", "--json"]), "[]\n");
    for name in ["b", "a/b", "c"] {
        place.get(&["create", name, "5000", "--mode", "0640"]);
    }
    let list: Vec<Value> = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    let names: Vec<&str> = list.iter().map(|segment| segment["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/b", "b", "c"]);
    for segment in &list {
        assert_eq!(keys(segment), sorted(KEYS));
        assert_eq!(segment["kind"], "file");
        assert_eq!(segment["namespace"], place.directory().to_str().unwrap());
        assert_eq!(segment["size"], 5000);
        assert_eq!(segment["holders"], 0);
        assert_eq!(segment["lifetime"], "until-deleted");
        assert_eq!(segment["mode"], "0640");
        assert!(segment["resident"].is_u64() || segment["resident"].is_null());
        let modified = segment["modified"].as_str().unwrap();
        assert!(
            modified.starts_with("20") && modified.ends_with('Z') && modified.contains('T'),
            "{modified}"
        );
    }
    let info: Value = serde_json::from_str(&place.get(&["info", "b", "--json"])).unwrap();
    assert_eq!(
        keys(&info),
        sorted(KEYS.into_iter().chain(["reserved", "pids", "unknown", "layout", "locks"]))
    );
    assert_eq!(keys(&info["unknown"]), ["elsewhere", "hidden", "inherited"]);
    assert_eq!(info["reserved"], 8192);
}

#[test]
fn posix_shared_memory_is_called_so() {
    let place = Place::new();
    let name = format!("cli-test-{}", std::process::id());
    let segment =
        SegmentOptions::new().size(1).namespace(&Namespace::posix().unwrap()).create(&name).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_commons"))
        .args(["ls", &name, "--json", "--namespace", "/dev/shm/"])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["kind"], "posix");
    assert_eq!(list[0]["namespace"], "/dev/shm");
    segment.delete().unwrap();
    drop(place);
}

#[test]
fn the_table_is_plain_and_aligned_in_a_pipe() {
    let place = Place::new();
    place.get(&["create", "long-name-日本", "64M", "--sparse"]);
    place.get(&["create", "x", "1"]);
    let text = place.get(&["ls"]);
    assert!(!text.contains('\x1b'));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    let titles: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(
        titles,
        ["name", "kind", "size", "resident", "holders", "lifetime", "owner", "mode", "age", "used", "by"]
    );
    assert!(lines[1].starts_with("long-name-日本  file  64.0M"), "{text}");
    assert!(lines[2].starts_with("x               file      1"), "{text}");
    assert!(lines[3].starts_with("2 in all: 64.0 MiB, "), "{text}");
}

#[test]
fn orphans_stand_out() {
    let place = Place::new();
    place.make_orphan("x", 4096);
    place.get(&["create", "y", "1"]);
    let text = place.get(&["ls"]);
    assert!(text.lines().nth(1).unwrap().contains("orphan") && text.matches("orphan").count() == 1, "{text}");
    assert!(
        text.ends_with("1 of them belongs to nobody any more, with 4.0 KiB: 'commons sweep' deletes it\n"),
        "{text}"
    );
    assert!(place.get(&["info", "x"]).contains("orphan"));
    let list: Value = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    assert_eq!((&list[0]["lifetime"], &list[0]["holders"]), (&json!("until-last-detach"), &json!(0)));
    let coloured = place.command(&["ls"]).env("CLICOLOR_FORCE", "1").output().unwrap().stdout;
    assert!(String::from_utf8(coloured).unwrap().contains("\x1b["));
    let mut command = place.command(&["ls"]);
    let plain = command.env("NO_COLOR", "1").output().unwrap().stdout;
    assert_eq!(String::from_utf8(plain).unwrap(), place.get(&["ls"]));
    assert_eq!(place.names(), ["x", "y"], "looking removes nothing");
}

#[test]
fn names_give_a_terminal_no_orders() {
    let place = Place::new();
    std::fs::write(place.path("a\n\x1b[2J"), b"").unwrap();
    for arguments in [&["ls"][..], &["info", "a\n\x1b[2J"]] {
        let text = place.get(arguments);
        assert!(text.contains("a\\n\\u{1b}[2J") && !text.contains('\x1b'), "{text:?}");
    }
    let list: Value = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    assert_eq!(list[0]["name"], "a\n\x1b[2J");
}

#[test]
fn a_pattern_chooses() {
    let place = Place::new();
    for name in ["job-1", "job-2", "jab-1", "a[1]"] {
        place.get(&["create", name, "1"]);
    }
    let count = |pattern: &str| place.get(&["ls", pattern]).lines().count() - 2;
    for (pattern, found) in [
        ("job-*", 2),
        ("j?b-1", 2),
        ("job-1", 1),
        ("/job-1", 1),
        ("*", 4),
        ("z*", 0),
        ("a[1]", 1),
        ("j[!o]*", 1),
    ] {
        assert_eq!(count(pattern), found, "{pattern}");
    }
}

#[test]
fn what_is_no_segment_is_not_listed() {
    let place = Place::new();
    std::fs::create_dir(place.path("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path("link")).unwrap();
    std::fs::write(place.path("segment"), b"x").unwrap();
    std::fs::set_permissions(place.path("segment"), PermissionsExt::from_mode(0o000)).unwrap();
    assert_eq!(place.get(&["ls"]).lines().count(), 3);
    place.fail(1, &["info", "link"]);
    place.fail(1, &["info", "directory"]);
}

#[test]
fn segments_that_come_and_go_meanwhile_disturb_nobody() {
    let place = Place::new();
    let namespace = Namespace::at(place.directory()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options =
                SegmentOptions::new().size(1).namespace(&namespace).lifetime(Lifetime::UntilDeleted);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let made: Vec<_> = (0..50).map(|name| options.create(name.to_string()).unwrap()).collect();
                made.iter().for_each(|segment| segment.delete().unwrap());
            }
        });
        for _ in 0..50 {
            place.get(&["ls"]);
            serde_json::from_str::<Value>(&place.get(&["ls", "--json"])).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_matches_nothing_is_said_and_is_no_error() {
    let place = Place::new();
    place.get(&["create", "jobs", "4K"]);
    let text = place.get(&["ls", "z*"]);
    assert!(text.ends_with("\nnothing matches \"z*\"; 'commons ls' shows all\n"), "{text}");
    assert_eq!(place.get(&["ls", "z*", "--json"]).trim(), "[]");
    assert!(place.get(&["ls", "j*"]).contains("1 in all"));
}
