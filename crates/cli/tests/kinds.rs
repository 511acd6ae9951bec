//! `ls` shows every kind of shared memory on the machine, and `rm` takes the kernel's too.

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::Place;
use commons::{Namespace, Segment, SegmentOptions};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

/// A child that another test starts has copies of this process's descriptors until it runs its program, and would be
/// listed with what they lead to: so there is one test at a time.
static ONE_TEST: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The command on the whole machine.
fn everywhere(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commons"));
    let output = command.args(arguments).env_remove("COMMONS_NAMESPACE").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn list(arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&everywhere(&[&["ls", "--json"], arguments].concat())).unwrap()
}

fn find<'l>(list: &'l [Value], name: &str) -> &'l Value {
    list.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name} in {list:#?}"))
}

#[test]
fn memory_that_only_processes_lead_to_is_listed() {
    let _alone = alone();
    let own = std::process::id();
    let label = format!("kinds-{own}");
    let memfd: OwnedFd = memfd_create(&*label, MemfdFlags::CLOEXEC).unwrap();
    let memfd = File::from(memfd);
    memfd.set_len(123_456).unwrap();
    let gone = format!("/dev/shm/kinds-gone-{own}");
    let deleted = File::options().read(true).write(true).create_new(true).open(&gone).unwrap();
    deleted.set_len(8192).unwrap();
    std::fs::remove_file(&gone).unwrap();
    // Mapped only, without a descriptor.
    let mapped = Segment::from_fd(deleted).unwrap().attach().unwrap();
    mapped.write_at(0, b"x").unwrap();
    let found = list(&["--kind", "memfd,deleted"]);
    let of_memfd = find(&found, &format!("memfd:{label}"));
    assert_eq!((&of_memfd["kind"], &of_memfd["size"]), (&"memfd".into(), &123_456.into()));
    assert_eq!(of_memfd["processes"], serde_json::json!([own]));
    let of_deleted = find(&found, &gone);
    assert_eq!((&of_deleted["kind"], &of_deleted["size"]), (&"deleted".into(), &8192.into()));
    assert!(found.iter().all(|it| it["kind"] == "memfd" || it["kind"] == "deleted"));
    assert!(list(&["--kind", "posix"]).iter().all(|it| it["kind"] == "posix"));
    drop((memfd, mapped));
    let left = list(&["--kind", "memfd,deleted"]);
    assert!(left.iter().all(|it| it["name"] != gone.as_str() && it["name"] != format!("memfd:{label}")));
}

#[test]
fn who_has_a_segment_mapped_is_counted_without_commons_too() {
    let _alone = alone();
    let posix = Namespace::posix().unwrap();
    let name = format!("kinds-{}", std::process::id());
    let segment = SegmentOptions::new().size(4096).namespace(&posix).create(&name).unwrap();
    // Made without a name, as /proc goes on to call it.
    let found = list(&[]);
    assert_eq!(find(&found, &name)["processes"], serde_json::json!([std::process::id()]));
    let nameless = |it: &&Value| it["name"].as_str().unwrap().starts_with("/dev/shm/#");
    let own = |it: &&Value| it["processes"].as_array().unwrap().contains(&std::process::id().into());
    assert_eq!(found.iter().filter(nameless).filter(own).count(), 0, "{found:#?}");
    let file = File::options().read(true).write(true).open(format!("/dev/shm/{name}")).unwrap();
    let found = list(&[]);
    let it = find(&found, &name);
    assert_eq!((&it["holders"], &it["processes"]), (&1.into(), &serde_json::json!([std::process::id()])));
    assert!(everywhere(&["ls"]).lines().any(|line| line.starts_with(&name) && line.contains("kinds")));
    drop((segment, file));
}

