//! What is mapped, as the kernel tells: for attachments that other functions than `shmdt` have changed.
//!
//! Reads `/proc/self/maps` piece by piece into a buffer on the stack, so that a forked child can do it.

use libc::c_int;

use crate::kernel;

/// A mapping of a segment, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) offset: usize,
    pub(super) inode: u64,
    /// `PROT_READ` and so on.
    pub(super) protection: c_int,
    /// The id in the file's name.
    pub(super) id: c_int,
}

impl Piece {
    /// Where the whole attachment would begin; `None` if it makes no sense.
    pub(super) fn base(&self) -> Option<usize> {
        self.start.checked_sub(self.offset)
    }
}

/// Calls `see` for each mapping of a file whose name is a segment's, from the lowest address up.
pub(super) fn each(see: &mut dyn FnMut(&Piece)) -> Result<(), c_int> {
    let maps = kernel::open_following(c"/proc/self/maps", libc::O_RDONLY)?;
    let mut buffer = [0_u8; 8192];
    let mut filled = 0;
    loop {
        let read = kernel::read(&maps, &mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut done = 0;
        while let Some(len) = buffer[done..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(piece) = parse(&buffer[done..done + len]) {
                see(&piece);
            }
            done += len + 1;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
        if filled == buffer.len() {
            // A line longer than any path can be: what is read of it is not needed.
            filled = 0;
        }
    }
}

/// A line: `start-end rwxp offset major:minor inode path`.
fn parse(line: &[u8]) -> Option<Piece> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let range = fields.next()?;
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let permissions = fields.next()?;
    let offset = hexadecimal(fields.next()?)?;
    let _device = fields.next()?;
    let inode = decimal(fields.next()?)?;
    // The path is all that is left, with spaces in it perhaps.
    let slash = line.iter().rposition(|byte| *byte == b'/')?;
    let name = line[slash + 1..].strip_suffix(b" (deleted)").unwrap_or(&line[slash + 1..]);
    let id = c_int::try_from(decimal(name.strip_prefix(b"shm.")?)?).ok()?;
    let protection = [(b'r', libc::PROT_READ), (b'w', libc::PROT_WRITE), (b'x', libc::PROT_EXEC)]
        .into_iter()
        .filter(|(letter, _)| permissions.contains(letter))
        .fold(0, |all, (_, protection)| all | protection);
    if permissions.last() != Some(&b's') {
        return None;
    }
    Some(Piece {
        start: usize::try_from(hexadecimal(&range[..dash])?).ok()?,
        end: usize::try_from(hexadecimal(&range[dash + 1..])?).ok()?,
        offset: usize::try_from(offset).ok()?,
        inode,
        protection,
        id,
    })
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let line =
            b"7f00000-7f03000 rw-s 00001000 00:1a 1234                     /dev/shm/a b/shm.5 (deleted)";
        let piece = parse(line).unwrap();
        assert_eq!((piece.start, piece.end, piece.offset), (0x7f0_0000, 0x7f0_3000, 0x1000));
        assert_eq!((piece.inode, piece.id, piece.base()), (1234, 5, Some(0x7ef_f000)));
        assert_eq!(piece.protection, libc::PROT_READ | libc::PROT_WRITE);
        assert_eq!(parse(b"7f00000-7f03000 rw-p 00000000 00:00 0 [heap]"), None);
        assert_eq!(parse(b"7f00000-7f03000 rw-p 00000000 00:1a 1234 /dev/shm/shm.5"), None, "private");
    }
}
