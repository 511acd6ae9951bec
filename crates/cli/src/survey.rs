//! All shared memory that there is to see: what `ls` and `watch` show.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use commons::{Lifetime, Namespace, Segment, sysv};

use crate::dropins::{self, Names};
use crate::failure::{Failure, Outcome};
use crate::processes::{self, How, Identity, Scan, Used};
use crate::record::{Kind, Record};

/// What is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Namespaces whose segments are listed.
    pub(crate) namespaces: Vec<Namespace>,
    /// Whether the rest of the machine is looked at as well.
    pub(crate) machine: bool,
    /// Only these kinds; all if there are none.
    pub(crate) kinds: Vec<Kind>,
}

impl Scope {
    /// A namespace that was asked for, alone; or else all that there is, the default namespace first. Kinds that
    /// were asked for are looked for in any case.
    pub(crate) fn new(namespace: &Namespace, asked_for: bool, kinds: &[Kind]) -> Scope {
        let mut namespaces = vec![namespace.clone()];
        if !asked_for {
            let posix = Namespace::posix().ok();
            namespaces.extend(posix.filter(|posix| posix.directory() != namespace.directory()));
            let others = dropins::namespaces(&namespaces);
            namespaces.extend(others);
        }
        Scope { namespaces, machine: !asked_for || !kinds.is_empty(), kinds: kinds.to_vec() }
    }

    fn wants(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Looks at all shared memory there is, in no order. What is gone by the time it is looked at was not there.
pub(crate) fn everything(scope: &Scope) -> Outcome<Vec<Record>> {
    let directories: Vec<&OsStr> =
        scope.namespaces.iter().map(|namespace| namespace.directory().as_os_str()).collect();
    let scan = processes::scan(|path, how| {
        let within = directories.iter().any(|directory| path.starts_with(directory.as_bytes()));
        within || scope.machine && is_nameless(path, how)
    });
    // By path, to spare a look at each of many segments; in other mount namespaces a path means another file.
    let mut users: HashMap<&OsStr, Vec<(Identity, &Used)>> = HashMap::new();
    // Whoever made a file without a name, which got one then, has it under another path.
    let mut made_nameless: HashMap<Identity, &Used> = HashMap::new();
    for (identity, used) in &scan.files {
        let last = used.path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if processes::made_nameless(last.strip_suffix(b" (deleted)").unwrap_or(last)) {
            made_nameless.insert(*identity, used);
        }
        users.entry(&used.path).or_default().push((*identity, used));
    }
    let mut records = Vec::new();
    for namespace in scope.namespaces.iter().filter(|namespace| scope.wants(Kind::of(namespace))) {
        let names = Names::of(namespace);
        for entry in namespace.list()? {
            let entry = entry?;
            let Some(mut record) = Record::of(&entry, &names)? else { continue };
            let path = namespace.directory().join(entry.name().file_name());
            let by_path = users.get(path.as_os_str());
            if by_path.is_some() || !made_nameless.is_empty() {
                let identity = fs::symlink_metadata(&path).map(|there| (there.dev(), there.ino())).ok();
                let by_path = by_path.into_iter().flatten().find(|(of, _)| Some(*of) == identity);
                let made = identity.and_then(|identity| made_nameless.get(&identity));
                if let Some(used) = by_path.map(|(_, used)| *used).or(made.copied()) {
                    record.processes = used.processes().into_iter().collect();
                    let processes = record.processes.len();
                    record.holders = record.holders.map(|holders| holders.max(processes));
                }
            }
            records.push(record);
        }
    }
    if scope.machine {
        if scope.wants(Kind::Sysv) {
            records.extend(system_v(&scan));
        }
        let nameless = scan.files.iter().filter_map(|(identity, used)| of_processes(*identity, used));
        records.extend(nameless.filter(|record| scope.wants(record.kind)));
    }
    Ok(records)
}

/// Whether it is memory that only processes lead to.
fn is_nameless(path: &[u8], how: How) -> bool {
    if path.starts_with(b"/memfd:") {
        return true;
    }
    // Other deleted files that are merely open are no shared memory. System V segments have a list of their own,
    // but who has them mapped shows here. In brackets are the kernel's own.
    let deleted = path.ends_with(b" (deleted)") && !path.starts_with(b"/[");
    deleted && (how == How::Mapped || path.starts_with(b"/dev/shm/"))
}

const SYSTEM_V: &[u8] = b"/SYSV";

/// The kernel's System V segments; none, if it has none.
fn system_v(scan: &Scan) -> Vec<Record> {
    // What maps name by the id as the inode.
    let mut users: HashMap<u64, BTreeSet<u32>> = HashMap::new();
    for ((_, inode), used) in &scan.files {
        if used.path.as_bytes().starts_with(SYSTEM_V) {
            users.entry(*inode).or_default().extend(&used.mappers);
        }
    }
    let list = sysv::list().unwrap_or_default();
    list.iter()
        .map(|info| of_system_v(info, users.remove(&(info.segment.id() as u64)).unwrap_or_default()))
        .collect()
}

fn of_system_v(info: &sysv::Info, users: BTreeSet<u32>) -> Record {
    // An id of 0 stands for a process of another pid namespace, of which nothing is known.
    let gone = |pid: i32| pid != 0 && !processes::exists(pid.unsigned_abs());
    let never = info.last == 0;
    Record {
        kind: Kind::Sysv,
        name: format!("sysv:{}", info.segment.id()).into(),
        key: info.key,
        namespace: None,
        size: info.size,
        reserved: info.resident.unwrap_or(0) + info.swapped.unwrap_or(0),
        resident: info.resident,
        holders: usize::try_from(info.attached).ok(),
        processes: users.into_iter().collect(),
        lifetime: if info.removed { Lifetime::UntilLastDetach } else { Lifetime::UntilDeleted },
        orphan: info.attached == 0 && gone(info.creator) && (never || gone(info.last)),
        uid: info.uid,
        gid: info.gid,
        mode: info.mode,
        modified: [info.attached_at, info.detached_at, info.changed_at].into_iter().flatten().max(),
    }
}

/// What only processes lead to: memfds, deleted files, anonymous memory; `None` for anything else.
fn of_processes(identity: Identity, used: &Used) -> Option<Record> {
    let path = processes::deleted(&used.path).unwrap_or(&used.path).as_bytes();
    let (kind, name) = match path.strip_prefix(b"/memfd:") {
        Some(label) => (Kind::Memfd, [b"memfd:", label].concat()),
        None if path.len() == used.path.len() || path.starts_with(SYSTEM_V) => return None,
        None if matches!(path, b"/dev/zero" | b"/anon_hugepage") => (Kind::Anonymous, b"anonymous".to_vec()),
        None => (Kind::Deleted, path.to_vec()),
    };
    // What the kernel lets nobody but root follow is known by its mappings alone.
    let file = used.link.as_ref().and_then(|link| reach(link, identity));
    let metadata = file.as_ref().and_then(|file| file.metadata().ok());
    if metadata.as_ref().is_some_and(|metadata| metadata.nlink() > 0) {
        // Made without a name, and it has one since.
        return None;
    }
    let usage = file.and_then(usage);
    let processes = used.processes();
    let by_owner = || processes.first().and_then(|pid| fs::metadata(format!("/proc/{pid}")).ok());
    let owner = metadata.clone().or_else(by_owner);
    let since = |metadata: &fs::Metadata| {
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(metadata.mtime()).ok()?))
    };
    Some(Record {
        kind,
        name: OsString::from_vec(name),
        key: 0,
        namespace: None,
        size: metadata.as_ref().map_or(used.reach, fs::Metadata::len),
        reserved: metadata.as_ref().map_or(0, |metadata| metadata.blocks() * 512),
        resident: usage.and_then(|usage| usage.resident),
        holders: Some(processes.len()),
        processes: processes.into_iter().collect(),
        lifetime: Lifetime::UntilLastDetach,
        orphan: false,
        uid: owner.as_ref().map_or(0, MetadataExt::uid),
        gid: owner.as_ref().map_or(0, MetadataExt::gid),
        mode: metadata.as_ref().map_or(0, |metadata| metadata.mode() & 0o777),
        modified: metadata.as_ref().and_then(since),
    })
}

