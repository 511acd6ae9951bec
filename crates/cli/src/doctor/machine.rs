//! The machine that is examined: what it says of itself in files, below a root that is `/` in life.
//!
//! Files are taken for what they are: absent, unreadable, endless or garbage. Nothing here fails on any of it; it
//! says in words what it could not read.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use procfs::FromBufRead;
use procfs::process::MountInfo;

/// More of a file than this is not read: the longest, a table of System V segments, has some MiB.
const LONGEST: u64 = 64 << 20;

/// A machine, or what looks like one in a directory.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

/// Where a program runs, as far as it decides how to mend things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Docker,
    Podman,
    Kubernetes,
}

impl Machine {
    pub(super) fn new(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into() }
    }

    /// Where that absolute path is found.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.at(path).exists()
    }

    /// The file's text, or why there is none.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Result<String, String> {
        let path = path.as_ref();
        let fail = |error| format!("{} cannot be read: {error}", path.display());
        // Without waiting, should it be a fifo.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(self.at(path));
        let mut bytes = Vec::new();
        file.map_err(fail)?.take(LONGEST).read_to_end(&mut bytes).map_err(fail)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first numbers in the file, or why they cannot be had.
    pub(super) fn numbers<const COUNT: usize>(&self, path: impl AsRef<Path>) -> Result<[u64; COUNT], String> {
        let path = path.as_ref();
        let text = self.text(path)?;
        let mut words = text.split_whitespace();
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            let word = words.next().and_then(|word| word.parse().ok());
            // What was there instead may be long, or anything.
            *number =
                word.ok_or_else(|| format!("{} does not hold the number that it should", path.display()))?;
        }
        Ok(numbers)
    }

    pub(super) fn number(&self, path: impl AsRef<Path>) -> Result<u64, String> {
        self.numbers(path).map(|[number]| number)
    }

    /// Bytes that this line of `/proc/meminfo` gives: `MemTotal`.
    pub(super) fn memory(&self, key: &str) -> Result<u64, String> {
        let text = self.text("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes.saturating_mul(1024))
            .ok_or_else(|| format!("/proc/meminfo does not say {key}"))
    }

    /// What is mounted. A line that cannot be understood is left out.
    pub(super) fn mounts(&self) -> Result<Vec<MountInfo>, String> {
        let text = self.text("/proc/self/mountinfo")?;
        Ok(text.lines().filter_map(|line| MountInfo::from_line(line).ok()).collect())
    }

    /// A file of the kernel's in a form that a library knows.
    pub(super) fn parsed<T: FromBufRead>(&self, path: &str) -> Result<T, String> {
        let text = self.text(path)?;
        T::from_buf_read(text.as_bytes()).map_err(|_| format!("{path} has a form that is not known"))
    }

    /// The kind of container this is, from the marks that each leaves; `None` as well for one that may mount, so
    /// that it can be mended from inside. Virtual machines that were made from a container's image have its
    /// marks too.
    pub(super) fn container(&self) -> Option<Container> {
        if self.may_mount() {
            return None;
        }
        // Kubernetes may leave the mark of what it runs on as well.
        let marks = [
            ("/var/run/secrets/kubernetes.io", Container::Kubernetes),
            ("/.dockerenv", Container::Docker),
            ("/run/.containerenv", Container::Podman),
        ];
        marks.into_iter().find(|(mark, _)| self.has(mark)).map(|(_, container)| container)
    }

    /// Whether root could mount here: what the bounding set lacks, nobody below gets back.
    fn may_mount(&self) -> bool {
        const SYS_ADMIN: u32 = 21;
        let status = self.text("/proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.is_some_and(|set| set >> SYS_ADMIN & 1 == 1)
    }

    /// Whether systemd runs, as `sd_booted(3)` asks.
    pub(super) fn has_systemd(&self) -> bool {
        self.has("/run/systemd/system")
    }
}

/// A mount point as it is: the kernel writes spaces and the like as `\040`.
pub(super) fn unescaped(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut rest = path.as_os_str().as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let code = rest.get(1..4).filter(|_| byte == b'\\');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(meant) => {
                bytes.push(meant);
                rest = &rest[4..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// A path as a word of a command; `None` if it cannot be typed.
pub(super) fn word(path: &Path) -> Option<Cow<'_, str>> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    shlex::try_quote(text).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A made-up machine of these files.
    pub(in crate::doctor) fn made_up(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::new(directory.path());
        for (path, text) in files {
            let path = machine.at(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        (directory, machine)
    }

    /// Texts that no file of the kernel's should hold.
    pub(in crate::doctor) const GARBAGE: [&str; 7] =
        ["", "\n", "x", "-1", "99999999999999999999999", "\0\0\u{fffd} é: ]", "[\n=\n:::::\n - - -\n"];

    #[test]
    fn numbers_are_read_or_said_not_to_be() {
        let (_directory, machine) = made_up(&[("/n", "1\t2 3\n")]);
        assert_eq!(machine.numbers("/n"), Ok([1, 2, 3]));
        assert!(machine.numbers::<4>("/n").is_err());
        assert!(machine.number("/none").unwrap_err().starts_with("/none cannot be read: No such file"));
        for garbage in GARBAGE {
            let (_directory, machine) = made_up(&[("/n", garbage), ("/proc/meminfo", garbage)]);
            assert!(machine.number("/n").is_err(), "{garbage:?}");
            assert!(machine.memory("MemTotal").is_err(), "{garbage:?}");
        }
        assert!(machine.text("/").unwrap_err().contains("directory"));
    }

    #[test]
    fn memory_is_in_bytes_and_never_wraps() {
        let (_directory, machine) =
            made_up(&[("/proc/meminfo", "MemTotal:    16 kB\nSwapTotal: 18446744073709551615 kB\n")]);
        assert_eq!(machine.memory("MemTotal"), Ok(16 << 10));
        assert_eq!(machine.memory("SwapTotal"), Ok(u64::MAX));
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let (directory, machine) = made_up(&[]);
        let path = std::ffi::CString::new(directory.path().join("fifo").to_str().unwrap()).unwrap();
        // SAFETY: makes a file; the string outlives the call.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        assert_eq!(machine.text("/fifo"), Ok(String::new()));
    }

    #[test]
    fn containers_are_known_by_their_marks() {
        for (files, container) in [
            (&[][..], None),
            (&["/.dockerenv"], Some(Container::Docker)),
            (&["/run/.containerenv"], Some(Container::Podman)),
            (&["/.dockerenv", "/var/run/secrets/kubernetes.io/x"], Some(Container::Kubernetes)),
        ] {
            let files: Vec<_> = files.iter().map(|path| (*path, "")).collect();
            let (_directory, machine) = made_up(&files);
            assert_eq!(machine.container(), container, "{files:?}");
        }
        for (set, container) in [
            ("CapBnd:\t00000000a80425fb\n", Some(Container::Docker)),
            ("CapBnd:\t000001ffffffffff\n", None),
            ("CapBnd:\tffffffffffffffffffff\n", Some(Container::Docker)),
        ] {
            let (_directory, machine) = made_up(&[("/.dockerenv", ""), ("/proc/self/status", set)]);
            assert_eq!(machine.container(), container, "{set}");
        }
    }

    #[test]
    fn mount_points_are_unescaped_and_quoted() {
        for (written, meant) in [
            ("/a\\040b", "/a b"),
            ("/a\\", "/a\\"),
            ("/a\\04", "/a\\04"),
            ("/a\\999", "/a\\999"),
            ("/\\134040", "/\\040"),
        ] {
            assert_eq!(unescaped(Path::new(written)), Path::new(meant));
        }
        assert_eq!(word(Path::new("/dev/shm")).as_deref(), Some("/dev/shm"));
        assert_eq!(word(Path::new("/a b")).as_deref(), Some("'/a b'"));
        assert_eq!(word(Path::new("/a\nb")), None);
    }
}
