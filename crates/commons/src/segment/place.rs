//! Where a segment's name lies: a namespace and a path in it.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::name::Name;
use super::namespace::Namespace;
use crate::error::{Attempt, Error};
use crate::sys::Errno;

/// A name in a namespace, kept as the path that stands for it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    path: Path,
}

/// A path with its NUL byte; a short one, as nearly all are, without an allocation of its own.
#[derive(Clone)]
enum Path {
    Short([u8; SHORT], u8),
    Long(Vec<u8>),
}

const SHORT: usize = 54;

impl Path {
    fn as_c_str(&self) -> &CStr {
        let bytes = match self {
            Path::Short(bytes, len) => &bytes[..usize::from(*len)],
            Path::Long(bytes) => bytes,
        };
        // SAFETY: `Place::finish` put a NUL byte at the end; there is no other, for of the two parts before it
        // one was a `CStr`, the other is the encoding of a `Name`.
        unsafe { CStr::from_bytes_with_nul_unchecked(bytes) }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.path()).finish()
    }
}

impl Place {
    pub(crate) fn new(namespace: &Namespace, name: &Name) -> Place {
        Place::finish(namespace.clone(), name.file_name().as_bytes())
    }

    /// The place of a file in the namespace's directory: no name of a file has a NUL byte.
    #[inline]
    pub(crate) fn finish(namespace: Namespace, file_name: &[u8]) -> Place {
        let directory = namespace.c_directory().to_bytes();
        let (slash, nul) = (directory.len(), directory.len() + 1 + file_name.len());
        let mut short = [0; SHORT];
        let path = if nul < SHORT {
            short[..slash].copy_from_slice(directory);
            short[slash] = b'/';
            short[slash + 1..nul].copy_from_slice(file_name);
            Path::Short(short, nul as u8 + 1)
        } else {
            Path::Long([directory, b"/", file_name, b"\0"].concat())
        };
        Place { namespace, path }
    }

    #[inline]
    pub(crate) fn path(&self) -> &CStr {
        self.path.as_c_str()
    }

    pub(crate) fn file_name(&self) -> &OsStr {
        let directory = self.namespace.c_directory().count_bytes();
        OsStr::from_bytes(&self.path().to_bytes()[directory + 1..])
    }

    pub(crate) fn name(&self) -> Name {
        Name::from_encoded(self.file_name())
    }

    #[cold]
    pub(crate) fn attempt(&self, verb: &'static str) -> Box<Attempt> {
        Attempt::new(verb, self.name(), self.namespace.directory())
    }

    /// What `code` means for this name.
    #[cold]
    pub(crate) fn error(&self, verb: &'static str, code: Errno) -> Error {
        match code {
            Errno::NOENT => Error::NotFound(self.attempt(verb)),
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                Error::PermissionDenied { attempt: self.attempt(verb), source: code.into() }
            }
            code => Error::Os { attempt: self.attempt(verb), source: code.into() },
        }
    }
}
