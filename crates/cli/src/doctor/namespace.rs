//! The directory itself: is it there, may it be used, can segments live on its filesystem, are orphans in it?

use commons::Namespace;

use super::finding::{Check, Finding};
use super::machine::{self, Container, Machine};
use super::place::{Absent, Place, Role};
use crate::failure::one_line;
use crate::output::size;

/// Mounts POSIX shared memory as systemd does.
const MOUNT: &str = "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm";

/// Orphans of less than this are no reason to alarm anybody: whoever opens or creates their names next removes
/// them, and so does a creation that finds no space.
const TINY: u64 = 1 << 20;

const NO_PLACE: &str = "No segment can be made or opened where there is no directory for its name.";

/// A place that could not be looked at.
pub(super) fn absent(path: &std::path::Path, absent: &Absent) -> Finding {
    let name = path.display();
    let posix = Role::of(path) == Role::Posix;
    let check = Check(if posix { "shm-filesystem" } else { "namespace-filesystem" }, NO_PLACE);
    match absent {
        Absent::Missing if posix => {
            check.wrong(format!("there is no {name}")).mend(format!("mkdir -m 1777 /dev/shm && {MOUNT}"))
        }
        Absent::Missing => {
            let mend = machine::word(path).map(|path| format!("mkdir -p {path}"));
            check.wrong(format!("there is no directory {name}, which is the namespace")).mend_if(mend)
        }
        Absent::Denied => check.wrong(format!("this user may not reach {name}")),
        Absent::NoDirectory => check.wrong(format!("{name} is no directory")),
        Absent::Failed(reason) => check.unknown(format!("{name} could not be looked at: {reason}")),
    }
}

pub(super) fn filesystem(place: &Place, machine: &Machine, from_environment: bool) -> Finding {
    let check = Check(
        place.check("shm-filesystem", "namespace-filesystem"),
        "Segments that go with their last holder, the default, need a filesystem on which a mapping keeps a lock; \
         shared memory that is fast needs one in memory.",
    );
    let (name, filesystem) = (place.name(), &place.filesystem);
    if place.role == Role::Posix && !place.is_tmpfs() {
        // Docker and its like always mount it; without, mounting is for who starts the container.
        let mend = if machine.container().is_none() { Some(MOUNT.to_owned()) } else { None };
        return check
            .wrong(format!("no tmpfs is mounted on {name}, which lies on {filesystem}"))
            .more(" What programs put there is not limited to a share of memory, or is written to a disk.")
            .mend_if(mend);
    }
    if !place.keeps_count {
        return check
            .wrong(format!("{name} lies on {filesystem}, where segments cannot go with their last holder"))
            .mend_if(elsewhere(place, from_environment));
    }
    check.fine(format!("{name} lies on {filesystem}"))
}

/// How to get away from an unfit filesystem: another directory where the environment chose this one, else a
/// tmpfs in its place.
fn elsewhere(place: &Place, from_environment: bool) -> Option<String> {
    if from_environment {
        return Some("export COMMONS_NAMESPACE=/dev/shm".to_owned());
    }
    let owner = if place.uid == 0 { String::new() } else { format!(",uid={}", place.uid) };
    let path = machine::word(&place.path)?;
    Some(format!("mount -t tmpfs -o mode={:04o}{owner},nosuid,nodev tmpfs {path}", place.mode))
}

pub(super) fn mode(place: &Place, machine: &Machine) -> Finding {
    let check = Check(
        place.check("shm-mode", "namespace-mode"),
        "In a shared directory, everybody must be able to make files, and only the sticky bit keeps others from \
         deleting or replacing them.",
    );
    let (name, mode) = (place.name(), place.mode);
    let chmod = |mode: &str| machine::word(&place.path).map(|path| format!("chmod {mode} {path}"));
    match place.role {
        Role::Posix if mode != 0o1777 => {
            let consequence = match mode & 0o1002 {
                0o0002 => "any user may delete the segments of all others",
                _ => "not every user may make segments there",
            };
            let what = format!("{name} has mode {mode:04o} instead of 1777: {consequence}");
            // A volume of Kubernetes' has 0777, in a container that mostly has one user.
            let harmless = mode == 0o777 && machine.container().is_some();
            let finding = if harmless { check.warning(what) } else { check.wrong(what) };
            finding.mend_if(chmod("1777"))
        }
        // A group without the sticky bit trusts its members; everybody is no group.
        Role::Namespace if mode & 0o1002 == 0o0002 => check
            .wrong(format!("{name} has mode {mode:04o}: any user may delete and replace the segments there"))
            .mend_if(chmod("+t")),
        _ => check.fine(format!("{name} has mode {mode:04o}")),
    }
}

