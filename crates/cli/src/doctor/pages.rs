//! Huge pages: the pool that is reserved for them, and when shared memory gets them by itself.

use super::finding::{Check, Finding};
use super::machine::Machine;
use super::place::Place;
use crate::output::size;

/// Reserved huge pages that nobody uses are a warning from so many hundredths of memory on: nothing else can
/// have that memory, and a database that is stopped for a while leaves less.
const IDLE: u128 = 10;

const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

pub(super) fn examine(machine: &Machine, places: &[Place]) -> Vec<Finding> {
    let mut findings = vec![pool(machine), shmem_enabled(machine)];
    findings.extend(places.iter().filter(|place| place.is_tmpfs()).map(mount_option));
    findings
}

fn pool(machine: &Machine) -> Finding {
    let check = Check(
        "huge-pool",
        "Memory that is reserved for huge pages can be used for nothing else; without it, segments on hugetlbfs \
         and shmget with SHM_HUGETLB fail. Lower it for good where it was set: vm.nr_hugepages in /etc/sysctl.d, \
         or hugepages= of the kernel's command line.",
    );
    let text = match machine.text("/proc/meminfo") {
        Ok(text) => text,
        Err(reason) => return check.unknown(reason),
    };
    let number = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    let Some(memory) = number("MemTotal") else {
        return check.unknown("/proc/meminfo does not say MemTotal");
    };
    if !text.contains("HugePages_Total:") {
        return check.fine("this kernel reserves no huge pages");
    }
    let (Some(total), Some(kilobytes)) = (number("HugePages_Total"), number("Hugepagesize")) else {
        return check.unknown("/proc/meminfo does not hold the numbers of huge pages that it should");
    };
    if total == 0 {
        return check.fine("no huge pages are reserved");
    }
    // Free ones may be promised already.
    let idle = number("HugePages_Free").unwrap_or(0).saturating_sub(number("HugePages_Rsvd").unwrap_or(0));
    let bytes = |pages: u64| size(pages.saturating_mul(kilobytes).saturating_mul(1024));
    let what = format!("{total} huge pages are reserved, {}; {idle} of them are not used", bytes(total));
    if u128::from(idle) * u128::from(kilobytes) * 100 < u128::from(memory) * IDLE {
        return check.fine(what);
    }
    check
        .warning(format!("{what}, which keeps {} from everything else", bytes(idle)))
        .mend(format!("sysctl -w vm.nr_hugepages={}", total.saturating_sub(idle)))
}

fn shmem_enabled(machine: &Machine) -> Finding {
    let check = Check(
        "huge-shmem",
        "It decides which anonymous and System V segments get huge pages. By 'always' and 'force', the smallest \
         one takes a whole huge page, mostly 2 MiB; by 'deny', none gets one, whatever a tmpfs was mounted with.",
    );
    let text = match machine.text(SHMEM_ENABLED) {
        Ok(text) => text,
        Err(_) if machine.has("/sys/kernel/mm") && !machine.has("/sys/kernel/mm/transparent_hugepage") => {
            return check.fine("this kernel has no transparent huge pages");
        }
        Err(reason) => return check.unknown(reason),
    };
    // The one that is set stands in brackets.
    let set = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(set, _)| set);
    match set {
        Some("never" | "advise" | "within_size") => {
            check.fine(format!("shmem_enabled is {}", set.unwrap_or_default()))
        }
        Some("always" | "force" | "deny") => check
            .warning(format!("shmem_enabled is {}", set.unwrap_or_default()))
            .mend(format!("echo never > {SHMEM_ENABLED}")),
        _ => check.unknown(format!("{SHMEM_ENABLED} does not hold the word that it should")),
    }
}

