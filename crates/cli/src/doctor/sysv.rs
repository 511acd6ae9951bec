//! System V shared memory and semaphores: the kernel's limits, how full they are, and segments that were left
//! behind.
//!
//! All of it belongs to an IPC namespace: a container has limits and segments of its own.

use super::finding::{Check, Finding};
use super::machine::Machine;
use crate::output::size;

/// Bytes in a page, which `kernel.shmall` counts.
fn page() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Fuller than this, in hundredths: the next program to come finds no room.
const FULL: u128 = 90;

/// The kernel's defaults since 3.16: as good as no limit. Half of memory, as databases' manuals ask for, is less
/// than that, and enough not to be said.
const SHMMAX: u64 = u64::MAX - (1 << 24);
const SHMALL: u64 = u64::MAX - (1 << 24);

/// The kernel's default number of segments.
const SHMMNI: u64 = 4096;

/// The kernel's defaults up to 3.18, which databases' manuals ask for at least: semaphores in a set, in all,
/// operations in a call, sets.
const SEM: [u64; 4] = [250, 32_000, 32, 128];
/// The defaults since.
const SEM_DEFAULT: &str = "32000 1024000000 500 32000";

/// Segments left behind with less memory than this are not worth a word.
const LEFT: u64 = 1 << 20;

/// A command with more numbers in it is not for typing.
const MOST_IDS: usize = 20;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let segments = segments(machine);
    let mut findings = vec![largest(machine), in_all(machine, &segments), count(machine, &segments)];
    findings.push(semaphores(machine));
    findings.push(removed_on_detach(machine));
    findings.push(left_behind(machine, &segments));
    findings
}

/// A line of `/proc/sysvipc/shm`, as far as it matters.
#[derive(Clone, Copy, Debug)]
struct Segment {
    id: u64,
    size: u64,
    attached: u64,
    /// Who made it and who last attached or detached; 0 from another pid namespace.
    creator: u64,
    last: u64,
    resident: u64,
}

/// The rows of a table in `/proc/sysvipc`, each with the columns asked for, which its first line names. A row
/// that cannot be understood is left out.
fn table<const COLUMNS: usize>(
    machine: &Machine,
    path: &str,
    columns: [&str; COLUMNS],
) -> Result<Vec<[u64; COLUMNS]>, String> {
    let text = machine.text(path)?;
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let mut places = [0; COLUMNS];
    for (place, column) in places.iter_mut().zip(columns) {
        let found = titles.iter().position(|title| *title == column);
        *place = found.ok_or_else(|| format!("{path} has no column '{column}'"))?;
    }
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let mut row = [0; COLUMNS];
        for (value, place) in row.iter_mut().zip(places) {
            *value = cells.get(place)?.parse().ok()?;
        }
        Some(row)
    };
    Ok(lines.filter_map(row).collect())
}

fn segments(machine: &Machine) -> Result<Vec<Segment>, String> {
    let columns = ["shmid", "size", "nattch", "cpid", "lpid", "rss"];
    let rows = table(machine, "/proc/sysvipc/shm", columns)?;
    let segment = |[id, size, attached, creator, last, resident]: [u64; 6]| Segment {
        id,
        size,
        attached,
        creator,
        last,
        resident,
    };
    Ok(rows.into_iter().map(segment).collect())
}

/// Half of the machine's memory; all that is asked of the limits where that is not known.
fn half_of_memory(machine: &Machine) -> u64 {
    machine.memory("MemTotal").map_or(1 << 30, |memory| memory / 2)
}

fn largest(machine: &Machine) -> Finding {
    let check = Check(
        "sysv-shmmax",
        "shmget refuses a segment that is larger. For good: a line in /etc/sysctl.d/90-commons.conf.",
    );
    let bytes = match machine.number("/proc/sys/kernel/shmmax") {
        Ok(bytes) => bytes,
        Err(reason) => return check.unknown(reason),
    };
    let command = format!("sysctl -w kernel.shmmax={SHMMAX}");
    if bytes == 0 {
        return check.wrong("no System V segment can be made: the largest may have 0 bytes").mend(command);
    }
    if bytes < half_of_memory(machine) {
        let what = format!("a System V segment may have {}, which is less than half of memory", size(bytes));
        return check.warning(what).mend(command);
    }
    check.fine(format!("a System V segment may have {}", size(bytes)))
}

