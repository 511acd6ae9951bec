//! What else deletes shared memory: systemd-logind, when a user has logged out for the last time.
//!
//! With `RemoveIPC=yes`, the default, all POSIX and System V shared memory of that user goes, also that of
//! programs which still run. Users of the system (ids up to 999) are spared, and so are those who linger. See
//! logind.conf(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use configparser::ini::Ini;

use super::finding::{Check, Finding};
use super::machine::Machine;

/// Where systemd looks for configuration, the strongest first. The last one is that of machines where `/lib` and
/// `/usr/lib` are two.
const DIRECTORIES: [&str; 5] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"];

/// The user ids up to this one are the system's, as nearly all distributions have it.
const LAST_OF_SYSTEM: u32 = 999;

const REMOVE_IPC: Check = Check(
    "logind-remove-ipc",
    "When a user logs out for the last time, logind deletes all shared memory of theirs in /dev/shm and System V, \
     also of programs that still run, as from nohup, tmux or cron. 'loginctl enable-linger USER' spares a user as \
     well.",
);

/// The drop-in's name sorts behind what distributions and people call theirs, so that it wins.
const MEND: &str = "mkdir -p /etc/systemd/logind.conf.d && \
    printf '[Login]\\nRemoveIPC=no\\n' > /etc/systemd/logind.conf.d/zz-commons.conf && \
    systemctl restart systemd-logind";

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct User {
    uid: u32,
    name: Option<String>,
}

impl User {
    pub(super) fn current() -> User {
        let uid = rustix::process::geteuid().as_raw();
        let name = uzers::get_user_by_uid(uid).and_then(|user| user.name().to_str().map(str::to_owned));
        User { uid, name }
    }

    /// Whether logind takes the user for present, logged in or not.
    fn lingers(&self, machine: &Machine) -> bool {
        let name = self.name.as_deref().filter(|name| !name.is_empty() && !name.contains('/'));
        name.is_some_and(|name| machine.has(Path::new("/var/lib/systemd/linger").join(name)))
    }
}

pub(super) fn remove_ipc(machine: &Machine, user: &User) -> Finding {
    let runs = machine.has_systemd();
    let set = match configured(machine) {
        Ok(set) => set,
        Err(reason) if runs => return REMOVE_IPC.unknown(reason),
        Err(_) => None,
    };
    let (source, whence) = match set {
        Some((false, path)) => {
            return REMOVE_IPC.fine(format!("RemoveIPC=no in {}", crate::failure::one_line(&path)));
        }
        Some((true, path)) => (path, "set in"),
        None => (String::new(), "systemd's default"),
    };
    let source = format!("RemoveIPC=yes, {whence} {source}");
    let source = source.trim_end();
    if !runs {
        // What somebody wrote down is meant for a machine that starts logind.
        return if whence == "set in" {
            REMOVE_IPC.warning(format!("{source}; systemd does not run now")).mend(mend(false))
        } else {
            REMOVE_IPC.fine("systemd does not run here, so that no logind deletes shared memory")
        };
    }
    if user.uid > LAST_OF_SYSTEM && user.lingers(machine) {
        return REMOVE_IPC.fine(format!("{source}, but this user lingers and is spared"));
    }
    let whom = if user.uid > LAST_OF_SYSTEM {
        "this user loses shared memory with the last logout".to_owned()
    } else {
        format!(
            "users with ids above {LAST_OF_SYSTEM} lose shared memory with their last logout; this one is spared"
        )
    };
    REMOVE_IPC.warning(format!("{source}: {whom}")).mend(mend(true))
}

/// Writes the drop-in; a logind that runs has to be told.
fn mend(runs: bool) -> String {
    let file_only = MEND.rsplit_once(" && ").map_or(MEND, |(file, _)| file);
    if runs { MEND.to_owned() } else { file_only.to_owned() }
}

