//! Counting as `wc -lwc` does in the C locale, in three ways that have nothing in common.

use std::io::Write;
use std::iter::Sum;
use std::process::{Command, Stdio};

use super::input::Input;
use crate::failure::{Failure, Outcome};

/// Lines, words and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lines: u64,
    pub(super) words: u64,
    pub(super) bytes: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |sum, one| Counts {
            lines: sum.lines + one.lines,
            words: sum.words + one.words,
            bytes: sum.bytes + one.bytes,
        })
    }
}

/// What ends a word: the white space of C.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Counts piece by piece. A word is counted where it begins, so that it does not matter where a piece ends.
pub(super) struct Counter {
    pub(super) counts: Counts,
    in_word: bool,
}

impl Counter {
    /// A counter for what follows `before`, the byte before it, if there is one.
    pub(super) fn after(before: Option<u8>) -> Counter {
        Counter { counts: Counts::default(), in_word: before.is_some_and(|byte| !is_space(byte)) }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let in_word = !is_space(*byte);
            self.counts.words += u64::from(in_word && !self.in_word);
            self.counts.lines += u64::from(*byte == b'\n');
            self.in_word = in_word;
        }
        self.counts.bytes += bytes.len() as u64;
    }
}

/// The plain way, to compare with: all at once, by splitting at white space.
pub(super) fn simply(bytes: &[u8]) -> Counts {
    Counts {
        lines: bytes.split(|byte| *byte == b'\n').count() as u64 - 1,
        words: bytes.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).count() as u64,
        bytes: bytes.len() as u64,
    }
}

/// Whether all versions of `wc` agree on the words: some leave out what they cannot print.
pub(super) fn has_plain_words(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_space(*byte) || byte.is_ascii_graphic())
}

/// What `wc` says; `None` if it is not there.
pub(super) fn by_wc(inputs: &[Input]) -> Outcome<Option<Counts>> {
    let mut all = Vec::with_capacity(inputs.len());
    for input in inputs {
        match ask_wc(&input.bytes) {
            Ok(counts) => all.push(counts.ok_or_else(|| Failure::new("cannot understand what wc says"))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::system("run wc", &error)),
        }
    }
    Ok(Some(all.into_iter().sum()))
}

fn ask_wc(bytes: &[u8]) -> std::io::Result<Option<Counts>> {
    let mut wc = Command::new("wc")
        .args(["-l", "-w", "-c"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = wc.stdin.take() {
        // If it ends early, its answer is wrong, and that shows. Nothing comes back before the input's end, so
        // that neither waits for the other.
        let _ = input.write_all(bytes);
    }
    let answer = wc.wait_with_output()?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let numbers: Vec<u64> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Ok(match numbers[..] {
        [lines, words, bytes] => Some(Counts { lines, words, bytes }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_count_as_the_whole_wherever_they_are_cut() {
        let texts: [&[u8]; 6] =
            [b"", b"\n", b"one two\nthree", b"  a\tb\x0bc\x0cd\r\n ", b"word", b"\xff\x00 \xc3\xa9"];
        for text in texts {
            let whole = simply(text);
            for cut in 0..=text.len() {
                let (head, tail) = text.split_at(cut);
                let mut first = Counter::after(None);
                first.take(head);
                let mut second = Counter::after(head.last().copied());
                second.take(tail);
                assert_eq!(
                    [first.counts, second.counts].into_iter().sum::<Counts>(),
                    whole,
                    "{text:?} {cut}"
                );
            }
        }
        assert_eq!(simply(b"one two\nthree"), Counts { lines: 1, words: 3, bytes: 13 });
    }
}
