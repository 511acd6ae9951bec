//! What a segment says about the object in it, for programs that do not know its type.
//!
//! Whoever can write to the segment can write this too. So lengths are checked, text that is none is shown as far as
//! it can be, control characters are escaped, and a line that does not go together with those around it is left out of
//! the [parts](Description::parts).

use std::fmt;
use std::os::fd::BorrowedFd;

use super::inspection::Inspection;
use super::layout::{Layout, fingerprint};
use super::tag::{LEN, Tag, UNTAGGED};
use super::traits::Shareable;
use crate::error::Result;
use crate::segment::{Attachment, Entry};
use crate::sys::extent;

/// The layout of an object: of a type, or as a segment tells it of the object in it.
///
/// Prints as its text, one line for each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    text: String,
    size: u64,
    align: u64,
    fingerprint: u64,
    intact: bool,
    parts: Vec<Part>,
    /// For each part the one that it is in.
    within: Vec<Option<usize>>,
    is_lock: bool,
}

/// A part of an object: a field, the elements of an array, the data of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// How deep it lies: a field of the object itself at 1.
    pub depth: usize,
    /// Its name, or `[0..N]` for the elements of an array.
    pub name: String,
    /// The name of its type.
    pub kind: String,
    /// Bytes from the beginning of the object; for elements, the first one's.
    pub offset: u64,
    /// Bytes; for elements, of one.
    pub size: u64,
    /// For elements, how many there are, one behind the other.
    pub elements: Option<u64>,
    /// Whether it is a lock of [`sync`](crate::sync).
    pub is_lock: bool,
}

/// A lock in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockPlace {
    /// The way to it: `slots[3].lock`; empty if it is the object itself.
    pub name: String,
    /// Which lock it is: `Mutex`, without the type of its data.
    pub kind: String,
    /// Bytes from the beginning of the object, which is the segment's.
    pub offset: u64,
    /// Bytes, its data included.
    pub size: u64,
}

/// What the segment says about the object in it; `None` if it says nothing, or nothing that could be. The attachment
/// is of the whole segment.
pub fn describe(attachment: &Attachment) -> Option<Description> {
    read(attachment).ok().map(|(tag, text)| Description::new(tag, &text))
}

/// The same for a segment that was [listed](crate::Namespace::list), without attaching it or being its holder.
///
/// # Errors
///
/// [`Error::NotFound`](crate::Error::NotFound) if it is gone;
/// [`Error::PermissionDenied`](crate::Error::PermissionDenied) if it may not be opened for reading;
/// [`Error::NotASegment`](crate::Error::NotASegment) if it is none any more.
pub fn describe_entry(entry: &Entry) -> Result<Option<Description>> {
    Ok(Inspection::open(entry)?.map(Inspection::into_description))
}

/// Tag and text; why there are none, if there are not.
pub(super) fn read(attachment: &Attachment) -> Result<(Tag, Vec<u8>), &'static str> {
    if attachment.offset() != 0 {
        return Err(UNTAGGED);
    }
    let copy = |offset, bytes: &mut [u8]| attachment.read_at(offset as usize, bytes).is_ok();
    read_from(&copy, attachment.len() as u64)
}

pub(super) fn read_from(
    copy: &dyn Fn(u64, &mut [u8]) -> bool,
    segment_size: u64,
) -> Result<(Tag, Vec<u8>), &'static str> {
    let mut last = [0; LEN];
    let place = segment_size.checked_sub(LEN as u64).ok_or(UNTAGGED)?;
    if !copy(place, &mut last) {
        return Err(UNTAGGED);
    }
    let tag = Tag::read(&last, segment_size)?;
    let mut text = vec![0; tag.text_len as usize];
    if !copy(tag.text_start, &mut text) {
        return Err("its layout cannot be read");
    }
    Ok((tag, text))
}

pub(super) fn read_file(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &mut [u8]) -> bool {
    while !bytes.is_empty() {
        match extent::read_at(fd, bytes, offset) {
            Ok(0) | Err(_) => return false,
            Ok(len) => {
                bytes = &mut bytes[len..];
                offset += len as u64;
            }
        }
    }
    true
}

impl Description {
    /// The layout of a type.
    pub fn of<T: Shareable>() -> Description {
        Description::of_layout(T::LAYOUT)
    }

    pub(super) fn of_layout(layout: &Layout) -> Description {
        let text = layout.text();
        let fingerprint = fingerprint(text.as_bytes());
        let (size, align) = (layout.size() as u64, layout.align() as u32);
        let tag = Tag { size, align, fingerprint, text_start: size, text_len: text.len() as u32 };
        Description::new(tag, text.as_bytes())
    }

    pub(super) fn new(tag: Tag, text: &[u8]) -> Description {
        let escaped = escape(&String::from_utf8_lossy(text));
        let (parts, within) = parse(&escaped, tag.size);
        let is_lock = escaped.starts_with("lock ");
        Description {
            size: tag.size,
            align: tag.align.into(),
            fingerprint: tag.fingerprint,
            intact: fingerprint(text) == tag.fingerprint,
            parts,
            within,
            is_lock,
            text: escaped,
        }
    }

