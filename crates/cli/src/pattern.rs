//! Choosing segments by name or by pattern.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// A name, or a pattern with `*`, `?` and `[…]`, as the shell has them. A name that has those characters is
/// chosen by its literal text too; what is no valid pattern is a name.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Without leading slashes, which names do not have.
    literal: OsString,
    pattern: Option<glob::Pattern>,
}

impl Pattern {
    pub(crate) fn new(text: &OsStr) -> Pattern {
        let bytes = text.as_bytes();
        let slashes = bytes.iter().take_while(|byte| **byte == b'/').count();
        let literal = OsStr::from_bytes(&bytes[slashes..]).to_owned();
        let special = bytes.iter().any(|byte| b"*?[".contains(byte));
        let pattern = special.then(|| glob::Pattern::new(&distinct(&literal)).ok()).flatten();
        Pattern { literal, pattern }
    }

    /// The name, if it is no pattern.
    pub(crate) fn as_name(&self) -> Option<&OsStr> {
        if self.pattern.is_none() { Some(&self.literal) } else { None }
    }

    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        name == self.literal || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(&distinct(name)))
    }
}

/// As text, in which each byte that is no text is a character of its own: of the private use area, so that no
/// two names look alike.
fn distinct(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(0xf_0000 + u32::from(*byte))));
    }
    text
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_shell_and_names_match_themselves() {
        let matches = |pattern: &str, name: &str| Pattern::new(OsStr::new(pattern)).matches(OsStr::new(name));
        assert!(matches("jobs", "jobs") && matches("/jobs", "jobs"));
        assert!(!matches("job", "jobs"));
        assert!(matches("job*", "jobs") && matches("/job*", "jobs") && matches("*", "a/b"));
        assert!(matches("a[12]", "a1") && matches("a[12]", "a[12]") && !matches("a[12]", "a3"));
        assert!(matches("?", "é"));
        assert!(matches("a[", "a[") && !matches("a[", "a"));
        let odd = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
        let pattern = Pattern::new(odd(b"\xff*"));
        assert!(pattern.matches(odd(b"\xffjunk")));
        assert!(!pattern.matches(odd(b"\xfeprecious")));
    }
}
