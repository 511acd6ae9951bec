//! How cost grows: with the number of segments, of attachments, of contenders, and with size.

mod attachments;
mod processes;
mod segments;
mod sizes;

use super::Table;

pub(super) static TABLE: Table = Table {
    name: "scale",
    about: "how cost grows",
    works: &[
        ("many segments", segments::measure),
        ("many attachments", attachments::measure),
        ("many contenders", processes::measure),
        ("large segments", sizes::measure),
    ],
    roles: &[(attachments::ROLE, attachments::hold)],
};

/// A number with its thousands apart.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Such as `4 KiB`.
fn bytes(size: u64) -> String {
    match size {
        ..0x10_0000 => format!("{} KiB", size >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", size >> 20),
        _ => format!("{} GiB", size >> 30),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_read_well() {
        assert_eq!([1, 1_000, 100_000].map(super::thousands), ["1", "1,000", "100,000"]);
        assert_eq!([4 << 10, 1 << 20, 16 << 30].map(super::bytes), ["4 KiB", "1 MiB", "16 GiB"]);
    }
}
