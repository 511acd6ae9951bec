//! The memory limit of the control groups that this process is in, both versions of the interface.
//!
//! Shared memory is charged to the group of the process that first touches or reserves it. Where that goes past
//! the limit there is no error: the kernel kills.

use std::path::{Component, Path, PathBuf};

use procfs::ProcessCGroups;
use procfs::process::MountInfo;

use super::finding::{Check, Finding};
use super::machine::{self, Container, Machine};
use super::place::Place;
use crate::output::size;

const LIMIT: Check = Check(
    "cgroup-limit",
    "Shared memory is charged to the control group of the process that reserves it. Past the group's limit, the \
     OOM killer comes instead of \"no space\".",
);

const SPACE: Check =
    Check("cgroup-space", "When a control group's memory is used up, the kernel kills one of its processes.");

/// A group with less than this left, in hundredths of its limit, is about to lose a process.
const LEFT: u128 = 5;

/// Version 1 says "no limit" by a number near 2^63.
const NO_LIMIT: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit(self) -> &'static str {
        if self == Version::Two { "memory.max" } else { "memory.limit_in_bytes" }
    }

    fn usage(self) -> &'static str {
        if self == Version::Two { "memory.current" } else { "memory.usage_in_bytes" }
    }
}

/// A group that has a limit.
#[derive(Clone, Debug)]
struct Group {
    directory: PathBuf,
    version: Version,
    limit: u64,
    /// Bytes that can still be had; `None` if the use is not known.
    left: Option<u64>,
}

pub(super) fn examine(machine: &Machine, mounts: &[MountInfo], places: &[Place]) -> Vec<Finding> {
    let memberships: ProcessCGroups = match machine.parsed("/proc/self/cgroup") {
        Ok(memberships) => memberships,
        Err(reason) => return vec![LIMIT.unknown(reason)],
    };
    let groups: Vec<Group> = directories(&memberships, mounts)
        .into_iter()
        .filter_map(|(directory, version)| Group::look(machine, directory, version))
        .collect();
    let Some(tightest) = groups.iter().min_by_key(|group| group.limit) else {
        // Groups outside of a container are not shown inside.
        return vec![LIMIT.fine("no control group limits memory, as far as can be seen from here")];
    };
    let mut findings = vec![judge_limit(machine, tightest, places)];
    if let Some(fullest) = groups.iter().filter(|group| group.left.is_some()).min_by_key(|group| group.left) {
        findings.push(judge_space(machine, fullest));
    }
    findings
}

/// The memory groups of this process with all their ancestors.
fn directories(memberships: &ProcessCGroups, mounts: &[MountInfo]) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for membership in memberships {
        let version = match membership.controllers.as_slice() {
            [] => Version::Two,
            some if some.iter().any(|controller| controller == "memory") => Version::One,
            _ => continue,
        };
        let is_its = |mount: &&MountInfo| match version {
            Version::Two => mount.fs_type == "cgroup2",
            Version::One => mount.fs_type == "cgroup" && mount.super_options.contains_key("memory"),
        };
        let Some(mount) = mounts.iter().find(is_its) else { continue };
        let mount_point = machine::unescaped(&mount.mount_point);
        // The mount may show only a part of the tree, and the process be outside of it: then what can be seen
        // is the mount's own group.
        let inside = Path::new(&membership.pathname).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let plain = inside.components().all(|component| matches!(component, Component::Normal(_)));
        let inside = if plain { inside } else { Path::new("") };
        found.extend(inside.ancestors().map(|ancestor| (mount_point.join(ancestor), version)));
    }
    found
}

impl Group {
    /// `None` if it limits nothing.
    fn look(machine: &Machine, directory: PathBuf, version: Version) -> Option<Group> {
        // Version 2 says "max", which is no number.
        let limit = machine.number(directory.join(version.limit())).ok().filter(|limit| *limit < NO_LIMIT)?;
        let left = machine.number(directory.join(version.usage())).ok().map(|used| {
            let reclaimable = reclaimable(machine, &directory, version);
            limit.saturating_sub(used).saturating_add(reclaimable).min(limit)
        });
        let left = left.map(|left| match version {
            Version::Two => left.saturating_add(swap(machine, &directory)),
            Version::One => left,
        });
        Some(Group { directory, version, limit, left })
    }

