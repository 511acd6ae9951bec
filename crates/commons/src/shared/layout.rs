//! How a type is laid out, and the text that says so: one line for the type, one for each field, at its offset from
//! the beginning of the whole.
//!
//! ```text
//! struct Stats size 144 align 8
//!   0 hits AtomicU64 8
//!   8 total Mutex<Totals> 56 lock
//!     48 data Totals 16
//!       48 count u64 8
//!       56 sum f64 8
//!   64 slots [Slot; 10] 80
//!     64 [0..10] Slot 8
//!       64 owner AtomicU32 4
//!       68 state AtomicU32 4
//! ```
//!
//! | line                                      | means                                                            |
//! | ----------------------------------------- | ---------------------------------------------------------------- |
//! | `struct` (`lock`, `array`, `value`) `TYPE size N align N` | the whole, and what it is                        |
//! | `OFFSET NAME TYPE SIZE`                   | a field; what is in it is indented beneath                       |
//! | `… lock`                                  | the field is a lock                                              |
//! | `OFFSET [0..N] TYPE SIZE`                 | the elements of the array above; offset and size are the first one's |
//!
//! Names are those in the source, so that the text, and the fingerprint made of it, does not depend on the compiler. It
//! says `big-endian` at the end of its first line where that is so.

use std::fmt::{self, Write};

use super::traits::Shareable;

