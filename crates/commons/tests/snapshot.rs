//! Snapshots: what is saved can be loaded, whole or not at all.

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Private, fork, is_root, on_tmpfs, without_nameless};
use commons::snapshot::{self, LoadOptions, SaveOptions};
use commons::{Error, Lifetime, Namespace, Segment, SegmentOptions};

const SIZE: u64 = 3 << 20;

/// Bytes that differ from place to place.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn bytes_of(segment: &Segment) -> Vec<u8> {
    let attachment = segment.attach().unwrap();
    let mut bytes = vec![0; attachment.len()];
    attachment.read_at(0, &mut bytes).unwrap();
    bytes
}

fn full(private: &Private, name: &str) -> (Segment, Vec<u8>) {
    let segment = private.options().size(SIZE).mode(0o640).create(name).unwrap();
    let bytes = pattern(SIZE as usize, 1);
    segment.attach().unwrap().write_at(0, &bytes).unwrap();
    (segment, bytes)
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn load(private: &Private) -> LoadOptions<'static> {
    LoadOptions::new().namespace(&private.namespace)
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("x.snapshot");
    let (segment, bytes) = full(&private, "a/b %");
    for options in [SaveOptions::new(), SaveOptions::new().sync(false)] {
        let saved = options.save_file(&segment, &path).unwrap();
        assert_eq!((saved.size, saved.data), (SIZE, SIZE));
        assert_eq!(saved.written, fs::metadata(&path).unwrap().len());
    }
    assert_eq!(names(files.path()), ["x.snapshot"]);
    let header = LoadOptions::new().check_file(&path).unwrap();
    assert_eq!((header.name.to_str(), header.size, header.mode), (Some("a/b %"), SIZE, 0o640));
    assert_eq!((header.lifetime, header.sparse), (Lifetime::UntilLastDetach, false));
    assert!(header.saved.elapsed().unwrap().as_secs() < 60);

    assert!(matches!(load(&private).load_file(&path), Err(Error::Exists(_))));
    let copy = load(&private).name("copy").load_file(&path).unwrap();
    assert_eq!(copy.header.unwrap(), header);
    assert_eq!(bytes_of(&copy.segment), bytes);
    let usage = copy.segment.usage().unwrap();
    assert_eq!((usage.size, usage.reserved), (SIZE, SIZE));
    assert_eq!(copy.segment.info().unwrap().mode, 0o640);
    drop((segment, copy.segment));
    assert!(private.files().is_empty());
    let back = load(&private).lifetime(Lifetime::UntilDeleted).mode(0o600).load_file(&path).unwrap().segment;
    assert_eq!(back.name().unwrap().to_string(), "a/b %");
    assert_eq!((back.lifetime(), back.info().unwrap().mode), (Lifetime::UntilDeleted, 0o600));
    assert_eq!(bytes_of(&back), bytes);
}

#[test]
fn streams_do_as_well_as_files() {
    let private = Private::new();
    let (segment, bytes) = full(&private, "x");
    let mut saved = Vec::new();
    SaveOptions::new().save(&segment, &mut saved).unwrap();
    assert_eq!(snapshot::check(&saved[..]).unwrap().size, SIZE);
    let copy = load(&private).name("copy").load(&saved[..]).unwrap().segment;
    assert_eq!(bytes_of(&copy), bytes);
    // What follows a snapshot in a stream is for whoever reads it next.
    let mut rest: &[u8] = &[&saved[..], b"more"].concat();
    assert_eq!(bytes_of(&load(&private).name("again").load(&mut rest).unwrap().segment), bytes);
    assert_eq!(rest, b"more");

    segment.attach().unwrap().write_at(0, &vec![7; SIZE as usize]).unwrap();
    load(&private).load_into(&segment, &saved[..]).unwrap();
    assert_eq!(bytes_of(&segment), bytes);

    let mut raw = Vec::new();
    SaveOptions::new().raw(true).save(&segment, &mut raw).unwrap();
    assert_eq!(raw, bytes);
    let copy = load(&private).name("raw").raw(true).load(&raw[..]).unwrap().segment;
    assert_eq!(bytes_of(&copy), bytes);
}

