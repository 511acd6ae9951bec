//! Which processes have a file mapped, as far as `/proc` shows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::directory::Directory;
use super::file::Identity;

/// What a look through `/proc/*/maps` found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mappers {
    /// Ids of processes that have the file mapped.
    pub(crate) pids: Vec<u32>,
    /// Ids of processes that could not be looked into.
    pub(crate) hidden: Vec<u32>,
}

/// Looks through all visible processes for mappings of a file.
pub(crate) fn mappers(file: Identity) -> Mappers {
    let mut found = Mappers::default();
    let device = format!("{:02x}:{:02x}", rustix::fs::major(file.device), rustix::fs::minor(file.device));
    let inode = file.inode.to_string();
    for (name, _) in Directory::open(Path::new("/proc")).into_iter().flatten().flatten() {
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let maps = match fs::File::open(format!("/proc/{pid}/maps")) {
            Ok(maps) => maps,
            Err(error) => {
                // One that has just ended hides nothing.
                if error.kind() == std::io::ErrorKind::PermissionDenied {
                    found.hidden.push(pid);
                }
                continue;
            }
        };
        let mut lines = BufReader::new(maps).split(b'\n');
        // address permissions offset DEVICE INODE path, see proc(5)
        let has = lines.by_ref().map_while(Result::ok).any(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(3);
            fields.next() == Some(device.as_bytes()) && fields.next() == Some(inode.as_bytes())
        });
        if has {
            found.pids.push(pid);
        }
    }
    found
}

/// The command of a process, as it calls itself; `None` if it is gone or hidden.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Whether there is a process with this id.
pub(crate) use super::robust::thread_exists as exists;

/// The first offsets of all open-file-description locks for reading on a file; `None` without `/proc`.
pub(crate) fn locked_bytes(file: Identity) -> Option<Vec<u64>> {
    let locks = BufReader::new(fs::File::open("/proc/locks").ok()?);
    let (major, minor) = (rustix::fs::major(file.device), rustix::fs::minor(file.device));
    let of_file = format!("{major:02x}:{minor:02x}:{}", file.inode);
    // number: OFDLCK ADVISORY READ pid DEVICE:INODE START END, see proc_locks(5)
    let offsets = locks.lines().map_while(Result::ok).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_hold = fields.next()? == "OFDLCK" && fields.nth(1)? == "READ" && fields.nth(1)? == of_file;
        if is_hold { fields.next()?.parse().ok() } else { None }
    });
    Some(offsets.collect())
}
