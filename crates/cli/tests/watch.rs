//! `watch` on a real pseudo-terminal: it shows what changes, survives whatever becomes of the segment, and
//! leaves the terminal as it was.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::Place;
use rustix::process::Signal;
use terminal::Terminal;

/// A segment `x` of 4096 bytes, and how to write to it.
fn segment(place: &Place) -> File {
    place.get(&["create", "x", "4096"]);
    let file = File::options().read(true).write(true).open(place.path("x")).unwrap();
    file.write_at(b"hello, world", 0).unwrap();
    file
}

fn watch(place: &Place, arguments: &[&str]) -> Terminal {
    let arguments: Vec<&str> = ["watch"].iter().chain(arguments).copied().collect();
    Terminal::start(place.command(&arguments), 80, 24)
}

/// A cell's foreground, background, whether it is bold, and whether underlined.
type Style = (vt100::Color, vt100::Color, bool, bool);

/// How the byte at offset 100 is shown on a screen of 80 columns and 24 rows.
fn style(screen: &vt100::Screen) -> Style {
    let cell = screen.cell(9, 22).unwrap();
    (cell.fgcolor(), cell.bgcolor(), cell.bold(), cell.underline())
}

/// Changes the byte at offset 100 again and again until the screen is as it should be: on a busy machine a
/// single change may have faded before it is seen.
#[track_caller]
fn change(file: &File, terminal: &mut Terminal, what: &str, reached: impl Fn(&vt100::Screen) -> bool) {
    let mut value = 0x80_u8;
    terminal.wait(what, |screen| {
        value = value.wrapping_add(1);
        file.write_at(&[value], 100).unwrap();
        reached(screen)
    });
}

const DEFAULT: vt100::Color = vt100::Color::Default;

/// Asserts that the terminal is as a program finds it.
#[track_caller]
fn assert_given_back(terminal: &Terminal) {
    assert!(!terminal.screen().alternate_screen(), "the other screen was not left");
    assert!(!terminal.screen().hide_cursor(), "the cursor is hidden");
    assert!(terminal.has_mode_of_before(), "its mode is another one");
}

#[test]
fn bytes_are_shown_and_what_changes_is_lit_and_fades() {
    let place = Place::new();
    let file = segment(&place);
    let mut terminal = watch(&place, &["x", "--interval", "50"]);
    terminal.wait_for("68 65 6c 6c 6f 2c 20 77");
    terminal.wait_for("hello, world");
    terminal.wait_for("4.0K  until-deleted  0 holders");
    assert!(terminal.screen().alternate_screen() && terminal.screen().hide_cursor());
    change(&file, &mut terminal, "the lit byte", |screen| style(screen).1 != DEFAULT);
    change(&file, &mut terminal, "the rate", |screen| {
        screen.contents().contains("/s changing") && !screen.contents().contains("0 bytes/s")
    });
    file.write_at(b"\xab", 100).unwrap();
    terminal.wait("the faded byte", |screen| {
        screen.contents().contains(" ab ") && style(screen) == (DEFAULT, DEFAULT, false, false)
    });
    // To the byte that changed, and its values.
    terminal.send(b"n");
    terminal.wait_for("0x64 = 100");
    terminal.wait_for("i8  -85");
    terminal.send(b"q");
    assert!(terminal.end().success());
}

#[test]
fn without_colours_it_is_lit_all_the_same() {
    let place = Place::new();
    let file = segment(&place);
    let mut command = place.command(&["watch", "x", "--interval", "50"]);
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.wait_for("68 65");
    change(&file, &mut terminal, "the lit byte", |screen| style(screen) == (DEFAULT, DEFAULT, true, true));
    terminal.send(b"q");
    assert!(terminal.end().success());
    let coloured = |bytes: &[u8]| bytes.starts_with(b"\x1b[38;5") || bytes.starts_with(b"\x1b[48;5");
    assert!(!terminal.output.windows(6).any(coloured));
}

#[test]
fn every_size_is_drawn_and_none_ends_it() {
    let place = Place::new();
    let file = segment(&place);
    for arguments in [&["x"][..], &[]] {
        let mut terminal = watch(&place, arguments);
        let (small, large) = if arguments.is_empty() { ("x", "lifetime") } else { ("68", "i64") };
        terminal.wait_for(large);
        for (columns, rows) in [(40, 10), (20, 5), (10, 3), (2, 1), (1, 1), (1, 40), (300, 2), (120, 40)] {
            terminal.resize(columns, rows);
            terminal.send(b"j?jk");
            if columns >= 20 {
                terminal.wait_for(small);
            }
        }
        terminal.resize(80, 24);
        terminal.wait_for(large);
        // More cells than there is memory for.
        terminal.claim_size(u16::MAX, u16::MAX);
        if !arguments.is_empty() {
            file.write_at(b"HELLO", 0).unwrap();
            terminal.wait_for("48 45 4c 4c 4f");
        }
        terminal.resize(80, 24);
        terminal.wait_for(large);
        terminal.send(b"q");
        assert!(terminal.end().success());
    }
}

