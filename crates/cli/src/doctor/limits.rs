//! What a process may have: locked memory, descriptors, file size, address space, mappings, open files.
//!
//! Resource limits are inherited, so those that are seen here are the shell's that started the command, and
//! those of all programs that it starts. Services have limits of their own.

use rustix::process::{Resource, Rlimit, getrlimit};

use super::finding::{Check, Finding};
use super::machine::Machine;
use crate::output::size;

/// A soft limit of less locked memory is a warning: the kernel's default since 5.16, and what shells get from
/// systemd. Before, it was 64 KiB, which locks no segment worth locking.
const LOCKED: u64 = 8 << 20;

/// Fewer descriptors are a warning: the kernel's default for every process. It is enough for Commons, whose
/// attachments cost no descriptor; a program that opens more segments than that raises it itself.
const DESCRIPTORS: u64 = 1024;

/// Fewer mappings are a warning: the kernel's default. Distributions only ever raise it.
const MAPPINGS: u64 = 65_530;

/// So few mappings, and programs that only load their libraries and start some threads fail.
const HARDLY_ANY_MAPPINGS: u64 = 1024;

/// A file table that is fuller, in hundredths, soon makes opening fail for all.
const FULL: u128 = 90;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![
        locked_memory(getrlimit(Resource::Memlock)),
        descriptors(getrlimit(Resource::Nofile)),
        file_size(getrlimit(Resource::Fsize)),
        address_space(getrlimit(Resource::As)),
        mappings(machine),
        open_files(machine),
    ]
}

/// What to type for a limit of at least `enough`, or none at all: the shell's own command, where the hard limit
/// allows it; else the one by which root raises both.
fn raise(limit: Rlimit, letter: char, name: &str, enough: Option<u64>) -> String {
    let wanted = enough.map_or("unlimited".to_owned(), |enough| enough.to_string());
    let allowed = limit.maximum.is_none_or(|maximum| enough.is_some_and(|enough| enough <= maximum));
    if allowed {
        format!("ulimit -S -{letter} {wanted}")
    } else {
        format!("prlimit --pid $$ --{name}={wanted}")
    }
}

fn locked_memory(limit: Rlimit) -> Finding {
    let check = Check(
        "limit-memlock",
        "A process may lock that much memory; locking a larger segment, or one of huge pages, fails. Root is not \
         bound by it. For good: '* - memlock unlimited' in /etc/security/limits.conf, LimitMEMLOCK=infinity for \
         a service.",
    );
    match limit.current {
        None => check.fine("this shell may lock memory without limit"),
        Some(bytes) if bytes >= LOCKED => check.fine(format!("this shell may lock {}", size(bytes))),
        Some(bytes) => {
            let command = match limit.maximum {
                // All that can be had without root; the shell counts in KiB.
                Some(maximum) if maximum >= LOCKED => format!("ulimit -S -l {}", maximum >> 10),
                _ => raise(limit, 'l', "memlock", None),
            };
            check
                .warning(format!("this shell, and what it starts, may lock only {}", size(bytes)))
                .mend(command)
        }
    }
}

fn descriptors(limit: Rlimit) -> Finding {
    let check = Check(
        "limit-descriptors",
        "Each segment that is opened takes a descriptor while its handle lives; attachments take none. For good: \
         '* - nofile 65536' in /etc/security/limits.conf, LimitNOFILE=65536 for a service.",
    );
    match limit.current {
        None => check.fine("this shell may open files without limit"),
        Some(files) if files >= DESCRIPTORS => check.fine(format!("this shell may open {files} files")),
        Some(files) => check
            .warning(format!("this shell, and what it starts, may have only {files} files open at once"))
            .mend(raise(limit, 'n', "nofile", Some(DESCRIPTORS))),
    }
}

fn file_size(limit: Rlimit) -> Finding {
    let check = Check(
        "limit-file-size",
        "It holds for shared memory as well: a larger segment cannot be made, and programs that do not look \
         first are killed by SIGXFSZ. For good: '* - fsize unlimited' in /etc/security/limits.conf, \
         LimitFSIZE=infinity for a service.",
    );
    match limit.current {
        None => check.fine("this shell may make files of any size"),
        Some(bytes) => check
            .warning(format!("this shell, and what it starts, may make files of {} at most", size(bytes)))
            .mend(raise(limit, 'f', "fsize", None)),
    }
}

fn address_space(limit: Rlimit) -> Finding {
    let check = Check(
        "limit-address-space",
        "Attached segments count in full, whether touched or not: attaching one that is larger fails. For good: \
         '* - as unlimited' in /etc/security/limits.conf, LimitAS=infinity for a service.",
    );
    match limit.current {
        None => check.fine("this shell has address space without limit"),
        Some(bytes) => check
            .warning(format!("this shell, and what it starts, has {} of address space at most", size(bytes)))
            .mend(raise(limit, 'v', "as", None)),
    }
}

