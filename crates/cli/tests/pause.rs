//! `save --pause` saves what was there in one moment, and whoever was stopped for it goes on, whatever happens to the
//! command.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::Place;
use commons::{Namespace, SegmentOptions};

const SIZE: u64 = 4 << 20;
/// Where a process counts twice, one after the other: as far apart as can be.
const COUNTS: [u64; 2] = [0, SIZE - 8];
/// Where its forked child does.
const FORKED: [u64; 2] = [8, SIZE - 16];
/// How soon a process has to go on.
const SOON: Duration = Duration::from_secs(1);
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that counts in the segment "x" as fast as it can, twice, and its forked child, which does the same
/// elsewhere in it. Both are killed at the end, stopped or not.
struct Holder {
    process: Child,
    forked: i32,
}

impl Holder {
    fn start(place: &Place) -> Holder {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["what_the_others_start", "--exact", "--include-ignored", "--nocapture"]);
        command.env("COMMONS_TEST_HOLDS", place.directory()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = Holder { process: command.spawn().unwrap(), forked: 0 };
        let output = BufReader::new(holder.process.stdout.take().unwrap());
        // What its test harness says comes before.
        let forked = output.lines().find_map(|line| Some(line.unwrap().split_once("forked ")?.1.to_owned()));
        holder.forked = forked.expect("the holder ended").parse().unwrap();
        holder
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    fn both(&self) -> [i32; 2] {
        [self.pid(), self.forked]
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.forked != 0 {
            signal(self.forked, libc::SIGKILL);
        }
        // The forked child is its, so that this comes second.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: sends a signal to a process that this test has started and not waited for, or to its child.
    unsafe { libc::kill(pid, signal) };
}

/// Not a promise: what the tests below start, in a process of its own.
#[test]
#[ignore = "what the others start"]
fn what_the_others_start() {
    let Some(directory) = std::env::var_os("COMMONS_TEST_HOLDS") else { return };
    let namespace = Namespace::at(directory).unwrap();
    let segment = SegmentOptions::new().size(SIZE).namespace(&namespace).open_or_create("x").unwrap();
    let attachment = segment.attach().unwrap();
    let words = attachment.atomics::<AtomicU64>(..).unwrap();
    let count = |at: [u64; 2]| -> ! {
        for number in 1.. {
            for at in at {
                words[at as usize / 8].store(number, SeqCst);
            }
        }
        unreachable!("there are enough numbers");
    };
    // SAFETY: the child does nothing but ask for a signal and write to shared memory.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: asks for a signal, which ends it when its parent has ended, stopped or not.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            count(FORKED)
        }
        pid => {
            println!("forked {pid}");
            // SAFETY: as above; this thread's parent is the test that has started this process.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            count(COUNTS)
        }
    }
}

/// A place with the segment that they count in, which nobody holds.
fn place() -> Place {
    let place = Place::new();
    place.get(&["create", "x", &SIZE.to_string()]);
    place
}

/// The letters of the states of a process's threads.
fn states(pid: i32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let state = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    tasks.map(|task| state(task.unwrap())).collect()
}

fn is_stopped(pid: i32) -> bool {
    states(pid).chars().all(|state| state == 'T')
}

#[track_caller]
fn wait_until(what: &str, longest: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < longest, "{what} takes longer than {longest:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn number(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_ne_bytes(bytes)
}

/// What was counted, in a raw snapshot or in the segment itself.
fn counts(path: &Path, at: [u64; 2]) -> [u64; 2] {
    // Open only just now: a holder would be stopped.
    let file = File::open(path).unwrap();
    at.map(|at| number(&file, at))
}

/// Both go on counting.
#[track_caller]
fn assert_goes_on(place: &Place, what: &str) {
    for at in [COUNTS, FORKED] {
        let before = counts(&place.path("x"), at);
        wait_until(what, SOON, || counts(&place.path("x"), at)[0] > before[0]);
    }
}

/// Whether this process has a pid namespace of its own, in which it sees all processes, as pausing needs, and with
/// which all end. If it has not, the test runs in a child that has.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("COMMONS_TEST_ALONE").is_some() {
        return true;
    }
    let alone = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program).stdin(Stdio::null());
        command
    };
    let can = alone(Path::new("true")).output().is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("SKIPPED: {test}: needs root, and unshare of util-linux");
        return false;
    }
    let mut command = alone(&std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env("COMMONS_TEST_ALONE", "yes");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", text.concat());
    print!("{}", text[0]);
    false
}

#[test]
fn what_is_saved_is_of_one_moment() {
    if !is_alone("what_is_saved_is_of_one_moment") {
        return;
    }
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("saved");
    let _holder = Holder::start(&place);
    let path = file.to_str().unwrap();
    let mut last = 0;
    for round in 0..40 {
        place.get(&["save", "x", path, "--raw", "--no-sync", "--pause"]);
        for at in [COUNTS, FORKED] {
            let [first, second] = counts(&file, at);
            // Between the two it has counted once and not twice.
            assert!(first == second || first == second + 1, "round {round}: {first} and {second}");
        }
        let [now, _] = counts(&file, COUNTS);
        assert!(now > last, "round {round}: it went on after the one before");
        last = now;
        assert_goes_on(&place, "going on after a save");
    }
    let mut apart = 0;
    for _ in 0..40 {
        place.get(&["save", "x", path, "--raw", "--no-sync"]);
        let [first, second] = counts(&file, COUNTS);
        apart += u32::from(first != second && first != second + 1);
    }
    println!("not paused, {apart} of 40 snapshots are of no one moment");
}

/// A save in its middle, with all holders stopped, and stopped itself then.
struct Hanging {
    command: Child,
}

