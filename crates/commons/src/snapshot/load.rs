//! Loading a snapshot: under a new name, or into a segment that is there.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Progress;
use super::extents::Extents;
use super::format::{Header, LARGEST};
use super::read::{Input, Reader, Sink, Stream};
use super::sink::{Bytes, Mapped, Nowhere, Written};
use super::spool::{Spool, Tee};
use crate::error::{Attempt, Error, Result};
use crate::segment::{Lifetime, Name, Namespace, Segment, SegmentOptions, Unfilled, reserve};
use crate::sys::filesystem::Kind;
use crate::sys::{Errno, file, filesystem, map};

/// How a snapshot is loaded.
///
/// ```
/// use commons::{Lifetime, Segment, snapshot::{self, LoadOptions}};
///
/// # let name = format!("doc-load-{}", std::process::id());
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("jobs.snapshot");
/// # let jobs = Segment::create(&name, 4096)?;
/// snapshot::save(&jobs, &path)?;
/// jobs.attach()?.write_at(0, b"changed")?;
/// LoadOptions::new().load_file_into(&jobs, &path)?;
/// let mut bytes = [1; 7];
/// jobs.attach()?.read_at(0, &mut bytes)?;
/// assert_eq!(bytes, [0; 7]);
/// # Ok::<(), commons::Error>(())
/// ```
#[derive(Default)]
pub struct LoadOptions<'p> {
    raw: bool,
    name: Option<OsString>,
    namespace: Option<Namespace>,
    mode: Option<u32>,
    lifetime: Option<Lifetime>,
    sparse: Option<bool>,
    progress: Option<Box<Progress<'p>>>,
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("raw", &self.raw)
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("mode", &self.mode)
            .field("lifetime", &self.lifetime)
            .field("sparse", &self.sparse)
            .finish_non_exhaustive()
    }
}

/// What a load made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The new segment.
    pub segment: Segment,
    /// What the snapshot said; `None` for a raw file.
    pub header: Option<Header>,
}

const VERB: &str = "load";

impl<'p> LoadOptions<'p> {
    /// The defaults: framed, and all as the snapshot says.
    pub fn new() -> Self {
        LoadOptions::default()
    }