#[test]
fn a_raw_file_is_exactly_the_bytes() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("raw");
    let segment = private.options().size(5001).create("x").unwrap();
    segment.attach().unwrap().write_at(0, &pattern(5001, 2)).unwrap();
    SaveOptions::new().raw(true).save_file(&segment, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), pattern(5001, 2));
    assert!(matches!(load(&private).name("y").load_file(&path), Err(Error::Damaged { .. })), "not framed");
    assert!(matches!(load(&private).raw(true).load_file(&path), Err(Error::BadOption { .. })), "no name");
    let copy = load(&private).name("y").raw(true).load_file(&path).unwrap();
    assert!(copy.header.is_none());
    assert_eq!(bytes_of(&copy.segment), pattern(5001, 2));
    segment.attach().unwrap().write_at(0, &[9; 5001]).unwrap();
    load(&private).raw(true).load_file_into(&segment, &path).unwrap();
    assert_eq!(bytes_of(&segment), pattern(5001, 2));
    fs::write(&path, [1; 5000]).unwrap();
    let error = load(&private).raw(true).load_file_into(&segment, &path).unwrap_err();
    assert!(matches!(error, Error::WrongSize { snapshot: 5000, segment: 5001, .. }), "{error}");
    fs::write(&path, []).unwrap();
    assert!(matches!(load(&private).name("z").raw(true).load_file(&path), Err(Error::Damaged { .. })));
}

#[cfg(feature = "zstd")]
#[test]
fn compressed_blocks_come_back() {
    let private = Private::new();
    let segment = private.options().size(SIZE).create("x").unwrap();
    // Blocks that get smaller, and one that does not.
    let mut bytes = vec![b'a'; SIZE as usize];
    bytes[1 << 20..2 << 20].copy_from_slice(&pattern(1 << 20, 3));
    segment.attach().unwrap().write_at(0, &bytes).unwrap();
    let mut saved = Vec::new();
    SaveOptions::new().zstd(3).save(&segment, &mut saved).unwrap();
    assert!((1 << 20..(1 << 20) + 4096).contains(&saved.len()), "{}", saved.len());
    assert!(snapshot::check(&saved[..]).unwrap().compressed);
    assert_eq!(bytes_of(&load(&private).name("y").load(&saved[..]).unwrap().segment), bytes);
    // A frame that expands to more or less than the block has.
    for at in (64..saved.len()).step_by(997) {
        let mut damaged = saved.clone();
        damaged[at] ^= 0x10;
        assert!(snapshot::check(&damaged[..]).is_err(), "byte {at}");
    }
}

#[test]
fn any_damage_and_any_cut_is_found_and_changes_nothing() {
    let private = Private::new();
    let segment = private.options().size(3 * 4096).sparse(true).create("x").unwrap();
    segment.attach().unwrap().write_at(0, &pattern(100, 4)).unwrap();
    segment.attach().unwrap().write_at(2 * 4096, &pattern(4096, 5)).unwrap();
    let mut saved = Vec::new();
    SaveOptions::new().save(&segment, &mut saved).unwrap();
    assert!(saved.len() < 3 * 4096, "holes are not saved");
    segment.attach().unwrap().write_at(0, &[1; 3 * 4096]).unwrap();
    let before = bytes_of(&segment);
    let fails = |damaged: &[u8], what: &str| {
        let checked = snapshot::check(damaged);
        assert!(matches!(checked, Err(Error::Damaged { .. })), "{what}: {checked:?}");
        assert!(load(&private).name("y").load(damaged).is_err(), "{what}");
        let error = load(&private).load_into(&segment, damaged).unwrap_err();
        assert!(!error.to_string().contains('\n'));
    };
    for at in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[at] ^= 1 << (at % 8);
        fails(&damaged, &format!("byte {at}"));
    }
    for cut in 0..saved.len() {
        fails(&saved[..cut], &format!("cut at {cut}"));
    }
    assert_eq!(bytes_of(&segment), before);
    assert_eq!(private.files(), ["x"]);
    // Blocks that are right in themselves: one left out, and one twice.
    let first = 64 + 1..64 + 1 + 24 + 4096;
    fails(&[&saved[..first.start], &saved[first.end..]].concat(), "a block is missing");
    fails(&[&saved[..first.end], &saved[first.start..]].concat(), "a block is there twice");
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("x");
    fs::write(&path, [&saved[..], b"x"].concat()).unwrap();
    assert!(matches!(load(&private).name("y").load_file(&path), Err(Error::Damaged { .. })));
    load(&private).load_into(&segment, &saved[..]).unwrap();
    assert_eq!(bytes_of(&segment)[4096..8192], [0; 4096], "holes become zero");
}

