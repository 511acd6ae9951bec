//! System V semaphores do what the kernel's do: one C program, run on the kernel's in an ipc namespace of its own and on
//! Commons, prints the same.

mod common;

use common::{Place, Program, can_compare, text};

/// Runs a section of the program on both, and compares line by line.
fn same(section: &str) {
    if !can_compare(section) {
        return;
    }
    let (place, program) = (Place::new(), Program::new("semaphores"));
    let kernel = text(&program.on_the_kernel().arg(section).output().unwrap());
    let mut ours = program.other_on_commons(place.0.path(), "unshare");
    let commons = text(&ours.arg("-i").arg(&program.path).arg(section).output().unwrap());
    assert!(kernel.lines().count() > 3, "it says nothing: {kernel}");
    for (line, (theirs, ours)) in kernel.lines().zip(commons.lines()).enumerate() {
        assert_eq!(theirs, ours, "line {} of\n{kernel}\nand\n{commons}", line + 1);
    }
    assert_eq!(kernel, commons);
    no_sets_are_left(&place);
}

fn no_sets_are_left(place: &Place) {
    let left: Vec<_> = place.files().into_iter().filter(|file| file.starts_with("sem.")).collect();
    assert!(left.is_empty(), "sets are left: {left:?}");
}

macro_rules! sections {
    ($($(#[$about:meta])* $test:ident: $section:literal;)*) => { $(
        $(#[$about])*
        #[test]
        fn $test() {
            same($section);
        }
    )* };
}

sections! {
    sets_are_made_and_found: "get";
    operations_are_done_whole_and_refused_with_the_same_errors: "operate";
    every_command_tells_and_changes_the_same: "control";
    limits_and_lists_are_told: "info";
    waiters_are_counted_and_served_in_order: "waiting";
    handlers_end_a_wait_also_with_sa_restart: "signals";
    what_the_dead_owe_is_undone: "undo";
    what_is_owed_is_kept_over_exec: "exec";
    threads_and_processes_and_many_sets: "many";
    permissions_are_asked_for: "permissions";
}

/// Differs on purpose: nothing of all this needs System V in the kernel.
#[test]
fn the_kernel_has_no_part_in_it() {
    if !can_compare("the_kernel_has_no_part_in_it") {
        return;
    }
    let (place, program) = (Place::new(), Program::new("semaphores"));
    // In a namespace in which the kernel lets nobody have a set.
    let script = "echo 0 0 0 0 > /proc/sys/kernel/sem && exec $0 operate";
    let arguments = ["-i", "sh", "-c", script];
    let kernel = std::process::Command::new("unshare").args(arguments).arg(&program.path).output().unwrap();
    assert!(!kernel.status.success(), "{}", text(&kernel));
    let mut ours = program.other_on_commons(place.0.path(), "unshare");
    let commons = ours.args(arguments).arg(&program.path).output().unwrap();
    assert!(commons.status.success(), "{}", text(&commons));
}

/// Whatever stands in a set's memory, calls end with some result, and no signal.
#[test]
fn any_bytes_are_survived() {
    let (place, program) = (Place::new(), Program::new("semaphore_bytes"));
    let output = program.on_commons(place.0.path()).args(["400", "7"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