    /// What is loaded are exactly the bytes, without header and checksums, as libgpl's `shmSave` writes them.
    #[doc(alias = "shmLoad")]
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Under this name, instead of the one in the snapshot. A raw file and a snapshot of an anonymous segment have
    /// none.
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        self.name = Some(name.as_ref().to_owned());
        self
    }

    /// In this namespace, instead of the default one.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// With these permission bits, instead of the snapshot's; a raw file has 0600.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// With this lifetime, instead of the snapshot's; a raw file has
    /// [`UntilLastDetach`](Lifetime::UntilLastDetach).
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Whether memory for holes is left unreserved, instead of as it was for the segment that was saved; a raw file
    /// has all reserved.
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = Some(sparse);
        self
    }

    /// Calls `progress` from time to time with the bytes of the segment that are done, and those that there are.
    /// Loading into a segment that is there counts twice: first all is checked.
    pub fn progress(mut self, progress: impl Fn(u64, u64) + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Loads a file into a new segment, which is published once all of it was checked.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]; [`Error::Exists`]; [`Error::BadOption`] without a name;
    /// those of [`SegmentOptions::create`]; [`Error::Os`] if the file cannot be read. Then there is no new segment.
    pub fn load_file(&self, path: impl AsRef<Path>) -> Result<Loaded> {
        let path = path.as_ref();
        let about = About { options: self, segment: None, file: Some(path) };
        match open(path).map_err(|source| about.os(source))? {
            Opened::Regular(file) if self.raw => self.raw_file(&file, &about),
            Opened::Regular(file) => self.framed(&mut BufReader::new(&file), true, &about),
            Opened::Stream(mut file) => self.stream(&mut file, &about),
        }
    }

    /// Loads what is read into a new segment, up to the end of the snapshot. Raw bytes are read to their end, and
    /// kept in a temporary file meanwhile.
    ///
    /// # Errors
    ///
    /// As [`load_file`](LoadOptions::load_file).
    pub fn load(&self, mut from: impl Read) -> Result<Loaded> {
        self.stream(&mut from, &About { options: self, segment: None, file: None })
    }

    /// Loads a file into a segment that is there and has just its size, once all of the file was checked. What
    /// lies in holes of the snapshot becomes zero.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]; [`Error::WrongSize`]; [`Error::ReadOnly`]; [`Error::NoSpace`] and
    /// [`Error::BeyondLimit`] if the segment is sparse and finds no room; [`Error::Os`] if the file cannot be read.
    /// Then no byte was changed, unless the file changed or became unreadable after it was checked.
    pub fn load_file_into(&self, segment: &Segment, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let about = About { options: self, segment: Some(segment), file: Some(path) };
        match open(path).map_err(|source| about.os(source))? {
            Opened::Regular(file) => self.into(segment, &file, &about),
            Opened::Stream(mut file) => self.stream_into(segment, &mut file, &about),
        }
    }

    /// Loads what is read, up to the end of the snapshot, into a segment that is there, once all of it was checked. It
    /// is kept in a temporary file meanwhile.
    ///
    /// # Errors
    ///
    /// As [`load_file_into`](LoadOptions::load_file_into).
    pub fn load_into(&self, segment: &Segment, mut from: impl Read) -> Result<()> {
        self.stream_into(segment, &mut from, &About { options: self, segment: Some(segment), file: None })
    }

    /// Checks all of a snapshot, up to its end, and says what it is of.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]; [`Error::Os`] if it cannot be read.
    pub fn check(&self, mut from: impl Read) -> Result<Header> {
        let attempt = || Attempt::snapshot("check");
        self.check_all(&mut Stream(&mut from), false, &attempt)
    }

    /// [`check`](LoadOptions::check) for a file, which has to end with the snapshot.
    ///
    /// # Errors
    ///
    /// As [`check`](LoadOptions::check).
    pub fn check_file(&self, path: impl AsRef<Path>) -> Result<Header> {
        let path = path.as_ref();
        let attempt = || Attempt::snapshot("check").with_file(Some(path));
        let os = |source| Error::Os { attempt: attempt(), source };
        match open(path).map_err(os)? {
            Opened::Regular(file) => self.check_all(&mut BufReader::new(&file), true, &attempt),
            Opened::Stream(mut file) => self.check_all(&mut Stream(&mut file), false, &attempt),
        }
    }

    pub(super) fn header_of(&self, path: &Path) -> Result<Header> {
        let attempt = || Attempt::snapshot("look at").with_file(Some(path));
        let file = File::open(path).map_err(|source| Error::Os { attempt: attempt(), source })?;
        Ok(Reader::new(&mut BufReader::new(&file), &attempt)?.header)
    }

    fn check_all(
        &self,
        from: &mut dyn Input,
        alone: bool,
        attempt: &dyn Fn() -> Box<Attempt>,
    ) -> Result<Header> {
        let reader = Reader::new(from, attempt)?;
        let header = reader.header.clone();
        reader.read(&mut Nowhere, alone, self.progress.as_deref())?;
        Ok(header)
    }

    fn stream(&self, from: &mut dyn Read, about: &About<'_>) -> Result<Loaded> {
        if self.raw {
            let attempt = || about.attempt();
            let mut spool = Spool::new(u64::MAX, &attempt)?;
            spool.take_all(from)?;
            self.raw_file(&spool.finish()?, about)
        } else {
            self.framed(&mut Stream(from), false, about)
        }
    }

    fn stream_into(&self, segment: &Segment, from: &mut dyn Read, about: &About<'_>) -> Result<()> {
        let attempt = || about.attempt();
        if segment.is_read_only() {
            return Err(Error::ReadOnly(attempt()));
        }
        let size = segment.size()?;
        let fits = |snapshot| match snapshot == size {
            true => Ok(()),
            false => Err(Error::WrongSize { attempt: attempt(), snapshot, segment: size }),
        };
        if self.raw {
            // A byte more than there can be shows that it is too much.
            let mut spool = Spool::new(size + 1, &attempt)?;
            fits(spool.take_all(from)?)?;
            return self.into(segment, &spool.finish()?, about);
        }
        // What is kept was checked, so that an endless stream of anything else is not.
        let mut spool = Spool::new(u64::MAX, &attempt)?;
        let mut tee = Tee { from, spool: &mut spool };
        let reader = Reader::new(&mut tee, &attempt)?;
        fits(reader.header.size)?;
        reader.read(&mut Nowhere, false, self.progress.as_deref())?;
        self.into(segment, &spool.finish()?, about)
    }

    /// How the new segment is created.
    fn creating(&self, size: u64, header: Option<&Header>) -> SegmentOptions<'static> {
        let mut options = SegmentOptions::new().size(size);
        if let Some(namespace) = &self.namespace {
            options = options.namespace(namespace);
        }
        let sparse = self.sparse.or(header.map(|header| header.sparse));
        options
            .mode(self.mode.or(header.map(|header| header.mode)).unwrap_or(0o600))
            .lifetime(
                self.lifetime.or(header.map(|header| header.lifetime)).unwrap_or(Lifetime::UntilLastDetach),
            )
            .sparse(sparse.unwrap_or(false))
    }

    fn place(&self) -> Result<Namespace> {
        self.namespace.clone().map_or_else(Namespace::from_env, Ok)
    }

    /// The name of the new segment.
    fn name_for(&self, header: Option<&Header>, about: &About<'_>) -> Result<OsString> {
        let saved = header.map(|header| &header.name).filter(|name| !name.is_empty());
        self.name.as_ref().or(saved).cloned().ok_or_else(|| Error::BadOption {
            attempt: about.attempt(),
            why: "it has no name; say under which to load it",
        })
    }

    fn framed(&self, from: &mut dyn Input, alone: bool, about: &About<'_>) -> Result<Loaded> {
        let attempt = || about.attempt();
        let reader = Reader::new(from, &attempt)?;
        let header = reader.header.clone();
        let options = self.creating(header.size, Some(&header));
        let segment = options.create_with(self.name_for(Some(&header), about)?, |new| {
            fill(new, options.is_sparse(), &attempt, |sink| {
                reader.read(sink, alone, self.progress.as_deref())
            })
        })?;
        Ok(Loaded { segment, header: Some(header) })
    }

    fn raw_file(&self, file: &File, about: &About<'_>) -> Result<Loaded> {
        let attempt = || about.attempt();
        let size = file.metadata().map_err(|source| about.os(source))?.len();
        if size == 0 {
            return Err(Error::Damaged { attempt: attempt(), position: 0, why: "it is empty" });
        }
        let options = self.creating(size, None);
        let segment = options.create_with(self.name_for(None, about)?, |new| {
            fill(new, options.is_sparse(), &attempt, |sink| self.copy_raw(file, size, sink, about))
        })?;
        Ok(Loaded { segment, header: None })
    }

    fn copy_raw(&self, file: &File, size: u64, sink: &mut dyn Sink, about: &About<'_>) -> Result<()> {
        let mut bytes = vec![0; LARGEST];
        let mut extents = Extents::new(file.as_fd(), 0..size);
        let mut at = 0;
        while let Some(range) = extents.next(LARGEST as u64).map_err(|error| about.os(error.into()))? {
            sink.zeros(at, range.start)?;
            let bytes = &mut bytes[..(range.end - range.start) as usize];
            file.read_exact_at(bytes, range.start).map_err(|source| about.os(source))?;
            sink.put(range.start, bytes)?;
            at = range.end;
            if let Some(progress) = &self.progress {
                progress(at, size);
            }
        }
        // No more data is also what a file says that was cut to where it was read.
        if file.metadata().map_err(|source| about.os(source))?.len() < size {
            return Err(about.os(io::ErrorKind::UnexpectedEof.into()));
        }
        sink.zeros(at, size)
    }

    /// Loads into a segment that is there: first checks all, then makes sure that there is room, then copies.
    fn into(&self, segment: &Segment, file: &File, about: &About<'_>) -> Result<()> {
        let attempt = || about.attempt();
        if segment.is_read_only() {
            return Err(Error::ReadOnly(attempt()));
        }
        let again = || (&*file).rewind().map_err(|source| about.os(source));
        let stat = segment.stat(VERB)?;
        let fits = |size| match size == stat.size {
            true => Ok(()),
            false => Err(Error::WrongSize { attempt: attempt(), snapshot: size, segment: stat.size }),
        };
        if self.raw {
            fits(file.metadata().map_err(|source| about.os(source))?.len())?;
        } else {
            let mut from = BufReader::new(file);
            let reader = Reader::new(&mut from, &attempt)?;
            fits(reader.header.size)?;
            reader.read(&mut Nowhere, true, self.progress.as_deref())?;
            again()?;
        }
        reserve::check_file_size(stat.size, &attempt)?;
        let copy = |sink: &mut dyn Sink| match self.raw {
            true => self.copy_raw(file, stat.size, sink, about),
            false => {
                Reader::new(&mut BufReader::new(file), &attempt)?.read(sink, true, self.progress.as_deref())
            }
        };
        let fd = segment.fd(VERB)?;
        if segment.huge_page_size(fd).is_some() {
            let attachment = segment.attach()?;
            attachment.guard()?;
            return copy(&mut Mapped(&attachment));
        }
        let page = map::page_size() as u64;
        let sparse = stat.allocated < stat.size.next_multiple_of(page);
        if sparse {
            self.make_room(segment, file, about)?;
            again()?;
        }
        let no_space = || no_space(segment, about, 0);
        copy(&mut Written {
            fd,
            attempt: &attempt,
            no_space: &no_space,
            used: true,
            sparse,
            takes_memory: false,
        })
    }

    /// Sees to it that what is going to be written to a sparse segment finds room. If it does not, nothing was
    /// reserved, unless somebody else takes the room in this moment.
    fn make_room(&self, segment: &Segment, from: &File, about: &About<'_>) -> Result<()> {
        let attempt = || about.attempt();
        let fd = segment.fd(VERB)?;
        let os = |error: Errno| about.os(error.into());
        let page = map::page_size() as u64;
        // In whole pages, as memory is.
        let pages = |from: u64, len: u64| from / page * page..(from + len).next_multiple_of(page);
        let mut needed = 0;
        let mut counted = 0;
        self.ranges(from, about, &mut |from, len| {
            let mut range = pages(from, len);
            range.start = range.start.max(counted).min(range.end);
            counted = range.end;
            let len = range.end - range.start;
            let mut extents = Extents::new(fd, range);
            let mut had = 0;
            while let Some(range) = extents.next(u64::MAX).map_err(os)? {
                had += range.end - range.start;
            }
            needed += len - had;
            Ok(())
        })?;
        let filesystem = filesystem::of_file(fd).map_err(os)?;
        if filesystem.total != 0 && needed > filesystem.free {
            return Err(no_space(segment, about, needed));
        }
        if filesystem.kind.is_memory() {
            reserve::check_memory(needed, &attempt)?;
        }
        let reserve = |range: Range<u64>| file::reserve(fd, range.start, range.end - range.start, true);
        self.ranges(from, about, &mut |from, len| match reserve(pages(from, len)) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(Errno::NOSPC | Errno::DQUOT) => Err(no_space(segment, about, needed)),
            Err(error) => Err(os(error)),
        })
    }

    /// Tells of the ranges of a checked file that hold data, offset and bytes.
    fn ranges(
        &self,
        file: &File,
        about: &About<'_>,
        tell: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let attempt = || about.attempt();
        (&*file).rewind().map_err(|source| about.os(source))?;
        if !self.raw {
            return Reader::new(&mut BufReader::new(file), &attempt)?.ranges(tell);
        }
        let size = file.metadata().map_err(|source| about.os(source))?.len();
        let mut extents = Extents::new(file.as_fd(), 0..size);
        while let Some(range) = extents.next(1 << 30).map_err(|error| about.os(error.into()))? {
            tell(range.start, range.end - range.start)?;
        }
        Ok(())
    }
}

