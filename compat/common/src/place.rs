//! Where a drop-in keeps its segments: a namespace of its own.
//!
//! Private to the user, unless an environment variable names a directory, which then is whoever's its permissions say.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One of the older systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// `shmget`, `semget` and their families.
    SystemV,
    /// NSPR's `prshm.h` and `pripcsem.h`.
    Nspr,
    /// libgpl's `shm_util`, `nob_util` and `sem_util`.
    Gpl,
}

/// Where the private directories lie: in one for each user.
const SHARED_MEMORY: &str = "/dev/shm";

impl System {
    /// All there are.
    pub const ALL: [System; 3] = [System::SystemV, System::Nspr, System::Gpl];

    /// What its private directory is called.
    pub fn directory_name(self) -> &'static str {
        match self {
            System::SystemV => "sysv",
            System::Nspr => "nspr",
            System::Gpl => "gpl",
        }
    }

    /// The environment variable that names another directory.
    pub fn variable(self) -> &'static str {
        match self {
            System::SystemV => "COMMONS_SYSV_NAMESPACE",
            System::Nspr => "COMMONS_NSPR_NAMESPACE",
            System::Gpl => "COMMONS_GPL_NAMESPACE",
        }
    }

    /// Where its segments are, for this process, whether or not the directory is there.
    pub fn directory(self) -> PathBuf {
        self.named().unwrap_or_else(|| self.private_directory())
    }

    /// Where they are if the environment says nothing: in a directory of the user's own.
    pub fn private_directory(self) -> PathBuf {
        // SAFETY: has no preconditions.
        let user = unsafe { libc::geteuid() };
        Path::new(SHARED_MEMORY).join(format!("commons-{user}")).join(self.directory_name())
    }

    /// Where its segments are, made if it was not there.
    ///
    /// # Errors
    ///
    /// `EACCES` if the private directory is not private, or another's. Those of `mkdir(2)`.
    pub fn prepare(self) -> io::Result<PathBuf> {
        if let Some(directory) = self.named() {
            make(&directory)?;
            return Ok(directory);
        }
        let directory = self.private_directory();
        if let Some(parent) = directory.parent() {
            make(parent)?;
            must_be_mine(parent)?;
        }
        make(&directory)?;
        must_be_mine(&directory)?;
        Ok(directory)
    }

    /// Whether the environment names it, so that it is the same for every user.
    pub fn is_named(self) -> bool {
        self.named().is_some()
    }

    /// What the environment says; nothing to set-uid programs.
    fn named(self) -> Option<PathBuf> {
        // SAFETY: has no preconditions.
        if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
            return None;
        }
        let value = std::env::var_os(self.variable())?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }
}

/// Makes a directory that only its owner may enter, whatever the umask; one that is there stays as it is.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => match fs::metadata(directory)?.permissions().mode() & 0o777 {
            0o700 => Ok(()),
            _ => fs::set_permissions(directory, fs::Permissions::from_mode(0o700)),
        },
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses a directory that another user could have put there.
fn must_be_mine(directory: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    // SAFETY: has no preconditions.
    let user = unsafe { libc::geteuid() };
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(())
}

/// The bytes of a path, for calls that want them.
pub fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("inner");
        make(&inner).unwrap();
        must_be_mine(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(must_be_mine(&inner).unwrap_err().raw_os_error(), Some(libc::EACCES));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(place.path(), &link).unwrap();
        assert_eq!(must_be_mine(&link).unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
