//! Names of segments, and the file names that stand for them.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Error, Result};

/// Bytes that an encoded name has at most.
pub(crate) const LONGEST: usize = 255;

/// Why a name that is too long was refused; told apart from the rest by its error code.
pub(crate) const TOO_LONG: &str =
    "it has more than 255 bytes once '/' and '%' are encoded; use a shorter one";

/// What names of half-made files begin with, where the filesystem has no nameless ones. No segment has such
/// a name: in an encoded name, `%` is followed by `2F` or `25`.
const UNFINISHED: &[u8] = b"%new.";

/// The name of a segment.
///
/// Any bytes but NUL, from 1 to 255 once encoded. Leading slashes are dropped, as `shm_open` does. Within
/// a name, `/` is written as `%2F` in the file system and `%` as `%25`, so that no name leaves its
/// namespace; `.` and `..` are refused. All other names stand for the file of just that name: the segment
/// `jobs` in POSIX shared memory is `/dev/shm/jobs`.
///
/// ```
/// use commons::Name;
///
/// assert_eq!(Name::new("/jobs")?.file_name(), "jobs");
/// assert_eq!(Name::new("a/b")?.file_name(), "a%2Fb");
/// assert!(Name::new("..").is_err());
/// # Ok::<(), commons::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The file's name.
    encoded: OsString,
}

impl Name {
    /// The segment name for `name`.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`] if it is empty, too long, has a NUL byte, or is `.` or `..`.
    pub fn new(name: impl AsRef<OsStr>) -> Result<Name> {
        Name::encode(name.as_ref()).map(|encoded| Name { encoded: OsString::from_vec(encoded.into_owned()) })
    }

    /// The file name that stands for `given`.
    #[inline]
    pub(crate) fn encode(given: &OsStr) -> Result<Cow<'_, [u8]>> {
        let mut bytes = given.as_bytes();
        while let [b'/', rest @ ..] = bytes {
            bytes = rest;
        }
        let plain = !bytes.iter().any(|byte| matches!(byte, 0 | b'/' | b'%'));
        if plain && (1..=LONGEST).contains(&bytes.len()) && bytes[0] != b'.' {
            return Ok(Cow::Borrowed(bytes));
        }
        Name::escape(bytes)
            .map(Cow::Owned)
            .map_err(|why| Error::BadName { name: given.to_string_lossy().into_owned(), why })
    }

    #[cold]
    fn escape(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        match bytes {
            b"" => return Err("it is empty; give at least one byte"),
            b"." | b".." => return Err("'.' and '..' name directories; choose another"),
            _ => {}
        }
        let mut encoded = Vec::with_capacity(bytes.len());
        for byte in bytes {
            match byte {
                0 => return Err("it has a NUL byte, which no file name can have; leave it out"),
                b'/' => encoded.extend_from_slice(b"%2F"),
                b'%' => encoded.extend_from_slice(b"%25"),
                other => encoded.push(*other),
            }
        }
        if encoded.len() > LONGEST { Err(TOO_LONG) } else { Ok(encoded) }
    }

    pub(crate) fn from_encoded(file_name: &OsStr) -> Name {
        Name { encoded: file_name.to_owned() }
    }

    /// The name for a file that another program may have made, whose name may be none that
    /// [`new`](Name::new) gives (with a `%` that encodes nothing).
    ///
    /// # Errors
    ///
    /// [`Error::BadName`] if no file in a directory can have this name.
    pub fn from_file_name(file_name: impl Into<OsString>) -> Result<Name> {
        let encoded = file_name.into();
        let bytes = encoded.as_bytes();
        let why = match bytes {
            b"" => "it is empty; give at least one byte",
            b"." | b".." => "'.' and '..' name directories; choose another",
            _ if bytes.contains(&b'/') || bytes.contains(&0) => "no file name has a '/' or a NUL byte",
            _ if bytes.len() > LONGEST => TOO_LONG,
            _ => return Ok(Name { encoded }),
        };
        Err(Error::BadName { name: encoded.to_string_lossy().into_owned(), why })
    }

    /// The name of the file that stands for it.
    pub fn file_name(&self) -> &OsStr {
        &self.encoded
    }

    /// The name as it was given, without leading slashes.
    pub fn to_os_string(&self) -> OsString {
        let mut rest = self.encoded.as_bytes();
        let mut decoded = Vec::with_capacity(rest.len());
        while let Some((first, behind)) = rest.split_first() {
            rest = match (*first, behind) {
                (b'%', [b'2', b'F', behind @ ..]) => {
                    decoded.push(b'/');
                    behind
                }
                (b'%', [b'2', b'5', behind @ ..]) => {
                    decoded.push(b'%');
                    behind
                }
                (other, behind) => {
                    decoded.push(other);
                    behind
                }
            };
        }
        OsString::from_vec(decoded)
    }

    /// Whether it is the temporary name of a half-made file.
    pub(crate) fn is_unfinished(file_name: &OsStr) -> bool {
        file_name.as_bytes().starts_with(UNFINISHED)
    }

    /// A temporary name for a half-made file.
    pub(crate) fn unfinished(number: u64) -> Name {
        let mut encoded = OsString::from_vec(UNFINISHED.to_vec());
        encoded.push(format!("{number:016x}"));
        Name { encoded }
    }
}