pub(super) fn access(place: &Place) -> Finding {
    let check = Check(
        place.check("shm-access", "namespace-access"),
        "Whoever may not write to the directory can make no segments there.",
    );
    let name = place.name();
    match place.obstacle {
        None => check.fine(format!("this user may make segments in {name}")),
        Some(rustix::io::Errno::ROFS) => {
            check.wrong(format!("{name} is mounted read-only")).mend_if(place.remount("rw"))
        }
        Some(_) => check
            .wrong(format!("this user may not make segments in {name}, which has mode {:04o}", place.mode))
            .mend_if(if place.role == Role::Posix { Some("chmod 1777 /dev/shm".to_owned()) } else { None }),
    }
}

/// Orphans as they were found in one place.
#[derive(Clone, Copy, Debug, Default)]
struct Orphans {
    count: u64,
    bytes: u64,
    /// Segments that this user may not look into.
    hidden: u64,
}

pub(super) fn orphans(place: &Place, machine: &Machine) -> Finding {
    let check = orphans_check(place);
    let found = count(&machine.at(&place.path));
    match found {
        Ok(found) => judge_orphans(place, found),
        Err(reason) => {
            check.unknown(format!("{} could not be looked through: {}", place.name(), one_line(&reason)))
        }
    }
}

fn orphans_check(place: &Place) -> Check {
    Check(
        place.check("shm-orphans", "namespace-orphans"),
        "An orphan's last holder ended without detaching. Its memory is in use until somebody opens or creates \
         its name, or sweeps.",
    )
}

fn count(directory: &std::path::Path) -> Result<Orphans, String> {
    let namespace = Namespace::at(directory).map_err(|error| error.to_string())?;
    let mut orphans = Orphans::default();
    for entry in namespace.list().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        match entry.look() {
            Some(look) if look.is_orphan() => {
                orphans.count += 1;
                orphans.bytes = orphans.bytes.saturating_add(look.info.reserved);
            }
            Some(_) => {}
            // Gone meanwhile, or another user's; only what is marked can be an orphan.
            None => {
                let info = entry.info().ok().flatten();
                let marked = info.is_some_and(|info| info.lifetime == commons::Lifetime::UntilLastDetach);
                orphans.hidden += u64::from(marked);
            }
        }
    }
    Ok(orphans)
}

fn judge_orphans(place: &Place, found: Orphans) -> Finding {
    let check = orphans_check(place);
    let name = place.name();
    let hidden = match found.hidden {
        0 => String::new(),
        1 => "; 1 segment of another user's could not be looked into".to_owned(),
        more => format!("; {more} segments of other users' could not be looked into"),
    };
    let what = match found.count {
        0 => return check.fine(format!("no orphans in {name}{hidden}")),
        1 => format!("1 orphan in {name} keeps {}{hidden}", size(found.bytes)),
        more => format!("{more} orphans in {name} keep {}{hidden}", size(found.bytes)),
    };
    let sweep = match place.role {
        Role::Posix => Some("commons sweep --namespace /dev/shm".to_owned()),
        Role::Namespace => machine::word(&place.path).map(|path| format!("commons sweep --namespace {path}")),
    };
    let finding = if found.bytes < TINY { check.warning(what) } else { check.wrong(what) };
    finding.mend_if(sweep)
}

