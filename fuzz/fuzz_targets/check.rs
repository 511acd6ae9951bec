//! Any bytes are checked, as they are and with their checksums put right: a snapshot, or an error of one line.

#![no_main]

use commons::snapshot::{self, LoadOptions};
use commons_fuzz::{assert_one_line, mend};
use libfuzzer_sys::fuzz_target;

fn check(bytes: &[u8]) {
    let checked = snapshot::check(bytes);
    if let Err(error) = &checked {
        assert_one_line(error);
    }
    // A reader that gives a byte at a time sees the same.
    let slowly = LoadOptions::new().check(Slowly(bytes));
    assert_eq!(checked.map_err(|error| error.to_string()), slowly.map_err(|error| error.to_string()));
}

struct Slowly<'b>(&'b [u8]);

impl std::io::Read for Slowly<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let most = bytes.len().min(7);
        self.0.read(&mut bytes[..most])
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    check(&mended);
});
