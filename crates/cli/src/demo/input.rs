//! What the demo counts: files, or a text that comes with the command.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::failure::{Failure, Outcome, one_line};
use crate::output;

/// A short text about shared memory.
const TEXT: &str = include_str!("../../demo.txt");

/// How often the text is repeated, to be worth four processes.
const TIMES: usize = 1000;

/// Bytes that are loaded at most: they are in memory twice.
const MOST: u64 = 1 << 30;

/// Something to count.
pub(super) struct Input {
    /// What it is, for people.
    pub(super) label: String,
    pub(super) bytes: Vec<u8>,
}

/// Reads the files, or takes the text if there are none.
pub(super) fn load(files: &[PathBuf]) -> Outcome<Vec<Input>> {
    if files.is_empty() {
        let text = output::size(TEXT.len() as u64);
        let label = format!("a text of {text} that comes with the command, {TIMES} times");
        return Ok(vec![Input { label, bytes: TEXT.repeat(TIMES).into_bytes() }]);
    }
    let mut left = MOST;
    let mut inputs = Vec::with_capacity(files.len());
    for path in files {
        let name = one_line(&path.to_string_lossy());
        let failed = |error| Failure::system(format_args!("read {name}"), &error);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        // One byte more than there is room for tells that there is more.
        file.take(left + 1).read_to_end(&mut bytes).map_err(failed)?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            let most = output::size(MOST);
            Failure::new(format!("cannot read {name}: the demo takes {most} in all; give it less"))
        })?;
        inputs.push(Input { label: name, bytes });
    }
    Ok(inputs)
}
