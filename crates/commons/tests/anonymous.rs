//! Anonymous segments: handed on by descriptor, never truncated, gone with their last holder.

mod common;

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::Command;

use common::Private;
use commons::{Error, NotASegment, Segment, SegmentOptions};

/// Set in the child that `a_child_inherits_it` starts: the number of the descriptor.
const VARIABLE: &str = "COMMONS_TEST_DESCRIPTOR";

#[test]
fn a_child_inherits_it() {
    let segment = Segment::anonymous(8192).unwrap();
    let memory = segment.attach().unwrap();
    memory.write_at(0, b"from the parent").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let number = segment.inherit(&mut command).unwrap();
    command.args(["--exact", "in_the_child", "--include-ignored"]).env(VARIABLE, number.to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut answer = [0; 14];
    memory.read_at(4096, &mut answer).unwrap();
    assert_eq!(&answer, b"from the child");

    // Others do not inherit it.
    let listing = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&listing.stdout).contains("memfd"));
}

#[test]
#[ignore = "run by a_child_inherits_it, in a process of its own"]
fn in_the_child() {
    let Ok(number) = std::env::var(VARIABLE) else { return };
    // SAFETY: the parent passed this descriptor, and nothing else here uses it.
    let fd = unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) };
    let segment = Segment::from_fd(fd).unwrap();
    assert_eq!(segment.size().unwrap(), 8192);
    assert!(!segment.was_created() && segment.name().is_none());
    let memory = segment.attach().unwrap();
    let mut greeting = [0; 15];
    memory.read_at(0, &mut greeting).unwrap();
    assert_eq!(&greeting, b"from the parent");
    memory.write_at(4096, b"from the child").unwrap();
}

#[test]
fn it_has_what_a_named_one_has() {
    let segment = SegmentOptions::new()
        .size(4096)
        .mode(0o640)
        .initialize(|bytes| {
            bytes.fill(3);
            Ok(())
        })
        .anonymous(
            "a label with spaces, and much longer than any kernel takes for the name of a memfd: "
                .repeat(9)
                .as_str(),
        )
        .unwrap();
    assert_eq!(segment.info().unwrap().mode, 0o640);
    let memory = segment.attach().unwrap();
    let mut bytes = [0; 2];
    memory.read_at(4094, &mut bytes).unwrap();
    assert_eq!(bytes, [3; 2]);
    segment.grow(1 << 16).unwrap();
    assert_eq!(segment.size().unwrap(), 1 << 16);
    assert!(matches!(segment.delete(), Err(Error::BadOption { .. })));
    let holders = segment.holders().unwrap();
    assert!(holders.processes.iter().any(|holder| holder.pid == std::process::id() && holder.mapped));
    let read_only = segment.attach_with(&commons::AttachOptions::new().read_only(true)).unwrap();
    assert!(matches!(read_only.write_at(0, b"x"), Err(Error::ReadOnly(_))));
    drop(segment);
    memory.write_at(0, b"the mapping keeps it").unwrap();
    assert!(matches!(Segment::anonymous(0), Err(Error::BadOption { .. })));
    assert!(matches!(SegmentOptions::new().size(1).anonymous("a\0b"), Err(Error::BadOption { .. })));
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let private = Private::new();
    let named = private.options().create("x").unwrap();
    let copy = named.as_fd().try_clone_to_owned().unwrap();
    let error = Segment::from_fd(copy).unwrap_err();
    assert!(matches!(error, Error::NotASegment { what: NotASegment::Named, .. }), "{error}");
    let directory = std::fs::File::open("/").unwrap();
    assert!(matches!(
        Segment::from_fd(directory),
        Err(Error::NotASegment { what: NotASegment::Directory, .. })
    ));
    let (pipe, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(Segment::from_fd(pipe), Err(Error::NotASegment { what: NotASegment::Socket, .. })));
    let device = std::fs::File::open("/dev/null").unwrap();
    assert!(Segment::from_fd(device).is_err());
}