/// Whether a character changes how others are shown, rather than being shown: separators of lines, and marks
/// of direction.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Prints the name as it was given; bytes that are no text, and characters that are not for printing, as
/// `\x1b`, so that the output stays on one line and a terminal takes no orders from a name.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for chunk in self.to_os_string().as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || is_invisible(character) {
                    text.extend(character.escape_default());
                } else {
                    text.push(character);
                }
            }
            for byte in chunk.invalid() {
                write!(text, "\\x{byte:02x}")?;
            }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_but_nul_goes_in_and_comes_out() {
        for byte in 1..=255_u8 {
            let given = [b'a', byte, b'b'];
            let name = Name::new(OsStr::from_bytes(&given)).unwrap();
            assert!(!name.file_name().as_bytes().contains(&b'/'));
            assert_eq!(name.to_os_string().as_bytes(), given);
            assert!(!name.to_string().contains(['\n', '\x1b', '\x07']));
        }
        assert!(Name::new(OsStr::from_bytes(b"a\0b")).is_err());
    }

    #[test]
    fn two_names_never_share_a_file() {
        let names = ["a/b", "a%2Fb", "a%252Fb", "a%b", "a%25b", "%", "%%", "2F", "%2F"];
        let files: std::collections::HashSet<_> =
            names.iter().map(|name| Name::new(name).unwrap().file_name().to_owned()).collect();
        assert_eq!(files.len(), names.len());
    }

    #[test]
    fn leading_slashes_are_dropped_and_directories_refused() {
        assert_eq!(Name::new("/x").unwrap(), Name::new("x").unwrap());
        assert_eq!(Name::new("//x").unwrap(), Name::new("x").unwrap());
        for bad in ["", "/", ".", "..", "/.."] {
            assert!(matches!(Name::new(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
        assert_eq!(Name::new("/../x").unwrap().file_name(), "..%2Fx");
        assert_eq!(Name::new("...").unwrap().file_name(), "...");
    }

    #[test]
    fn length_counts_once_encoded() {
        assert!(Name::new("x".repeat(255)).is_ok());
        let error = Name::new("x".repeat(256)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
        assert!(Name::new("%".repeat(85)).is_ok());
        assert!(Name::new("%".repeat(86)).is_err());
    }

    #[test]
    fn temporary_names_are_nobodys() {
        let temporary = Name::unfinished(7);
        assert!(Name::is_unfinished(temporary.file_name()));
        let same_text = Name::new(temporary.file_name()).unwrap();
        assert!(!Name::is_unfinished(same_text.file_name()));
    }
}