/// What the configuration says, and which file; `None` if none says anything.
fn configured(machine: &Machine) -> Result<Option<(bool, String)>, String> {
    let mut set = None;
    for path in files(machine) {
        let text = machine.text(&path)?;
        if let Some(value) = value(&text).map_err(|reason| format!("{}: {reason}", path.display()))? {
            set = Some((value, path.display().to_string()));
        }
    }
    Ok(set)
}

/// The files that count, the weakest first: the main one from the strongest directory that has it, then drop-ins
/// by file name, each from the strongest directory that has it. One that is empty or a link to `/dev/null` still
/// keeps weaker ones of its name out.
fn files(machine: &Machine) -> Vec<PathBuf> {
    let main = DIRECTORIES.iter().map(|directory| Path::new(directory).join("logind.conf"));
    let main = main.into_iter().find(|path| machine.has(path));
    let mut drop_ins = BTreeMap::new();
    for directory in DIRECTORIES {
        let directory = Path::new(directory).join("logind.conf.d");
        // Mostly there is none.
        let Ok(entries) = std::fs::read_dir(machine.at(&directory)) else { continue };
        for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
            if Path::new(&name).extension().is_some_and(|extension| extension == "conf") {
                let path = directory.join(&name);
                drop_ins.entry(name).or_insert(path);
            }
        }
    }
    main.into_iter().chain(drop_ins.into_values()).collect()
}

