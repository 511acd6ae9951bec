//! The same program on the kernel and on the library: every flag, command and error of shared memory.

mod common;

use std::sync::OnceLock;

use common::{Place, Program, can_compare, text};

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::new("shm").with_library("deep"))
}

fn same(section: &str) {
    if !can_compare(section) {
        return;
    }
    let kernel = program().on_the_kernel().arg(section).output().unwrap();
    let place = Place::new();
    let commons = program().on_commons(place.0.path()).arg(section).output().unwrap();
    let (kernel, commons) = (text(&kernel), text(&commons));
    assert!(kernel.lines().count() > 1, "{kernel}");
    for (number, (one, other)) in kernel.lines().zip(commons.lines()).enumerate() {
        assert_eq!(one, other, "line {} of {section}: the kernel's, the library's\n{commons}", number + 1);
    }
    assert_eq!(kernel, commons);
}

macro_rules! sections {
    ($($section:ident: $name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                same(stringify!($section));
            }
        )*

        #[test]
        fn no_section_is_left_out() {
            let listed = std::process::Command::new(&program().path).output().unwrap();
            let tested = [$(stringify!($section)),*];
            assert_eq!(text(&listed).lines().collect::<Vec<_>>(), tested);
        }
    };
}

sections! {
    get: shmget_finds_makes_and_refuses_alike,
    ids: ids_are_the_kernel_s,
    limit: there_are_as_many_as_the_kernel_has,
    fresh: a_new_segment_is_alike,
    at: shmat_places_and_refuses_alike,
    read_only: what_is_read_only_stays_so,
    dt: shmdt_finds_what_was_unmapped_moved_and_split,
    ctl: shmctl_answers_alike,
    removed: a_removed_segment_lives_alike,
    info: shmctl_counts_alike,
    lock: memory_is_locked_alike,
    permissions: permissions_are_alike,
    given: owner_and_creator_may_alike,
    life: attachments_are_counted_through_the_life_of_processes,
    pieces: forks_keep_pieces_and_protections,
    threads: threads_may_fork_meanwhile,
    no_descriptors: no_descriptor_is_kept,
    signals: handlers_may_call_too,
    raw: the_function_syscall_is_caught_and_passes_on_the_rest,
    deep: libraries_with_their_own_scope_are_caught,
}