fn in_all(machine: &Machine, segments: &Result<Vec<Segment>, String>) -> Finding {
    let check = Check(
        "sysv-shmall",
        "shmget fails with \"no space\" when all System V segments together would be larger. For good: a line in \
         /etc/sysctl.d/90-commons.conf.",
    );
    let pages = match machine.number("/proc/sys/kernel/shmall") {
        Ok(pages) => pages,
        Err(reason) => return check.unknown(reason),
    };
    let segments = match segments {
        Ok(segments) => segments,
        Err(reason) => return check.unknown(reason.clone()),
    };
    let used = segments.iter().map(|segment| segment.size.div_ceil(page())).fold(0, u64::saturating_add);
    let bytes = |pages: u64| size(pages.saturating_mul(page()));
    let command = format!("sysctl -w kernel.shmall={SHMALL}");
    if is_full(used, pages) {
        return check
            .wrong(format!("System V segments have {} of {} in all", bytes(used), bytes(pages)))
            .mend(command);
    }
    if pages.saturating_mul(page()) < half_of_memory(machine) {
        let what = format!("System V segments may have {} in all, less than half of memory", bytes(pages));
        return check.warning(what).mend(command);
    }
    check.fine(format!("System V segments have {} and may have {} in all", bytes(used), bytes(pages)))
}

fn count(machine: &Machine, segments: &Result<Vec<Segment>, String>) -> Finding {
    let check = Check(
        "sysv-shmmni",
        "shmget fails with \"no space\" when there are that many System V segments. For good: a line in \
         /etc/sysctl.d/90-commons.conf.",
    );
    let most = match machine.number("/proc/sys/kernel/shmmni") {
        Ok(most) => most,
        Err(reason) => return check.unknown(reason),
    };
    let used = match segments {
        Ok(segments) => segments.len() as u64,
        Err(reason) => return check.unknown(reason.clone()),
    };
    // The kernel takes 32768 at most.
    let command = |most: u64| format!("sysctl -w kernel.shmmni={}", most.clamp(SHMMNI, 32_768));
    if is_full(used, most) {
        let finding = check.wrong(format!("there are {used} System V segments of {most} at most"));
        return if most < 32_768 {
            finding.mend(command(used.saturating_mul(4)))
        } else {
            finding.more(" The kernel allows no more: delete what nobody needs.").mend("ipcs -m -p")
        };
    }
    if most < SHMMNI {
        let what = format!("there may be only {most} System V segments, and there are {used}");
        return check.warning(what).mend(command(SHMMNI));
    }
    check.fine(format!("there are {used} System V segments of {most} at most"))
}

/// Whether another one might not fit. Nothing fits where nothing is allowed.
fn is_full(used: u64, most: u64) -> bool {
    most == 0 || u128::from(used) * 100 > u128::from(most) * FULL
}

fn semaphores(machine: &Machine) -> Finding {
    let check = Check(
        "sysv-semaphores",
        "semget fails when there are that many sets or semaphores. For good: a line in \
         /etc/sysctl.d/90-commons.conf.",
    );
    let limits: [u64; 4] = match machine.numbers("/proc/sys/kernel/sem") {
        Ok(limits) => limits,
        Err(reason) => return check.unknown(reason),
    };
    let sets = match table(machine, "/proc/sysvipc/sem", ["nsems"]) {
        Ok(sets) => sets,
        Err(reason) => return check.unknown(reason),
    };
    let [_, most, _, most_sets] = limits;
    let used_sets = sets.len() as u64;
    let used = sets.iter().map(|[semaphores]| *semaphores).fold(0, u64::saturating_add);
    let what = format!("{used} System V semaphores of {most}, in {used_sets} sets of {most_sets}");
    let command = format!("sysctl -w kernel.sem='{SEM_DEFAULT}'");
    if is_full(used, most) || is_full(used_sets, most_sets) {
        let at_default = most >= 1_024_000_000 && most_sets >= 32_000;
        return if at_default {
            check
                .wrong(what)
                .more(" The kernel allows no more sets: delete what nobody needs.")
                .mend("ipcs -s")
        } else {
            check.wrong(what).mend(command)
        };
    }
    if limits.iter().zip(SEM).any(|(limit, usual)| *limit < usual) {
        let [in_set, most, operations, most_sets] = limits;
        let what = format!(
            "System V semaphores are limited to {in_set} in a set, {most} in all, {operations} operations in a \
             call, {most_sets} sets"
        );
        return check.warning(what).mend(command);
    }
    check.fine(what)
}

