//! `info` says who holds a segment, and does not hold it itself.
//!
//! Alone in its file: a test beside it that starts a process would, for the moment of starting it, have a copy
//! of this one's descriptors.

mod common;

use common::Place;
use commons::{Namespace, SegmentOptions};
use serde_json::{Value, json};

#[test]
fn holders_are_counted_and_named_and_looking_makes_none() {
    let place = Place::new();
    let namespace = Namespace::at(place.directory()).unwrap();
    let segment = SegmentOptions::new().size(1).namespace(&namespace).create("x").unwrap();
    let attachment = segment.attach().unwrap();
    for _ in 0..2 {
        let info: Value = serde_json::from_str(&place.get(&["info", "x", "--json"])).unwrap();
        assert_eq!((&info["holders"], &info["lifetime"]), (&json!(1), &json!("until-last-detach")));
        let process = &info["pids"][0];
        let mut keys: Vec<&String> = process.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["command", "handles", "mapped", "pid"]);
        assert_eq!(process["pid"], std::process::id());
        assert_eq!((&process["handles"], &process["mapped"]), (&json!(1), &json!(true)));
    }
    let text = place.get(&["info", "x"]);
    assert!(text.contains(&format!("pid {} ", std::process::id())), "{text}");
    drop((segment, attachment));
    assert!(place.names().is_empty(), "nobody else held it");
}