    /// What to type to give it that much memory.
    fn raise(&self, machine: &Machine, bytes: u64) -> Option<String> {
        let megabytes = bytes.div_ceil(1 << 20).max(1);
        // A container's limit is set from outside; a pod's, in its description.
        let update =
            |program| format!("{program} update --memory={megabytes}m --memory-swap={megabytes}m CONTAINER");
        match machine.container() {
            None => {}
            Some(Container::Docker) => return Some(update("docker")),
            Some(Container::Podman) => return Some(update("podman")),
            Some(Container::Kubernetes) => return None,
        }
        let name = self.directory.file_name().map(Path::new).and_then(machine::word)?;
        let is_unit = [".service", ".scope", ".slice"].iter().any(|kind| name.ends_with(kind));
        if machine.has_systemd() && is_unit {
            let property = if self.version == Version::Two { "MemoryMax" } else { "MemoryLimit" };
            return Some(format!("systemctl set-property {name} {property}={megabytes}M"));
        }
        let file = self.directory.join(self.version.limit());
        Some(format!("echo {megabytes}M > {}", machine::word(&file)?))
    }
}

/// Bytes of file pages that a group gives up before it kills. Shared memory is not among them.
fn reclaimable(machine: &Machine, directory: &Path, version: Version) -> u64 {
    let keys = match version {
        Version::Two => ["active_file", "inactive_file"],
        Version::One => ["total_active_file", "total_inactive_file"],
    };
    let text = machine.text(directory.join("memory.stat")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(key, _)| keys.contains(key))
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

/// Bytes that a group may still move to swap.
fn swap(machine: &Machine, directory: &Path) -> u64 {
    let Ok(used) = machine.number(directory.join("memory.swap.current")) else { return 0 };
    let most = machine.number(directory.join("memory.swap.max")).unwrap_or(u64::MAX);
    most.saturating_sub(used).min(machine.memory("SwapFree").unwrap_or(0))
}

fn judge_limit(machine: &Machine, group: &Group, places: &[Place]) -> Finding {
    let name = group.directory.display();
    let limit = size(group.limit);
    let in_memory = places.iter().filter(|place| place.is_tmpfs());
    let Some(place) = in_memory.max_by_key(|place| place.bytes.total) else {
        return LIMIT.fine(format!("the control group {name} may use {limit}"));
    };
    let total = place.bytes.total;
    if group.limit >= total {
        return LIMIT
            .fine(format!("the control group {name} may use {limit}, and {} has less", place.name()));
    }
    LIMIT
        .warning(format!(
            "the control group {name} may use {limit}, and {} promises {}",
            place.name(),
            size(total)
        ))
        // A group that is as large as the promise has nothing left for anything else.
        .mend_if(group.raise(machine, total.saturating_add(total / 4)))
}

fn judge_space(machine: &Machine, group: &Group) -> Finding {
    let left = group.left.unwrap_or(0);
    let what = format!(
        "the control group {} has {} left of {}",
        group.directory.display(),
        size(left),
        size(group.limit)
    );
    if u128::from(left) * 100 >= u128::from(group.limit) * LEFT {
        return SPACE.fine(what);
    }
    SPACE.wrong(what).mend_if(group.raise(machine, group.limit.saturating_mul(2)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{self, Fine, Unknown, Warning, Wrong};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::super::place::tests::healthy;
    use super::*;

    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const V1: &str = "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    fn look(mounts: &str, groups: &str, files: &[(&str, &str)]) -> Vec<Finding> {
        let mut all = vec![("/proc/self/cgroup", groups), ("/proc/self/mountinfo", mounts)];
        all.extend(files);
        let (_directory, machine) = made_up(&all);
        let mounts = machine.mounts().unwrap();
        examine(&machine, &mounts, &[healthy()])
    }

    fn severities(findings: &[Finding]) -> Vec<Severity> {
        findings.iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn no_limit_is_fine() {
        assert_eq!(severities(&look(V2, "0::/a/b\n", &[("/sys/fs/cgroup/a/memory.max", "max\n")])), [Fine]);
        let none = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")];
        assert_eq!(severities(&look(V1, "4:memory:/\n", &none)), [Fine]);
        assert_eq!(severities(&look("", "", &[])), [Fine]);
    }

    #[test]
    fn a_limit_of_an_ancestor_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "536870912\n"),
            ("/sys/fs/cgroup/a/memory.current", "1000\n"),
        ];
        let findings = look(V2, "0::/a/b\n", &files);
        assert_eq!(severities(&findings), [Warning, Fine]);
        assert!(
            findings[0].what.contains("512.0 MiB") && findings[0].what.contains("1.0 GiB"),
            "{findings:?}"
        );
        assert_eq!(findings[0].command.as_deref(), Some("echo 1280M > /sys/fs/cgroup/a/memory.max"));
    }

    #[test]
    fn a_full_group_is_wrong_unless_file_pages_can_go() {
        let full = [
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
            ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "2147483000\n"),
        ];
        let findings = look(V1, "4:memory:/a\n", &full);
        assert_eq!(severities(&findings), [Fine, Wrong]);
        let command = findings[1].command.as_deref();
        assert_eq!(command, Some("echo 4096M > /sys/fs/cgroup/memory/a/memory.limit_in_bytes"));
        let stat = [("/sys/fs/cgroup/memory/a/memory.stat", "total_inactive_file 1073741824\nx y\n\n")];
        assert_eq!(severities(&look(V1, "4:memory:/a\n", &[&full[..], &stat].concat())), [Fine, Fine]);
    }

    #[test]
    fn the_command_is_that_of_who_set_the_limit() {
        let unit = "/sys/fs/cgroup/system.slice/jobs.service/memory.max";
        let findings =
            look(V2, "0::/system.slice/jobs.service\n", &[(unit, "1"), ("/run/systemd/system/x", "")]);
        assert_eq!(
            findings[0].command.as_deref(),
            Some("systemctl set-property jobs.service MemoryMax=1280M")
        );
        for (mark, command) in [
            ("/.dockerenv", Some("docker update --memory=1280m --memory-swap=1280m CONTAINER")),
            ("/run/.containerenv", Some("podman update --memory=1280m --memory-swap=1280m CONTAINER")),
            ("/var/run/secrets/kubernetes.io/x", None),
        ] {
            let findings = look(V2, "0::/\n", &[("/sys/fs/cgroup/memory.max", "1"), (mark, "")]);
            assert_eq!(findings[0].command.as_deref(), command);
        }
    }

    #[test]
    fn a_part_of_the_tree_is_looked_at_as_far_as_it_is_shown() {
        let part = "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let files = [("/sys/fs/cgroup/memory.max", "4096\n"), ("/sys/fs/cgroup/x/memory.max", "max\n")];
        assert_eq!(severities(&look(part, "0::/docker/abc/x\n", &files)), [Warning]);
        // Outside of the mount's root, and outside of the cgroup namespace's.
        assert_eq!(severities(&look(part, "0::/other\n", &files)), [Warning]);
        assert_eq!(severities(&look(V2, "0::/../../secret\n", &files)), [Warning]);
    }

    #[test]
    fn garbage_is_unknown_or_no_limit_and_never_a_panic() {
        for garbage in GARBAGE {
            for finding in look(garbage, garbage, &[]) {
                assert!([Fine, Unknown].contains(&finding.severity), "{garbage:?}: {finding:?}");
            }
            let files = [
                ("/sys/fs/cgroup/memory.max", garbage),
                ("/sys/fs/cgroup/memory.current", garbage),
                ("/sys/fs/cgroup/memory.stat", garbage),
            ];
            assert_eq!(severities(&look(V2, "0::/\n", &files)), [Fine], "{garbage:?}");
            let files = [("/sys/fs/cgroup/memory.max", "0"), ("/sys/fs/cgroup/memory.current", garbage)];
            assert_eq!(severities(&look(V2, "0::/\n", &files)), [Warning], "{garbage:?}");
        }
        let (_directory, nothing) = made_up(&[]);
        assert_eq!(severities(&examine(&nothing, &[], &[])), [Unknown]);
    }
}