fn mappings(machine: &Machine) -> Finding {
    let check = Check(
        "max-map-count",
        "Each attachment is a mapping, and so are libraries and stacks; a process that has that many can attach \
         nothing more. For good: a line 'vm.max_map_count = 65530' in /etc/sysctl.d/90-commons.conf.",
    );
    let command = format!("sysctl -w vm.max_map_count={MAPPINGS}");
    match machine.number("/proc/sys/vm/max_map_count") {
        Err(reason) => check.unknown(reason),
        Ok(count) if count >= MAPPINGS => check.fine(format!("a process may have {count} mappings")),
        Ok(count) if count >= HARDLY_ANY_MAPPINGS => {
            check.warning(format!("a process may have only {count} mappings")).mend(command)
        }
        Ok(count) => check.wrong(format!("a process may have only {count} mappings")).mend(command),
    }
}

fn open_files(machine: &Machine) -> Finding {
    let check = Check(
        "open-files",
        "The whole machine may have that many files open, all users together. When it does, opening a segment \
         fails for everybody but root.",
    );
    // In use, free (always 0), the most.
    let [used, _, most] = match machine.numbers("/proc/sys/fs/file-nr") {
        Ok(numbers) => numbers,
        Err(reason) => return check.unknown(reason),
    };
    if u128::from(used) * 100 <= u128::from(most) * FULL {
        return check.fine(format!("{used} files are open on this machine"));
    }
    check
        .wrong(format!("{used} files are open on this machine, of {most} at most"))
        .mend(format!("sysctl -w fs.file-max={}", used.saturating_mul(4).min(i64::MAX as u64)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{Fine, Unknown, Warning, Wrong};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::*;

    fn limit(current: Option<u64>, maximum: Option<u64>) -> Rlimit {
        Rlimit { current, maximum }
    }

    #[test]
    fn defaults_are_fine_and_less_is_a_warning() {
        for (judge, fine, low) in [
            (locked_memory as fn(Rlimit) -> Finding, Some(8 << 20), Some(64 << 10)),
            (descriptors, Some(1024), Some(1023)),
            (file_size, None, Some(u64::MAX - 1)),
            (address_space, None, Some(1 << 40)),
        ] {
            assert_eq!(judge(limit(None, None)).severity, Fine);
            assert_eq!(judge(limit(fine, None)).severity, Fine);
            for bytes in [low, Some(0)] {
                let finding = judge(limit(bytes, None));
                assert_eq!(finding.severity, Warning);
                assert!(finding.command.unwrap().starts_with("ulimit -S -"));
                assert!(judge(limit(bytes, bytes)).command.unwrap().starts_with("prlimit --pid $$ --"));
            }
        }
    }

    #[test]
    fn a_hard_limit_that_is_enough_needs_no_root() {
        let command =
            |judge: fn(Rlimit) -> Finding, maximum| judge(limit(Some(0), Some(maximum))).command.unwrap();
        assert_eq!(command(locked_memory, 8 << 20), "ulimit -S -l 8192");
        assert_eq!(command(locked_memory, 64 << 10), "prlimit --pid $$ --memlock=unlimited");
        assert_eq!(command(descriptors, 4096), "ulimit -S -n 1024");
        assert_eq!(command(descriptors, 512), "prlimit --pid $$ --nofile=1024");
        assert_eq!(command(file_size, u64::MAX - 1), "prlimit --pid $$ --fsize=unlimited");
    }

    #[test]
    fn few_mappings_are_a_warning_and_hardly_any_wrong() {
        for (text, severity) in [
            ("65530\n", Fine),
            ("1048576", Fine),
            ("18446744073709551615", Fine),
            ("65529", Warning),
            ("1000", Wrong),
            ("0", Wrong),
        ] {
            let (_directory, machine) = made_up(&[("/proc/sys/vm/max_map_count", text)]);
            assert_eq!(mappings(&machine).severity, severity, "{text}");
        }
    }

    #[test]
    fn a_full_file_table_is_wrong() {
        for (text, severity) in [
            ("1024\t0\t9223372036854775807\n", Fine),
            ("91 0 100", Wrong),
            ("90 0 100", Fine),
            ("18446744073709551615 0 1", Wrong),
            ("1 0", Unknown),
        ] {
            let (_directory, machine) = made_up(&[("/proc/sys/fs/file-nr", text)]);
            assert_eq!(open_files(&machine).severity, severity, "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_garbage_is_unknown() {
        for garbage in GARBAGE {
            let files = [("/proc/sys/vm/max_map_count", garbage), ("/proc/sys/fs/file-nr", garbage)];
            let (_directory, machine) = made_up(&files);
            assert_eq!(mappings(&machine).severity, Unknown, "{garbage:?}");
            assert_eq!(open_files(&machine).severity, Unknown, "{garbage:?}");
        }
        let (_directory, nothing) = made_up(&[]);
        assert_eq!(mappings(&nothing).severity, Unknown);
    }
}
