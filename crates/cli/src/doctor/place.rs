//! A directory in which segments live, as the checks see it: its mode, its filesystem, how much room there is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use commons::Namespace;
use procfs::process::MountInfo;

use super::machine::{self, Machine};

/// Where POSIX shared memory lives.
pub(super) const POSIX: &str = "/dev/shm";

/// Which of the two directories that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `/dev/shm`, of which glibc's `shm_open` and many programs know nothing but the path.
    Posix,
    /// Another one, that was asked for.
    Namespace,
}

impl Role {
    pub(super) fn of(path: &Path) -> Role {
        if path == Path::new(POSIX) { Role::Posix } else { Role::Namespace }
    }
}

/// What a look at such a directory showed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) path: PathBuf,
    /// What the mount table calls the filesystem; what it looks like, where that has no line for it.
    pub(super) filesystem: String,
    /// Whether a mapping keeps a lock there, as a segment needs that goes with its last holder.
    pub(super) keeps_count: bool,
    /// Permission bits, and the sticky bit.
    pub(super) mode: u32,
    pub(super) uid: u32,
    /// What stands in the way of making a file there, for this user.
    pub(super) obstacle: Option<rustix::io::Errno>,
    pub(super) device: u64,
    /// Bytes and files; no limit where it is 0.
    pub(super) bytes: Room,
    pub(super) files: Room,
    pub(super) mount_point: Option<PathBuf>,
    /// Options of the filesystem: `size`, `huge`.
    pub(super) options: HashMap<String, Option<String>>,
}

/// So many in all, and so many free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) total: u64,
    pub(super) free: u64,
}

impl Room {
    /// Hundredths that are in use, rounded down; 0 where there is no limit.
    pub(super) fn percent_used(self) -> u64 {
        let used = self.total.saturating_sub(self.free);
        (u128::from(used) * 100).checked_div(u128::from(self.total)).map_or(0, |percent| percent as u64)
    }
}

/// Why there is nothing to look at.
#[derive(Debug)]
pub(super) enum Absent {
    Missing,
    NoDirectory,
    /// For this user.
    Denied,
    /// Something else, in words.
    Failed(String),
}

impl Place {
    pub(super) fn look(machine: &Machine, path: &Path, mounts: &[MountInfo]) -> Result<Place, Absent> {
        let found = machine.at(path);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Absent::Missing,
            std::io::ErrorKind::NotADirectory => Absent::NoDirectory,
            std::io::ErrorKind::PermissionDenied => Absent::Denied,
            _ => Absent::Failed(error.to_string()),
        };
        let metadata = std::fs::metadata(&found).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(Absent::NoDirectory);
        }
        let namespace = Namespace::at(&found).map_err(|error| Absent::Failed(error.to_string()))?;
        let room = rustix::fs::statvfs(&found).map_err(|error| failed(error.into()))?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let effective = rustix::fs::AtFlags::EACCESS;
        let obstacle = rustix::fs::accessat(rustix::fs::CWD, &found, access, effective).err();
        let mount = mount_of(mounts, metadata.dev(), path);
        Ok(Place {
            role: Role::of(path),
            path: path.to_owned(),
            filesystem: mount.map_or_else(|| namespace.filesystem_name(), |mount| mount.fs_type.clone()),
            keeps_count: namespace.keeps_count_of_holders(),
            mode: metadata.mode() & 0o1777,
            uid: metadata.uid(),
            obstacle,
            device: metadata.dev(),
            bytes: Room {
                total: room.f_blocks.saturating_mul(room.f_frsize),
                free: room.f_bavail.saturating_mul(room.f_frsize),
            },
            files: Room { total: room.f_files, free: room.f_favail },
            mount_point: mount.map(|mount| machine::unescaped(&mount.mount_point)),
            options: mount.map(|mount| mount.super_options.clone()).unwrap_or_default(),
        })
    }

    /// The identifier of a check of this place.
    pub(super) fn check(&self, posix: &'static str, namespace: &'static str) -> &'static str {
        match self.role {
            Role::Posix => posix,
            Role::Namespace => namespace,
        }
    }

    pub(super) fn is_tmpfs(&self) -> bool {
        self.filesystem == "tmpfs"
    }

    /// The path for a sentence.
    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The command that mounts its filesystem anew with this option; `None` if it is not known where.
    pub(super) fn remount(&self, option: &str) -> Option<String> {
        let mount_point = machine::word(self.mount_point.as_deref()?)?;
        Some(format!("mount -o remount,{option} {mount_point}"))
    }
}

/// The mount by which `path` is reached on that device: what is told apart by device cannot be mistaken for what
/// was mounted over it.
fn mount_of<'m>(mounts: &'m [MountInfo], device: u64, path: &Path) -> Option<&'m MountInfo> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let here = mounts.iter().filter(|mount| mount.majmin == device);
    // Of several, the deepest on the way; behind a symbolic link, any.
    here.max_by_key(|mount| {
        let mount_point = machine::unescaped(&mount.mount_point);
        if path.starts_with(&mount_point) { mount_point.components().count() } else { 0 }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A healthy `/dev/shm` of 1 GiB.
    pub(in crate::doctor) fn healthy() -> Place {
        Place {
            role: Role::Posix,
            path: POSIX.into(),
            filesystem: "tmpfs".into(),
            keeps_count: true,
            mode: 0o1777,
            uid: 0,
            obstacle: None,
            device: 1,
            bytes: Room { total: 1 << 30, free: 1 << 30 },
            files: Room { total: 1 << 18, free: 1 << 18 },
            mount_point: Some(POSIX.into()),
            options: HashMap::new(),
        }
    }

    #[test]
    fn a_share_is_rounded_down_and_never_wraps() {
        for (total, free, percent) in [
            (0, 0, 0),
            (0, 5, 0),
            (100, 10, 90),
            (1000, 95, 90),
            (10, 20, 0),
            (u64::MAX, 0, 100),
            (u64::MAX, u64::MAX, 0),
        ] {
            assert_eq!(Room { total, free }.percent_used(), percent, "{free} of {total}");
        }
    }

    #[test]
    fn the_mount_is_found_by_device_and_path() {
        let line = |device: &str, point: &str| {
            MountInfo::from_line(&format!("1 2 {device} / {point} rw - tmpfs tmpfs rw,size=4k,huge=always"))
                .unwrap()
        };
        let mounts = [line("0:5", "/"), line("0:7", "/a"), line("0:7", "/a\\040b"), line("0:9", "/a/b")];
        let device = |minor| rustix::fs::makedev(0, minor);
        let find = |minor, path: &str| mount_of(&mounts, device(minor), Path::new(path));
        assert_eq!(find(7, "/a b/c").unwrap().mount_point, Path::new("/a\\040b"));
        assert_eq!(find(7, "/a/b").unwrap().mount_point, Path::new("/a"));
        assert!(find(8, "/a").is_none());
    }

    #[test]
    fn what_is_no_directory_is_said() {
        let (_directory, machine) = crate::doctor::machine::tests::made_up(&[("/file", "")]);
        let look = |path: &str| Place::look(&machine, Path::new(path), &[]);
        assert!(matches!(look("/none"), Err(Absent::Missing)));
        assert!(matches!(look("/file"), Err(Absent::NoDirectory)));
        assert!(matches!(look("/file/below"), Err(Absent::NoDirectory)));
        assert!(matches!(look("/nul\0"), Err(Absent::Failed(_))));
        let root = look("/").unwrap();
        assert_eq!((root.role, root.obstacle), (Role::Namespace, None));
    }
}
