//! Room: how large the filesystem is, how full, and whether it promises more memory than there is.

use super::finding::{Check, Finding};
use super::machine::Machine;
use super::namespace::in_container;
use super::place::{Place, Role};
use crate::output::size;

/// What Docker, Podman and Kubernetes give a container that asks for nothing: bytes.
const CONTAINER: u64 = 64 << 20;

/// A tmpfs that is fuller than this, in hundredths, leaves less than the segments that it has are likely to
/// grow by: the next program to come finds no space.
const FULL: u64 = 90;

/// A disk has more than segments on it, and is rarely emptied as a tmpfs is at each start. It counts as full
/// when so many bytes are left.
const DISK_LEFT: u64 = 64 << 20;

/// A tmpfs may be as large as this many hundredths of memory and swap; the kernel's own default is half of
/// memory. Beyond, what is reserved can be more than the machine can spare, and the OOM killer comes instead of
/// "no space".
const PROMISE: u128 = 90;

/// A tmpfs is not offered more of memory than this, in hundredths: filling it must not starve the machine.
const OFFER: u128 = 75;

pub(super) fn bytes_in_all(place: &Place, machine: &Machine) -> Option<Finding> {
    if !place.is_tmpfs() {
        return None;
    }
    let check = Check(
        place.check("shm-size", "namespace-size"),
        "All shared memory of all programs there has to fit. What does not is an error at best; programs that do \
         not reserve get SIGBUS when they touch it.",
    );
    let (name, total) = (place.name(), place.bytes.total);
    let memory = match machine.memory("MemTotal") {
        Ok(memory) => memory,
        Err(reason) => return Some(check.unknown(format!("{name} has {}, but {reason}", size(total)))),
    };
    let swap = machine.memory("SwapTotal").unwrap_or(0);
    if total == 0 {
        // The kernel does not let a limit be set later on.
        return Some(check.warning(format!("{name} has no limit: a program gone wrong can take all memory")));
    }
    // On a machine with so little memory, the default is no more.
    if total <= CONTAINER && total < memory / 2 {
        let finding = check.warning(format!(
            "{name} has {}{}",
            size(total),
            if total == CONTAINER { ", the default of containers" } else { "" }
        ));
        return Some(match (place.role, machine.container()) {
            (Role::Posix, Some(container)) => {
                let (sentence, command) = in_container(container);
                finding.more(sentence).mend_if(command.map(str::to_owned))
            }
            _ => finding
                .more(" In a container: docker run --shm-size=1g. For good: the size in /etc/fstab.")
                .mend_if(place.remount("size=50%")),
        });
    }
    let all = memory.saturating_add(swap);
    if u128::from(total) * 100 > u128::from(all) * PROMISE {
        let what =
            format!("{name} promises {}, and memory and swap together have {}", size(total), size(all));
        let why = " What is reserved beyond what the machine can spare brings the OOM killer, not an error.";
        let used = total.saturating_sub(place.bytes.free);
        // It cannot be made smaller than what is in it.
        let mend =
            if used < memory / 2 && machine.container().is_none() { place.remount("size=50%") } else { None };
        return Some(check.warning(what).more(why).mend_if(mend));
    }
    Some(check.fine(format!("{name} has {}", size(total))))
}

pub(super) fn bytes_free(place: &Place, machine: &Machine) -> Finding {
    let check = Check(
        place.check("shm-space", "namespace-space"),
        "When it is full, no program can make or grow shared memory there.",
    );
    let (name, room) = (place.name(), place.bytes);
    let percent = room.percent_used();
    let what = format!("{name} is {percent} % full: {} of {} are free", size(room.free), size(room.total));
    if room.total == 0 {
        return check.fine(format!("{name} has no limit of its own"));
    }
    if !place.is_tmpfs() {
        return if room.free < DISK_LEFT { check.wrong(what) } else { check.fine(what) };
    }
    // Not rounded: 90.1 % is more than 90 %.
    let used = room.total.saturating_sub(room.free);
    if u128::from(used) * 100 <= u128::from(room.total) * u128::from(FULL) {
        return check.fine(what);
    }
    let finding = check.wrong(what);
    if let (Role::Posix, Some(container)) = (place.role, machine.container()) {
        let (sentence, command) = in_container(container);
        return finding.more(sentence).mend_if(command.map(str::to_owned));
    }
    match larger(used, machine) {
        Some(option) => finding
            .more(" Deleting what nobody needs helps as well: 'commons ls' shows what is there.")
            .mend_if(place.remount(&option)),
        None => finding
            .more(" There is no memory to make it much larger: delete what nobody needs with 'commons rm'.")
            .mend("commons ls"),
    }
}

/// A size with which so many bytes in use are no more than half of it, if the machine has that to give.
fn larger(used: u64, machine: &Machine) -> Option<String> {
    let memory = machine.memory("MemTotal").ok()?;
    let wanted = used.saturating_mul(2);
    if wanted <= memory / 2 {
        return Some("size=50%".to_owned());
    }
    let megabytes = wanted.div_ceil(1 << 20);
    (u128::from(wanted) * 100 <= u128::from(memory) * OFFER).then(|| format!("size={megabytes}m"))
}