/// What one file says: `None` if nothing, or nothing that systemd would understand.
fn value(text: &str) -> Result<Option<bool>, String> {
    let mut ini = Ini::new_cs();
    let mut syntax = ini.defaults();
    syntax.comment_symbols = vec!['#', ';'];
    syntax.delimiters = vec!['='];
    // A '#' behind a value belongs to the value.
    syntax.enable_inline_comments = false;
    ini.load_defaults(syntax);
    ini.read(text.to_owned()).map_err(|error| crate::failure::one_line(&error))?;
    let value = ini.get("Login", "RemoveIPC").unwrap_or_default().to_ascii_lowercase();
    // As parse_boolean() of systemd's.
    Ok(match value.as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity::{self, Fine, Unknown, Warning};
    use super::super::machine::tests::{GARBAGE, made_up};
    use super::*;

    const RUNS: (&str, &str) = ("/run/systemd/system/x", "");
    const YES: &str = "[Login]\nRemoveIPC=yes\n";
    const NO: &str = "[Login]\nRemoveIPC=no\n";

    fn person() -> User {
        User { uid: 1000, name: Some("ada".into()) }
    }

    fn look(files: &[(&str, &str)]) -> Finding {
        let (_directory, machine) = made_up(&[&[RUNS][..], files].concat());
        remove_ipc(&machine, &person())
    }

    fn severity(files: &[(&str, &str)]) -> Severity {
        look(files).severity
    }

    #[test]
    fn the_default_is_yes_and_a_warning() {
        assert_eq!(severity(&[]), Warning);
        assert_eq!(severity(&[("/etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n")]), Warning);
        assert_eq!(severity(&[("/etc/systemd/logind.conf", "RemoveIPC=no\n")]), Warning, "in no section");
        let finding = look(&[("/etc/systemd/logind.conf", YES)]);
        assert!(
            finding.what.starts_with("RemoveIPC=yes, set in /etc/systemd/logind.conf: this user"),
            "{finding:?}"
        );
        assert!(finding.command.unwrap().ends_with(" && systemctl restart systemd-logind"));
    }

    #[test]
    fn no_is_fine_however_it_is_spelt() {
        for value in ["no", "No", "0", "false", "off", "n", "f", " no "] {
            let text = format!("; comment\n[Login]\n# RemoveIPC=yes\nRemoveIPC = {value}\n");
            assert_eq!(severity(&[("/etc/systemd/logind.conf", &text)]), Fine, "{value:?}");
        }
        assert_eq!(severity(&[("/etc/systemd/logind.conf", "[Login]\nRemoveIPC=no # not\n")]), Warning);
        assert_eq!(severity(&[("/etc/systemd/logind.conf", "[Login]\nremoveipc=no\n")]), Warning);
    }

    #[test]
    fn the_stronger_directory_and_the_later_drop_in_win() {
        let main = "/usr/lib/systemd/logind.conf";
        assert_eq!(severity(&[(main, NO)]), Fine);
        assert_eq!(severity(&[(main, NO), ("/etc/systemd/logind.conf", "[Login]\n")]), Warning);
        assert_eq!(
            severity(&[("/etc/systemd/logind.conf", YES), ("/usr/lib/systemd/logind.conf.d/a.conf", NO)]),
            Fine,
            "a drop-in is stronger than the main file, wherever it lies"
        );
        let a = "/etc/systemd/logind.conf.d/a.conf";
        assert_eq!(severity(&[(a, NO), ("/run/systemd/logind.conf.d/b.conf", YES)]), Warning);
        assert_eq!(severity(&[(a, YES), ("/run/systemd/logind.conf.d/b.conf", NO)]), Fine);
        assert_eq!(severity(&[(a, NO), ("/usr/lib/systemd/logind.conf.d/a.conf", YES)]), Fine);
        assert_eq!(severity(&[(a, ""), ("/usr/lib/systemd/logind.conf.d/a.conf", NO)]), Warning, "masked");
        assert_eq!(severity(&[("/etc/systemd/logind.conf.d/a.txt", NO)]), Warning);
        let nonsense = ("/run/systemd/logind.conf.d/b.conf", "[Login]\nRemoveIPC=perhaps\n");
        assert_eq!(severity(&[(a, NO), nonsense]), Fine, "systemd ignores what it does not understand");
    }

    #[test]
    fn a_mask_by_a_link_keeps_weaker_files_out() {
        let (_directory, machine) = made_up(&[RUNS, ("/usr/lib/systemd/logind.conf.d/a.conf", NO)]);
        let drop_ins = machine.at("/etc/systemd/logind.conf.d");
        std::fs::create_dir_all(&drop_ins).unwrap();
        std::os::unix::fs::symlink("/dev/null", drop_ins.join("a.conf")).unwrap();
        assert_eq!(remove_ipc(&machine, &person()).severity, Warning);
    }

    #[test]
    fn who_is_spared_is_told() {
        let (_directory, machine) = made_up(&[RUNS, ("/var/lib/systemd/linger/ada", "")]);
        assert_eq!(remove_ipc(&machine, &person()).severity, Fine);
        let other = remove_ipc(&machine, &User { uid: 1001, name: Some("bob".into()) });
        assert_eq!(other.severity, Warning);
        for name in [None, Some(String::new()), Some("../linger".into())] {
            assert_eq!(remove_ipc(&machine, &User { uid: 1001, name }).severity, Warning);
        }
        let root = remove_ipc(&machine, &User { uid: 0, name: Some("root".into()) });
        assert!(root.severity == Warning && root.what.contains("this one is spared"), "{root:?}");
    }

    #[test]
    fn without_systemd_only_what_was_written_down_counts() {
        let (_directory, machine) = made_up(&[]);
        assert_eq!(remove_ipc(&machine, &person()).severity, Fine);
        let (_directory, machine) = made_up(&[("/etc/systemd/logind.conf", YES)]);
        let finding = remove_ipc(&machine, &person());
        assert_eq!(finding.severity, Warning);
        assert!(!finding.command.unwrap().contains("systemctl"));
    }

    #[test]
    fn garbage_is_unknown_or_says_nothing() {
        for garbage in GARBAGE {
            let found = severity(&[("/etc/systemd/logind.conf", garbage)]);
            assert!([Warning, Unknown].contains(&found), "{garbage:?}");
        }
        assert_eq!(severity(&[("/etc/systemd/logind.conf", "[Login\n")]), Unknown);
        assert_eq!(severity(&[("/etc/systemd/logind.conf.d/a.conf/x", "")]), Unknown, "a directory");
    }
}
