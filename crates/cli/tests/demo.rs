//! The demo adds up, whatever it is given, and leaves nothing, however it ends.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Place;

/// The numbers of the line that begins so.
fn numbers(text: &str, begin: &str) -> Vec<u64> {
    let line = text.lines().find(|line| line.trim_start().starts_with(begin)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_text_that_comes_with_it_adds_up() {
    let place = Place::new();
    let started = Instant::now();
    let text = place.get(&["demo"]);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!text.contains('\x1b'));
    assert_eq!(text.matches("kill -9").count(), 2, "{text}");
    assert_eq!(text.matches("counted anew").count(), 2, "{text}");
    assert_eq!(text.matches("got the lock with the news that its owner had died").count(), 1, "{text}");
    assert!(text.contains("locked the totals"), "{text}");
    let counted = numbers(&text, "the survivors");
    assert_eq!(counted.len(), 3);
    assert_eq!(numbers(&text, "a single thread"), counted);
    assert!(place.names().is_empty());
}

#[test]
fn files_add_up_as_each_by_itself() {
    let place = Place::new();
    let files = tempfile::tempdir().unwrap();
    let mut expected = [0, 0, 0];
    let mut paths = Vec::new();
    let long = "word ".repeat(50_000);
    let odd: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let contents: [&[u8]; 9] = [
        b"no end of line",
        b"",
        b"begins as a word",
        b"\n\n",
        b" ",
        b"a",
        long.as_bytes(),
        &odd,
        &[b'x'; 70_000],
    ];
    for (index, content) in contents.into_iter().enumerate() {
        let path = files.path().join(index.to_string());
        std::fs::write(&path, content).unwrap();
        paths.push(path.to_str().unwrap().to_owned());
        let is_space = |byte: &u8| matches!(byte, b' ' | 9..=13);
        expected[0] += content.iter().filter(|byte| **byte == b'\n').count() as u64;
        expected[1] += content.split(is_space).filter(|word| !word.is_empty()).count() as u64;
        expected[2] += content.len() as u64;
    }
    let mut arguments = vec!["demo"];
    arguments.extend(paths.iter().map(String::as_str));
    let text = place.get(&arguments);
    assert_eq!(numbers(&text, "the survivors"), expected, "{text}");
    assert!(place.names().is_empty());
}

#[test]
fn nothing_at_all_adds_up_too() {
    let place = Place::new();
    let text = place.get(&["demo", "/dev/null"]);
    assert_eq!(numbers(&text, "the survivors"), [0, 0, 0], "{text}");
    assert_eq!(text.matches("counted anew").count(), 2);
}

#[test]
fn files_that_cannot_be_read_are_errors_before_anything_begins() {
    let place = Place::new();
    for (file, reason) in [("/nowhere/file", "/nowhere/file"), ("/", "directory"), ("/dev/zero", "less")] {
        let text = place.fail(1, &["demo", "/dev/null", file]);
        assert!(text.contains(reason), "{text}");
    }
    assert!(place.names().is_empty());
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_after_a_sweep() {
    let place = Place::new();
    for round in 0..12 {
        let mut command = place.command(&["demo"]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 7));
        let pid = child.id();
        child.kill().unwrap();
        child.wait().unwrap();
        // The workers are killed with it, a moment later.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            place.get(&["sweep"]);
            if place.names().is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{:?} of process {pid} stays", place.names());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn what_it_tells_need_not_be_read_to_the_end() {
    let place = Place::new();
    let mut child = place.command(&["demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(place.names().is_empty());
}