/// The file that a link in `/proc` leads to, if it is still the one that was seen: a process may have put anything
/// else behind it since, a fifo or a device, whose opening would wait or do something.
fn reach(link: &Path, identity: Identity) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let found = File::from(open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?);
    let metadata = found.metadata().ok()?;
    (metadata.is_file() && (metadata.dev(), metadata.ino()) == identity).then_some(found)
}

fn usage(found: File) -> Option<commons::Usage> {
    use rustix::fs::{Mode, OFlags, open};
    // Without waiting for a lease to be given back.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty()).ok()?;
    Segment::from_fd(file).ok()?.usage().ok()
}

/// What is known of a System V segment; `None` if there is none.
pub(crate) fn one_system_v(segment: sysv::SystemV) -> Outcome<Option<(Record, sysv::Info)>> {
    let list = sysv::list()?;
    let Some(info) = list.iter().find(|info| info.segment == segment) else { return Ok(None) };
    let inode = segment.id() as u64;
    let scan = processes::scan(|path, how| how == How::Mapped && path.starts_with(SYSTEM_V));
    let users = scan.files.iter().filter(|((_, seen), _)| *seen == inode);
    let users = users.flat_map(|(_, used)| used.mappers.iter().copied()).collect();
    Ok(Some((of_system_v(info, users), *info)))
}

/// The System V segment that is meant by `sysv:ID`; `None` if that is no such name.
///
/// # Errors
///
/// If there is a segment of that name as well.
pub(crate) fn meant_system_v(namespace: &Namespace, name: &OsStr) -> Outcome<Option<sysv::SystemV>> {
    let Some(segment) = system_v_by_name(name) else { return Ok(None) };
    if namespace.entry(name).is_ok() {
        return Err(Failure::new(format!(
            "\"{}\" could be a System V segment or a file in {}: name the file by its path, or choose another --namespace",
            name.to_string_lossy(),
            namespace.directory().display()
        )));
    }
    Ok(Some(segment))
}

fn system_v_by_name(name: &OsStr) -> Option<sysv::SystemV> {
    let digits = name.to_str()?.strip_prefix("sysv:")?;
    let plain =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok().map(sysv::SystemV::from_id) } else { None }
}