/// How a type is laid out.
///
/// For hand-written implementations of [`Shareable`]; `#[derive(Shareable)]` makes it from the fields.
#[derive(Debug)]
pub struct Layout {
    name: &'static str,
    arguments: &'static [Argument],
    size: usize,
    align: usize,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Value,
    Structure(&'static [Field]),
    Lock(&'static [Field]),
    Array(&'static Layout, usize),
}

/// A field of a structure, or the data of a lock.
#[derive(Debug)]
pub struct Field {
    name: &'static str,
    offset: usize,
    layout: &'static Layout,
}

/// A parameter of a generic type, as it shows in its name.
#[derive(Debug)]
pub struct Argument(Given);

#[derive(Debug)]
enum Given {
    Type(&'static Layout),
    Number(i128),
}

impl Argument {
    /// A type.
    pub const fn of<T: Shareable>() -> Argument {
        Argument(Given::Type(T::LAYOUT))
    }

    /// A number.
    pub const fn number(number: i128) -> Argument {
        Argument(Given::Number(number))
    }
}

impl Field {
    /// A field at this offset in bytes from the beginning of the structure.
    pub const fn new(name: &'static str, offset: usize, layout: &'static Layout) -> Field {
        Field { name, offset, layout }
    }
}

impl Layout {
    /// A value without parts: `size` and `align` in bytes. The name is to be the same wherever the layout is.
    pub const fn value(name: &'static str, size: usize, align: usize) -> Layout {
        Layout { name, arguments: &[], size, align, shape: Shape::Value }
    }

    /// A structure: `size` and `align` in bytes, the fields in the order of their offsets. Not checked: whoever implements
    /// [`Shareable`] by hand vouches for it.
    pub const fn structure(
        name: &'static str,
        arguments: &'static [Argument],
        size: usize,
        align: usize,
        fields: &'static [Field],
    ) -> Layout {
        Layout { name, arguments, size, align, shape: Shape::Structure(fields) }
    }

    /// An array.
    pub const fn array(element: &'static Layout, count: usize) -> Layout {
        Layout {
            name: "",
            arguments: &[],
            size: element.size * count,
            align: element.align,
            shape: Shape::Array(element, count),
        }
    }

    pub(super) const fn lock(
        kind: &'static str,
        arguments: &'static [Argument],
        size: usize,
        align: usize,
        data: &'static [Field],
    ) -> Layout {
        Layout { name: kind, arguments, size, align, shape: Shape::Lock(data) }
    }

    /// Bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Bytes that it is aligned to.
    pub const fn align(&self) -> usize {
        self.align
    }

    /// Whether there is a lock in it.
    pub const fn has_locks(&self) -> bool {
        let fields = match &self.shape {
            Shape::Value => return false,
            Shape::Lock(_) => return true,
            Shape::Array(element, count) => return *count > 0 && element.has_locks(),
            Shape::Structure(fields) => *fields,
        };
        let mut index = 0;
        while index < fields.len() {
            if fields[index].layout.has_locks() {
                return true;
            }
            index += 1;
        }
        false
    }

    /// The layout as text; see [the module](super).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A `String` takes everything.
        let _ = self.write(&mut text);
        text
    }

    /// What stands for the layout: FNV-1a, of 64 bits, over its [text](Layout::text).
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.text().as_bytes())
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let word = match self.shape {
            Shape::Value => "value",
            Shape::Structure(_) => "struct",
            Shape::Lock(_) => "lock",
            Shape::Array(..) => "array",
        };
        let order = if cfg!(target_endian = "big") { " big-endian" } else { "" };
        writeln!(out, "{word} {} size {} align {}{order}", Name(self), self.size, self.align)?;
        self.write_parts(out, 0, 1)
    }

    fn write_parts(&self, out: &mut String, start: usize, depth: usize) -> fmt::Result {
        match self.shape {
            Shape::Value => Ok(()),
            Shape::Structure(fields) | Shape::Lock(fields) => {
                for field in fields {
                    field.layout.write_line(out, start + field.offset, field.name, depth)?;
                }
                Ok(())
            }
            // Its type says all.
            Shape::Array(Layout { shape: Shape::Value, .. }, _) => Ok(()),
            Shape::Array(element, count) => {
                element.write_line(out, start, format_args!("[0..{count}]"), depth)
            }
        }
    }

    fn write_line(
        &self,
        out: &mut String,
        offset: usize,
        name: impl fmt::Display,
        depth: usize,
    ) -> fmt::Result {
        let lock = if matches!(self.shape, Shape::Lock(_)) { " lock" } else { "" };
        let indent = 2 * depth;
        writeln!(out, "{:indent$}{offset} {name} {} {}{lock}", "", Name(self), self.size)?;
        self.write_parts(out, offset, depth + 1)
    }
}

/// The name of a type with its parameters.
struct Name<'l>(&'l Layout);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layout { name, arguments, shape, .. } = self.0;
        if let Shape::Array(element, count) = shape {
            return write!(f, "[{}; {count}]", Name(element));
        }
        f.write_str(name)?;
        for (index, argument) in arguments.iter().enumerate() {
            f.write_str(if index == 0 { "<" } else { ", " })?;
            match argument.0 {
                Given::Type(layout) => Name(layout).fmt(f)?,
                Given::Number(number) => number.fmt(f)?,
            }
        }
        if arguments.is_empty() { Ok(()) } else { f.write_char('>') }
    }
}

/// FNV-1a, of 64 bits. It tells layouts apart that differ by mistake; who wants to deceive could write to the object
/// as well.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // From the test vectors of its authors.
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn types_without_names_of_their_own_are_told_by_their_parts() {
        assert_eq!(
            <[[u8; 4]; 2]>::LAYOUT.text(),
            "array [[u8; 4]; 2] size 8 align 1\n  0 [0..2] [u8; 4] 4\n"
        );
        assert_eq!(<u16>::LAYOUT.text(), "value u16 size 2 align 2\n");
        let text = <[Mutex<u32>; 3]>::LAYOUT.text();
        let expected =
            "array [Mutex<u32>; 3] size 144 align 8\n  0 [0..3] Mutex<u32> 48 lock\n    40 data u32 4\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn locks_are_found_at_any_depth() {
        const { assert!(<[[Mutex<u64>; 2]; 2] as Shareable>::LOCKS) };
        const { assert!(!<[[u64; 2]; 2] as Shareable>::LOCKS) };
        const { assert!(!<[Mutex<u64>; 0] as Shareable>::LOCKS) };
    }
}
