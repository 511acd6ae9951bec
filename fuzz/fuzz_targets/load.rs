//! Any bytes are loaded under a name: an error and nothing new, or a segment whose own snapshot loads to the same
//! bytes.
//!
//! A header may claim any size. Loading reserves it, or leaves it sparse, without writing to it; what claims more
//! than [`MOST`] and less than anybody has is skipped, for the machine's sake.

#![no_main]

use commons::snapshot::{self, LoadOptions, SaveOptions};
use commons_fuzz::{Place, assert_one_line, bytes_of, claimed_size, mend};
use libfuzzer_sys::fuzz_target;

/// Bytes of the largest segment that is tried.
const MOST: u64 = 16 << 20;
/// More than any machine has.
const BEYOND: u64 = 1 << 50;

fn load(bytes: &[u8]) {
    if claimed_size(bytes).is_some_and(|size| size > MOST && size < BEYOND) {
        return;
    }
    let place = Place::new();
    let options = LoadOptions::new().namespace(&place.namespace);
    let loaded = match options.load(bytes) {
        Ok(loaded) => loaded,
        Err(error) => {
            assert_one_line(&error);
            assert_eq!(place.files(), 0, "nothing is left");
            return;
        }
    };
    let header = loaded.header.unwrap();
    assert_eq!(snapshot::check(bytes).unwrap(), header);
    assert_eq!(loaded.segment.name().unwrap().to_os_string(), without_slashes(&header.name));
    let before = bytes_of(&loaded.segment);
    assert_eq!(before.len() as u64, header.size);
    let mut saved = Vec::new();
    SaveOptions::new().save(&loaded.segment, &mut saved).unwrap();
    let again = LoadOptions::new().namespace(&place.namespace).name("again 0").load(&saved[..]).unwrap();
    assert!(bytes_of(&again.segment) == before);
    // And back into the first.
    options.load_into(&loaded.segment, &saved[..]).unwrap();
    assert!(bytes_of(&loaded.segment) == before);
}

/// A segment's name has none in front.
fn without_slashes(name: &std::ffi::OsStr) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStrExt;
    let mut bytes = name.as_bytes();
    while let [b'/', rest @ ..] = bytes {
        bytes = rest;
    }
    std::ffi::OsStr::from_bytes(bytes).to_owned()
}

fuzz_target!(|bytes: &[u8]| {
    load(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    load(&mended);
});