/// What to type for more room, and what to say about it, where mounting is not for the program inside.
pub(super) fn in_container(container: Container) -> (&'static str, Option<&'static str>) {
    match container {
        Container::Docker => {
            (" A container gets more when it is started.", Some("docker run --shm-size=1g IMAGE"))
        }
        Container::Podman => {
            (" A container gets more when it is started.", Some("podman run --shm-size=1g IMAGE"))
        }
        Container::Kubernetes => (
            " A pod gets more from a volume 'emptyDir' with 'medium: Memory' that is mounted on /dev/shm.",
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{Fine, Unknown, Warning, Wrong};
    use super::super::machine::tests::made_up;
    use super::super::place::tests::healthy;
    use super::*;
    use std::path::Path;

    fn elsewhere_on(filesystem: &str, keeps_count: bool) -> Place {
        Place {
            role: Role::Namespace,
            path: "/srv/a b".into(),
            filesystem: filesystem.into(),
            keeps_count,
            mode: 0o755,
            ..healthy()
        }
    }

    #[test]
    fn what_is_not_there_is_wrong_and_what_cannot_be_seen_unknown() {
        let missing = absent(Path::new("/dev/shm"), &Absent::Missing);
        assert_eq!((missing.severity, missing.check.as_ref()), (Wrong, "shm-filesystem"));
        assert!(missing.command.unwrap().starts_with("mkdir -m 1777 /dev/shm && mount -t tmpfs "));
        let missing = absent(Path::new("/a b"), &Absent::Missing);
        assert_eq!((missing.severity, missing.check.as_ref()), (Wrong, "namespace-filesystem"));
        assert_eq!(missing.command.as_deref(), Some("mkdir -p '/a b'"));
        assert_eq!(absent(Path::new("/a\nb"), &Absent::Missing).command, None);
        assert_eq!(absent(Path::new("/a"), &Absent::NoDirectory).severity, Wrong);
        assert_eq!(absent(Path::new("/a"), &Absent::Denied).severity, Wrong);
        assert_eq!(absent(Path::new("/a"), &Absent::Failed("no".into())).severity, Unknown);
    }

    #[test]
    fn posix_shared_memory_is_a_tmpfs() {
        let (_directory, machine) = made_up(&[]);
        assert_eq!(filesystem(&healthy(), &machine, false).severity, Fine);
        for other in ["devtmpfs", "ext4", "overlay"] {
            let place = Place { filesystem: other.into(), ..healthy() };
            let finding = filesystem(&place, &machine, false);
            assert_eq!((finding.severity, finding.command.as_deref()), (Wrong, Some(MOUNT)), "{other}");
        }
        let (_directory, container) = made_up(&[("/.dockerenv", "")]);
        let place = Place { filesystem: "overlay".into(), ..healthy() };
        assert_eq!(filesystem(&place, &container, false).command, None);
    }

    #[test]
    fn a_namespace_may_be_on_disk_but_not_where_locks_are_lost() {
        let (_directory, machine) = made_up(&[]);
        assert_eq!(filesystem(&elsewhere_on("ext4", true), &machine, false).severity, Fine);
        let overlay = elsewhere_on("overlay", false);
        let finding = filesystem(&overlay, &machine, true);
        assert_eq!(finding.severity, Wrong);
        assert_eq!(finding.command.as_deref(), Some("export COMMONS_NAMESPACE=/dev/shm"));
        let finding = filesystem(&Place { uid: 1000, ..overlay }, &machine, false);
        let expected = "mount -t tmpfs -o mode=0755,uid=1000,nosuid,nodev tmpfs '/srv/a b'";
        assert_eq!(finding.command.as_deref(), Some(expected));
    }

    #[test]
    fn modes_that_let_others_delete_or_keep_them_out_are_wrong() {
        let (_directory, machine) = made_up(&[]);
        for (bits, severity) in [(0o1777, Fine), (0o777, Wrong), (0o755, Wrong), (0o1755, Wrong), (0, Wrong)]
        {
            let finding = mode(&Place { mode: bits, ..healthy() }, &machine);
            assert_eq!(finding.severity, severity, "{bits:o}");
            assert_eq!(finding.command.is_some(), severity == Wrong);
        }
        for (bits, severity) in [(0o700, Fine), (0o770, Fine), (0o1777, Fine), (0o777, Wrong), (0o702, Wrong)]
        {
            let finding = mode(&Place { mode: bits, ..elsewhere_on("tmpfs", true) }, &machine);
            assert_eq!(finding.severity, severity, "{bits:o}");
            if severity == Wrong {
                assert_eq!(finding.command.as_deref(), Some("chmod +t '/srv/a b'"));
            }
        }
        let (_directory, pod) = made_up(&[("/var/run/secrets/kubernetes.io/x", "")]);
        assert_eq!(mode(&Place { mode: 0o777, ..healthy() }, &pod).severity, Warning);
        assert_eq!(mode(&Place { mode: 0o755, ..healthy() }, &pod).severity, Wrong);
    }

    #[test]
    fn what_may_not_be_written_is_wrong() {
        assert_eq!(access(&healthy()).severity, Fine);
        let read_only = access(&Place { obstacle: Some(rustix::io::Errno::ROFS), ..healthy() });
        assert_eq!(read_only.severity, Wrong);
        assert_eq!(read_only.command.as_deref(), Some("mount -o remount,rw /dev/shm"));
        let denied = Place { obstacle: Some(rustix::io::Errno::ACCESS), ..elsewhere_on("tmpfs", true) };
        assert_eq!(access(&denied).severity, Wrong);
    }

    #[test]
    fn orphans_are_wrong_unless_they_are_tiny() {
        let judge = |count, bytes| judge_orphans(&healthy(), Orphans { count, bytes, hidden: 2 });
        assert_eq!(judge(0, 0).severity, Fine);
        assert!(judge(0, 0).what.contains("2 segments of other users'"));
        assert_eq!(judge(1, TINY - 1).severity, Warning);
        let wrong = judge(3, u64::MAX);
        assert_eq!(wrong.severity, Wrong);
        assert!(wrong.what.starts_with("3 orphans in /dev/shm keep 16.0 EiB"), "{}", wrong.what);
        assert_eq!(wrong.command.as_deref(), Some("commons sweep --namespace /dev/shm"));
    }
}
