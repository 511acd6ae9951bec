//! `dump`: a segment's bytes in hexadecimal, in the layout of `hexdump -C`.
//!
//! One line for 16 bytes, with their offset in the segment; lines that repeat the one before are folded into
//! a `*`; the last line is the offset of the end. Takes constant memory whatever the size.

use commons::Namespace;

use crate::args;
use crate::bytes::Bytes;
use crate::failure::Outcome;
use crate::output::{Output, QUIET};

/// Bytes on a line.
const WIDTH: usize = 16;

type Row = [u8; WIDTH];

pub(crate) fn dump(namespace: &Namespace, range: &args::Range) -> Outcome<()> {
    let bytes = Bytes::open(namespace, range, "dump")?;
    let mut dump =
        Dump { output: Output::new()?, next: bytes.start, rest: Vec::new(), last: None, folded: false };
    bytes.for_each_chunk(|_, chunk| dump.take(chunk))?;
    dump.end()
}

struct Dump {
    output: Output,
    /// The offset of the next line.
    next: u64,
    /// Bytes that do not fill a line yet.
    rest: Vec<u8>,
    /// The last line, to find repetitions.
    last: Option<Row>,
    /// Whether the repetition was marked already.
    folded: bool,
}

impl Dump {
    fn take(&mut self, mut chunk: &[u8]) -> Outcome<()> {
        // A chunk may end in the middle of a line.
        if !self.rest.is_empty() {
            let (head, behind) = chunk.split_at(chunk.len().min(WIDTH - self.rest.len()));
            self.rest.extend_from_slice(head);
            chunk = behind;
            if let Ok(row) = Row::try_from(self.rest.as_slice()) {
                self.rest.clear();
                self.row(row)?;
            }
        }
        let mut rows = chunk.chunks_exact(WIDTH);
        for row in rows.by_ref() {
            if let Ok(row) = Row::try_from(row) {
                self.row(row)?;
            }
        }
        self.rest.extend_from_slice(rows.remainder());
        Ok(())
    }

    fn row(&mut self, row: Row) -> Outcome<()> {
        if self.last == Some(row) {
            if !self.folded {
                self.output.line("*")?;
            }
            self.folded = true;
        } else {
            self.print(&row)?;
            self.folded = false;
        }
        self.last = Some(row);
        self.next += WIDTH as u64;
        Ok(())
    }

    fn print(&mut self, row: &[u8]) -> Outcome<()> {
        let mut line = self.output.styled(QUIET, format!("{:08x}", self.next)).into_owned();
        for place in 0..WIDTH {
            line.push_str(if place % 8 == 0 { "  " } else { " " });
            match row.get(place) {
                Some(byte) => {
                    line.push(digit(byte >> 4));
                    line.push(digit(byte & 0xf));
                }
                None => line.push_str("  "),
            }
        }
        line.push_str("  |");
        line.extend(row.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        }));
        line.push('|');
        self.output.line(&line)
    }

    fn end(mut self) -> Outcome<()> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.print(&rest)?;
        }
        let end = self.next + rest.len() as u64;
        let line = self.output.styled(QUIET, format!("{end:08x}")).into_owned();
        self.output.line(&line)?;
        self.output.finish()
    }
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('?')
}
