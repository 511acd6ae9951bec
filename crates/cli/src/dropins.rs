//! The drop-ins' segments, under the names by which their programs know them.
//!
//! Each drop-in keeps its segments in a namespace of its own, where they have names that programs never see. `ls` and
//! `watch` show them as programs know them, `nspr:/tmp/table` for instance, and the other subcommands take such names.
//! How each drop-in's segments lie in its namespace is written down beside it, in `commons_compat`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use commons::{Entry, Name, Namespace};
use commons_compat::place::System;
use commons_compat::{gpl, nspr, sysv};

use crate::failure::{Failure, Outcome};
use crate::record::Kind;

/// What names of NSPR's shared memory and semaphores begin with.
const NSPR_MEMORY: &str = "nspr:";
const NSPR_SEMAPHORE: &str = "nspr-sem:";
/// Of libgpl's shared memory, and its named objects.
const GPL_MEMORY: &str = "gpl:";
const GPL_OBJECT: &str = "gpl-nob:";
/// Of System V segments and sets of semaphores, which have numbers.
const SYSV_MEMORY: &str = "sysv-shm:";
const SYSV_SEMAPHORES: &str = "sysv-sem:";

/// A segment as its programs know it.
pub(crate) struct Known {
    pub(crate) kind: Kind,
    pub(crate) name: OsString,
    /// The System V key; 0 for none.
    pub(crate) key: i32,
}

/// The drop-ins' namespaces that are there, without those in `others`.
pub(crate) fn namespaces(others: &[Namespace]) -> Vec<Namespace> {
    let known = |directory: &Path| others.iter().any(|other| other.directory() == directory);
    let there = System::ALL.into_iter().map(System::directory).filter(|directory| !known(directory));
    let mut found: Vec<Namespace> = there.filter_map(|directory| Namespace::at(directory).ok()).collect();
    found.dedup_by(|one, other| one.directory() == other.directory());
    found
}

/// Whose namespace this is.
pub(crate) fn system(namespace: &Namespace) -> Option<System> {
    let directory = namespace.directory();
    let is = |system: &System| {
        let own: PathBuf = system.directory().components().collect();
        own == directory
    };
    System::ALL.into_iter().find(is)
}

/// What kind of segments a namespace has, if it is a drop-in's.
pub(crate) fn kind(namespace: &Namespace) -> Option<Kind> {
    Some(match system(namespace)? {
        System::SystemV => Kind::SysvDropIn,
        System::Nspr => Kind::Nspr,
        System::Gpl => Kind::Gpl,
    })
}

/// The names of what lies in one namespace. Whose namespace it is depends on user and environment, and is found once
/// for all that lies in it.
pub(crate) struct Names<'n> {
    namespace: &'n Namespace,
    system: Option<System>,
    kind: Kind,
}

impl<'n> Names<'n> {
    pub(crate) fn of(namespace: &'n Namespace) -> Names<'n> {
        Names { namespace, system: system(namespace), kind: Kind::of(namespace) }
    }

    pub(crate) fn namespace(&self) -> &'n Namespace {
        self.namespace
    }

    /// A segment as its programs know it, be they a drop-in's or not.
    pub(crate) fn known(&self, entry: &Entry) -> Known {
        self.of_dropin(entry.name().file_name()).unwrap_or_else(|| Known {
            kind: self.kind,
            name: entry.name().to_os_string(),
            key: 0,
        })
    }

    /// A drop-in's segment, as its programs know it; `None` if it is no drop-in's.
    ///
    /// `file_name` is that of the segment's file. A namespace that was given to `commons run` is known by what lies in
    /// it.
    fn of_dropin(&self, file_name: &OsStr) -> Option<Known> {
        if self.system == Some(System::Gpl) {
            return Some(of_gpl(file_name));
        }
        let name = file_name.to_str()?;
        let path = nspr::path_of(self.namespace.directory(), name);
        match (self.system, path) {
            (Some(System::Nspr), None) => Some(of_nspr(name, OsStr::new(name))),
            (_, Some(path)) => Some(of_nspr(name, path.as_os_str())),
            (Some(System::SystemV), None) => Some(of_sysv(self.namespace, name)),
            (_, None) => None,
        }
    }
}

