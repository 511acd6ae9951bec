//! The laboratory finds what is planted, and nothing where nothing is.

use std::process::Command;

/// Runs a short campaign over the scenarios of this name; its exit code, and what it printed.
fn short(only: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crashlab"))
        .args(["short", "--planted", "--only", only])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    (output.status.code(), text)
}

/// The numbers of a scenario's line: stuck, leaked, wrong.
fn found(text: &str, scenario: &str) -> [u64; 3] {
    let line = text.lines().find(|line| line.starts_with(scenario)).expect("the scenario was run");
    let numbers: Vec<u64> =
        line[scenario.len()..].split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    [numbers[5], numbers[6], numbers[7]]
}

#[test]
fn a_list_that_is_cleared_before_the_owners_word_is_found() {
    let (code, text) = short("the list is cleared before");
    let [stuck, ..] = found(&text, "planted: the list is cleared before the owner's word");
    assert!(stuck >= 1, "nobody was stuck");
    assert_eq!(code, Some(1));
    assert!(text.contains("killed after"), "it does not say where");
}

#[test]
fn a_name_that_comes_before_the_bytes_is_found() {
    let (code, text) = short("published before it is filled");
    let [.., wrong] = found(&text, "planted: published before it is filled");
    assert!(wrong >= 1, "nothing half-made was seen");
    assert_eq!(code, Some(1));
}

#[test]
fn a_temporary_name_that_stays_is_found() {
    let (code, text) = short("temporary name");
    let [_, leaked, _] = found(&text, "planted: a temporary name that nobody sweeps");
    assert!(leaked >= 1, "nothing was left");
    assert_eq!(code, Some(1));
}

#[test]
fn an_error_that_is_lost_is_found() {
    let (code, text) = short("an error that is lost");
    let [.., wrong] = found(&text, "planted: an error that is lost");
    assert!(wrong >= 1, "no refused system call showed");
    assert_eq!(code, Some(1));
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let (code, text) = short("control:");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.ends_with("stuck 0, leaked 0, wrong 0")));
}

#[test]
fn nothing_is_left_in_shared_memory() {
    let child = Command::new(env!("CARGO_BIN_EXE_crashlab"))
        .args(["short", "--only", "attach"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let directory = format!("/dev/shm/crashlab-{}", child.id());
    let mut child = child;
    // Interrupted in its middle, or at its end: no difference.
    std::thread::sleep(std::time::Duration::from_millis(60));
    // SAFETY: a child of this process, not reaped yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let _ = child.wait().unwrap();
    assert!(!std::path::Path::new(&directory).exists());
}
