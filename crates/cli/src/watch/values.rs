//! What the bytes under the cursor are, read as numbers and as text.

/// The order of a number's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn other(self) -> Order {
        match self {
            Order::Little => Order::Big,
            Order::Big => Order::Little,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Order::Little => "little-endian",
            Order::Big => "big-endian",
        }
    }
}

/// One reading of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) title: &'static str,
    /// How many bytes it is made of.
    pub(crate) bytes: usize,
    /// `None` if there are not that many.
    pub(crate) text: Option<String>,
}

/// The numbers that begin with the first of `bytes`: unsigned, then signed, then the rest.
pub(crate) fn numbers(bytes: &[u8], order: Order) -> [Value; 11] {
    macro_rules! number {
        ($type:ident, $write:literal) => {{
            const SIZE: usize = size_of::<$type>();
            let own = bytes.first_chunk::<SIZE>().map(|own| match order {
                Order::Little => $type::from_le_bytes(*own),
                Order::Big => $type::from_be_bytes(*own),
            });
            Value { title: stringify!($type), bytes: SIZE, text: own.map(|own| format!($write, own)) }
        }};
    }
    let hexadecimal = Value { title: "hex", ..number!(u64, "0x{:016x}") };
    [
        number!(u8, "{}"),
        number!(u16, "{}"),
        number!(u32, "{}"),
        number!(u64, "{}"),
        number!(i8, "{}"),
        number!(i16, "{}"),
        number!(i32, "{}"),
        number!(i64, "{}"),
        // Written with an exponent where it would be long.
        number!(f32, "{:?}"),
        number!(f64, "{:?}"),
        hexadecimal,
    ]
}

/// The bytes as a C string, in quotes, as far as they are text: up to a NUL, or up to what is none, marked `…`.
/// What is not for printing is escaped.
pub(crate) fn string(bytes: &[u8]) -> String {
    let nul = bytes.iter().position(|byte| *byte == 0);
    let own = &bytes[..nul.unwrap_or(bytes.len())];
    let (text, whole) = match own.utf8_chunks().next() {
        Some(chunk) => (chunk.valid(), chunk.valid().len() == own.len()),
        None => ("", true),
    };
    let mark = if whole && nul.is_some() { "" } else { "…" };
    format!("\"{}\"{mark}", text.escape_debug())
}

/// How many of `bytes` the string is made of, with its NUL.
pub(crate) fn string_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == 0).map_or(bytes.len(), |nul| nul + 1)
}

/// Reads an offset as people write it: decimal, or hexadecimal after `0x`.
pub(crate) fn offset(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` takes a sign as well.
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8], order: Order) -> Vec<String> {
        let values = numbers(bytes, order);
        values.into_iter().map(|value| value.text.unwrap_or_else(|| "-".to_owned())).collect()
    }

    #[test]
    fn bytes_are_read_in_both_orders() {
        let bytes = [0xff, 0xfe, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(
            texts(&bytes, Order::Little),
            [
                "255",
                "65279",
                "65279",
                "9223372036854841087",
                "-1",
                "-257",
                "65279",
                "-9223372036854710529",
                "9.1475e-41",
                "-3.2252e-319",
                "0x800000000000feff",
            ]
        );
        assert_eq!(texts(&bytes, Order::Big)[..4], ["255", "65534", "4294836224", "18446181123756130432"]);
    }

    #[test]
    fn near_the_end_there_are_fewer() {
        let texts = texts(&[7, 0, 0, 0, 1], Order::Little);
        assert_eq!(texts, ["7", "7", "7", "-", "7", "7", "7", "-", "1e-44", "-", "-"]);
        assert!(numbers(&[], Order::Big).iter().all(|value| value.text.is_none()));
    }

    #[test]
    fn no_number_is_long() {
        for bytes in [[0xff; 8], [0; 8], [0x80, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0x10, 0x80]] {
            for order in [Order::Little, Order::Big] {
                assert!(texts(&bytes, order).iter().all(|text| text.len() <= 24), "{bytes:?}");
            }
        }
    }

    #[test]
    fn strings_end_at_a_nul_and_send_nothing_to_the_terminal() {
        for (bytes, expected) in [
            (&b"hello\0rest"[..], r#""hello""#),
            (b"hello", r#""hello"…"#),
            (b"", r#""…"#),
            (b"\0", r#""""#),
            (b"he\xffllo\0", r#""he"…"#),
            (b"\x1b[2J\n\0", r#""\u{1b}[2J\n""#),
            ("é\u{202e}\u{9b}\0".as_bytes(), r#""é\u{202e}\u{9b}""#),
        ] {
            assert_eq!(string(bytes), if bytes.is_empty() { "\"\"…" } else { expected });
        }
        assert_eq!(string_length(b"ab\0c"), 3);
        assert_eq!(string_length(b"ab"), 2);
    }

    #[test]
    fn offsets_are_decimal_or_hexadecimal() {
        for (text, expected) in [
            ("0", Some(0)),
            (" 4096 ", Some(4096)),
            ("0x10", Some(16)),
            ("0XfF", Some(255)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("+1", None),
            ("0x+1", None),
            ("0x", None),
            ("", None),
            ("ff", None),
        ] {
            assert_eq!(offset(text), expected, "{text:?}");
        }
    }
}
