//! Names: any bytes but NUL, one file for one name, and never outside the namespace. Creation and opening
//! say which of the two they did, and what was in the way.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use common::{Private, fork};
use commons::{Error, Namespace, NotASegment, Segment, SegmentOptions};

#[test]
fn a_segment_can_have_any_byte_in_its_name() {
    let private = Private::new();
    for byte in 1..=255_u8 {
        let name = [b'<', byte, b'>'];
        let name = OsStr::from_bytes(&name);
        let segment = private.options().create(name).unwrap();
        assert!(private.namespace.exists(name).unwrap());
        assert!(private.options().open(name).is_ok());
        let listed: Vec<_> =
            private.namespace.list().unwrap().map(|entry| entry.unwrap().name().to_os_string()).collect();
        assert_eq!(listed, [name]);
        assert_eq!(private.files().len(), 1);
        drop(segment);
    }
    assert!(private.files().is_empty());
}

#[test]
fn hostile_names_stay_inside() {
    let private = Private::new();
    let outside = private.directory.path().parent().unwrap().join("commons-escaped");
    for name in ["../commons-escaped", "/../commons-escaped", "a/../../commons-escaped", "./x", "x/."] {
        let segment = private.options().create(name).unwrap();
        assert!(!outside.exists());
        assert_eq!(private.files().len(), 1, "{name}");
        drop(segment);
    }
    for name in ["", "/", ".", "..", "//..", "a\0b"] {
        assert!(matches!(private.options().create(name), Err(Error::BadName { .. })), "{name:?}");
        assert!(matches!(private.namespace.delete(name), Err(Error::BadName { .. })), "{name:?}");
    }
    assert!(private.options().create("x".repeat(255)).is_ok());
    assert!(matches!(private.options().create("x".repeat(256)), Err(Error::BadName { .. })));
}

#[test]
fn creating_and_opening_say_what_they_did() {
    let private = Private::new();
    assert!(matches!(private.options().open("x"), Err(Error::NotFound(_))));
    let first = private.options().open_or_create("x").unwrap();
    assert!(first.was_created());
    assert!(!private.options().open_or_create("x").unwrap().was_created());
    assert!(matches!(private.options().create("x"), Err(Error::Exists(_))));
    assert!(matches!(private.options().size(1 << 20).create("x"), Err(Error::Exists(_))));
    let error = private.options().size(4097).open("x").unwrap_err();
    assert!(matches!(error, Error::TooSmall { size: 4096, wanted: 4097, .. }), "{error}");
    assert!(matches!(private.options().size(4097).open_or_create("x"), Err(Error::TooSmall { .. })));
    assert!(private.options().size(1).open("x").is_ok());
}

#[test]
fn the_size_is_exact_to_the_byte() {
    let private = Private::new();
    for size in [1, 7, 4095, 4096, 4097, 123_457] {
        let segment = private.options().size(size).create("x").unwrap();
        assert_eq!(segment.size().unwrap(), size);
        assert_eq!(segment.attach().unwrap().len() as u64, size);
        assert_eq!(std::fs::metadata(private.path("x")).unwrap().len(), size);
        assert!(segment.usage().unwrap().reserved >= size);
    }
    for size in [0, 1 << 60, u64::MAX] {
        let error = private.options().size(size).create("x").unwrap_err();
        assert!(matches!(error, Error::BadOption { .. }), "{error}");
    }
    assert!(matches!(
        SegmentOptions::new().namespace(&private.namespace).create("x"),
        Err(Error::BadOption { .. })
    ));
    assert!(private.files().is_empty());
}

