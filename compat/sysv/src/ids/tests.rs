//! The table by itself; that processes can be killed at any moment is tested through the C interface.

use std::fs;

use super::*;
use crate::quiet::Quiet;

fn table(kind: Kind) -> (tempfile::TempDir, Table) {
    table_in("/dev/shm", kind)
}

fn table_in(parent: &str, kind: Kind) -> (tempfile::TempDir, Table) {
    let directory = tempfile::tempdir_in(parent).unwrap();
    let table = Table::open_in(kind, directory.path()).unwrap();
    (directory, table)
}

fn new(key: i32) -> New {
    New { key, uid: 0, gid: 0, mode: 0o600, size: 1, flags: 0 }
}

fn create(table: &Table, key: i32) -> i32 {
    let file = |id| {
        let path = table.namespace.directory().join(format!("{}.{id}", table.kind.prefix()));
        Ok(fs::File::create_new(path).is_ok())
    };
    match table.create(&Quiet::new(), &new(key), &mut { file }).unwrap() {
        Created::New(id) => id,
        other => panic!("{other:?}"),
    }
}

fn free(table: &Table, id: i32) {
    let (word, _, entry) = table.get(id).unwrap();
    fs::remove_file(table.namespace.directory().join(format!("{}.{id}", table.kind.prefix()))).unwrap();
    assert!(table.free(entry, word));
    assert!(table.get(id).is_none());
}

fn find(table: &Table, key: i32) -> Option<i32> {
    table.find(key).unwrap().map(|(id, ..)| id)
}

#[test]
fn ids_go_round_as_the_kernel_s_do() {
    let (_directory, table) = table(Kind::Memory);
    for round in 0..3 {
        for index in 0..64 {
            let id = create(&table, 0);
            assert_eq!(id, round << 15 | index);
            free(&table, id);
        }
    }
    // One that stays is passed over.
    let stays = create(&table, 0);
    let ids: Vec<i32> = (0..64).map(|_| create(&table, 0)).inspect(|id| free(&table, *id)).collect();
    assert_eq!(ids[0], stays + 1);
    assert_eq!(*ids.last().unwrap(), (4 << 15) + 1);
}

#[test]
fn keys_are_found_until_they_are_removed() {
    for kind in [Kind::Memory, Kind::Semaphores] {
        let (_directory, table) = table(kind);
        let ids: Vec<i32> = (1..=2000).map(|key| create(&table, key)).collect();
        for (key, id) in (1..).zip(&ids) {
            assert_eq!(find(&table, key), Some(*id));
        }
        assert_eq!(find(&table, 2001), None);
        for id in ids.iter().step_by(2) {
            let (word, _, entry) = table.get(*id).unwrap();
            assert!(table.remove(entry, word));
            assert!(!table.remove(entry, word));
            assert_eq!(table.get(*id).unwrap().1, State::Removed);
        }
        for (key, id) in (1..).zip(&ids) {
            assert_eq!(find(&table, key), (key % 2 == 0).then_some(*id));
        }
        // The same keys again, in entries of their own.
        for id in ids.iter().step_by(2) {
            free(&table, *id);
        }
        for key in (1..=2000).step_by(2) {
            let id = create(&table, key);
            assert_eq!(find(&table, key), Some(id));
        }
        let exists = table.create(&Quiet::new(), &new(7), &mut |_| unreachable!()).unwrap();
        assert_eq!(Created::Exists(find(&table, 7).unwrap()), exists);
    }
}

#[test]
fn there_are_as_many_as_the_limit_says() {
    let (_directory, table) = table(Kind::Memory);
    let ids: Vec<i32> = (0..4096).map(|_| create(&table, 0)).collect();
    let refused = table.create(&Quiet::new(), &new(1), &mut |_| unreachable!());
    assert_eq!(refused, Err(libc::ENOSPC));
    free(&table, ids[17]);
    create(&table, 0);
}

/// Runs in a child, which ends on its way.
fn forked(function: impl FnOnce()) {
    // SAFETY: the child calls the function, which forks no more, and ends without running anything of the parent's.
    match unsafe { libc::fork() } {
        0 => {
            function();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
}

#[test]
fn a_creation_that_did_not_end_leaves_nothing() {
    // In memory, and on what is a disk unless the machine has none.
    for parent in ["/dev/shm", "/var/tmp"] {
        a_creation_that_did_not_end_leaves_nothing_in(parent);
    }
}

fn a_creation_that_did_not_end_leaves_nothing_in(parent: &str) {
    let (directory, table) = table_in(parent, Kind::Memory);
    let path = |id: i32| directory.path().join(format!("shm.{id}"));
    let first = create(&table, 1);
    free(&table, first);
    let second = create(&table, 2);
    // Dies with the file in place, and the entry not yet.
    forked(|| {
        let _ = table.create(&Quiet::new(), &new(3), &mut |id| {
            fs::File::create_new(path(id)).unwrap();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        });
    });
    assert!(path(2).exists());
    assert!(table.find(3).is_err(), "without the lock nothing can be said");
    let quiet = Quiet::new();
    assert!(table.lock(&quiet).unwrap().unwrap().find(3).is_none());
    drop(quiet);
    assert!(!path(2).exists(), "no entry speaks of it");
    assert_eq!(find(&table, 3), None);
    assert_eq!(find(&table, 2), Some(second));
    // The id that nobody saw is not given out, nor any other twice.
    assert_eq!(create(&table, 3), 3);
}

#[test]
fn a_table_that_was_deleted_is_stale() {
    let (directory, table) = table(Kind::Memory);
    create(&table, 1);
    fs::remove_file(directory.path().join("ids.shm")).unwrap();
    assert!(table.lock(&Quiet::new()).unwrap().is_none());
    let table = Table::open_in(Kind::Memory, directory.path()).unwrap();
    assert_eq!(find(&table, 1), None);
    assert_eq!(create(&table, 1), 0, "in spite of the file that was left");
}