/// Lets `run` write a new segment's bytes, all of them zero at first.
fn fill(
    new: &Unfilled<'_>,
    sparse: bool,
    attempt: &dyn Fn() -> Box<Attempt>,
    run: impl FnOnce(&mut dyn Sink) -> Result<()>,
) -> Result<()> {
    if new.kind == Kind::Hugetlbfs {
        return reserve::with_bytes(new.fd, new.size, attempt, |bytes| run(&mut Bytes(bytes)));
    }
    let no_space = || new.place.namespace.no_space(attempt(), new.size);
    run(&mut Written {
        fd: new.fd,
        attempt,
        no_space: &no_space,
        used: false,
        sparse,
        takes_memory: sparse && new.kind.is_memory(),
    })
}

fn no_space(segment: &Segment, about: &About<'_>, wanted: u64) -> Error {
    match segment.namespace() {
        Some(namespace) => namespace.no_space(about.attempt(), wanted),
        None => Error::NoSpace { attempt: about.attempt(), wanted, free: 0, total: 0, free_files: None },
    }
}

/// What an error is about.
struct About<'a> {
    options: &'a LoadOptions<'a>,
    segment: Option<&'a Segment>,
    file: Option<&'a Path>,
}

impl About<'_> {
    fn attempt(&self) -> Box<Attempt> {
        let attempt = match (self.segment, &self.options.name) {
            (Some(segment), _) => segment.attempt(VERB),
            (None, Some(name)) => match (self.options.place(), Name::new(name)) {
                (Ok(namespace), Ok(name)) => Attempt::new(VERB, name, namespace.directory()),
                _ => Attempt::snapshot(VERB),
            },
            (None, None) => Attempt::snapshot(VERB),
        };
        attempt.with_file(self.file)
    }

    fn os(&self, source: io::Error) -> Error {
        Error::Os { attempt: self.attempt(), source }
    }
}

enum Opened {
    Regular(File),
    Stream(File),
}

fn open(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(Opened::Regular(file)),
        (_, true) => Err(Errno::ISDIR.into()),
        _ => Ok(Opened::Stream(file)),
    }
}
