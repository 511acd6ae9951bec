//! Measuring a machine: every line has figures, and nothing is left.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Place;

#[test]
fn every_work_has_figures_and_nothing_is_left() {
    let place = Place::new();
    let rows: serde_json::Value = serde_json::from_str(&place.get(&["bench", "--json"])).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert!(row["commons"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["floor"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[test]
fn interrupted_it_ends_and_leaves_nothing() {
    let place = Place::new();
    let mut child = place.command(&["bench"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It is at work once something is in the namespace.
    let begun = Instant::now();
    while place.names().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it makes nothing");
    }
    // SAFETY: a child that is not waited for yet.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(place.names().is_empty(), "{:?}", place.names());
}
