//! The interface in C: each function, and each row of libgpl's behaviour, by programs that are compiled here against the
//! headers and linked with the shared library and with the static one.

mod common;

use std::process::{Command, Stdio};

use common::{BESIDE_STATIC, Linked, Place, compile, library};

fn runs(source: &str) {
    for linked in [Linked::Shared, Linked::Static] {
        let place = Place::new();
        let program = compile(source, place.files.path(), linked);
        let status = place.command(&program).status().unwrap();
        assert!(status.success(), "{source}, {linked:?}: {status}");
        assert!(place.names().is_empty(), "{source}, {linked:?} left {:?}", place.names());
        place.must_be_swept_clean();
    }
}

#[test]
fn shared_memory() {
    runs("shm.c");
}

#[test]
fn named_objects() {
    runs("nob.c");
}

#[test]
fn semaphores() {
    runs("sem.c");
}

#[test]
fn from_cxx() {
    if Command::new("c++").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: from_cxx: needs a C++ compiler");
        return;
    }
    runs("cxx.cc");
}

#[test]
fn the_headers_stand_alone() {
    for header in ["shm_util.h", "nob_util.h", "sem_util.h"] {
        for language in [["-xc", "-std=c99"], ["-xc++", "-std=c++11"]] {
            let mut compiler = Command::new("cc");
            compiler.args(language).args([
                "-pedantic-errors",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
            ]);
            compiler.arg(format!("{}/include/{header}", env!("CARGO_MANIFEST_DIR")));
            assert!(compiler.status().unwrap().success(), "{header} {language:?}");
        }
    }
}

/// The documentation's list of what to link beside the static library is what the compiler says.
#[test]
fn what_to_link_beside_the_static_library() {
    let documented = include_str!("../../../docs/libgpl.md");
    let list = BESIDE_STATIC.join(" ");
    assert!(documented.contains(&format!("libcommons_gpl.a {list}")), "docs/libgpl.md has: {list}");
}

#[test]
fn nothing_but_the_interface_is_exported() {
    let mut nm = Command::new("nm");
    let listed = nm.args(["-D", "--defined-only"]).arg(library().join("libcommons_gpl.so")).output();
    let Ok(listed) = listed else {
        eprintln!("SKIPPED: nothing_but_the_interface_is_exported: needs nm");
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut exported: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    exported.sort_unstable();
    let mut interface = vec![
        "nobAbort",
        "nobCommit",
        "nobCount",
        "nobCreate",
        "nobDestroy",
        "nobExists",
        "nobName",
        "nobValue",
        "nob_util_debug",
        "sem_create",
        "sem_delete",
        "sem_give",
        "sem_id",
        "sem_take",
        "sem_util_debug",
        "sem_value",
        "shmAddress",
        "shmCreate",
        "shmDestroy",
        "shmId",
        "shmLoad",
        "shmSave",
        "shmSizeOf",
        "shm_util_debug",
    ];
    interface.sort_unstable();
    assert_eq!(exported, interface);
}

/// In a directory that the environment names, users share what their common group may; others get nothing.
#[test]
fn users_that_share_a_database() {
    use std::fs::{Permissions, set_permissions};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    use std::process::Child;
    // SAFETY: asks for an id.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: users_that_share_a_database: needs root");
        return;
    }
    let place = Place::new();
    let program = compile("users.c", place.files.path(), Linked::Static);
    set_permissions(place.files.path(), Permissions::from_mode(0o755)).unwrap();
    chown(place.database.path(), Some(0), Some(61234)).unwrap();
    set_permissions(place.database.path(), Permissions::from_mode(0o2770)).unwrap();
    let start = |what: &str, user: u32, group: u32| -> Child {
        let mut command = Command::new(&program);
        command.arg(what).env("COMMONS_GPL_NAMESPACE", place.database.path());
        command.uid(user).gid(group).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let hear = |child: &mut Child| child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let mut holder = start("hold", 61001, 61234);
    hear(&mut holder);
    assert!(start("refused", 61003, 61003).wait().unwrap().success());
    let mut other = start("look", 61002, 61234);
    hear(&mut other);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    assert!(place.names().is_empty(), "{:?}", place.names());
    place.must_be_swept_clean();
}