fn mount_option(place: &Place) -> Finding {
    let check = Check(
        place.check("shm-huge", "namespace-huge"),
        "A tmpfs obeys its own option huge=. By 'always', the smallest segment takes a whole huge page, mostly \
         2 MiB; by 'never', large segments are slower to touch than they could be. 'advise' gives them to those \
         that ask: mount -o remount,huge=advise.",
    );
    let name = place.name();
    match place.options.get("huge").and_then(Option::as_deref) {
        None => check.fine(format!("{name} has huge=never, the default")),
        Some("always") => check
            .warning(format!("{name} has huge=always: each small segment takes a whole huge page"))
            .mend_if(place.remount("huge=within_size")),
        Some(set) => check.fine(format!("{name} has huge={set}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{Fine, Unknown, Warning};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::super::place::tests::healthy;
    use super::*;

    fn with_pool(total: &str, free: &str, reserved: &str) -> Finding {
        let text = format!(
            "MemTotal: 4194304 kB\nHugePages_Total: {total}\nHugePages_Free: {free}\nHugePages_Rsvd: {reserved}\n\
             Hugepagesize: 2048 kB\n"
        );
        let (_directory, machine) = made_up(&[("/proc/meminfo", &text)]);
        pool(&machine)
    }

    #[test]
    fn a_pool_that_is_used_is_fine_and_an_idle_one_a_warning() {
        assert_eq!(with_pool("0", "0", "0").severity, Fine);
        assert_eq!(with_pool("1024", "0", "0").severity, Fine);
        assert_eq!(with_pool("1024", "1000", "1000").severity, Fine, "promised");
        assert_eq!(with_pool("1024", "100", "0").severity, Fine, "200 MiB of 4 GiB");
        let idle = with_pool("1024", "1000", "0");
        assert_eq!(idle.severity, Warning);
        assert_eq!(idle.command.as_deref(), Some("sysctl -w vm.nr_hugepages=24"));
        let absurd = with_pool("18446744073709551615", "18446744073709551615", "0");
        assert_eq!(absurd.severity, Warning);
        assert_eq!(with_pool("99999999999999999999", "1", "1").severity, Unknown);
    }

    #[test]
    fn words_that_cost_or_forbid_are_warnings() {
        for (text, severity) in [
            ("always within_size advise [never] deny force\n", Fine),
            ("always within_size [advise] never deny force\n", Fine),
            ("[always] within_size advise never deny force\n", Warning),
            ("always within_size advise never [deny] force\n", Warning),
            ("always within_size advise never deny [force]\n", Warning),
            ("always within_size advise never deny [new]\n", Unknown),
        ] {
            let (_directory, machine) = made_up(&[(SHMEM_ENABLED, text)]);
            assert_eq!(shmem_enabled(&machine).severity, severity, "{text}");
        }
        let (_directory, without) = made_up(&[("/sys/kernel/mm/x", "")]);
        assert_eq!(shmem_enabled(&without).severity, Fine);
    }

    #[test]
    fn huge_always_is_a_warning() {
        let option = |value: Option<&str>| {
            let options = [("huge".to_owned(), value.map(str::to_owned))].into();
            mount_option(&Place { options, ..healthy() })
        };
        assert_eq!(mount_option(&healthy()).severity, Fine);
        assert_eq!(option(Some("advise")).severity, Fine);
        assert_eq!(option(None).severity, Fine);
        let always = option(Some("always"));
        assert_eq!(always.severity, Warning);
        assert_eq!(always.command.as_deref(), Some("mount -o remount,huge=within_size /dev/shm"));
    }

    #[test]
    fn garbage_and_nothing_are_unknown() {
        for garbage in GARBAGE {
            let (_directory, machine) = made_up(&[("/proc/meminfo", garbage), (SHMEM_ENABLED, garbage)]);
            assert_eq!(pool(&machine).severity, Unknown, "{garbage:?}");
            assert_eq!(shmem_enabled(&machine).severity, Unknown, "{garbage:?}");
        }
        let (_directory, nothing) = made_up(&[]);
        assert_eq!(pool(&nothing).severity, Unknown);
        assert_eq!(shmem_enabled(&nothing).severity, Unknown);
    }
}
