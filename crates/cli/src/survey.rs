//! All shared memory that there is to see: what `ls` and `watch` show.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use commons::{Lifetime, Namespace, Segment, sysv};

use crate::failure::Outcome;
use crate::processes::{self, How, Scan, Used};
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
    let mut users: HashMap<&OsStr, BTreeSet<u32>> = HashMap::new();
    for used in scan.files.values() {
        users.entry(&used.path).or_default().extend(used.processes());
    }
    let mut records = Vec::new();
    for namespace in scope.namespaces.iter().filter(|namespace| scope.wants(Kind::of(namespace))) {
        for entry in namespace.list()? {
            let entry = entry?;
            let Some(mut record) = Record::of(&entry, namespace)? else { continue };
            let path = namespace.directory().join(entry.name().file_name());
            if let Some(users) = users.get(path.as_os_str()) {
                record.holders = record.holders.map(|holders| holders.max(users.len()));
                record.processes = users.iter().copied().collect();
            }
            records.push(record);
        }
    }
    if scope.machine {
        if scope.wants(Kind::Sysv) {
            records.extend(system_v(&scan));
        }
        let nameless = scan.files.values().filter_map(of_processes);
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
fn of_processes(used: &Used) -> Option<Record> {
    let path = processes::deleted(&used.path).unwrap_or(&used.path).as_bytes();
    let (kind, name) = match path.strip_prefix(b"/memfd:") {
        Some(label) => (Kind::Memfd, [b"memfd:", label].concat()),
        None if path.len() == used.path.len() || path.starts_with(SYSTEM_V) => return None,
        None if matches!(path, b"/dev/zero" | b"/anon_hugepage") => (Kind::Anonymous, b"anonymous".to_vec()),
        None => (Kind::Deleted, path.to_vec()),
    };
    // What the kernel lets nobody but root follow is known by its mappings alone.
    let metadata = used.link.as_ref().and_then(|link| fs::metadata(link).ok());
    let usage = used.link.as_ref().and_then(|link| usage(link));
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

fn usage(link: &Path) -> Option<commons::Usage> {
    let file = File::open(link).ok()?;
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

/// The System V segment that is called `sysv:ID`.
pub(crate) fn system_v_by_name(name: &OsStr) -> Option<sysv::SystemV> {
    let id = name.to_str()?.strip_prefix("sysv:")?.parse().ok()?;
    Some(sysv::SystemV::from_id(id))
}
