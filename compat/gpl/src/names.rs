//! The segment that stands for a name: any C string, the empty one, with slashes, of any length.
//!
//! Shared memory `jobs` is the segment `jobs`, so that all of Commons' programs know it by that name. A named object is
//! the segment `~nob~jobs`. A name that no segment can have (it is empty, begins with `/`, `.`, `~` or `sem.`) stands
//! behind a mark. So each name has one segment of either sort, and no two have the same: a name without a mark does not
//! begin with `~`, and what stands behind a mark is the whole name.
//!
//! A name that is too long for a file is known by its SHA-256, with the name's beginning for people. To keep the whole
//! name somewhere else and compare would cost a second file for each such segment, which a crash could part from the
//! first; and it would guard against nothing: nobody has ever found two texts of one SHA-256.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;

use commons_compat::gpl::{LONG_MEMORY, LONG_OBJECT, MEMORY, OBJECT, encoded_len, is_plain};
use sha2::{Digest, Sha256};

/// Bytes that a file's name has at most.
const LONGEST: usize = 255;

/// The segment for shared memory of this name.
pub(crate) fn memory(name: &[u8]) -> OsString {
    if is_plain(name) && encoded_len(name) <= LONGEST {
        return OsString::from_vec(name.to_vec());
    }
    marked(name, MEMORY, LONG_MEMORY)
}

/// The segment for a named object.
pub(crate) fn object(name: &[u8]) -> OsString {
    marked(name, OBJECT, LONG_OBJECT)
}

fn marked(name: &[u8], mark: &str, long_mark: &str) -> OsString {
    if mark.len() + encoded_len(name) <= LONGEST {
        return OsString::from_vec([mark.as_bytes(), name].concat());
    }
    let mut known = String::from(long_mark);
    for byte in Sha256::digest(name) {
        // Writing to a string does not fail.
        let _ = write!(known, "{byte:02x}");
    }
    known.push('~');
    let room = LONGEST - known.len();
    let mut beginning = name.len().min(room);
    while encoded_len(&name[..beginning]) > room {
        beginning -= 1;
    }
    let mut known = known.into_bytes();
    known.extend_from_slice(&name[..beginning]);
    OsString::from_vec(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use commons::Name;
    use commons_compat::gpl::Kind;
    use std::collections::HashSet;

    #[test]
    fn every_name_has_a_segment_of_its_own() {
        let long = "n".repeat(300);
        let mut slashes = "/".repeat(85);
        let mut names: Vec<String> =
            ["", "/", "//", "a", "/a", ".", "..", ".a", "~", "~a", "~shm~", "~shm~a"]
                .into_iter()
                .chain(["~nob~a", "~database", "sem.a", "a/b", "a%2Fb", "%", "~shm-long~", &slashes])
                .map(str::to_owned)
                .collect();
        slashes.push('/');
        names.extend([slashes, long.clone(), format!("{long}n"), format!("x{long}"), "n".repeat(255)]);
        names.extend((200..260).map(|length| "é".repeat(length / 2) + &"%".repeat(length % 7)));
        let distinct: HashSet<_> = names.iter().collect();
        let mut files = HashSet::new();
        for name in &distinct {
            for segment in [memory(name.as_bytes()), object(name.as_bytes())] {
                let as_name = Name::new(&segment).unwrap();
                assert_eq!(as_name.to_os_string(), segment, "nothing is dropped");
                assert!(files.insert(as_name.file_name().to_owned()), "{name:?} twice");
            }
        }
        assert_eq!(files.len(), 2 * distinct.len());
        assert!(!files.contains(std::ffi::OsStr::new("~database")));
    }

    #[test]
    fn names_come_back() {
        for name in ["", "jobs", "/jobs", "~x", "sem.x", "a/b%c"] {
            let memory = Kind::of(&Name::new(memory(name.as_bytes())).unwrap());
            assert_eq!(memory, Kind::Memory(name.into()));
            let object = Kind::of(&Name::new(object(name.as_bytes())).unwrap());
            assert_eq!(object, Kind::Object(name.into()));
        }
        let long = "x".repeat(1000);
        let Kind::Memory(shown) = Kind::of(&Name::new(memory(long.as_bytes())).unwrap()) else { panic!() };
        let shown = shown.into_string().unwrap();
        assert!(shown.len() > 100 && shown.ends_with("…") && shown.starts_with("xxx"));
    }
}
