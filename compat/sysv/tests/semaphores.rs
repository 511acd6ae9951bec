//! System V semaphores do what the kernel's do: one C program, run on the kernel's in an ipc namespace of its own and on
//! Commons, prints the same.

mod common;

use std::process::Command;

use common::{Place, alone, can_be_alone, told};

/// Runs a section of the program on both, and compares line by line.
fn same(section: &str) {
    if !can_be_alone() {
        eprintln!("SKIPPED: {section}: it needs the right to make an ipc namespace");
        return;
    }
    let place = Place::new();
    let program = place.program("semaphores.c");
    let kernel = told(&alone(Command::new(&program).arg(section)).output().unwrap());
    let commons = told(&alone(place.on_commons(&program).arg(section)).output().unwrap());
    assert!(kernel.lines().count() > 3, "it says nothing: {kernel}");
    for (line, (theirs, ours)) in kernel.lines().zip(commons.lines()).enumerate() {
        assert_eq!(theirs, ours, "line {} of\n{kernel}\nand\n{commons}", line + 1);
    }
    assert_eq!(kernel, commons);
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
    if !can_be_alone() {
        eprintln!("SKIPPED: the_kernel_has_no_part_in_it: it needs the right to make an ipc namespace");
        return;
    }
    let place = Place::new();
    let program = place.program("semaphores.c");
    // In a namespace in which the kernel lets nobody have a set.
    let script = "echo 0 0 0 0 > /proc/sys/kernel/sem && exec \"$0\" operate";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(&program);
    let kernel = alone(&mut command).output().unwrap();
    assert!(!kernel.status.success(), "{}", told(&kernel));
    command.env("LD_PRELOAD", common::library()).env("COMMONS_SYSV_NAMESPACE", place.namespace());
    let commons = command.output().unwrap();
    assert!(commons.status.success(), "{}", told(&commons));
}

/// Whatever stands in a set's memory, calls end with some result, and no signal.
#[test]
fn any_bytes_are_survived() {
    let place = Place::new();
    let program = place.program("semaphore_bytes.c");
    let output = place.on_commons(&program).args(["400", "7"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}