pub(super) fn files_free(place: &Place) -> Finding {
    let check = Check(
        place.check("shm-files", "namespace-files"),
        "Each segment, and each POSIX semaphore, is a file. Without a free inode it is \"no space\", though bytes \
         are free.",
    );
    let (name, room) = (place.name(), place.files);
    if room.total == 0 {
        return check.fine(format!("{name} has no limit on files"));
    }
    let used = room.total.saturating_sub(room.free);
    let what = format!("{} of {} files are free in {name}", room.free, room.total);
    if u128::from(used) * 100 <= u128::from(room.total) * u128::from(FULL) {
        return check.fine(what);
    }
    // On a disk, most files are not segments, and most disks have some thousands left at 90 %.
    if !place.is_tmpfs() {
        return if room.free < 100 { check.wrong(what) } else { check.fine(what) };
    }
    let wanted = used.saturating_mul(4).max(1 << 16);
    check.wrong(what).mend_if(place.remount(&format!("nr_inodes={wanted}")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{Fine, Unknown, Warning, Wrong};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::super::place::Room;
    use super::super::place::tests::healthy;
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal: 4194304 kB\nSwapTotal: 0 kB\n");

    fn sized(total: u64, free: u64) -> Place {
        Place { bytes: Room { total, free }, ..healthy() }
    }

    #[test]
    fn a_containers_default_is_a_warning() {
        let (_directory, machine) = made_up(&[MEMINFO]);
        let look = |total| bytes_in_all(&sized(total, total), &machine).unwrap();
        assert_eq!(look(2 << 30).severity, Fine);
        assert_eq!(look(CONTAINER + 1).severity, Fine);
        let small = look(CONTAINER);
        assert_eq!(small.severity, Warning);
        assert!(small.what.contains("64.0 MiB") && small.why.contains("--shm-size=1g"), "{small:?}");
        assert_eq!(small.command.as_deref(), Some("mount -o remount,size=50% /dev/shm"));
        for (mark, command) in [
            ("/.dockerenv", Some("docker run --shm-size=1g IMAGE")),
            ("/run/.containerenv", Some("podman run --shm-size=1g IMAGE")),
            ("/var/run/secrets/kubernetes.io/x", None),
        ] {
            let (_directory, machine) = made_up(&[MEMINFO, (mark, "")]);
            let finding = bytes_in_all(&sized(CONTAINER, 0), &machine).unwrap();
            assert_eq!((finding.severity, finding.command.as_deref()), (Warning, command));
        }
    }

    #[test]
    fn more_than_the_machine_has_and_no_limit_are_warnings() {
        let (_directory, machine) = made_up(&[MEMINFO]);
        let look = |total, free| bytes_in_all(&sized(total, free), &machine).unwrap();
        let greedy = look(4 << 30, 4 << 30);
        assert_eq!(greedy.severity, Warning);
        assert_eq!(greedy.command.as_deref(), Some("mount -o remount,size=50% /dev/shm"));
        assert_eq!(look(u64::MAX, 0).command, None, "too much is in it");
        assert_eq!(look(0, 0).severity, Warning);
        let disk = Place { filesystem: "ext4".into(), ..healthy() };
        assert_eq!(bytes_in_all(&disk, &machine), None);
        let (_directory, tiny) = made_up(&[("/proc/meminfo", "MemTotal: 65536 kB\n")]);
        assert_eq!(bytes_in_all(&sized(32 << 20, 0), &tiny).unwrap().severity, Fine);
    }

    #[test]
    fn memory_that_cannot_be_read_is_unknown() {
        for garbage in GARBAGE {
            let (_directory, machine) = made_up(&[("/proc/meminfo", garbage)]);
            assert_eq!(bytes_in_all(&healthy(), &machine).unwrap().severity, Unknown, "{garbage:?}");
            assert_eq!(bytes_free(&sized(100, 1), &machine).command.as_deref(), Some("commons ls"));
        }
    }

    #[test]
    fn more_than_nine_tenths_full_is_wrong() {
        let (_directory, machine) = made_up(&[MEMINFO]);
        let look = |total, free| bytes_free(&sized(total, free), &machine);
        assert_eq!(look(1000, 100).severity, Fine);
        let full = look(1000, 99);
        assert_eq!(full.severity, Wrong);
        assert_eq!(full.command.as_deref(), Some("mount -o remount,size=50% /dev/shm"));
        let half = look(1200 << 20, 0);
        assert_eq!(half.command.as_deref(), Some("mount -o remount,size=2400m /dev/shm"));
        assert_eq!(look(3 << 30, 0).command.as_deref(), Some("commons ls"));
        assert_eq!(look(u64::MAX, 0).severity, Wrong);
        assert_eq!(look(0, 0).severity, Fine);
        let (_directory, container) = made_up(&[MEMINFO, ("/.dockerenv", "")]);
        let command = bytes_free(&sized(1000, 0), &container).command;
        assert_eq!(command.as_deref(), Some("docker run --shm-size=1g IMAGE"));
    }

    #[test]
    fn a_disk_is_full_when_little_is_left() {
        let (_directory, machine) = made_up(&[MEMINFO]);
        let disk = |free| Place { filesystem: "ext4".into(), ..sized(1 << 40, free) };
        assert_eq!(bytes_free(&disk(1 << 30), &machine).severity, Fine);
        assert_eq!(bytes_free(&disk(1 << 20), &machine).severity, Wrong);
    }

    #[test]
    fn no_free_inode_is_wrong() {
        let look = |total, free| files_free(&Place { files: Room { total, free }, ..healthy() });
        assert_eq!(look(0, 0).severity, Fine);
        assert_eq!(look(1000, 100).severity, Fine);
        let full = look(8, 0);
        assert_eq!(full.severity, Wrong);
        assert_eq!(full.command.as_deref(), Some("mount -o remount,nr_inodes=65536 /dev/shm"));
        assert_eq!(look(u64::MAX, 0).severity, Wrong);
        let disk = Place { filesystem: "ext4".into(), files: Room { total: 10_000, free: 900 }, ..healthy() };
        assert_eq!(files_free(&disk).severity, Fine);
    }
}