#[test]
fn holes_stay_holes() {
    let private = Private::new();
    let files = tempfile::tempdir_in("/dev/shm").unwrap();
    let size = 10 << 30;
    let segment = private.options().size(size).sparse(true).create("x").unwrap();
    let file = fs::File::options().write(true).open(private.path("x")).unwrap();
    for number in 0..64 {
        file.write_all_at(&[number as u8 + 1; 4096], number * (size / 64)).unwrap();
    }
    let (framed, raw) = (files.path().join("framed"), files.path().join("raw"));
    let saved = SaveOptions::new().save_file(&segment, &framed).unwrap();
    assert_eq!(saved.data, 64 * 4096);
    let written = SaveOptions::new().raw(true).save_file(&segment, &raw).unwrap();
    assert_eq!((written.written, fs::metadata(&raw).unwrap().len()), (size, size));
    assert!(fs::metadata(&raw).unwrap().blocks() * 512 <= 64 * 4096);
    let copies = [
        load(&private).name("framed").load_file(&framed).unwrap().segment,
        load(&private).name("raw").raw(true).sparse(true).load_file(&raw).unwrap().segment,
    ];
    for copy in copies {
        let usage = copy.usage().unwrap();
        assert_eq!((usage.size, usage.reserved), (size, 64 * 4096));
        let mut byte = [0];
        copy.attach().unwrap().read_at(63 * (size as usize / 64) + 4095, &mut byte).unwrap();
        assert_eq!(byte, [64]);
    }
    // In a segment that is there, what lies in the holes becomes zero, and holes again.
    segment.attach().unwrap().write_at(4096, &[9; 1 << 20]).unwrap();
    load(&private).load_file_into(&segment, &framed).unwrap();
    assert_eq!(segment.usage().unwrap().reserved, 64 * 4096);
    load(&private).raw(true).load_file_into(&segment, &raw).unwrap();
    assert_eq!(segment.usage().unwrap().reserved, 64 * 4096);
}

#[test]
fn reserved_memory_stays_reserved() {
    let private = Private::new();
    let segment = private.options().size(SIZE).create("x").unwrap();
    segment.attach().unwrap().write_at(4096, &[1; 4096]).unwrap();
    let mut saved = Vec::new();
    let report = SaveOptions::new().save(&segment, &mut saved).unwrap();
    assert_eq!(report.data, 4096, "what was never touched is not saved");
    let copy = load(&private).name("y").load(&saved[..]).unwrap().segment;
    assert_eq!(copy.usage().unwrap().reserved, SIZE);
    copy.attach().unwrap().write_at(0, &vec![5; SIZE as usize]).unwrap();
    load(&private).load_into(&copy, &saved[..]).unwrap();
    assert_eq!(copy.usage().unwrap().reserved, SIZE);
    assert_eq!(bytes_of(&copy), bytes_of(&segment));
}