    /// The layout as text, one line for each field. Safe to print: what is no text, and control characters other than
    /// the end of a line, are escaped.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the object is, in one line: `struct Stats size 96 align 8`; its first 200 characters, should it be longer.
    pub fn headline(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        match line.char_indices().nth(200) {
            Some((end, _)) => &line[..end],
            None => line,
        }
    }

    /// The name of the object's type.
    pub fn type_name(&self) -> &str {
        let line = self.headline();
        let line = line.split_once(' ').map_or(line, |(_, name)| name);
        line.split_once(" size ").map_or(line, |(name, _)| name)
    }

    /// Bytes of the object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the object is aligned to.
    pub fn align(&self) -> u64 {
        self.align
    }

    /// What stands for the layout: FNV-1a, of 64 bits, over its text.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Whether the fingerprint is that of the text. Where it is not, somebody wrote over one of them.
    pub fn is_intact(&self) -> bool {
        self.intact
    }

    /// The parts of the object, in the order of the text.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The locks in the object, each element of an array on its own. There are never more than fit into the object;
    /// that may be many.
    pub fn locks(&self) -> impl Iterator<Item = LockPlace> + '_ {
        let whole = self.is_lock.then(|| LockPlace {
            name: String::new(),
            kind: kind_of_lock(self.type_name()),
            offset: 0,
            size: self.size,
        });
        let parts = (0..self.parts.len()).filter(|part| self.parts[*part].is_lock);
        whole.into_iter().chain(parts.flat_map(|part| self.places(part)))
    }

    /// A lock, at each of its places.
    fn places(&self, part: usize) -> impl Iterator<Item = LockPlace> + '_ {
        let way = self.way(part);
        let count = way.iter().filter_map(|step| step.elements).fold(1, u64::saturating_mul);
        (0..count).map(move |number| self.place(part, &way, number))
    }

    /// The parts that lead to this one, the outermost first.
    fn way(&self, part: usize) -> Vec<&Part> {
        let mut way: Vec<&Part> = std::iter::successors(Some(part), |part| self.within[*part])
            .map(|part| &self.parts[part])
            .collect();
        way.reverse();
        way
    }

    /// Where the lock is for the `number`th time, the innermost array counting fastest.
    fn place(&self, lock: usize, way: &[&Part], number: u64) -> LockPlace {
        let part = &self.parts[lock];
        let (mut rest, mut offset) = (number, part.offset);
        let mut steps = Vec::new();
        for step in way.iter().rev() {
            match step.elements {
                Some(elements) => {
                    let index = rest % elements.max(1);
                    rest /= elements.max(1);
                    offset = offset.saturating_add(index.saturating_mul(step.size));
                    steps.push(format!("[{index}]"));
                }
                None => steps.push(step.name.clone()),
            }
        }
        let mut name = String::new();
        for step in steps.iter().rev() {
            if !name.is_empty() && !step.starts_with('[') {
                name.push('.');
            }
            name.push_str(step);
        }
        LockPlace { name, kind: kind_of_lock(&part.kind), offset, size: part.size }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Without the type of its data.
fn kind_of_lock(name: &str) -> String {
    name.split_once('<').map_or(name, |(kind, _)| kind).to_owned()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for line in text.lines() {
        escaped.extend(line.escape_debug());
        escaped.push('\n');
    }
    escaped
}

/// The parts, and for each the one that it is in.
fn parse(text: &str, size: u64) -> (Vec<Part>, Vec<Option<usize>>) {
    let (mut parts, mut within) = (Vec::<Part>::new(), Vec::new());
    // The parts that the line before is in, itself the last, each with where its next part can begin.
    let mut open: Vec<(usize, u64)> = Vec::new();
    // Where the next part of the whole can begin.
    let mut free = 0;
    for line in text.lines().skip(1) {
        let content = line.trim_start_matches(' ');
        let depth = (line.len() - content.len()) / 2;
        // What lies deeper than the part before by more than one belongs to a line that was left out.
        if depth == 0 || depth > open.len() + 1 {
            continue;
        }
        open.truncate(depth - 1);
        let Some(part) = Part::parse(depth, content) else { continue };
        let (end, next) = match open.last_mut() {
            Some((parent, next)) => (parts[*parent].offset + parts[*parent].size, next),
            None => (size, &mut free),
        };
        let bytes = part.size.checked_mul(part.elements.unwrap_or(1));
        let Some(behind) = bytes.and_then(|bytes| part.offset.checked_add(bytes)) else { continue };
        if part.offset < *next || behind > end {
            continue;
        }
        *next = behind;
        within.push(open.last().map(|(parent, _)| *parent));
        open.push((parts.len(), part.offset));
        parts.push(part);
    }
    (parts, within)
}

impl Part {
    /// `OFFSET NAME TYPE SIZE`, perhaps with `lock` behind.
    fn parse(depth: usize, content: &str) -> Option<Part> {
        let (content, is_lock) = match content.strip_suffix(" lock") {
            Some(content) => (content, true),
            None => (content, false),
        };
        let (offset, content) = content.split_once(' ')?;
        let (name, content) = content.split_once(' ')?;
        let (kind, size) = content.rsplit_once(' ')?;
        let elements = match name.strip_prefix("[0..").and_then(|name| name.strip_suffix(']')) {
            Some(elements) => Some(elements.parse().ok()?),
            None => None,
        };
        let (offset, size) = (offset.parse().ok()?, size.parse().ok()?);
        // Elements without bytes would be endlessly many.
        if (elements.is_some() || is_lock) && size == 0 {
            return None;
        }
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Some(Part { depth, name, kind, offset, size, elements, is_lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    fn described(text: &str, size: u64) -> Description {
        let tag = Tag {
            size,
            align: 8,
            fingerprint: fingerprint(text.as_bytes()),
            text_start: size,
            text_len: text.len() as u32,
        };
        Description::new(tag, text.as_bytes())
    }

    #[test]
    fn locks_are_found_where_they_are() {
        let places = |description: &Description| -> Vec<(String, u64)> {
            description.locks().map(|lock| (lock.name, lock.offset)).collect()
        };
        let whole = Description::of::<Mutex<[u64; 2]>>();
        let lock = whole.locks().next().unwrap();
        assert_eq!((lock.name.as_str(), lock.kind.as_str(), lock.offset, lock.size), ("", "Mutex", 0, 56));
        assert_eq!((whole.type_name(), whole.is_intact()), ("Mutex<[u64; 2]>", true));

        let nested = Description::of::<[[Mutex<u64>; 2]; 2]>();
        let expected = [("[0][0]", 0), ("[0][1]", 48), ("[1][0]", 96), ("[1][1]", 144)];
        assert_eq!(places(&nested), expected.map(|(name, offset)| (name.to_owned(), offset)));

        let text = "struct S size 400 align 8\n  8 slots [Slot; 3] 300\n    8 [0..3] Slot 100\n      8 a u32 4\n      16 lock Mutex<Pair<u8, u8>> 48 lock\n        56 data Pair<u8, u8> 2\n  308 last Event 8 lock\n";
        let expected = [("slots[0].lock", 16), ("slots[1].lock", 116), ("slots[2].lock", 216), ("last", 308)];
        let found = described(text, 400);
        assert_eq!(places(&found), expected.map(|(name, offset)| (name.to_owned(), offset)));
        assert_eq!(found.locks().next().unwrap().kind, "Mutex");
    }

    #[test]
    fn text_is_safe_to_print() {
        let text = "struct S size 8 align 8\n  0 \u{1b}[31mred\u{202e} u64 8\r\n  é u8\u{7}\n";
        let shown = described(text, 8);
        assert!(shown.text().chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown}");
        assert!(!shown.text().contains('\u{202e}'), "{shown}");
        assert!(shown.text().contains('é') && shown.text().contains(r"\u{1b}[31mred"), "{shown}");
        let tag = Tag { size: 8, align: 8, fingerprint: 0, text_start: 8, text_len: 4 };
        let no_text = Description::new(tag, b"\xff\xfe\0x");
        assert!(no_text.text().starts_with("\u{fffd}\u{fffd}\\0x"), "{no_text}");
        assert!(!no_text.is_intact() && no_text.locks().count() == 0);
    }

    #[test]
    fn lines_that_cannot_be_are_left_out() {
        let text = "struct S size 64 align 8
  0 endless [L; 18446744073709551615] 8
    0 [0..18446744073709551615] L 1 lock
    0 [0..9] L 0 lock
  8 outside Mutex 64 lock
    8 below Mutex 8 lock
  8 good Mutex 8 lock
  8 again Mutex 8 lock
 12 odd
    20 deeper Mutex 8 lock
  -1 minus Mutex 8 lock
  99999999999999999999 far Mutex 8 lock
  56 last Mutex 8 lock
";
        let found: Vec<_> = described(text, 64).locks().map(|lock| lock.name).collect();
        assert_eq!(found, ["good", "last"]);
    }

    #[test]
    fn whatever_the_text_is_there_are_no_more_locks_than_bytes() {
        let good = Description::of::<[[Mutex<[u8; 3]>; 4]; 4]>();
        let size = good.size();
        let mut state = 88172645463325252_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut most = 0;
        for _ in 0..20_000 {
            let mut text = good.text().as_bytes().to_vec();
            for _ in 0..=random(8) {
                let at = random(text.len());
                match random(4) {
                    0 => text[at] = b" 0123456789[].lock\n"[random(19)],
                    1 => text[at] = random(256) as u8,
                    2 => drop(text.remove(at)),
                    _ => text.extend_from_within(at..),
                }
            }
            let tag = Tag { size, align: 8, fingerprint: 0, text_start: size, text_len: text.len() as u32 };
            let description = Description::new(tag, &text);
            let mut locks = 0;
            for lock in description.locks() {
                assert!(lock.offset + lock.size <= size);
                locks += 1;
            }
            assert!(locks <= size);
            most = locks.max(most);
        }
        assert!(most >= 16);
    }
}
