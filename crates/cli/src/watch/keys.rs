//! Keys, from the bytes that a terminal sends.
//!
//! `crossterm` has a reader of its own, which asks a terminal that has gone away again and again without
//! end. So the bytes are read here, beside the signals, and this says which keys they are. What is no key
//! that `watch` knows is dropped whole, so that no rest of it is taken for a letter.

use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character that can be shown.
    Char(char),
    /// A letter with Ctrl, as the small letter.
    Control(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
}

const ESCAPE: u8 = 0x1b;

/// Longer than any sequence of a key: what does not end within it is thrown away.
const LONGEST: usize = 32;

/// What a sequence of bytes begins with.
enum First {
    /// A key, or nothing that is known, of so many bytes.
    Is(Option<Key>, usize),
    /// More bytes have to come.
    Unfinished,
}

/// Bytes come in, keys go out.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    bytes: VecDeque<u8>,
}

impl Keys {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Whether there are bytes that may be the beginning of a key: an Escape alone may be one as well.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next key that is complete.
    pub(crate) fn next(&mut self) -> Option<Key> {
        while !self.bytes.is_empty() {
            match first(self.bytes.make_contiguous()) {
                First::Is(key, length) => {
                    self.bytes.drain(..length);
                    if key.is_some() {
                        return key;
                    }
                }
                First::Unfinished if self.bytes.len() > LONGEST => self.bytes.clear(),
                First::Unfinished => return None,
            }
        }
        None
    }

    /// Nothing came for a while: what is there is all. An Escape alone is that key.
    pub(crate) fn give_up(&mut self) -> Option<Key> {
        let alone = self.bytes.len() == 1 && self.bytes[0] == ESCAPE;
        self.bytes.clear();
        alone.then_some(Key::Escape)
    }
}

fn first(bytes: &[u8]) -> First {
    match *bytes {
        [ESCAPE] => First::Unfinished,
        [ESCAPE, ESCAPE, ..] => First::Is(Some(Key::Escape), 1),
        [ESCAPE, b'[', ref rest @ ..] => control_sequence(rest),
        [ESCAPE, b'O'] => First::Unfinished,
        [ESCAPE, b'O', last, ..] => First::Is(named(b"", last), 3),
        // A character with Alt.
        [ESCAPE, ref rest @ ..] => match character(rest) {
            First::Is(_, length) => First::Is(None, 1 + length),
            First::Unfinished => First::Unfinished,
        },
        _ => character(bytes),
    }
}

/// What follows `ESC [`: digits and semicolons, then a byte that ends it.
fn control_sequence(rest: &[u8]) -> First {
    // The Linux console's function keys.
    if let [b'[', tail @ ..] = rest {
        return if tail.is_empty() { First::Unfinished } else { First::Is(None, 4) };
    }
    match rest.iter().position(|byte| !(0x20..=0x3f).contains(byte)) {
        None => First::Unfinished,
        Some(end) => First::Is(named(&rest[..end], rest[end]), end + 3),
    }
}

/// The key of a sequence with these parameters, of which the first says which key and the others what was
/// pressed with it.
fn named(parameters: &[u8], last: u8) -> Option<Key> {
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    Some(match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"5") => Key::PageUp,
        (b'~', b"6") => Key::PageDown,
        (b'M', b"") => Key::Enter,
        _ => return None,
    })
}

fn character(bytes: &[u8]) -> First {
    let key = match bytes[0] {
        b'\r' | b'\n' => Key::Enter,
        0x7f | 0x08 => Key::Backspace,
        letter @ 1..=26 => Key::Control(char::from(letter - 1 + b'a')),
        printable @ b' '..=b'~' => Key::Char(char::from(printable)),
        first @ 0xc2..=0xf4 => return beyond_ascii(first, bytes),
        _ => return First::Is(None, 1),
    };
    First::Is(Some(key), 1)
}

fn beyond_ascii(first: u8, bytes: &[u8]) -> First {
    let length = match first {
        0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let there = &bytes[..length.min(bytes.len())];
    match std::str::from_utf8(there) {
        Ok(text) => First::Is(text.chars().next().filter(|one| !one.is_control()).map(Key::Char), length),
        Err(error) if error.error_len().is_none() => First::Unfinished,
        Err(_) => First::Is(None, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        keys.take(bytes);
        let mut found: Vec<Key> = std::iter::from_fn(|| keys.next()).collect();
        found.extend(keys.give_up());
        assert!(!keys.is_waiting());
        found
    }

    #[test]
    fn bytes_become_keys_and_what_is_unknown_is_dropped_whole() {
        use Key::{Backspace, Char, Control, Down, End, Enter, Escape, Home, PageDown, PageUp, Right, Up};
        for (bytes, expected) in [
            (&b"q"[..], &[Char('q')][..]),
            (b"\x1b", &[Escape]),
            (b"\x1b\x1b", &[Escape, Escape]),
            (b"\x1b[A\x1bOB\x1b[C", &[Up, Down, Right]),
            (b"\x1b[1;5Ax", &[Up, Char('x')]),
            (b"\x1b[5~\x1b[6~\x1b[1~\x1b[8~\x1b[H\x1bOF", &[PageUp, PageDown, Home, End, Home, End]),
            (b"\x03\x1a\r\n\x7f\x08", &[Control('c'), Control('z'), Enter, Enter, Backspace, Backspace]),
            ("é€𝄞".as_bytes(), &[Char('é'), Char('€'), Char('𝄞')]),
            (b"\xff\xc3(\xe2\x82", &[Char('(')]),
            (b"\x1b[200~q\x1b[201~", &[Char('q')]),
            (b"\x1bqg", &[Char('g')]),
            (b"\x1b[[Ag", &[Char('g')]),
            (b"\x1b[?1;2cg", &[Char('g')]),
            (b"\0\x1c\xc2\x9b", &[]),
            (b"\x1b[", &[]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_key_that_comes_in_pieces_is_one_key() {
        let mut keys = Keys::default();
        for byte in b"\x1b[5" {
            keys.take(&[*byte]);
            assert_eq!(keys.next(), None);
            assert!(keys.is_waiting());
        }
        keys.take(b"~");
        assert_eq!(keys.next(), Some(Key::PageUp));
        assert!(!keys.is_waiting());
    }

    #[test]
    fn a_sequence_without_end_does_not_grow_without_end() {
        let mut keys = Keys::default();
        keys.take(b"\x1b[");
        keys.take(&[b'1'; 1000]);
        assert_eq!(keys.next(), None);
        assert!(!keys.is_waiting());
    }
}
