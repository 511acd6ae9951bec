//! `read` and `write`: a segment's bytes to and from pipes, in chunks, so that no size is too large.
//!
//! Reading goes through the segment's descriptor rather than a mapping: looking at a hole of a sparse segment
//! through a mapping would allocate memory for it. Where a foreign program truncates the segment meanwhile,
//! there are too few bytes, and that is an error. Writing goes through a guarded attachment, since not every
//! filesystem that has segments can be written to otherwise (hugetlbfs).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use commons::{AttachOptions, Attachment, Namespace, OwnerPolicy, Segment, SegmentOptions};
use rustix::io::Errno;

use crate::args;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;

pub(crate) fn read(namespace: &Namespace, range: &args::Range) -> Outcome<()> {
    let bytes = Bytes::open(namespace, range, "read")?;
    let mut output = Output::new()?;
    bytes.for_each_chunk(|_, chunk| output.write(chunk))?;
    output.finish()
}

/// A range of a segment, to be read.
pub(crate) struct Bytes {
    segment: Segment,
    verb: &'static str,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Bytes {
    /// Opens what the command line names, anybody's: its mode decides whether it may be read.
    pub(crate) fn open(namespace: &Namespace, range: &args::Range, verb: &'static str) -> Outcome<Bytes> {
        let options = SegmentOptions::new().namespace(namespace).owner(OwnerPolicy::Any).read_only(true);
        let segment = options.open(&range.name)?;
        let (start, end) = within(&segment, range, verb)?;
        Ok(Bytes { segment, verb, start, end })
    }

    /// Gives all bytes in order, each chunk with its offset.
    pub(crate) fn for_each_chunk(&self, mut each: impl FnMut(u64, &[u8]) -> Outcome<()>) -> Outcome<()> {
        let mut buffer = vec![0; CHUNK];
        let mut at = self.start;
        while at < self.end {
            let left = usize::try_from(self.end - at).unwrap_or(CHUNK).min(CHUNK);
            match rustix::io::pread(self.segment.as_fd(), &mut buffer[..left], at) {
                Ok(0) => {
                    let text = format!(
                        "cannot {} {}: another program truncated it to {at} bytes or fewer; the rest is gone",
                        self.verb,
                        describe(&self.segment)
                    );
                    return Err(Failure::new(text));
                }
                Ok(count) => {
                    each(at, &buffer[..count])?;
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    let what = format!("{} {}", self.verb, describe(&self.segment));
                    return Err(Failure::system(what, &error.into()));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn write(namespace: &Namespace, owner: OwnerPolicy, range: &args::Range) -> Outcome<()> {
    let segment = SegmentOptions::new().namespace(namespace).owner(owner).open(&range.name)?;
    // What is more than `--length` is not taken from the input, so that it need not fit.
    let whole = args::Range { length: None, name: range.name.clone(), ..*range };
    let (start, end) = within(&segment, &whole, "write to")?;
    let room = end - start;
    let input = io::stdin().as_fd().try_clone_to_owned();
    let mut input = File::from(input.map_err(|error| Failure::system("read standard input", &error))?);
    let most = range.length.unwrap_or(u64::MAX);
    let known = remaining(&mut input).map(|bytes| bytes.min(most));
    if let Some(input) = known.filter(|bytes| *bytes > room) {
        return Err(too_much(&segment, start, room, &format!("{input} bytes"), "nothing was written"));
    }
    let mut input = input.take(most);
    if room > 0 {
        let attachment = segment.attach_with(&AttachOptions::new().range(start..end))?;
        attachment.guard()?;
        fill(&attachment, &mut input)?;
        attachment.check()?;
        attachment.flush()?;
    }
    // Full: what is still in the pipe has no place.
    if get(&mut input, &mut [0; 1])? > 0 {
        let written = format!("the first {room} were written");
        return Err(too_much(&segment, start, room, &format!("more than {room} bytes"), &written));
    }
    Ok(())
}

/// Copies the input into the attachment until either ends.
fn fill(attachment: &Attachment, input: &mut impl Read) -> Outcome<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < attachment.len() {
        let left = (attachment.len() - at).min(CHUNK);
        let count = get(input, &mut buffer[..left])?;
        if count == 0 {
            break;
        }
        attachment.write_at(at, &buffer[..count])?;
        at += count;
    }
    Ok(())
}

fn get(input: &mut impl Read, buffer: &mut [u8]) -> Outcome<usize> {
    loop {
        match input.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::system("read standard input", &error)),
        }
    }
}

/// How many bytes are left in the input, if it is a file on disk, which can be known before reading it.
fn remaining(input: &mut File) -> Option<u64> {
    use std::io::Seek;
    let metadata = input.metadata().ok().filter(|metadata| metadata.is_file())?;
    // Files of `/proc` have no size and bytes all the same; then it shows while reading.
    if metadata.size() == 0 {
        return None;
    }
    Some(metadata.size().saturating_sub(input.stream_position().ok()?))
}

fn too_much(segment: &Segment, start: u64, room: u64, input: &str, written: &str) -> Failure {
    let from = if start > 0 { format!(" from offset {start} on") } else { String::new() };
    Failure::new(format!(
        "cannot write to {}: the input has {input}, and {room} fit{from}; {written}; 'commons grow' makes room",
        describe(segment)
    ))
}

/// The beginning and end of the range asked for, if the segment has it.
fn within(segment: &Segment, range: &args::Range, verb: &str) -> Outcome<(u64, u64)> {
    let size = segment.size()?;
    let start = range.offset;
    let end = range.length.map_or(Some(size.max(start)), |length| start.checked_add(length));
    match end {
        Some(end) if end <= size => Ok((start, end)),
        _ => {
            let name = describe(segment);
            let wanted = match range.length {
                Some(length) => format!("the range of {length} bytes from offset {start} on"),
                None => format!("offset {start}"),
            };
            Err(Failure::new(format!(
                "cannot {verb} {name}: it has {size} bytes, and {wanted} lies beyond its end; ask for less"
            )))
        }
    }
}

/// The segment for a sentence: `"jobs" in /dev/shm`.
fn describe(segment: &Segment) -> String {
    let name = segment.name().map(|name| name.to_string()).unwrap_or_default();
    let directory = segment.namespace().map(|namespace| namespace.directory().display().to_string());
    format!("\"{name}\" in {}", directory.unwrap_or_default())
}
