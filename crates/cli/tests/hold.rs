//! `hold` keeps a segment while a program runs, and ends as the program does.

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::Place;
use rustix::process::{Pid, Signal, kill_process};

/// Waits until the program that is held for has said that it runs.
fn wait_for(place: &Place, file: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !place.path(file).exists() {
        assert!(Instant::now() < deadline, "the program did not start");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn hold(place: &Place, script: &str) -> Child {
    let script = format!("cd '{}'; {script}", place.directory().display());
    let arguments = ["hold", "x", "--size", "4096", "--", "sh", "-c", &script];
    let mut command = place.command(&arguments);
    let by_default = || {
        for signal in [libc::SIGHUP, libc::SIGINT] {
            // SAFETY: sets what a process begins with. Else who runs the tests in the background has these ignored,
            // and no shell can trap what it finds ignored.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: what is called may be called between fork and exec.
    unsafe { command.pre_exec(by_default) };
    command.stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_segment_is_there_while_the_program_runs_and_then_gone() {
    let place = Place::new();
    let status = hold(&place, "test $(stat -c %s x) = 4096").wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(place.names().is_empty());
}

#[test]
fn the_exit_code_is_the_programs() {
    let place = Place::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        assert_eq!(hold(&place, script).wait().unwrap().code(), Some(code), "{script}");
        assert!(place.names().is_empty());
    }
    place.fail(1, &["hold", "x", "--size", "1", "--", "/nowhere/program"]);
    assert!(place.names().is_empty());
}

#[test]
fn what_is_there_already_is_held_and_stays() {
    let place = Place::new();
    place.get(&["create", "x", "4096"]);
    assert!(place.run(&["hold", "x", "--", "true"]).status.success());
    assert_eq!(hold(&place, "exit 3").wait().unwrap().code(), Some(3));
    assert_eq!(place.names(), ["x"]);
    place.fail(1, &["hold", "x", "--size", "8192", "--", "true"]);
}

#[test]
fn a_signal_reaches_the_program_which_decides() {
    let place = Place::new();
    for (signal, trap) in
        [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")]
    {
        let mut child =
            hold(&place, &format!("trap 'exit 5' {trap}; : > ready; while :; do sleep 0.01; done"));
        wait_for(&place, "ready");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5), "{trap}");
        std::fs::remove_file(place.path("ready")).unwrap();
        assert!(place.names().is_empty());
    }
}

#[test]
fn killing_the_holder_leaves_an_orphan_that_a_sweep_removes() {
    let place = Place::new();
    let mut child = hold(&place, "echo $$ > pid; mv pid ready; exec sleep 60");
    wait_for(&place, "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    let program = std::fs::read_to_string(place.path("ready")).unwrap();
    kill_process(Pid::from_raw(program.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(place.get(&["ls", "x"]).contains("orphan"));
    assert!(place.get(&["sweep"]).contains("1 orphan deleted"));
    assert_eq!(place.names(), ["ready"]);
}

#[test]
fn if_hold_is_killed_its_program_holds_the_segment() {
    let place = Place::new();
    let mut hold = hold(
        &place,
        "echo $$ > on; mv on started; while [ -e started ] && [ ! -e end ]; do sleep 0.01; done; echo > ended",
    );
    wait_for(&place, "started");
    hold.kill().unwrap();
    hold.wait().unwrap();
    place.get(&["sweep"]);
    assert!(place.names().contains(&"x".to_owned()), "{:?}", place.names());
    std::fs::write(place.path("end"), "").unwrap();
    wait_for(&place, "ended");
    // It is on its way out.
    let deadline = Instant::now() + Duration::from_secs(20);
    while place.path("x").exists() {
        assert!(Instant::now() < deadline, "nobody holds it, and it stays");
        place.get(&["sweep"]);
    }
}