#[test]
fn a_wrong_size_changes_nothing() {
    let private = Private::new();
    let (segment, _) = full(&private, "x");
    let mut saved = Vec::new();
    SaveOptions::new().save(&segment, &mut saved).unwrap();
    let other = private.options().size(SIZE + 1).create("y").unwrap();
    let error = load(&private).load_into(&other, &saved[..]).unwrap_err();
    assert!(matches!(error, Error::WrongSize { snapshot: SIZE, segment, .. } if segment == SIZE + 1));
    assert!(
        error.to_string().contains(&format!("{SIZE}"))
            && error.to_string().contains(&format!("{}", SIZE + 1))
    );
    let reader = private.options().read_only(true).open("x").unwrap();
    assert!(matches!(load(&private).load_into(&reader, &saved[..]), Err(Error::ReadOnly(_))));
    // Read-only is enough for saving.
    SaveOptions::new().save(&reader, io::sink()).unwrap();
}

#[test]
fn a_file_is_replaced_whole_and_keeps_to_the_mode() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let (segment, _) = full(&private, "x");
    let path = files.path().join("saved");
    let link = files.path().join("link");
    fs::write(&path, b"precious").unwrap();
    std::os::unix::fs::symlink("saved", &link).unwrap();
    snapshot::save(&segment, &link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays");
    assert_eq!(LoadOptions::new().check_file(&path).unwrap().size, SIZE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    assert_eq!(names(files.path()), ["link", "saved"]);
    // What cannot be written leaves what was there.
    assert!(snapshot::save(&segment, files.path()).is_err());
    assert!(snapshot::save(&segment, files.path().join("no/such")).is_err());
    SaveOptions::new().save_file(&segment, "/dev/null").unwrap();
    assert!(fs::metadata("/dev/null").unwrap().rdev() != 0);
}

#[test]
fn a_full_disk_at_any_block_leaves_what_was_there() {
    if !is_root("a_full_disk_at_any_block_leaves_what_was_there") {
        return;
    }
    // Room for the segment, and for less and less of the file.
    on_tmpfs("size=1m", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let segment = SegmentOptions::new().size(256 << 10).namespace(&namespace).create("x").unwrap();
        segment.attach().unwrap().write_at(0, &pattern(256 << 10, 6)).unwrap();
        let path = directory.join("saved");
        fs::write(&path, b"precious").unwrap();
        let filler = directory.join("filler");
        let mut failed = 0;
        for pages in 0..=190 {
            fs::write(&filler, vec![1; pages * 4096]).unwrap();
            for options in [SaveOptions::new(), SaveOptions::new().raw(true)] {
                match options.save_file(&segment, &path) {
                    Ok(_) => fs::write(&path, b"precious").unwrap(),
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                        assert_eq!(fs::read(&path).unwrap(), b"precious");
                        failed += 1;
                    }
                }
                assert_eq!(names(directory), ["filler", "saved", "x"]);
            }
        }
        assert!(failed > 100, "{failed}");
    });
}

#[test]
fn no_room_for_a_load_changes_nothing() {
    if !is_root("no_room_for_a_load_changes_nothing") {
        return;
    }
    on_tmpfs("size=4m", |directory| {
        let namespace = Namespace::at(directory).unwrap();
        let options = SegmentOptions::new().size(2 << 20).namespace(&namespace);
        let segment = options.create("x").unwrap();
        segment.attach().unwrap().write_at(0, &pattern(2 << 20, 7)).unwrap();
        let mut saved = Vec::new();
        SaveOptions::new().save(&segment, &mut saved).unwrap();
        drop(segment);
        let load = |sparse| LoadOptions::new().namespace(&namespace).name("y").sparse(sparse);
        let sparse =
            SegmentOptions::new().size(2 << 20).namespace(&namespace).sparse(true).create("x").unwrap();
        sparse.attach().unwrap().write_at(8192, b"old").unwrap();
        // Read, not mapped: a mapping would need memory for the holes.
        let bytes = || fs::read(directory.join("x")).unwrap();
        let before = bytes();
        let reserved = sparse.usage().unwrap().reserved;
        let filler = directory.join("filler");
        let mut failed = 0;
        for pages in (0..1022).step_by(7) {
            fs::write(&filler, vec![1; pages * 4096]).unwrap();
            for sparse in [false, true] {
                match load(sparse).load(&saved[..]) {
                    Ok(loaded) => assert_eq!(bytes_of(&loaded.segment), pattern(2 << 20, 7)),
                    Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error}"),
                }
                assert_eq!(names(directory), ["filler", "x"]);
            }
            match LoadOptions::new().load_into(&sparse, &saved[..]) {
                Ok(()) => {
                    assert_eq!(bytes(), pattern(2 << 20, 7));
                    let file = fs::File::options().write(true).open(directory.join("x")).unwrap();
                    // As before: through the back door, since a segment never shrinks.
                    file.set_len(0).unwrap();
                    file.set_len(2 << 20).unwrap();
                    file.write_all_at(b"old", 8192).unwrap();
                }
                Err(error) => {
                    failed += 1;
                    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                    assert_eq!(bytes(), before);
                    assert_eq!(sparse.usage().unwrap().reserved, reserved, "what was reserved is given back");
                }
            }
        }
        assert!(failed > 20, "{failed}");
    });
}