#[test]
fn the_initialiser_runs_before_anybody_can_look() {
    let private = Private::new();
    let ready = private.options().initialize(|bytes| {
        assert!(bytes.iter().all(|byte| *byte == 0) && bytes.len() == 4096);
        assert!(!private.namespace.exists("x").unwrap());
        bytes.fill(7);
        Ok(())
    });
    let segment = ready.open_or_create("x").unwrap();
    let mut bytes = [0; 4096];
    segment.attach().unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 4096]);
    assert!(!ready.open_or_create("x").unwrap().was_created(), "it does not run again");

    let failing = private.options().initialize(|_| Err("no data".into()));
    let error = failing.create("y").unwrap_err();
    assert!(error.to_string().contains("no data"), "{error}");
    let panicking = private.options().initialize(|_| panic!("on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panicking.create("y"))).is_err());
    assert_eq!(private.files(), ["x"], "a failed creation leaves nothing");
}

#[test]
fn open_wait_waits_until_it_is_there() {
    let private = Private::new();
    let started = Instant::now();
    let error = private.options().open_wait("x", Duration::from_millis(60)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert!(matches!(private.options().open_wait("x", Duration::ZERO), Err(Error::TimedOut { .. })));

    let mut child = fork(|line| {
        line.hear();
        let segment = private.options().create("x").unwrap();
        line.hear();
        drop(segment);
    });
    child.say();
    assert!(private.options().open_wait("x", Duration::from_secs(20)).is_ok());
    child.say();
    child.succeed();

    // A program that sizes its segment only after it has made it.
    let file = std::fs::File::create(private.path("late")).unwrap();
    let error = private.options().open_wait("late", Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, Error::TooSmall { .. }), "{error}");
    let child = fork(|_| {
        std::thread::sleep(Duration::from_millis(30));
        file.set_len(4096).unwrap();
    });
    assert!(private.options().open_wait("late", Duration::from_secs(20)).is_ok());
    child.succeed();
}

#[test]
fn foreign_files_with_odd_names_are_listed() {
    let private = Private::new();
    std::fs::write(private.path("100%"), "foreign").unwrap();
    std::fs::write(private.path("a%zz"), "foreign").unwrap();
    let mut listed: Vec<_> =
        private.namespace.list().unwrap().map(|entry| entry.unwrap().name().to_string()).collect();
    listed.sort();
    assert_eq!(listed, ["100%", "a%zz"]);
    for entry in private.namespace.list().unwrap() {
        entry.unwrap().delete().unwrap();
    }
    assert!(private.files().is_empty());
}

#[test]
fn semaphores_are_no_segments() {
    let posix = Namespace::posix().unwrap();
    let name = format!("sem.commons-test-{}", std::process::id());
    assert!(matches!(Segment::create(&name, 4096), Err(Error::BadName { .. })));
    std::fs::write(posix.directory().join(&name), "x").unwrap();
    let listed = posix.list().unwrap().any(|entry| entry.unwrap().name().to_string() == name);
    std::fs::remove_file(posix.directory().join(&name)).unwrap();
    assert!(!listed);
    // Elsewhere the name means nothing special.
    let private = Private::new();
    assert!(private.options().create("sem.x").is_ok());
}

#[test]
fn a_namespace_is_a_directory() {
    let private = Private::new();
    std::fs::write(private.path("file"), "x").unwrap();
    assert!(matches!(Namespace::at(private.path("absent")), Err(Error::NoNamespace { .. })));
    assert!(Namespace::at(private.path("file")).is_err());
    assert!(matches!(private.namespace.entry("absent").map(|_| ()), Err(Error::NotFound(_))));
}

#[test]
fn what_is_no_segment_is_told_and_left_alone() {
    let private = Private::new();
    std::fs::create_dir(private.path("directory")).unwrap();
    std::fs::write(private.path("target"), "precious").unwrap();
    std::os::unix::fs::symlink("target", private.path("symlink")).unwrap();
    std::os::unix::fs::symlink("nowhere", private.path("dangling")).unwrap();
    // SAFETY: makes a fifo of that name.
    assert_eq!(unsafe { libc::mkfifo(common::c_string(&private.path("fifo")).as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(private.path("socket")).unwrap();
    let before = private.files();
    let cases = [
        ("directory", NotASegment::Directory),
        ("symlink", NotASegment::Symlink),
        ("dangling", NotASegment::Symlink),
        ("fifo", NotASegment::Fifo),
        ("socket", NotASegment::Socket),
    ];
    for (name, expected) in cases {
        let attempts = [
            ("open", private.options().open(name).err()),
            ("read", private.options().read_only(true).open(name).err()),
            ("open or create", private.options().open_or_create(name).err()),
            ("create", private.options().create(name).err()),
            ("create large", private.options().size(1 << 20).create(name).err()),
            ("delete", private.namespace.delete(name).err()),
        ];
        for (verb, error) in attempts {
            match error {
                Some(Error::NotASegment { what, .. }) => assert_eq!(what, expected, "{verb} {name}"),
                other => panic!("{verb} {name}: {other:?}"),
            }
        }
        assert!(!private.namespace.exists(name).unwrap(), "{name}");
    }
    assert_eq!(private.namespace.sweep().unwrap().segments, 0);
    assert_eq!(private.files(), before);
    assert_eq!(std::fs::read(private.path("target")).unwrap(), b"precious");
}

#[test]
fn a_file_with_two_names_is_not_opened() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    std::fs::hard_link(private.path("x"), private.path("y")).unwrap();
    for name in ["x", "y"] {
        let error = private.options().open(name).unwrap_err();
        assert!(matches!(error, Error::NotASegment { what: NotASegment::HardLinked, .. }), "{error}");
    }
    private.namespace.delete("y").unwrap();
    assert!(private.options().open("x").is_ok());
    drop(segment);
    assert!(private.files().is_empty());
}
