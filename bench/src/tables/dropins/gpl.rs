//! libgpl: `shmCreate` and `shmDestroy` of `libcommons_gpl.so`, against what libgpl itself needs for them: the System
//! V calls, and a database of counts that is locked, read and written for each.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::null_mut;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{function, open_library, question, text};
use crate::child::{Child, Helper, Parent};
use crate::contest::{Contest, batch};
use crate::harness::{Context, nanoseconds};
use crate::library;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::{Directory, Name};
use crate::statistics::Limit;
use crate::sysv::Segment;

/// The role of a child that makes the calls. Argument: the library.
pub(super) const ROLE: &str = "gpl";

const PAGE: usize = 4096;
const NAME: &CStr = c"bench";
/// What libgpl does: its database is ndbm, which Debian has in gdbm.
const NDBM: &str = "System V and a locked ndbm database";
/// The least that could do for it.
const FILE: &str = "System V and a locked file";

type Memory = *mut c_void;
type Create = unsafe extern "C" fn(*const c_char, c_long, *mut *mut c_void, *mut Memory) -> c_int;
type Destroy = unsafe extern "C" fn(Memory) -> c_int;

pub(super) fn act(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [library] = arguments else { bail!("which library?") };
    let library = open_library(library)?;
    // SAFETY: the types are those of shm_util.h.
    let (create, destroy): (Create, Destroy) =
        unsafe { (function(library, "shmCreate")?, function(library, "shmDestroy")?) };
    let make = || -> Result<Memory> {
        let (mut address, mut memory) = (null_mut(), null_mut());
        // SAFETY: the name ends with NUL; the call fills both variables.
        let done = unsafe { create(NAME.as_ptr(), PAGE as c_long, &raw mut address, &raw mut memory) };
        ensure!(done == 0 && !address.is_null(), "shmCreate: {}", std::io::Error::from_raw_os_error(done));
        Ok(memory)
    };
    let leave = |memory: Memory| -> Result<()> {
        // SAFETY: a handle of `make`, used no more.
        let done = unsafe { destroy(memory) };
        ensure!(done == 0, "shmDestroy: {}", std::io::Error::from_raw_os_error(done));
        Ok(())
    };
    let kept = make()?;
    let answered = parent.serve(|asked| {
        let (_, count) = question(asked)?;
        let started = Instant::now();
        for _ in 0..count {
            leave(make()?)?;
        }
        Ok((nanoseconds(started) / f64::from(count)).to_string())
    });
    leave(kept)?;
    answered
}

/// Adds to a count in a file, under its lock, and gives the id that stands beside it.
fn update(database: &Path, by: i64) -> Result<i32> {
    let mut file = File::options().read(true).write(true).open(database)?;
    // SAFETY: a descriptor that is open.
    ensure!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0, "flock");
    let mut record = [0_u8; 16];
    file.read_exact(&mut record)?;
    let (id, count) = record.split_at_mut(8);
    let references = i64::from_ne_bytes(count.try_into()?) + by;
    count.copy_from_slice(&references.to_ne_bytes());
    let id = i64::from_ne_bytes(id.try_into()?);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&record)?;
    Ok(i32::try_from(id)?)
}

/// The functions of ndbm that libgpl calls, from whichever library has them.
struct Ndbm {
    open: unsafe extern "C" fn(*const c_char, c_int, c_int) -> *mut c_void,
    close: unsafe extern "C" fn(*mut c_void),
    fetch: unsafe extern "C" fn(*mut c_void, Datum) -> Datum,
    store: unsafe extern "C" fn(*mut c_void, Datum, Datum, c_int) -> c_int,
    base: CString,
    /// What is locked.
    lock: File,
}

/// As ndbm.h of gdbm has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Datum {
    start: *mut c_char,
    size: c_int,
}

const DBM_REPLACE: c_int = 1;

