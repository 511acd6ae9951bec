//! `save` and `load` on the command line: files and pipes, new segments and those that are there.

mod common;

use std::process::Stdio;

use common::Place;
use serde_json::Value;

fn content(seed: u8) -> Vec<u8> {
    (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn read(place: &Place, name: &str) -> Vec<u8> {
    place.run(&["read", name]).stdout
}

#[test]
fn a_segment_goes_to_a_file_and_comes_back() {
    let place = Place::new();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    place.get(&["create", "jobs", "100000", "--mode", "0640"]);
    place.run_with_input(&["write", "jobs"], &content(1));
    for (options, name) in
        [(&[][..], "framed"), (&["--zstd"], "zstd"), (&["--zstd=19"], "small"), (&["--raw"], "raw")]
    {
        assert_eq!(place.get(&[&["save", "jobs", &file(name)], options].concat()), "");
    }
    assert_eq!(std::fs::read(file("raw")).unwrap(), content(1));
    place.get(&["rm", "jobs"]);
    assert_eq!(place.get(&["load", &file("framed")]), "");
    assert_eq!(read(&place, "jobs"), content(1));
    let list: Vec<Value> = serde_json::from_str(&place.get(&["ls", "--json"])).unwrap();
    assert_eq!((&list[0]["mode"], &list[0]["lifetime"]), (&"0640".into(), &"until-deleted".into()));
    // Into what is there.
    place.run_with_input(&["write", "jobs"], &content(2));
    place.get(&["load", &file("zstd")]);
    assert_eq!(read(&place, "jobs"), content(1));
    place.get(&["load", &file("small"), "other", "--mode", "0600"]);
    place.get(&["load", &file("raw"), "bytes", "--raw"]);
    assert_eq!((read(&place, "other"), read(&place, "bytes")), (content(1), content(1)));
    let sheet = place.get(&["load", "--check", &file("zstd")]);
    for word in ["jobs", "97.7 KiB", "0640", "until-deleted", "all blocks are whole"] {
        assert!(sheet.contains(word), "{word}: {sheet}");
    }
    assert_eq!(place.names(), ["bytes", "jobs", "other"]);
}

#[test]
fn pipes_do_as_well() {
    let place = Place::new();
    place.get(&["create", "jobs", "100000"]);
    place.run_with_input(&["write", "jobs"], &content(3));
    let saved = place.run(&["save", "jobs", "-"]);
    assert!(saved.status.success() && saved.stderr.is_empty(), "no progress where nobody looks: {saved:?}");
    let loaded = place.run_with_input(&["load", "-", "copy"], &saved.stdout);
    assert!(loaded.status.success(), "{loaded:?}");
    assert_eq!(read(&place, "copy"), content(3));
    place.run_with_input(&["write", "copy"], &content(4));
    assert!(place.run_with_input(&["load", "-", "copy"], &saved.stdout).status.success());
    assert_eq!(read(&place, "copy"), content(3));
    let mut command = place.command(&["save", "jobs", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success(), "a reader that has had enough is no error");
}

#[test]
fn what_is_wrong_is_one_line_and_changes_nothing() {
    let place = Place::new();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("saved").to_str().unwrap().to_owned();
    place.get(&["create", "jobs", "100000"]);
    place.run_with_input(&["write", "jobs"], &content(5));
    place.get(&["save", "jobs", &file]);
    let whole = std::fs::read(&file).unwrap();
    place.run_with_input(&["write", "jobs"], &content(6));
    let mut damaged = whole.clone();
    damaged[50_000] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    for arguments in [&["load", &file][..], &["load", &file, "new"], &["load", &file, "--check"]] {
        let complaint = place.fail(1, arguments);
        assert!(complaint.contains("damaged") && complaint.contains("nothing was changed"), "{complaint}");
    }
    assert_eq!(read(&place, "jobs"), content(6));
    assert!(place.fail(1, &["load", &file, "jobs", "--raw"]).contains("bytes"), "of another size");
    std::fs::write(&file, b"no snapshot at all").unwrap();
    assert!(place.fail(1, &["load", &file, "new"]).contains("raw"));
    place.fail(1, &["load", "/no/such/file"]);
    place.fail(1, &["save", "jobs", "/no/such/directory/file"]);
    place.fail(1, &["save", "no-such-segment", &file]);
    place.fail(2, &["save", "jobs", &file, "--raw", "--zstd"]);
    place.fail(2, &["save", "jobs", &file, "--zstd=99"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"no snapshot at all");
    assert_eq!((place.names(), read(&place, "jobs")), (vec!["jobs".to_owned()], content(6)));
    assert_eq!(files.path().read_dir().unwrap().count(), 1);
}

#[test]
fn manual_pages_are_made_for_every_subcommand() {
    let place = Place::new();
    assert!(place.get(&["man"]).contains(".TH commons 1"));
    let pages = tempfile::tempdir().unwrap();
    place.get(&["man", pages.path().to_str().unwrap()]);
    for page in [
        "commons.1",
        "commons-ls.1",
        "commons-locks.1",
        "commons-unlock.1",
        "commons-save.1",
        "commons-doctor.1",
    ] {
        assert!(std::fs::read_to_string(pages.path().join(page)).unwrap().contains("SYNOPSIS"), "{page}");
    }
    assert!(!pages.path().join("commons-demo-worker.1").exists());
}