#[test]
fn quitting_gives_the_terminal_back() {
    let place = Place::new();
    let _file = segment(&place);
    for arguments in [&["x"][..], &[]] {
        for keys in [&b"q"[..], b"\x1b", b"\x03", b"gq\x03"] {
            let mut terminal = watch(&place, arguments);
            terminal.wait_for("x ");
            assert!(!terminal.has_mode_of_before());
            terminal.send(keys);
            assert!(terminal.end().success(), "{keys:?}");
            assert_given_back(&terminal);
        }
    }
}

#[test]
fn signals_end_it_with_the_terminal_given_back() {
    let place = Place::new();
    let _file = segment(&place);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut terminal = watch(&place, &["x"]);
        terminal.wait_for("68 65");
        terminal.signal(signal);
        assert_eq!(terminal.end().signal(), Some(signal.as_raw()));
        assert_given_back(&terminal);
    }
}

#[test]
fn killing_it_harms_nothing() {
    let place = Place::new();
    let _file = segment(&place);
    let held = place.get(&["ls"]);
    let mut terminal = watch(&place, &["x"]);
    terminal.wait_for("68 65");
    assert!(place.get(&["info", "x"]).contains("0 handles"), "watching is no holding");
    terminal.signal(Signal::KILL);
    assert_eq!(terminal.end().signal(), Some(9));
    assert_eq!(place.names(), ["x"]);
    let ages =
        |text: &str| text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<Vec<_>>();
    assert_eq!(ages(&place.get(&["ls"])), ages(&held));
}

#[test]
fn an_orphan_can_be_swept_while_it_is_watched() {
    let place = Place::new();
    place.make_orphan("left", 4096);
    let mut terminal = watch(&place, &["left"]);
    terminal.wait_for("orphan");
    assert!(place.get(&["sweep"]).contains("1 orphan deleted"));
    terminal.wait_for("deleted");
    terminal.send(b"q");
    assert!(terminal.end().success());
}

#[test]
fn truncation_growth_and_deletion_are_shown() {
    let place = Place::new();
    let file = segment(&place);
    let mut terminal = watch(&place, &["x", "--interval", "50"]);
    terminal.wait_for("68 65");
    file.set_len(4).unwrap();
    terminal.wait_for("68 65 6c 6c -- --");
    terminal.wait_for("truncated, was 4.0K");
    file.set_len(0).unwrap();
    terminal.wait_for("-- -- -- --");
    file.set_len(8192).unwrap();
    terminal.wait_for("8.0K");
    std::fs::remove_file(place.path("x")).unwrap();
    terminal.wait_for("x  deleted  8.0K");
    file.write_at(b"still here", 0).unwrap();
    terminal.wait_for("still here");
    place.get(&["create", "x", "16"]);
    terminal.wait_for("made anew");
    terminal.send(b"r");
    terminal.wait_for("this is the new one");
    terminal.wait("the new one", |screen| !screen.contents().contains("still here"));
    terminal.send(b"q");
    assert!(terminal.end().success());
}

#[test]
fn names_and_bytes_give_the_terminal_no_orders() {
    let place = Place::new();
    let odd = OsStr::from_bytes(b"odd\x1b]0;owned\x07\x1b[2J\n\xff");
    let bytes = b"\x1b]0;owned\x07\0";
    std::fs::write(place.path("odd\x1b[5m"), bytes).unwrap();
    std::fs::write(place.directory().join(odd), bytes).unwrap();
    for name in [Some(odd), None] {
        let arguments: Vec<&OsStr> = [OsStr::new("watch")].into_iter().chain(name).collect();
        let mut terminal = Terminal::start(place.command(&arguments), 100, 24);
        terminal.wait_for("odd\\u{1b}");
        terminal.send(b"e/o\n?");
        terminal.wait_for("this help");
        terminal.send(b" q");
        assert!(terminal.end().success());
        let ordered = |order: &[u8]| terminal.output.windows(order.len()).any(|bytes| bytes == order);
        assert!(!ordered(b"\x1b]0") && !ordered(b"\x07") && !ordered(b"\x1b[5m"));
    }
    // Nor what it says about them.
    let output = place.run(&[OsStr::new("watch"), odd]);
    common::complaint(1, &output);
}