#[test]
fn the_file_size_limit_is_an_error() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("saved");
    let (segment, _) = full(&private, "x");
    let mut saved = Vec::new();
    SaveOptions::new().save(&segment, &mut saved).unwrap();
    fork(|_| {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: sets a limit of this child.
        unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0) };
        for raw in [false, true] {
            let error = SaveOptions::new().raw(raw).save_file(&segment, &path).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "{error}");
            assert!(load(&private).name("y").raw(raw).load(&saved[..]).is_err());
            assert!(load(&private).raw(raw).load_into(&segment, &saved[..]).is_err());
        }
    })
    .succeed();
    assert!(names(files.path()).is_empty());
    assert_eq!(private.files(), ["x"]);
}

#[test]
fn a_truncation_meanwhile_is_an_error() {
    let private = Private::new();
    let (segment, _) = full(&private, "x");
    struct Truncate(PathBuf, usize);
    impl Write for Truncate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            fs::File::options().write(true).open(&self.0)?.set_len(SIZE / 2)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = SaveOptions::new().save(&segment, Truncate(private.path("x"), 0)).unwrap_err();
    assert!(matches!(error, Error::Truncated(_)), "{error}");
}

#[test]
fn a_reader_or_writer_that_fails_is_an_error() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }
    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::EPIPE))?;
            Ok(bytes.len().min(1000))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let private = Private::new();
    let (segment, _) = full(&private, "x");
    let error = SaveOptions::new().save(&segment, Fails(3)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    assert_eq!(load(&private).name("y").load(Fails(0)).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(load(&private).load_into(&segment, Fails(0)).unwrap_err().raw_os_error(), Some(libc::EIO));
}

#[test]
fn anonymous_segments_are_saved_and_need_a_name_to_be_loaded() {
    let private = Private::new();
    let segment = Segment::anonymous(8192).unwrap();
    segment.attach().unwrap().write_at(0, b"hello").unwrap();
    let mut saved = Vec::new();
    SaveOptions::new().save(&segment, &mut saved).unwrap();
    assert!(matches!(load(&private).load(&saved[..]), Err(Error::BadOption { .. })));
    let copy = load(&private).name("x").load(&saved[..]).unwrap().segment;
    assert_eq!(bytes_of(&copy)[..5], *b"hello");
    segment.attach().unwrap().write_at(0, b"jello").unwrap();
    load(&private).load_into(&segment, &saved[..]).unwrap();
    assert_eq!(bytes_of(&segment)[..5], *b"hello");
}

#[test]
fn what_a_crashed_save_left_is_removed_by_the_next() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("saved");
    let (segment, _) = full(&private, "x");
    fs::write(&path, b"old").unwrap();
    let part = files.path().join(".saved.1-2-3.commons-part");
    let held = fs::File::create(&part).unwrap();
    fs::write(files.path().join(".saved.4-5-6.commons-part"), b"left").unwrap();
    fs::write(files.path().join(".other.4-5-6.commons-part"), b"left").unwrap();
    // SAFETY: locks a file that stays open meanwhile.
    assert_eq!(unsafe { libc::flock(held.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
    snapshot::save(&segment, &path).unwrap();
    assert_eq!(names(files.path()), [".other.4-5-6.commons-part", ".saved.1-2-3.commons-part", "saved"]);
    drop(held);
    snapshot::save(&segment, &path).unwrap();
    assert_eq!(names(files.path()), [".other.4-5-6.commons-part", "saved"]);
}

#[test]
fn saves_to_the_same_file_at_once_do_not_take_each_others_files() {
    let private = Private::new();
    let files = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = files.path().join("saved");
    let segment = private.options().create("x").unwrap();
    let save = || {
        for _ in 0..1000 {
            SaveOptions::new().sync(false).save_file(&segment, &path).unwrap();
        }
    };
    // With nameless files, and where there are none.
    let children = [false, true, true].map(|forbid| {
        fork(|_| {
            if forbid && !without_nameless::forbid() {
                eprintln!("SKIPPED: saves_to_the_same_file_at_once_without_nameless_files: needs seccomp");
            }
            save();
        })
    });
    children.into_iter().for_each(common::Child::succeed);
    assert_eq!(names(files.path()), ["saved"]);
    assert_eq!(LoadOptions::new().check_file(&path).unwrap().size, 4096);
}

#[test]
fn progress_goes_up_to_the_end() {
    let private = Private::new();
    let (segment, _) = full(&private, "x");
    let seen = std::cell::RefCell::new(Vec::new());
    let mut saved = Vec::new();
    SaveOptions::new()
        .progress(|done, all| seen.borrow_mut().push((done, all)))
        .save(&segment, &mut saved)
        .unwrap();
    let seen = seen.into_inner();
    assert!(seen.is_sorted() && seen.len() >= 3 && seen.last() == Some(&(SIZE, SIZE)), "{seen:?}");
}

#[test]
fn a_truncation_to_where_it_was_read_is_an_error_too() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("saved");
    // Small enough to be read and written in turn.
    let segment = private.options().size(SIZE).sparse(true).create("x").unwrap();
    segment.attach().unwrap().write_at(0, &[1; 512 << 10]).unwrap();
    let file = fs::File::options().write(true).open(private.path("x")).unwrap();
    for raw in [false, true] {
        file.set_len(SIZE).unwrap();
        // After that there are holes only, whether the file goes on or not.
        let truncate = |_, _| file.set_len(512 << 10).unwrap();
        let error = SaveOptions::new().raw(raw).progress(truncate).save_file(&segment, &path).unwrap_err();
        assert!(matches!(error, Error::Truncated(_)), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_segment_is_not_saved_over_itself() {
    let private = Private::new();
    let (segment, bytes) = full(&private, "x");
    let error = snapshot::save(&segment, private.path("x")).unwrap_err();
    assert!(matches!(error, Error::BadOption { .. }), "{error}");
    let link = private.path("link");
    std::os::unix::fs::symlink("x", &link).unwrap();
    assert!(snapshot::save(&segment, &link).is_err());
    assert_eq!(bytes_of(&segment), bytes);
    fs::remove_file(link).unwrap();
}

#[test]
fn an_endless_stream_is_not_kept() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            assert!(self.0 < 16 << 20, "it is read on and on");
            bytes.fill(7);
            Ok(bytes.len())
        }
    }
    let private = Private::new();
    let (segment, bytes) = full(&private, "x");
    assert!(matches!(load(&private).load_into(&segment, Endless(0)), Err(Error::Damaged { .. })));
    assert!(matches!(load(&private).raw(true).load_into(&segment, Endless(0)), Err(Error::WrongSize { .. })));
    assert_eq!(bytes_of(&segment), bytes);
}

#[test]
fn what_was_read_has_to_be_confirmed_before_a_file_gets_its_name() {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("saved");
    let (segment, _) = full(&private, "x");
    let no = || Err(io::Error::other("somebody wrote"));
    assert!(
        SaveOptions::new().confirm(no).save_file(&segment, &path).unwrap_err().to_string().contains("wrote")
    );
    assert!(names(files.path()).is_empty());
    SaveOptions::new().confirm(|| Ok(())).save_file(&segment, &path).unwrap();
}