fn removed_on_detach(machine: &Machine) -> Finding {
    let check = Check(
        "sysv-rmid-forced",
        "With it, the kernel deletes each System V segment with its last detach, or with the process that made it: \
         programs that leave one for the next to come lose it.",
    );
    match machine.number("/proc/sys/kernel/shm_rmid_forced") {
        Err(reason) => check.unknown(reason),
        Ok(0) => check.fine("System V segments stay until they are deleted"),
        Ok(_) => check
            .warning("System V segments are deleted with their last detach: kernel.shm_rmid_forced is set")
            .mend("sysctl -w kernel.shm_rmid_forced=0"),
    }
}

/// Segments that nobody has attached, of processes that are gone. System V segments stay for ever by design, so
/// this can be meant.
fn left_behind(machine: &Machine, segments: &Result<Vec<Segment>, String>) -> Finding {
    let check = Check(
        "sysv-left",
        "A System V segment stays until somebody deletes it. Delete these only if no program means to come back \
         for them.",
    );
    let segments = match segments {
        Ok(segments) => segments,
        Err(reason) => return check.unknown(reason.clone()),
    };
    // A process of another pid namespace is not shown, and may live; where /proc hides others' processes, all
    // would seem gone.
    let hidden = !machine.has("/proc/1");
    let gone = |pid: u64| pid != 0 && !machine.has(format!("/proc/{pid}"));
    let left: Vec<&Segment> = segments
        .iter()
        // One that was never attached has 0 for its last.
        .filter(|segment| {
            segment.attached == 0 && gone(segment.creator) && (segment.last == 0 || gone(segment.last))
        })
        .collect();
    let resident = left.iter().map(|segment| segment.resident).fold(0, u64::saturating_add);
    if left.is_empty() || hidden || resident < LEFT {
        return check.fine("no System V segments of any size were left behind");
    }
    let ids = left.iter().take(MOST_IDS).map(|segment| format!(" -m {}", segment.id));
    let more =
        if left.len() > MOST_IDS { format!(", of which the command has {MOST_IDS}") } else { String::new() };
    check
        .warning(format!(
            "{} System V segments with {} in memory are attached by nobody, and their processes are gone{more}",
            left.len(),
            size(resident)
        ))
        .mend(format!("ipcrm{}", ids.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{self, Fine, Unknown, Warning, Wrong};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::*;

    const SHM: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n";
    const SEMS: &str =
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal: 4194304 kB\n");

    fn row(id: u64, size: u64, creator: u64, attached: u64) -> String {
        format!("0 {id} 1600 {size} {creator} 0 {attached} 100000 100000 0 0 0 0 0 {size} 0\n")
    }

    /// What is found where all is as after an installation but for these files.
    fn look(files: &[(&str, &str)]) -> Vec<(String, Severity)> {
        let mut all = vec![
            MEMINFO,
            ("/proc/1/x", ""),
            ("/proc/sys/kernel/shmmax", "18446744073692774399\n"),
            ("/proc/sys/kernel/shmall", "18446744073692774399\n"),
            ("/proc/sys/kernel/shmmni", "4096\n"),
            ("/proc/sys/kernel/sem", "32000\t1024000000\t500\t32000\n"),
            ("/proc/sys/kernel/shm_rmid_forced", "0\n"),
            ("/proc/sysvipc/shm", SHM),
            ("/proc/sysvipc/sem", SEMS),
        ];
        all.extend(files);
        let (_directory, machine) = made_up(&all);
        let findings = examine(&machine);
        for finding in &findings {
            assert_eq!(
                finding.command.is_some(),
                [Wrong, Warning].contains(&finding.severity),
                "{finding:?}"
            );
        }
        let bad = findings.into_iter().filter(|finding| finding.severity != Fine);
        bad.map(|finding| (finding.check.into_owned(), finding.severity)).collect()
    }

    #[track_caller]
    fn assert_only(files: &[(&str, &str)], check: &str, severity: Severity) {
        assert_eq!(look(files), [(check.to_owned(), severity)], "{files:?}");
    }

    #[test]
    fn what_the_kernel_starts_with_is_fine() {
        assert_eq!(look(&[]), []);
        assert_eq!(look(&[("/proc/sys/kernel/shmmax", "68719476736")]), []);
        assert_eq!(look(&[("/proc/sys/kernel/sem", "250 32000 32 128")]), []);
    }

    #[test]
    fn small_limits_are_warnings_and_none_at_all_is_wrong() {
        assert_only(&[("/proc/sys/kernel/shmmax", "33554432")], "sysv-shmmax", Warning);
        assert_only(&[("/proc/sys/kernel/shmmax", "0")], "sysv-shmmax", Wrong);
        assert_only(&[("/proc/sys/kernel/shmall", "8192")], "sysv-shmall", Warning);
        assert_only(&[("/proc/sys/kernel/shmall", "0")], "sysv-shmall", Wrong);
        assert_only(&[("/proc/sys/kernel/shmmni", "2")], "sysv-shmmni", Warning);
        assert_only(&[("/proc/sys/kernel/shmmni", "0")], "sysv-shmmni", Wrong);
        assert_only(&[("/proc/sys/kernel/sem", "250 32000 32 127")], "sysv-semaphores", Warning);
        assert_only(&[("/proc/sys/kernel/sem", "250 0 32 128")], "sysv-semaphores", Wrong);
        assert_only(&[("/proc/sys/kernel/shm_rmid_forced", "1")], "sysv-rmid-forced", Warning);
    }

    #[test]
    fn what_is_full_is_wrong() {
        let two = format!("{SHM}{}{}", row(0, 4096, 0, 1), row(1, 8192, 0, 1));
        let table = ("/proc/sysvipc/shm", two.as_str());
        assert_only(&[("/proc/sys/kernel/shmmni", "2"), table], "sysv-shmmni", Wrong);
        assert_only(&[("/proc/sys/kernel/shmall", "3"), table], "sysv-shmall", Wrong);
        let sets = format!("{SEMS}0 0 600 31999 0 0 0 0 0 0\n");
        let sets = ("/proc/sysvipc/sem", sets.as_str());
        assert_only(&[("/proc/sys/kernel/sem", "250 32000 32 128"), sets], "sysv-semaphores", Wrong);
        let vast = format!("{SHM}{}{}", row(0, u64::MAX, 0, 1), row(1, u64::MAX, 0, 1));
        assert_eq!(look(&[("/proc/sysvipc/shm", &vast)]), [], "1 << 53 pages of twice as many");
    }

    #[test]
    fn what_dead_processes_left_is_a_warning() {
        let left = format!("{SHM}{}", row(7, 1 << 20, 4_000_000, 0));
        assert_only(&[("/proc/sysvipc/shm", &left)], "sysv-left", Warning);
        let lives = ("/proc/4000000/x", "");
        assert_eq!(look(&[("/proc/sysvipc/shm", &left), lives]), []);
        for other in [row(7, 1 << 20, 4_000_000, 1), row(7, 4096, 4_000_000, 0), row(7, 1 << 20, 0, 0)] {
            assert_eq!(look(&[("/proc/sysvipc/shm", &format!("{SHM}{other}"))]), [], "{other}");
        }
        let many: String = (0..50).map(|id| row(id, 1 << 20, 4_000_000, 0)).collect();
        let (_directory, machine) =
            made_up(&[("/proc/1/x", ""), ("/proc/sysvipc/shm", &format!("{SHM}{many}"))]);
        let command = left_behind(&machine, &segments(&machine)).command.unwrap();
        assert!(command.starts_with("ipcrm -m 0 -m 1 ") && command.ends_with(" -m 19"), "{command}");
    }

    #[test]
    fn garbage_and_nothing_are_unknown() {
        for garbage in GARBAGE {
            let files: Vec<_> = ["shmmax", "shmall", "shmmni", "sem", "shm_rmid_forced"]
                .map(|name| (format!("/proc/sys/kernel/{name}"), garbage))
                .into();
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            let found = look(&files);
            assert_eq!(found.len(), 5, "{garbage:?}: {found:?}");
            assert!(found.iter().all(|(_, severity)| *severity == Unknown), "{garbage:?}: {found:?}");
            let found = look(&[("/proc/sysvipc/shm", garbage), ("/proc/sysvipc/sem", garbage)]);
            assert!(found.iter().all(|(_, severity)| *severity == Unknown), "{garbage:?}: {found:?}");
            let below = format!("{SHM}{garbage}\n");
            assert_eq!(look(&[("/proc/sysvipc/shm", &below)]), [], "{garbage:?}");
        }
        let (_directory, nothing) = made_up(&[]);
        assert!(examine(&nothing).iter().all(|finding| finding.severity == Unknown));
    }
}