#[test]
fn all_segments_are_a_table_that_opens_them() {
    let place = Place::new();
    let _file = segment(&place);
    place.make_orphan("left", 8192);
    // With room for all columns.
    let mut terminal = Terminal::start(place.command(&["watch", "--interval", "100"]), 120, 24);
    terminal.wait_for("2 segments");
    terminal.wait_for("1 orphan");
    place.get(&["create", "new", "1M"]);
    terminal.wait_for("+ new ");
    place.get(&["grow", "new", "3M"]);
    terminal.wait("growth", |screen| {
        screen.rows(0, 120).any(|row| row.contains("new ") && row.contains("+2.0M"))
    });
    place.get(&["rm", "new"]);
    terminal.wait_for("- new ");
    terminal.wait("that it is gone", |screen| !screen.contents().contains("new "));
    terminal.send(b"/x\r\r");
    terminal.wait_for("68 65");
    terminal.wait_for("Esc table");
    terminal.send(b"\x1b");
    terminal.wait_for("1 with \"x\"");
    terminal.send(b"\r");
    terminal.wait_for("68 65");
    terminal.send(b"\x7f");
    terminal.wait_for("1 with \"x\"");
    terminal.send(b"q");
    assert!(terminal.end().success());
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let place = Place::new();
    let _file = segment(&place);
    for ignored in [None, Some(libc::SIGHUP)] {
        for arguments in [&["watch", "x"][..], &["watch"]] {
            let mut terminal = Terminal::start_ignoring(place.command(arguments), 80, 24, ignored);
            terminal.wait_for("x ");
            terminal.hang_up();
            let status = terminal.end();
            assert!(!status.success() && status.code() != Some(101), "{status}");
        }
    }
}

#[test]
fn a_terminal_that_takes_no_output_does_not_keep_it() {
    let place = Place::new();
    let file = segment(&place);
    let mut terminal = watch(&place, &["x", "--interval", "20"]);
    terminal.wait_for("68 65");
    // Nobody reads; the terminal's buffer is full after some redraws.
    for value in 0..100_u8 {
        file.write_at(&[value; 256], 0).unwrap();
        terminal.send(b"\x0c");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.end_unread().signal(), Some(libc::SIGTERM));
}

#[test]
fn it_stops_and_goes_on_as_the_shell_wants() {
    let place = Place::new();
    let _file = segment(&place);
    let watch = place.command(&["watch", "x"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "set -m; \"$@\"; echo STOPPED; read answer; fg; echo ENDED", "sh"]);
    shell.arg(watch.get_program()).args(watch.get_args()).env_remove("NO_COLOR");
    let mut terminal = Terminal::start(shell, 80, 24);
    terminal.wait_for("68 65");
    terminal.send(b"\x1a");
    terminal.wait_for("STOPPED");
    assert_given_back(&terminal);
    terminal.send(b"\n");
    terminal.wait("the segment again", |screen| {
        screen.alternate_screen() && screen.hide_cursor() && screen.contents().contains("68 65")
    });
    terminal.send(b"q");
    terminal.wait_for("ENDED");
    assert!(terminal.end().success());
    assert_given_back(&terminal);
}

#[test]
fn what_is_no_terminal_or_no_segment_is_an_error() {
    let place = Place::new();
    let _file = segment(&place);
    let text = place.fail(1, &["watch", "x"]);
    assert!(text.contains("no terminal") && text.contains("commons dump x"), "{text}");
    let text = place.fail(1, &["watch"]);
    assert!(text.contains("commons ls"), "{text}");
    place.fail(2, &["watch", "x", "--interval", "19"]);
    place.fail(2, &["watch", "x", "--interval", "soon"]);
    place.fail(2, &["watch", "--offset", "1"]);
    for (arguments, reason) in [
        (&["nothing"][..], "no such segment"),
        (&[".."], "bad name"),
        (&["x", "--offset", "4096"], "beyond its end"),
    ] {
        let mut terminal = watch(&place, arguments);
        assert_eq!(terminal.end().code(), Some(1));
        assert!(terminal.text().contains(reason), "{}", terminal.text());
        assert!(!terminal.output.starts_with(b"\x1b"), "the terminal was taken");
    }
    let mut command = place.command(&["watch", "x"]);
    command.stdout(Stdio::null()).stdin(Stdio::null());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}
