//! `read`, `write` and `dump` work in pipes, whatever the size, and never reach beyond the end.

mod common;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use common::{Place, complaint};

/// Bytes that do not repeat at any power of two.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

#[test]
fn what_was_written_is_read() {
    let place = Place::new();
    let bytes = pattern(3_000_001);
    place.get(&["create", "x", "3000001"]);
    assert!(place.run_with_input(&["write", "x"], &bytes).status.success());
    assert!(place.run(&["read", "x"]).stdout == bytes);
    assert_eq!(place.run(&["read", "x", "--offset", "1000", "--length", "5"]).stdout, &bytes[1000..1005]);
    assert!(place.run(&["read", "x", "--offset", "1M"]).stdout == bytes[1 << 20..]);
    assert_eq!(place.run(&["read", "x", "--offset", "3000001"]).stdout, b"", "the end is no error");
    assert_eq!(std::fs::read(place.path("x")).unwrap(), bytes, "a segment is its bytes");
}

#[test]
fn writing_begins_at_the_offset_and_takes_the_length() {
    let place = Place::new();
    place.get(&["create", "x", "16"]);
    let write = ["write", "x", "--offset", "4", "--length", "3"];
    assert!(place.run_with_input(&write, b"abcdef").status.success());
    assert!(place.run_with_input(&["write", "x", "--offset", "14"], b"yz").status.success());
    assert!(place.run_with_input(&["write", "x", "--offset", "16"], b"").status.success());
    assert!(place.run_with_input(&["write", "x"], b"!").status.success());
    assert_eq!(place.get(&["read", "x"]), "!\0\0\0abc\0\0\0\0\0\0\0yz");
}

#[test]
fn input_that_does_not_fit_is_an_error_with_both_sizes() {
    let place = Place::new();
    place.get(&["create", "x", "4096"]);
    let text = complaint(1, &place.run_with_input(&["write", "x"], &pattern(5000)));
    assert!(text.contains("more than 4096 bytes") && text.contains("4096 fit"), "{text}");
    assert_eq!(std::fs::metadata(place.path("x")).unwrap().len(), 4096);
    assert!(place.run(&["read", "x"]).stdout == pattern(4096), "what fits was written, as it said");
    assert!(place.run_with_input(&["write", "x"], &[0; 4096]).status.success(), "just fits");

    // Of a file the size is known before anything is written.
    let file = place.path("file");
    std::fs::write(&file, pattern(4097)).unwrap();
    let input = std::fs::File::open(&file).unwrap();
    let text = complaint(1, &place.command(&["write", "x"]).stdin(input).output().unwrap());
    assert!(text.contains("4097 bytes") && text.contains("nothing was written"), "{text}");
    assert!(place.run(&["read", "x"]).stdout == [0; 4096]);
    let input = std::fs::File::open(&file).unwrap();
    let write = ["write", "x", "--length", "4096"];
    assert!(place.command(&write).stdin(input).status().unwrap().success());
    assert!(place.run(&["read", "x"]).stdout == pattern(4096));
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let place = Place::new();
    place.get(&["create", "x", "8M"]);
    place.run_with_input(&["write", "x"], &pattern(8 << 20));
    for arguments in [&["read", "x"][..], &["dump", "x"]] {
        let mut child =
            place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut head = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut head).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["info", "x"],
        &["locks"],
        &["sweep"],
        &["completions", "zsh"],
        &["--help"],
    ] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let output = place.command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?} {output:?}");
    }
}

#[test]
fn a_dump_folds_repetitions_and_ends_with_the_size() {
    let place = Place::new();
    place.get(&["create", "x", "1000000"]);
    place.run_with_input(&["write", "x", "--offset", "100"], b"Hello, \x00world\xff\n");
    let expected = "\
00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000060  00 00 00 00 48 65 6c 6c  6f 2c 20 00 77 6f 72 6c  |....Hello, .worl|
00000070  64 ff 0a 00 00 00 00 00  00 00 00 00 00 00 00 00  |d...............|
00000080  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
000f4240
";
    assert_eq!(place.get(&["dump", "x"]), expected);
    let part = "00000064  48 65 6c 6c 6f                                    |Hello|\n00000069\n";
    assert_eq!(place.get(&["dump", "x", "--offset", "100", "--length", "5"]), part);
}

#[test]
fn every_byte_of_a_large_dump_is_at_its_offset() {
    let place = Place::new();
    let bytes = pattern(1_000_003);
    place.get(&["create", "x", "1000003"]);
    place.run_with_input(&["write", "x"], &bytes);
    let dump = place.get(&["dump", "x", "--offset", "5"]);
    let mut at = 5;
    for line in dump.lines().filter(|line| line.len() > 8) {
        assert_eq!(usize::from_str_radix(&line[..8], 16).unwrap(), at);
        for byte in line[10..58].split_whitespace() {
            assert_eq!(u8::from_str_radix(byte, 16).unwrap(), bytes[at]);
            at += 1;
        }
    }
    assert_eq!(at, bytes.len());
    assert!(dump.ends_with("000f4243\n"));
}

#[test]
fn reading_a_sparse_segment_takes_no_memory() {
    let place = Place::new();
    place.get(&["create", "x", "256M", "--sparse"]);
    assert!(place.get(&["dump", "x"]).ends_with("*\n10000000\n"));
    assert_eq!(place.run(&["read", "x"]).stdout.len(), 256 << 20);
    assert_eq!(std::fs::metadata(place.path("x")).unwrap().blocks(), 0);
}

#[test]
fn a_foreign_segment_without_bytes_is_empty() {
    let place = Place::new();
    std::fs::write(place.path("x"), b"").unwrap();
    assert_eq!(place.get(&["read", "x"]), "");
    assert_eq!(place.get(&["dump", "x"]), "00000000\n");
    assert!(place.run_with_input(&["write", "x"], b"").status.success());
    let text = complaint(1, &place.run_with_input(&["write", "x"], b"a"));
    assert!(text.contains("0 fit"), "{text}");
}

#[test]
fn a_truncation_meanwhile_is_an_error() {
    let place = Place::new();
    place.get(&["create", "x", "64M"]);
    let mut child =
        place.command(&["read", "x"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It waits, once the pipe is full.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    std::fs::File::options().write(true).open(place.path("x")).unwrap().set_len(4096).unwrap();
    let text = complaint(1, &child.wait_with_output().unwrap());
    assert!(text.contains("truncated"), "{text}");

    let mut command = place.command(&["write", "x"]);
    place.get(&["grow", "x", "1M"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &[1; 300_000]).unwrap();
    std::fs::File::options().write(true).open(place.path("x")).unwrap().set_len(0).unwrap();
    // It may notice, and end, before it has taken all.
    let _ = std::io::Write::write_all(&mut input, &[1; 100_000]);
    drop(input);
    let text = complaint(1, &child.wait_with_output().unwrap());
    assert!(text.contains("gone"), "{text}");
}
