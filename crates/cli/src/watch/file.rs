//! The file of the segment that is watched: read through a descriptor, without holding the segment.
//!
//! Reading copies, so that a segment truncated meanwhile gives fewer bytes, never a `SIGBUS`. Nothing is mapped
//! and no lock is taken, so that watching is not seen by holders, and the kernel drops it all at any death.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use commons::{Entry, Namespace};
use rustix::fs::{Mode, OFlags};

use crate::failure::{Failure, Outcome};

/// What has become of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// It is this segment's.
    Own,
    /// There is none: the segment was deleted.
    Gone,
    /// It is another segment's by now.
    Another,
}

/// An open file that is read.
#[derive(Debug)]
pub(crate) struct Watched {
    namespace: Namespace,
    entry: Entry,
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

impl Watched {
    pub(crate) fn open(namespace: &Namespace, name: &OsStr) -> Outcome<Watched> {
        let entry = namespace.entry(name)?;
        let path = namespace.directory().join(entry.name().file_name());
        let failed = |error: &io::Error| {
            let directory = namespace.directory().display();
            Failure::system(format_args!("watch \"{}\" in {directory}", entry.name()), error)
        };
        // What is no regular file by now is not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(&error.into()))?;
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        if !metadata.is_file() {
            return Err(failed(&io::Error::other("it is no regular file any more")));
        }
        let identity = identity(&metadata);
        Ok(Watched { namespace: namespace.clone(), entry, path, file, identity })
    }

    /// Opens what has the name now.
    pub(crate) fn open_anew(&self) -> Outcome<Watched> {
        Watched::open(&self.namespace, &self.name())
    }

    pub(crate) fn name(&self) -> OsString {
        self.entry.name().to_os_string()
    }

    /// The name for people.
    pub(crate) fn title(&self) -> String {
        self.entry.name().to_string()
    }

    pub(crate) fn directory(&self) -> String {
        let directory: PathBuf = self.namespace.directory().components().collect();
        crate::failure::one_line(&directory.to_string_lossy())
    }

    /// For looking at it by name.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.size())
    }

    pub(crate) fn whose_name(&self) -> Name {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == self.identity => Name::Own,
            Ok(metadata) if metadata.is_file() => Name::Another,
            Ok(_) => Name::Gone,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Name::Gone,
            // The directory may not be searched any more, which says nothing about the name.
            Err(_) => Name::Own,
        }
    }

    /// Reads from an offset on, as much as there is.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < buffer.len() {
            match self.file.read_at(&mut buffer[count..], at + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Namespace) {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        (directory, namespace)
    }

    #[test]
    fn it_can_be_read_whatever_becomes_of_it() {
        let (directory, namespace) = place();
        let path = directory.path().join("x");
        std::fs::write(&path, b"hello").unwrap();
        let watched = Watched::open(&namespace, OsStr::new("x")).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(watched.read(1, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"ello");
        assert_eq!(watched.whose_name(), Name::Own);

        std::fs::remove_file(&path).unwrap();
        assert_eq!(watched.whose_name(), Name::Gone);
        assert_eq!(watched.read(0, &mut buffer).unwrap(), 5);
        std::fs::write(&path, b"another").unwrap();
        assert_eq!(watched.whose_name(), Name::Another);
        let anew = watched.open_anew().unwrap();
        assert_eq!((anew.whose_name(), anew.size().unwrap()), (Name::Own, 7));

        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert_eq!(anew.read(0, &mut buffer).unwrap(), 2);
        assert_eq!(anew.read(1 << 40, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let (directory, namespace) = place();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link")).unwrap();
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        for name in ["link", "directory", "nothing", "..", ""] {
            assert!(Watched::open(&namespace, OsStr::new(name)).is_err(), "{name}");
        }
    }
}
