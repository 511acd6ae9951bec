//! Standard output: buffered, coloured on a terminal and plain elsewhere; and how sizes and ages are written.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// What needs attention: orphans, the killed.
pub(crate) const ALARM: Style = AnsiColor::Red.on_default().bold();
/// Headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// What is there for completeness.
pub(crate) const QUIET: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();

/// Standard output. What was printed is sure to be out only after [`finish`](Output::finish) went well.
pub(crate) struct Output {
    to: BufWriter<File>,
    coloured: bool,
}

impl Output {
    pub(crate) fn new() -> Outcome<Output> {
        let stdout = io::stdout();
        let coloured = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let own = stdout.as_fd().try_clone_to_owned().map_err(|error| Failure::writing(&error))?;
        // Past the standard library's buffer, which writes out at each line.
        Ok(Output { to: BufWriter::with_capacity(1 << 16, File::from(own)), coloured })
    }

    /// `text` in `style`, if there are colours.
    pub(crate) fn styled<'t>(&self, style: Style, text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
        let text = text.into();
        if self.coloured && !style.is_plain() { format!("{style}{text}{style:#}").into() } else { text }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.to.write_all(bytes).map_err(|error| Failure::writing(&error))
    }

    /// A value for scripts. Characters that a terminal could take for orders are escaped, as JSON allows.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Outcome<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
        let mut plain = String::with_capacity(text.len() + 1);
        for character in text.chars() {
            match character {
                '\u{7f}'..='\u{9f}' => plain.push_str(&format!("\\u{:04x}", character as u32)),
                character => plain.push(character),
            }
        }
        plain.push('\n');
        self.write(plain.as_bytes())
    }

    pub(crate) fn line(&mut self, text: &str) -> Outcome<()> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// What was printed so far, for people who watch.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        self.to.flush().map_err(|error| Failure::writing(&error))
    }

    pub(crate) fn finish(mut self) -> Outcome<()> {
        self.flush()
    }
}

const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];

/// A size in few characters, as one can type it: `512`, `64.0K`, `1.5G`.
pub(crate) fn short_size(bytes: u64) -> String {
    match scaled(bytes) {
        None => bytes.to_string(),
        Some((value, unit)) => format!("{value:.1}{unit}"),
    }
}

/// A size for a sentence: `512 bytes`, `64.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    match scaled(bytes) {
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
        Some((value, unit)) => format!("{value:.1} {unit}iB"),
    }
}

fn scaled(bytes: u64) -> Option<(f64, char)> {
    let mut value = bytes as f64;
    let mut unit = None;
    // What would print as 1024.0 is 1.0 of the next unit.
    for next in UNITS {
        if value < 1023.95 || bytes < 1024 {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    unit.map(|unit| (value, unit))
}

/// How long ago, in the largest unit that fits: `12s`, `3h`; `-` for times to come.
pub(crate) fn age(then: SystemTime, now: SystemTime) -> String {
    // A clock that is read twice may be some microseconds behind itself.
    let seconds = match now.duration_since(then) {
        Ok(age) => age.as_secs(),
        Err(error) if error.duration() < Duration::from_secs(1) => 0,
        Err(_) => return "-".to_owned(),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_557_600 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_557_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            ((1 << 20) - 1, "1.0M"),
            (64 << 20, "64.0M"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(short_size(bytes), text);
        }
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(64 << 20), "64.0 MiB");
    }

    #[test]
    fn ages_print_in_the_largest_unit_that_fits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32);
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (86_400, "1d"), (1 << 32, "136y")]
        {
            assert_eq!(age(now - Duration::from_secs(seconds), now), text);
        }
        assert_eq!(age(now + Duration::from_secs(5), now), "-");
    }
}