#[test]
fn system_v_segments_are_listed_shown_and_removed() {
    let _alone = alone();
    // In an ipc namespace of its own, where there is nothing else.
    let script = r#"
        set -eu
        ipcmk -M 5000 -p 0640 >&2
        ipcmk -M 4096 >&2
        "$0" ls --kind sysv --json
        echo ----
        "$0" info sysv:0
        "$0" rm sysv:0 sysv:1
        "$0" ls --kind sysv --json
        if "$0" rm sysv:0; then exit 9; fi
    "#;
    let mut command = Command::new("unshare");
    command.args(["--ipc", "sh", "-c", script, env!("CARGO_BIN_EXE_commons")]);
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(1) => output,
        failed => {
            eprintln!(
                "SKIPPED: system_v_segments_are_listed_shown_and_removed: needs root and unshare: {failed:?}"
            );
            return;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (before, after) = text.split_once("----").unwrap();
    let found: Vec<Value> = serde_json::from_str(before).unwrap();
    let it = find(&found, "sysv:0");
    assert_eq!(
        (found.len(), &it["size"], &it["mode"], &it["holders"]),
        (2, &5000.into(), &"0640".into(), &0.into())
    );
    assert!(it["key"].as_str().unwrap().starts_with("0x"));
    // Its maker, ipcmk, has ended, and nobody has it attached.
    assert_eq!(it["orphan"], true);
    assert!(
        after.contains("5000 bytes") && after.contains("orphan") && after.contains("never attached"),
        "{after}"
    );
    assert!(after.trim_end().ends_with("[]"), "{after}");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("System V segment 0: there is no such segment"), "{complaint}");
}

#[test]
fn rows_are_sorted_chosen_and_summed_up() {
    let _alone = alone();
    let place = Place::new();
    place.get(&["create", "b", "10"]);
    place.get(&["create", "a", "3K"]);
    place.get(&["create", "c", "20"]);
    place.make_orphan("d", 4096);
    let names = |arguments: &[&str]| -> Vec<String> {
        let list: Vec<Value> =
            serde_json::from_str(&place.get(&[&["ls", "--json"], arguments].concat())).unwrap();
        list.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["a", "b", "c", "d"]);
    assert_eq!(names(&["--sort", "size"]), ["d", "a", "c", "b"]);
    assert_eq!(names(&["--sort", "size", "--reverse"]), ["b", "c", "a", "d"]);
    assert_eq!(names(&["--sort", "name", "--reverse"]), ["d", "c", "b", "a"]);
    assert_eq!(names(&["--orphans"]), ["d"]);
    assert_eq!(names(&["--mine"]).len(), 4);
    assert_eq!(names(&["--kind", "file"]).len(), 4);
    for sort in ["kind", "resident", "holders", "owner", "age"] {
        assert_eq!(names(&["--sort", sort]).len(), 4);
    }
    let text = place.get(&["ls"]);
    assert!(text.lines().last().unwrap().starts_with("4 in all: 7.0 KiB, "), "{text}");
    place.fail(2, &["ls", "--kind", "nonsense"]);
    place.fail(2, &["ls", "--sort", "nonsense"]);
}

#[test]
fn a_file_that_is_called_like_a_system_v_segment_is_not_taken_for_one() {
    let _alone = alone();
    let place = Place::new();
    place.get(&["create", "sysv:2147483000", "10"]);
    for arguments in [["rm", "sysv:2147483000"], ["info", "sysv:2147483000"]] {
        assert!(place.fail(1, &arguments).contains("path"));
    }
    let path = place.path("sysv:2147483000");
    assert!(place.get(&["info", path.to_str().unwrap()]).contains("10 bytes"));
    place.get(&["rm", path.to_str().unwrap()]);
    assert!(place.names().is_empty());
    for odd in ["sysv:+5", "sysv:007", "sysv:", "sysv:99999999999"] {
        assert!(place.fail(1, &["rm", odd]).contains("no such segment"), "{odd}");
    }
    assert!(place.fail(1, &["rm", "sysv:2147483000"]).contains("System V segment 2147483000"));
}
