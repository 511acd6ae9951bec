//! Where the library differs from the kernel: each difference by its name, with what either says.

mod common;

use std::sync::OnceLock;

use common::{Place, Program, can_compare, text};

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::new("differs"))
}

fn kernel(case: &str) -> String {
    text(&program().on_the_kernel().arg(case).output().unwrap())
}

fn commons(case: &str) -> String {
    text(&program().on_commons(Place::new().0.path()).arg(case).output().unwrap())
}

fn differs(case: &str, on_the_kernel: &str, on_commons: &str) {
    if can_compare(case) {
        assert_eq!(kernel(case), on_the_kernel);
        assert_eq!(commons(case), on_commons);
    }
}

#[test]
fn nattch_counts_attachments_and_not_their_fragments() {
    differs("fragments", "protected: 3\nhole: 2\ndetached: 0\n", "protected: 1\nhole: 1\ndetached: 0\n");
}

#[test]
fn what_cannot_fit_is_refused_even_without_reservation() {
    differs("noreserve", "made\n", "ENOMEM\n");
}

#[test]
fn who_is_not_privileged_cannot_give_a_segment_away() {
    differs("give", "made\n", "EPERM\n");
}

#[test]
fn processes_made_by_a_raw_clone_are_not_counted() {
    differs("clone", "2\n", "1\n");
}

#[test]
fn maps_show_other_names() {
    differs("maps", "SYSV\n", "shm\n");
}

#[test]
fn memory_stays_locked_only_while_a_locker_lives() {
    differs("locker", "2600\n", "600\n");
}

#[test]
fn huge_pages_are_a_wish() {
    assert_eq!(commons("huge"), "made\n", "also where none are set aside");
}

#[test]
fn too_large_for_the_space_left_fails_in_shmget() {
    if !can_compare("too_large_for_the_space_left_fails_in_shmget") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let run = program()
        .on_commons(directory.path())
        .arg("large")
        .get_args()
        .fold(String::new(), |all, word| format!("{all} '{}'", word.to_str().unwrap()));
    let script = format!("mount -t tmpfs -o size=4m none '{place}' && exec timeout {run}");
    let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    assert_eq!(text(&output), "ENOMEM\n");
}

#[test]
fn after_an_exit_nothing_is_left() {
    let place = Place::new();
    let output = program().on_commons(place.0.path()).arg("exit").output().unwrap();
    assert_eq!(text(&output), "x\n");
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn after_a_kill_the_memory_goes_with_the_next_call() {
    let place = Place::new();
    let run = |case: &str| program().on_commons(place.0.path()).arg(case).output().unwrap();
    run("orphan");
    assert_eq!(place.files(), ["shm.0"]);
    run("look");
    assert_eq!(place.files(), [""; 0]);
}

#[test]
fn after_a_kill_a_sweep_finds_the_memory_too() {
    let place = Place::new();
    program().on_commons(place.0.path()).arg("orphan").output().unwrap();
    let namespace = commons::Namespace::at(place.0.path()).unwrap();
    assert_eq!(namespace.sweep().unwrap().segments, 1);
    assert_eq!(place.files(), [""; 0]);
    let again = program().on_commons(place.0.path()).args(["create", "1"]).output().unwrap();
    assert_eq!(text(&again), "1\n");
}

#[test]
fn the_tools_of_util_linux_work() {
    let place = Place::new();
    let run = |words: &[&str]| {
        text(&program().other_on_commons(place.0.path(), words[0]).args(&words[1..]).output().unwrap())
    };
    if run(&["ipcmk", "-V"]).is_empty() {
        eprintln!("SKIPPED: the_tools_of_util_linux_work: needs ipcmk");
        return;
    }
    assert_eq!(run(&["ipcmk", "-M", "5000", "-p", "0640"]), "Shared memory id: 0\n");
    program().on_commons(place.0.path()).args(["create", "4660"]).output().unwrap();
    let list = run(&["ipcs", "-m"]);
    assert!(list.contains("0x00001234 1") && list.contains("640        5000       0"), "{list}");
    assert!(run(&["ipcs", "-m", "-i", "1"]).contains("bytes=5000"));
    assert!(run(&["ipcs", "-m", "-u"]).contains("segments allocated 2"), "{}", run(&["ipcs", "-m", "-u"]));
    assert!(run(&["lsipc", "-m"]).contains("0x00001234"));
    assert_eq!(run(&["ipcrm", "-m", "0"]), "");
    assert_eq!(run(&["ipcrm", "-M", "0x1234"]), "");
    assert_eq!(place.files(), [""; 0]);
}
