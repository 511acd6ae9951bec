//! `doctor` finds what will hurt on machines that were broken on purpose, and its commands mend it.

mod common;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::complaint;
use serde_json::Value;

/// A machine within this one: with mounts, and System V, of its own, which go with it.
struct Machine {
    keeper: Child,
    /// Programs that stand before the system's.
    programs: tempfile::TempDir,
}

impl Machine {
    /// One with a healthy `/dev/shm`, on which `script` was run; says so where none can be made.
    fn broken_by(test: &str, script: &str) -> Option<Machine> {
        let mut keeper = Command::new("sh");
        // It ends with its standard input, and so when the test does.
        keeper.args(["-c", "read line"]).stdin(Stdio::piped());
        // SAFETY: changes only the namespaces of the child, by system calls alone.
        unsafe {
            keeper.pre_exec(|| {
                let private = libc::MS_REC | libc::MS_PRIVATE;
                let (none, root) = (c"none".as_ptr(), c"/".as_ptr());
                if libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC) != 0
                    || libc::mount(none, root, std::ptr::null(), private, std::ptr::null()) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let Ok(keeper) = keeper.spawn() else {
            eprintln!("SKIPPED: {test}: needs root");
            return None;
        };
        let programs = tempfile::tempdir_in("/tmp").unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_commons"), programs.path().join("commons")).unwrap();
        let machine = Machine { keeper, programs };
        machine.get("mount -t tmpfs -o mode=1777,size=50% tmpfs /dev/shm");
        machine.get(script);
        Some(machine)
    }

    /// Runs a script of the shell there.
    fn run(&self, script: &str) -> Output {
        let open = |kind| File::open(format!("/proc/{}/ns/{kind}", self.keeper.id())).unwrap();
        let namespaces = [open("ipc"), open("mnt")];
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("PATH", path).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("COMMONS_NAMESPACE");
        // SAFETY: moves only the child, by system calls alone; the descriptors live as long as the closure.
        unsafe {
            command.pre_exec(move || {
                for namespace in &namespaces {
                    if libc::setns(namespace.as_raw_fd(), 0) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        command.output().unwrap()
    }

    #[track_caller]
    fn get(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the doctor says after `script`, in the same shell.
    #[track_caller]
    fn doctor_after(&self, script: &str, arguments: &str) -> Report {
        Report::new(&self.run(&format!("{script}\nexec commons doctor --json {arguments}")))
    }

    #[track_caller]
    fn doctor(&self) -> Report {
        self.doctor_after("", "")
    }

    /// Makes sure that the finding has that severity, and that its command, run after `script`, mends it.
    #[track_caller]
    fn mends_after(&self, script: &str, arguments: &str, check: &str, severity: &str) {
        let before = self.doctor_after(script, arguments);
        assert_eq!(before.severity(check), severity, "{before:?}");
        let command = before.command(check);
        let after = self.doctor_after(&format!("set -e\n{script}\n{{ {command}\n}} >&2"), arguments);
        assert_eq!(after.severity(check), "fine", "{command}: {after:?}");
    }

    #[track_caller]
    fn mends(&self, check: &str, severity: &str) {
        self.mends_after("", "", check, severity);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// What the doctor said, after making sure that its exit code and its form are right.
#[derive(Debug)]
struct Report(Vec<Value>);

impl Report {
    #[track_caller]
    fn new(output: &Output) -> Report {
        let findings: Vec<Value> = match serde_json::from_slice(&output.stdout) {
            Ok(findings) => findings,
            Err(error) => panic!("{error}: {output:?}"),
        };
        let ranks: Vec<_> = findings
            .iter()
            .map(|finding| {
                let object = finding.as_object().unwrap();
                let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
                keys.sort_unstable();
                assert_eq!(keys, ["check", "command", "severity", "what", "why"]);
                assert!(finding["command"].is_null() || finding["command"].is_string(), "{finding}");
                assert!(
                    !finding["what"].as_str().unwrap().is_empty()
                        && !finding["why"].as_str().unwrap().is_empty()
                );
                let severity = finding["severity"].as_str().unwrap();
                ["wrong", "warning", "unknown", "fine"].iter().position(|known| *known == severity).unwrap()
            })
            .collect();
        assert!(ranks.is_sorted(), "the worst first: {findings:?}");
        let code = i32::from(ranks.first() == Some(&0));
        assert_eq!(output.status.code(), Some(code), "{findings:?}");
        Report(findings)
    }

    #[track_caller]
    fn finding(&self, check: &str) -> &Value {
        let found = self.0.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}: {self:?}"))
    }

    #[track_caller]
    fn severity(&self, check: &str) -> &str {
        self.finding(check)["severity"].as_str().unwrap()
    }

    #[track_caller]
    fn command(&self, check: &str) -> &str {
        self.finding(check)["command"].as_str().unwrap_or_else(|| panic!("{check} has no command: {self:?}"))
    }
}

#[test]
fn a_healthy_machine_is_0_and_its_findings_are_lines() {
    let Some(machine) = Machine::broken_by("a_healthy_machine_is_0_and_its_findings_are_lines", "true")
    else {
        return;
    };
    let report = machine.doctor();
    assert_eq!(report.0.iter().filter(|finding| finding["severity"] == "wrong").count(), 0, "{report:?}");
    let text = machine.get("commons doctor");
    assert!(!text.contains('\x1b'), "{text}");
    let last = text.lines().last().unwrap();
    let fine = report.0.iter().filter(|finding| finding["severity"] == "fine").count();
    assert!(last.starts_with("0 wrong, ") && last.ends_with(&format!(", {fine} fine")), "{last}");
    assert_eq!(text.lines().filter(|line| line.starts_with("fine ")).count(), fine, "{text}");
    let coloured = machine.get("CLICOLOR_FORCE=1 commons doctor");
    assert!(coloured.contains('\x1b'), "{coloured}");
}

#[test]
fn a_containers_default_is_a_warning_that_a_remount_mends() {
    let Some(machine) = Machine::broken_by(
        "a_containers_default_is_a_warning_that_a_remount_mends",
        "mount -t tmpfs -o mode=1777,size=64m tmpfs /dev/shm",
    ) else {
        return;
    };
    let report = machine.doctor();
    let finding = report.finding("shm-size");
    assert!(finding["why"].as_str().unwrap().contains("--shm-size"), "{finding}");
    machine.mends("shm-size", "warning");
}

#[test]
fn a_full_dev_shm_is_wrong_and_a_remount_mends_it() {
    let Some(machine) = Machine::broken_by(
        "a_full_dev_shm_is_wrong_and_a_remount_mends_it",
        "mount -t tmpfs -o mode=1777,size=1m tmpfs /dev/shm && head -c 1000000 /dev/zero > /dev/shm/much",
    ) else {
        return;
    };
    let text = String::from_utf8(machine.run("commons doctor").stdout).unwrap();
    assert!(text.starts_with("wrong "), "the worst first: {text}");
    assert!(text.contains("mend it: mount -o remount,size="), "{text}");
    machine.mends("shm-space", "wrong");
}

#[test]
fn a_dev_shm_without_free_inodes_is_wrong_and_a_remount_mends_it() {
    let Some(machine) = Machine::broken_by(
        "a_dev_shm_without_free_inodes_is_wrong_and_a_remount_mends_it",
        "mount -t tmpfs -o mode=1777,nr_inodes=4 tmpfs /dev/shm && touch /dev/shm/1 /dev/shm/2 /dev/shm/3",
    ) else {
        return;
    };
    assert_eq!(machine.doctor().severity("shm-space"), "fine");
    machine.mends("shm-files", "wrong");
}

#[test]
fn a_dev_shm_that_is_missing_or_no_tmpfs_is_wrong_and_mounting_mends_it() {
    let test = "a_dev_shm_that_is_missing_or_no_tmpfs_is_wrong_and_mounting_mends_it";
    let Some(machine) = Machine::broken_by(test, "while umount /dev/shm 2> /dev/null; do :; done") else {
        return;
    };
    machine.mends("shm-filesystem", "wrong");
    let machine = Machine::broken_by(test, "mount -t tmpfs -o mode=755 tmpfs /dev").unwrap();
    machine.mends("shm-filesystem", "wrong");
    assert_eq!(machine.doctor().severity("shm-mode"), "fine");
}

#[test]
fn a_dev_shm_with_another_mode_or_read_only_is_wrong_and_mended() {
    let test = "a_dev_shm_with_another_mode_or_read_only_is_wrong_and_mended";
    let Some(machine) = Machine::broken_by(test, "chmod 0777 /dev/shm") else { return };
    machine.mends("shm-mode", "wrong");
    machine.get("chmod 0755 /dev/shm");
    machine.mends("shm-mode", "wrong");
    machine.get("mount -o remount,ro /dev/shm");
    machine.mends("shm-access", "wrong");
}

#[test]
fn orphans_are_wrong_and_tiny_ones_a_warning_and_a_sweep_mends_it() {
    let test = "orphans_are_wrong_and_tiny_ones_a_warning_and_a_sweep_mends_it";
    let Some(machine) = Machine::broken_by(test, "mkdir '/dev/shm/a b'") else { return };
    let make = "head -c $size /dev/zero > \"$place/x\" && chmod 1600 \"$place/x\"";
    machine.get(&format!("size=65536; place=/dev/shm; {make}"));
    machine.mends("shm-orphans", "warning");
    machine.get(&format!("size=2097152; place=/dev/shm; {make}"));
    machine.mends("shm-orphans", "wrong");
    machine.get(&format!("size=2097152; place='/dev/shm/a b'; {make}"));
    machine.mends_after("", "--namespace '/dev/shm/a b'", "namespace-orphans", "wrong");
    machine.get(&format!("size=2097152; place='/dev/shm/a b'; {make}"));
    machine.mends_after("export COMMONS_NAMESPACE='/dev/shm/a b'", "", "namespace-orphans", "wrong");
}

#[test]
fn a_namespace_on_overlayfs_is_wrong_and_another_place_mends_it() {
    let test = "a_namespace_on_overlayfs_is_wrong_and_another_place_mends_it";
    let Some(machine) = Machine::broken_by(test, "cd /dev/shm && mkdir lower upper work merged") else {
        return;
    };
    let mount =
        "cd /dev/shm && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged";
    if !machine.run(mount).status.success() {
        eprintln!("SKIPPED: {test}: needs overlayfs");
        return;
    }
    let check = "namespace-filesystem";
    machine.mends_after("export COMMONS_NAMESPACE=/dev/shm", "--namespace /dev/shm/merged", check, "wrong");
    machine.get("umount /dev/shm/merged");
    machine.get(mount);
    let environment = "export COMMONS_NAMESPACE=/dev/shm/merged";
    let report = machine.doctor_after(environment, "");
    assert_eq!(report.severity(check), "wrong");
    let mended = machine.doctor_after(&format!("{environment}\n{}", report.command(check)), "");
    assert_eq!(mended.severity("shm-filesystem"), "fine");
    assert!(mended.0.iter().all(|finding| finding["check"] != check), "{mended:?}");
}

#[test]
fn a_namespace_that_is_missing_is_a_finding_and_no_failure() {
    let test = "a_namespace_that_is_missing_is_a_finding_and_no_failure";
    let Some(machine) = Machine::broken_by(test, "true") else { return };
    let output = machine.run("commons doctor --namespace /dev/shm/none");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{output:?}");
    machine.mends_after("", "--namespace /dev/shm/none/below", "namespace-filesystem", "wrong");
    machine.get("touch /dev/shm/file");
    let report = machine.doctor_after("", "--namespace /dev/shm/file");
    assert_eq!(report.severity("namespace-filesystem"), "wrong");
}

#[test]
fn a_namespace_that_others_may_empty_is_wrong_and_the_sticky_bit_mends_it() {
    let test = "a_namespace_that_others_may_empty_is_wrong_and_the_sticky_bit_mends_it";
    let Some(machine) = Machine::broken_by(test, "mkdir -m 0777 /dev/shm/all") else { return };
    machine.mends_after("", "--namespace /dev/shm/all", "namespace-mode", "wrong");
}

const LIMITS: [(&str, &str); 4] = [
    ("-l 64", "limit-memlock"),
    ("-n 100", "limit-descriptors"),
    ("-f 2048", "limit-file-size"),
    ("-v 10000000", "limit-address-space"),
];

#[test]
fn soft_limits_of_the_shell_are_warnings_and_mended_in_it() {
    let test = "soft_limits_of_the_shell_are_warnings_and_mended_in_it";
    let Some(machine) = Machine::broken_by(test, "true") else { return };
    for (limit, check) in LIMITS {
        let script = format!("ulimit -S {limit}");
        let report = machine.doctor_after(&script, "");
        assert_eq!(report.severity(check), "warning");
        if report.command(check).starts_with("prlimit ") {
            eprintln!("SKIPPED: {test}: needs hard limits that are high enough");
            continue;
        }
        machine.mends_after(&script, "", check, "warning");
    }
}

#[test]
fn hard_limits_of_the_shell_are_warnings_and_mended_by_root() {
    let test = "hard_limits_of_the_shell_are_warnings_and_mended_by_root";
    let Some(machine) = Machine::broken_by(test, "true") else { return };
    let may_raise = machine.run("ulimit -n 50 && prlimit --pid $$ --nofile=60").status.success();
    for (limit, check) in LIMITS {
        let script = format!("ulimit {limit}");
        let report = machine.doctor_after(&script, "");
        assert_eq!(report.severity(check), "warning");
        assert!(report.command(check).starts_with("prlimit --pid $$ --"), "{report:?}");
        if may_raise {
            machine.mends_after(&script, "", check, "warning");
        }
    }
    if !may_raise {
        eprintln!("SKIPPED: {test}: needs the right to raise limits");
    }
}

#[test]
fn few_mappings_are_found_and_a_sysctl_mends_it() {
    let test = "few_mappings_are_found_and_a_sysctl_mends_it";
    let file = "mount --bind /dev/shm/count /proc/sys/vm/max_map_count";
    let Some(machine) = Machine::broken_by(test, &format!("echo 1000 > /dev/shm/count && {file}")) else {
        return;
    };
    machine.mends("max-map-count", "wrong");
    machine.get("echo 60000 > /dev/shm/count");
    machine.mends("max-map-count", "warning");
    for garbage in ["", "99999999999999999999999999", "\\377\\000"] {
        machine.get(&format!("printf '{garbage}' > /dev/shm/count"));
        assert_eq!(machine.doctor().severity("max-map-count"), "unknown", "{garbage:?}");
    }
}

#[test]
fn system_v_limits_are_found_and_a_sysctl_mends_them() {
    let test = "system_v_limits_are_found_and_a_sysctl_mends_them";
    let Some(machine) = Machine::broken_by(test, "sysctl -w kernel.shmmni=2 && ipcmk -M 4096") else {
        return;
    };
    machine.mends("sysv-shmmni", "warning");
    machine.get("sysctl -w kernel.shmmni=2 && ipcmk -M 4096");
    assert!(!machine.run("ipcmk -M 4096").status.success(), "it does hurt");
    machine.mends("sysv-shmmni", "wrong");
    machine.get("ipcmk -M 4096");

    machine.get("sysctl -w kernel.shmmax=33554432");
    machine.mends("sysv-shmmax", "warning");
    machine.get("sysctl -w kernel.shmall=3");
    machine.mends("sysv-shmall", "wrong");
    machine.get("sysctl -w kernel.sem='250 32000 32 2' && ipcmk -S 1 && ipcmk -S 1");
    machine.mends("sysv-semaphores", "wrong");
    machine.get("sysctl -w kernel.sem='100 32000 32 128'");
    machine.mends("sysv-semaphores", "warning");
    machine.get("sysctl -w kernel.shm_rmid_forced=1");
    machine.mends("sysv-rmid-forced", "warning");
}

#[test]
fn huge_pages_for_all_are_a_warning_and_a_remount_mends_it() {
    let test = "huge_pages_for_all_are_a_warning_and_a_remount_mends_it";
    let Some(machine) = Machine::broken_by(test, "true") else { return };
    if !machine.run("mount -o remount,huge=always /dev/shm").status.success() {
        eprintln!("SKIPPED: {test}: needs huge pages");
        return;
    }
    machine.mends("shm-huge", "warning");
}

#[test]
fn remove_ipc_is_a_warning_and_a_drop_in_mends_it() {
    let test = "remove_ipc_is_a_warning_and_a_drop_in_mends_it";
    if !Path::new("/etc/systemd").is_dir() || !Path::new("/run/systemd").is_dir() {
        eprintln!("SKIPPED: {test}: needs systemd's directories");
        return;
    }
    let script =
        "mount -t tmpfs tmpfs /etc/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system";
    let Some(machine) = Machine::broken_by(test, script) else { return };
    // Nothing is to be restarted for a test.
    let restart = machine.programs.path().join("systemctl");
    std::fs::write(&restart, "#!/bin/sh\ntest \"$*\" = 'restart systemd-logind'\n").unwrap();
    std::fs::set_permissions(&restart, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let write = |value: &str| {
        machine.get(&format!("printf '[Login]\\nRemoveIPC={value}\\n' > /etc/systemd/logind.conf"));
    };
    write("no");
    assert_eq!(machine.doctor().severity("logind-remove-ipc"), "fine");
    write("yes");
    machine.mends("logind-remove-ipc", "warning");
    machine.get("rm -r /etc/systemd/logind.conf.d && printf '[Login' > /etc/systemd/logind.conf");
    assert_eq!(machine.doctor().severity("logind-remove-ipc"), "unknown");
}

/// A control group of the test's own, which goes with it.
struct Group(PathBuf);

impl Group {
    /// Below that of this process; says so where none can be made.
    fn new(test: &str) -> Option<Group> {
        let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
            let roots = match controllers {
                "" => ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
                "memory" => ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"],
                _ => return None,
            };
            roots.into_iter().find_map(|root| {
                let group = Path::new(root).join(path).join(format!("commons-doctor-{}", std::process::id()));
                std::fs::create_dir(&group).ok()?;
                let group = Group(group);
                group.limit().exists().then_some(group)
            })
        });
        if group.is_none() {
            eprintln!("SKIPPED: {test}: needs a memory cgroup to write to");
        }
        group
    }

    fn limit(&self) -> PathBuf {
        let one = self.0.join("memory.limit_in_bytes");
        if one.exists() { one } else { self.0.join("memory.max") }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have ended; the kernel may still be taking notice.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_cgroup_with_less_than_dev_shm_is_a_warning_and_a_full_one_wrong() {
    let test = "a_cgroup_with_less_than_dev_shm_is_a_warning_and_a_full_one_wrong";
    let Some(machine) = Machine::broken_by(test, "mount -o remount,size=200m /dev/shm") else { return };
    let Some(group) = Group::new(test) else { return };
    let enter = format!("echo $$ > {}/cgroup.procs", group.0.display());
    std::fs::write(group.limit(), "100M").unwrap();
    machine.mends_after(&enter, "", "cgroup-limit", "warning");
    std::fs::write(group.limit(), "100M").unwrap();
    // Shared memory stays charged to the group.
    machine.get(&format!("{enter}\nhead -c 98M /dev/zero > /dev/shm/much"));
    machine.mends_after(&enter, "", "cgroup-space", "wrong");
    machine.get("rm /dev/shm/much");
}

#[test]
fn a_machine_without_proc_is_looked_at_as_far_as_it_goes() {
    let test = "a_machine_without_proc_is_looked_at_as_far_as_it_goes";
    let Some(machine) = Machine::broken_by(test, "mount -t tmpfs tmpfs /proc") else { return };
    let report = machine.doctor();
    for check in ["sysv-shmmax", "max-map-count", "cgroup-limit"] {
        let finding = report.finding(check);
        assert_eq!(finding["severity"], "unknown");
        assert!(finding["what"].as_str().unwrap().contains("/proc/"), "{finding}");
    }
    assert_eq!(report.severity("shm-filesystem"), "fine");
    assert_eq!(report.severity("limit-descriptors"), "fine");
}

#[test]
fn a_terminal_takes_no_orders_from_a_namespaces_name() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commons"));
    let output = command.args(["--namespace", "/nowhere/\x1b[2J\n\u{9b}x", "doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\\u{1b}[2J\\n") && !text.contains(['\x1b', '\u{9b}']), "{text:?}");
    assert!(!text.contains("mkdir -p"), "a name that cannot be typed: {text:?}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for arguments in [&["doctor"][..], &["doctor", "--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_commons")).args(arguments).stdout(full).output().unwrap();
        assert!(complaint(1, &output).contains("standard output"));
    }
}