fn of_nspr(segment: &str, shown: &OsStr) -> Known {
    let prefix = if nspr::is_semaphore(segment) { NSPR_SEMAPHORE } else { NSPR_MEMORY };
    Known { kind: Kind::Nspr, name: joined(prefix, shown), key: 0 }
}

fn of_gpl(file_name: &OsStr) -> Known {
    let name = match Name::from_file_name(file_name) {
        Ok(name) => match gpl::Kind::of(&name) {
            gpl::Kind::Memory(name) => joined(GPL_MEMORY, &name),
            gpl::Kind::Object(name) => joined(GPL_OBJECT, &name),
            gpl::Kind::Database => file_name.to_owned(),
        },
        Err(_) => file_name.to_owned(),
    };
    Known { kind: Kind::Gpl, name, key: 0 }
}

fn of_sysv(namespace: &Namespace, name: &str) -> Known {
    let Some((what, id)) = sysv::Kind::of(name) else {
        return Known { kind: Kind::SysvDropIn, name: name.into(), key: 0 };
    };
    let prefix = match what {
        sysv::Kind::Memory => SYSV_MEMORY,
        sysv::Kind::Semaphores => SYSV_SEMAPHORES,
    };
    let key = what.key(namespace.directory(), id);
    Known { kind: Kind::SysvDropIn, name: format!("{prefix}{id}").into(), key }
}

fn joined(prefix: &str, name: &OsStr) -> OsString {
    OsString::from_vec([prefix.as_bytes(), name.as_bytes()].concat())
}

/// Whether a name is one by which a drop-in's program knows a segment; then in which drop-in's namespace it is.
pub(crate) fn meant(name: &OsStr) -> Option<System> {
    let systems = [
        (NSPR_MEMORY, System::Nspr),
        (NSPR_SEMAPHORE, System::Nspr),
        (GPL_MEMORY, System::Gpl),
        (GPL_OBJECT, System::Gpl),
        (SYSV_MEMORY, System::SystemV),
        (SYSV_SEMAPHORES, System::SystemV),
    ];
    let begins =
        |(prefix, system): (&str, System)| name.as_bytes().starts_with(prefix.as_bytes()).then_some(system);
    systems.into_iter().find_map(begins)
}

/// The name, in this namespace, of the segment that a drop-in's program knows by `name`. Of several, whose files were
/// removed and made again, the one that was made last.
pub(crate) fn segment(namespace: &Namespace, name: &OsStr) -> Outcome<OsString> {
    let absolute = absolute(name);
    let names = Names::of(namespace);
    let mut found: Option<(SystemTime, OsString)> = None;
    for entry in namespace.list()? {
        let entry = entry?;
        let file_name = entry.name().file_name();
        if names.of_dropin(file_name).is_some_and(|known| known.name == *name || known.name == absolute) {
            let made = entry.info().ok().flatten().map_or(SystemTime::UNIX_EPOCH, |info| info.modified);
            if found.as_ref().is_none_or(|(before, _)| *before <= made) {
                found = Some((made, entry.name().to_os_string()));
            }
        }
    }
    found.map(|(_, segment)| segment).ok_or_else(|| {
        Failure::new(format!(
            "cannot find \"{}\" in {}: no such segment of a drop-in; see 'commons ls'",
            crate::failure::one_line(&name.to_string_lossy()),
            namespace.directory().display()
        ))
    })
}

/// The same with a path from the root, for one that was written from here.
fn absolute(name: &OsStr) -> OsString {
    for prefix in [NSPR_MEMORY, NSPR_SEMAPHORE] {
        if let Some(path) = name.as_bytes().strip_prefix(prefix.as_bytes()) {
            if let Ok(path) = std::path::absolute(Path::new(OsStr::from_bytes(path))) {
                return joined(prefix, path.as_os_str());
            }
        }
    }
    name.to_owned()
}

/// Removes what is no segment and belongs to none any more.
pub(crate) fn tidy(namespace: &Namespace) {
    nspr::sweep_links(namespace.directory());
}

/// Removes what nobody holds any more from a drop-in's namespace.
pub(crate) fn sweep(system: System) -> Outcome<()> {
    let Ok(namespace) = Namespace::at(system.directory()) else { return Ok(()) };
    namespace.sweep()?;
    tidy(&namespace);
    Ok(())
}