impl Ndbm {
    fn create(base: &Path, record: &[u8]) -> Result<Ndbm> {
        let library = open_library("libgdbm_compat.so.4").context("bench/peers installs libgdbm-compat4")?;
        let base = CString::new(text(base)?)?;
        let lock = File::create(format!("{}.lock", base.to_str()?))?;
        // SAFETY: the types are those of ndbm.h.
        let ndbm = unsafe {
            Ndbm {
                open: function(library, "dbm_open")?,
                close: function(library, "dbm_close")?,
                fetch: function(library, "dbm_fetch")?,
                store: function(library, "dbm_store")?,
                base,
                lock,
            }
        };
        ndbm.with(|database, key| {
            let datum =
                Datum { start: record.as_ptr().cast_mut().cast(), size: c_int::try_from(record.len())? };
            // SAFETY: the database is open; both data are there for the call, which only reads them.
            ensure!(unsafe { (ndbm.store)(database, key, datum, DBM_REPLACE) } == 0, "dbm_store");
            Ok(())
        })?;
        Ok(ndbm)
    }

    /// Opens the database under the lock, as libgpl does before each access.
    fn with<R>(&self, access: impl FnOnce(*mut c_void, Datum) -> Result<R>) -> Result<R> {
        let lock = self.lock.as_raw_fd();
        // SAFETY: the descriptor and the database are open, and closed after the last use.
        unsafe {
            ensure!(libc::flock(lock, libc::LOCK_EX) == 0, "flock");
            let database = (self.open)(self.base.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
            let key = NAME.to_bytes_with_nul();
            let key = Datum { start: key.as_ptr().cast_mut().cast(), size: c_int::try_from(key.len())? };
            let done = if database.is_null() { Err(anyhow!("dbm_open")) } else { access(database, key) };
            if !database.is_null() {
                (self.close)(database);
            }
            libc::flock(lock, libc::LOCK_UN);
            done
        }
    }

    /// Adds to the count, and gives the id that stands beside it.
    fn update(&self, by: i64) -> Result<i32> {
        self.with(|database, key| {
            // SAFETY: the database is open.
            let found = unsafe { (self.fetch)(database, key) };
            ensure!(!found.start.is_null() && found.size == 16, "dbm_fetch");
            let mut record = [0_i64; 2];
            // SAFETY: 16 bytes are there, until the next call.
            unsafe { record.as_mut_ptr().cast::<u8>().copy_from(found.start.cast(), 16) };
            record[1] += by;
            let datum = Datum { start: record.as_mut_ptr().cast(), size: 16 };
            // SAFETY: both data are there for the call, which only reads them.
            ensure!(unsafe { (self.store)(database, key, datum, DBM_REPLACE) } == 0, "dbm_store");
            Ok(i32::try_from(record[0])?)
        })
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("gpl")?;
    let core = context.placement.own;
    let commons = || -> Result<Child> {
        let library = library::find("libcommons_gpl.so")?;
        let mut command = Child::command(ROLE, core, &[text(&library)?])?;
        command.env("COMMONS_GPL_NAMESPACE", directory.path().join("namespace"));
        Child::of(command, core)
    };
    let commons = Helper::new(commons());
    let database = directory.path().join("database");
    let segment = Segment::create(libc::IPC_PRIVATE, PAGE);
    let id = segment.as_ref().map(|segment| segment.id).unwrap_or(-1);
    let mut record = i64::from(id).to_ne_bytes().to_vec();
    record.extend(1_i64.to_ne_bytes());
    std::fs::write(&database, &record)?;
    let attach = |id: i32| -> Result<()> {
        let address = Segment::attach(id)?;
        Segment::attached(id)?;
        Ok(Segment::detach(address)?)
    };
    let in_file = || {
        attach(update(&database, 1)?)?;
        update(&database, -1).map(drop)
    };
    let ndbm = Ndbm::create(&directory.path().join("nob"), &record);
    let in_ndbm = ndbm.map(|ndbm| {
        batch(20, move || {
            attach(ndbm.update(1)?)?;
            ndbm.update(-1).map(drop)
        })
    });
    let file = Name::new("gpl-raw");
    let posix = file.posix()?;
    raw::create(&posix, PAGE)?;
    let results = Contest::new()
        .built(COMMONS, commons.run("create 200"))
        .add(FLOOR, batch(200, || Ok(raw::open_attach_detach(&posix)?)))
        .peer(NDBM, in_ndbm)
        .peer(FILE, Ok(batch(100, in_file)))
        .run(context.rounds(200, 20))?;
    Ok(vec![
        results
            .work("shmCreate and shmDestroy of a segment that is there", Unit::Microseconds, COMMONS)?
            .bound(NDBM, Limit::AtLeast(3.0))
            .note("the floor is the raw calls on a file"),
    ])
}
