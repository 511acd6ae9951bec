//! How long shared memory that is there takes to attach and to give up, against the calls that libgpl makes for it.
//!
//! `cargo test --release -p commons-gpl --test speed -- --ignored --nocapture`, on a quiet machine.

mod common;

use common::{Linked, Place, compile};

#[test]
#[ignore = "measures; wants a quiet machine and a release build"]
fn attaching_what_is_there() {
    let place = Place::new();
    for linked in [Linked::Shared, Linked::Static] {
        let program = compile("speed.c", place.files.path(), linked);
        // Where libgpl has its database, and in memory, which is kinder to it.
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        for directory in [place.files.path(), memory.path()] {
            let status = place.command(&program).arg(directory.join("nob_database")).status().unwrap();
            assert!(status.success());
        }
    }
}