impl Hanging {
    fn start(place: &Place, path: &Path, holder: &Holder) -> Hanging {
        // Bytes that take long to be compressed as well as can be.
        let words: Vec<u8> = (0..SIZE - 8192).map(|at| b"abcdefgh"[(at * at / 977 % 8) as usize]).collect();
        let segment = File::options().write(true).open(place.path("x")).unwrap();
        segment.write_all_at(&words, 4096).unwrap();
        drop(segment);
        let mut command = place.command(&["save", "x", path.to_str().unwrap(), "--zstd=22", "--pause"]);
        // A group of its own, as a shell makes one for each command.
        let mut command = command.stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        wait_until("the beginning of a save", PATIENCE, || {
            assert!(command.try_wait().unwrap().is_none(), "the save has ended");
            holder.both().into_iter().all(is_stopped)
        });
        signal(command.id() as i32, libc::SIGSTOP);
        Hanging { command }
    }

    /// Ends by a signal to it, or to all of its group.
    fn end_by(mut self, signal: i32, group: bool) {
        let pid = self.command.id() as i32;
        self::signal(if group { -pid } else { pid }, signal);
        self::signal(pid, libc::SIGCONT);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&self.end()), Some(signal));
    }

    fn end(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        wait_until("the end of the command", PATIENCE, || {
            status = self.command.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[test]
fn the_holders_go_on_when_the_command_is_killed() {
    if !is_alone("the_holders_go_on_when_the_command_is_killed") {
        return;
    }
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let holder = Holder::start(&place);
    let ways = [
        (libc::SIGKILL, false),
        (libc::SIGINT, false),
        // As Ctrl-C does.
        (libc::SIGINT, true),
        (libc::SIGTERM, false),
        (libc::SIGTERM, true),
        (libc::SIGHUP, true),
    ];
    for (round, (signal, group)) in ways.into_iter().enumerate() {
        let hanging = Hanging::start(&place, &files.path().join(round.to_string()), &holder);
        let before = [COUNTS, FORKED].map(|at| counts(&place.path("x"), at));
        std::thread::sleep(Duration::from_millis(20));
        let now = [COUNTS, FORKED].map(|at| counts(&place.path("x"), at));
        assert_eq!(before, now, "nobody counts meanwhile");
        hanging.end_by(signal, group);
        assert_goes_on(&place, &format!("going on after signal {signal}"));
    }
}

#[test]
fn who_was_stopped_before_stays_stopped() {
    if !is_alone("who_was_stopped_before_stays_stopped") {
        return;
    }
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let holder = Holder::start(&place);
    signal(holder.pid(), libc::SIGSTOP);
    wait_until("stopping", PATIENCE, || is_stopped(holder.pid()));
    let path = files.path().join("saved");
    place.get(&["save", "x", path.to_str().unwrap(), "--no-sync", "--pause"]);
    // Whoever was to go on was told before the command ended.
    assert!(is_stopped(holder.pid()), "{}", states(holder.pid()));
    let before = counts(&place.path("x"), FORKED);
    wait_until("its child's going on", SOON, || counts(&place.path("x"), FORKED)[0] > before[0]);

    // Killed, it does not let go on either who was stopped before.
    Hanging::start(&place, &files.path().join("hanging"), &holder).end_by(libc::SIGKILL, false);
    let before = counts(&place.path("x"), FORKED);
    wait_until("its child's going on", SOON, || counts(&place.path("x"), FORKED)[0] > before[0]);
    assert!(is_stopped(holder.pid()), "{}", states(holder.pid()));
    signal(holder.pid(), libc::SIGCONT);
    assert_goes_on(&place, "going on when told");
}

#[test]
fn a_save_that_stands_still_lets_the_holders_go_on_and_fails() {
    if !is_alone("a_save_that_stands_still_lets_the_holders_go_on_and_fails") {
        return;
    }
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("saved");
    let holder = Holder::start(&place);
    let mut hanging = Hanging::start(&place, &path, &holder);
    wait_until("going on", 5 * SOON, || !holder.both().into_iter().any(is_stopped));
    assert_goes_on(&place, "going on while the save stands still");
    signal(hanging.command.id() as i32, libc::SIGCONT);
    assert_eq!(hanging.end().code(), Some(1), "what it has read is not as of one moment");
    assert!(!path.exists());
}

#[test]
fn two_that_pause_the_same_segment_do_not_stop_each_other() {
    if !is_alone("two_that_pause_the_same_segment_do_not_stop_each_other") {
        return;
    }
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let holder = Holder::start(&place);
    let first = Hanging::start(&place, &files.path().join("first"), &holder);
    let path = files.path().join("second");
    let complaint = place.fail(1, &["save", "x", path.to_str().unwrap(), "--pause"]);
    assert!(complaint.contains("somebody else is pausing"), "{complaint}");
    assert!(holder.both().into_iter().all(is_stopped), "the first still has them");
    first.end_by(libc::SIGKILL, false);
    assert_goes_on(&place, "going on after the first");
    let complaint = place.fail(2, &["save", "x", "-", "--pause"]);
    assert!(complaint.contains("needs a file"), "{complaint}");
}

#[test]
fn who_made_the_segment_is_stopped_too() {
    if !is_alone("who_made_the_segment_is_stopped_too") {
        return;
    }
    // Made by the holder, for whom /proc calls it otherwise than for those who open it.
    let place = Place::new();
    let _holder = Holder::start(&place);
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("saved");
    for round in 0..10 {
        place.get(&["save", "x", file.to_str().unwrap(), "--raw", "--no-sync", "--pause"]);
        for at in [COUNTS, FORKED] {
            let [first, second] = counts(&file, at);
            assert!(first == second || first == second + 1, "round {round}: {first} and {second}");
        }
    }
}
