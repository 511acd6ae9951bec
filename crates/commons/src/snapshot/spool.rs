//! What cannot be read twice, kept in a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use super::out::{Out, Regular};
use super::read::Input;
use crate::error::{Attempt, Error, Result};
use crate::segment::reserve;
use crate::sys::{file, filesystem, process};

/// A file that takes bytes, up to so many.
pub(super) struct Spool<'s> {
    file: File,
    len: u64,
    most: u64,
    /// Whether it lies in memory, which limits may forbid.
    in_memory: bool,
    about: &'s dyn Fn() -> Box<Attempt>,
}

impl<'s> Spool<'s> {
    pub(super) fn new(most: u64, about: &'s dyn Fn() -> Box<Attempt>) -> Result<Spool<'s>> {
        use std::os::fd::AsFd;
        // The environment of a set-uid program is not to be trusted.
        let privileged = process::is_privileged_by_exec();
        let directory = if privileged { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let nameless =
            super::whole::c_path(&directory).ok().and_then(|path| file::create_nameless(&path, 0o600).ok());
        let fd = match nameless {
            Some(fd) => Ok(fd),
            None => file::create_memory(c"commons-spool", false),
        };
        let fd = fd.map_err(|error| Error::Os { attempt: about(), source: error.into() })?;
        let in_memory = filesystem::of_file(fd.as_fd()).is_ok_and(|filesystem| filesystem.kind.is_memory());
        Ok(Spool { file: fd.into(), len: 0, most, in_memory, about })
    }

    /// Keeps bytes; what is too much is left out.
    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = &bytes[..bytes.len().min(usize::try_from(self.most - self.len).unwrap_or(usize::MAX))];
        if self.in_memory {
            reserve::check_memory(bytes.len() as u64, self.about)?;
        }
        Regular::from(&self.file, self.len).write(bytes).map_err(|source| self.os(source))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Keeps all that there is, or as much as it may; how many bytes that are.
    pub(super) fn take_all(&mut self, from: &mut dyn Read) -> Result<u64> {
        let mut bytes = vec![0; 1 << 16];
        while self.len < self.most {
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => self.keep(&bytes[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.os(error)),
            }
        }
        Ok(self.len)
    }

    /// The file, from its beginning.
    pub(super) fn finish(mut self) -> Result<File> {
        self.file.rewind().map_err(|source| self.os(source))?;
        Ok(self.file)
    }

    fn os(&self, source: io::Error) -> Error {
        Error::Os { attempt: (self.about)(), source }
    }
}

/// Reads, and keeps what was read.
pub(super) struct Tee<'t, 's> {
    pub(super) from: &'t mut dyn Read,
    pub(super) spool: &'t mut Spool<'s>,
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(bytes)?;
        self.spool.keep(&bytes[..read])?;
        Ok(read)
    }
}

impl Input for Tee<'_, '_> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut self.take(bytes), &mut io::sink()).map(|_| ())
    }
}
