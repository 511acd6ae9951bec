//! `rm` deletes what is named and nothing else; `sweep` deletes orphans and says what came back.

mod common;

use common::Place;
use commons::{Namespace, SegmentOptions};

#[test]
fn names_and_patterns_are_deleted_together() {
    let place = Place::new();
    for name in ["a1", "a2", "b", "c", "a/b"] {
        place.get(&["create", name, "1"]);
    }
    place.get(&["rm", "/b", "a?"]);
    assert_eq!(place.names(), ["a%2Fb", "c"]);
    place.get(&["rm", "*"]);
    assert!(place.names().is_empty());
}

#[test]
fn a_failure_does_not_keep_the_others() {
    let place = Place::new();
    place.get(&["create", "a", "1"]);
    place.get(&["create", "b", "1"]);
    let output = place.run(&["rm", "nope", "x*", "a", "b*"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 2, "one line for each: {text}");
    assert!(text.contains("\"nope\"") && text.contains("\"x*\""), "{text}");
    assert!(place.names().is_empty());
}

#[test]
fn a_name_with_the_characters_of_patterns_can_be_deleted() {
    let place = Place::new();
    for name in ["a[1]", "*", "b", "c["] {
        place.get(&["create", name, "1"]);
    }
    place.get(&["rm", "a[1]", "[*]", "c["]);
    assert_eq!(place.names(), ["b"]);
    // What another program made may have a name that no segment is given.
    std::fs::write(place.path("50%"), b"").unwrap();
    place.get(&["rm", "50*"]);
    assert_eq!(place.names(), ["b"]);
}

#[test]
fn a_sweep_deletes_orphans_alone_and_says_which() {
    let place = Place::new();
    assert_eq!(place.get(&["sweep"]), "no orphan found\n");
    place.make_orphan("one", 8192);
    place.make_orphan("two", 4096);
    place.get(&["create", "stays", "4096"]);
    let namespace = Namespace::at(place.directory()).unwrap();
    let held = SegmentOptions::new().size(1).namespace(&namespace).create("held").unwrap();

    let dry = place.get(&["sweep", "--dry-run"]);
    assert!(dry.contains("one  8.0 KiB\n") && dry.contains("two  4.0 KiB\n"), "{dry}");
    assert!(dry.ends_with("2 orphans would be deleted, and 12.0 KiB come back\n"), "{dry}");
    assert_eq!(place.names(), ["held", "one", "stays", "two"]);

    let text = place.get(&["sweep"]);
    assert!(text.contains("one  8.0 KiB\n") && text.contains("two  4.0 KiB\n"), "{text}");
    assert!(text.ends_with("2 orphans deleted, 12.0 KiB came back\n"), "{text}");
    assert_eq!(place.names(), ["held", "stays"]);
    drop(held);
}

#[test]
fn create_makes_what_stays_or_says_why_not() {
    let place = Place::new();
    let namespace = Namespace::at(place.directory()).unwrap();
    let held = SegmentOptions::new().size(4096).namespace(&namespace).create("x").unwrap();
    let text = place.fail(1, &["create", "x", "1"]);
    assert!(text.contains("goes with its last holder"), "{text}");
    held.delete().unwrap();
    place.get(&["create", "x", "1"]);
    assert_eq!(place.names(), ["x"]);
}
