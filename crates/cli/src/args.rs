//! What the command line looks like, and how sizes and modes are written on it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use commons::Namespace;
use commons_compat::place::System;

use crate::dropins;
use crate::failure::{Failure, Outcome};
use crate::record::Kind;

const AFTER: &str = "\
Sizes are bytes, or have a unit: 4096, 64K, 1.5M, 1G (1K is 1024).
Exit codes: 0 done, 1 failed, 2 wrong usage; 'hold' and 'run' end with their program's.
Start with: commons demo";

/// See, make, keep and sweep shared memory.
#[derive(Debug, Parser)]
#[command(name = "commons", version, after_help = AFTER)]
pub(crate) struct Arguments {
    /// Directory in which the names live [default: $COMMONS_NAMESPACE, else /dev/shm]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) namespace: Option<PathBuf>,

    /// Let write, grow, hold and unlock take a segment of another user
    #[arg(long, global = true)]
    pub(crate) any_owner: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a segment that stays until it is deleted
    ///
    /// One that is there already is fine if it is large enough and stays as well.
    Create(Create),
    /// List shared memory: segments, System V segments, memfds, deleted files that are still mapped
    ///
    /// With --namespace, only what is in that namespace; --kind asks for more.
    Ls(List),
    /// Show all about one segment: who holds it, its layout, who has its locks
    Info(Info),
    /// Delete segments
    ///
    /// Holders keep the memory of a deleted segment; it goes with the last of them.
    Rm {
        /// Names, or patterns with *, ? and [...], in quotes; sysv:ID for a System V segment
        #[arg(required = true, value_name = "NAME")]
        names: Vec<OsString>,
    },
    /// Delete orphans: segments whose last holder ended without detaching
    Sweep {
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a segment larger
    Grow {
        /// The segment's name; its path in the namespace will do as well
        name: OsString,
        /// Bytes in all
        #[arg(value_parser = size())]
        size: u64,
    },
    /// Copy a segment's bytes to standard output
    Read(Range),
    /// Copy standard input into a segment
    ///
    /// Nothing is written beyond the segment's end: input that does not fit is an error.
    Write(Range),
    /// Show a segment's bytes in hexadecimal
    Dump(Range),
    /// Save a segment to a file, which appears whole or not at all
    ///
    /// Where others write to the segment meanwhile, what is saved is no point in time: see --pause.
    Save(Save),
    /// Load a saved segment: under a new name, or into the segment that is there
    ///
    /// Everything is checked before anything is changed. A new segment stays until it is deleted.
    Load(Load),
    /// List the locks that threads have, and those that dead owners left behind
    ///
    /// The first thing to ask when a system hangs. Looks at the objects with a type in the namespace; takes no lock.
    Locks(Locks),
    /// Free a lock that its owner left behind
    ///
    /// Whoever locks it next is told that its owner died. A lock whose owner lives is refused.
    Unlock(Unlock),
    /// Keep a segment while a program runs, and end with its exit code
    ///
    /// With --size, makes the segment if it is not there; then it goes with its last holder. The program inherits
    /// a descriptor of it, and goes on holding it if this command is killed.
    Hold(Hold),
    /// Start a program for System V's or NSPR's shared memory on Commons, and end with its exit code
    ///
    /// Without --sysv and --nspr, on both. Afterwards, what nobody holds any more is swept. 'commons ls' shows what the
    /// program shares, under the names that it knows. --namespace names the directory in which all that lives, made if
    /// it is not there [default: a private one in /dev/shm]. A program that is set-uid or statically linked is refused.
    Run(Run),
    /// Say what on this machine will hurt shared memory, and the command that mends it
    ///
    /// Exits with 1 if something is wrong; a warning is not.
    Doctor {
        /// One array of objects, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Measure what Commons takes on this machine, beside the least that hardware and kernel take
    ///
    /// Takes some seconds on a quiet machine. Leaves nothing in the namespace.
    Bench {
        /// One array of objects, for scripts; times in nanoseconds
        #[arg(long)]
        json: bool,
    },
    /// Show a segment's bytes as they change; without a name, all segments as they grow
    ///
    /// '?' shows the keys. It holds nothing. After a 'kill -9' of it, 'reset' puts the terminal right.
    Watch(Watch),
    /// Show what Commons does: count the words of files with four processes, two of them killed
    Demo {
        /// Files to count [default: a text that comes with the command]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    #[command(hide = true)]
    DemoWorker(Worker),
    #[command(hide = true)]
    PauseKeeper,
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print the manual page, or write those of all subcommands to a directory
    Man {
        /// Where to write them, as commons.1, commons-ls.1 and so on
        directory: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// Bytes
    #[arg(value_parser = size())]
    pub(crate) size: u64,
    /// Permission bits in octal, whatever the umask
    #[arg(long, default_value = "0600", value_parser = mode)]
    pub(crate) mode: u32,
    /// How long it lives
    #[arg(long, value_enum, default_value_t = Lives::UntilDeleted)]
    pub(crate) lifetime: Lives,
    /// Fail if it is there already
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// Do not reserve its memory
    #[arg(long)]
    pub(crate) sparse: bool,
}

/// How long a segment lives, as it is said on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lives {
    UntilDeleted,
    /// With its last holder: see 'commons hold'
    UntilLastDetach,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only names that match; with *, ? and [...], in quotes
    pub(crate) pattern: Option<OsString>,
    /// Only of these kinds, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub(crate) kind: Vec<Kind>,
    /// Only what belongs to nobody any more
    #[arg(long)]
    pub(crate) orphans: bool,
    /// Only what this user owns
    #[arg(long)]
    pub(crate) mine: bool,
    /// In the order of this column; figures from the largest, ages from the oldest
    #[arg(long, value_enum, default_value_t = Sort::Name, value_name = "COLUMN")]
    pub(crate) sort: Sort,
    /// In the opposite order
    #[arg(long)]
    pub(crate) reverse: bool,
    /// One array of objects, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// A column that `ls` can sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Name,
    Kind,
    Size,
    Resident,
    Holders,
    Owner,
    Age,
}

#[derive(Args, Debug)]
pub(crate) struct Info {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// One object, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Range {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// Where to begin
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = size())]
    pub(crate) offset: u64,
    /// How many bytes [default: as many as there are]
    #[arg(long, value_name = "BYTES", value_parser = size())]
    pub(crate) length: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Save {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// Where to; - is standard output
    pub(crate) file: PathBuf,
    /// Exactly the bytes, without header and checksums
    #[arg(long, conflicts_with = "zstd")]
    pub(crate) raw: bool,
    /// Compress, at a level from 1 (fast) to 22 (small)
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3", value_parser = clap::value_parser!(i32).range(1..=22))]
    pub(crate) zstd: Option<i32>,
    /// Stop all processes that have it meanwhile, so that it is saved as of one moment
    ///
    /// They go on afterwards, also if this command is killed.
    #[arg(long)]
    pub(crate) pause: bool,
    /// Do not wait until the file is on disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}

#[derive(Args, Debug)]
#[command(override_usage = "commons load [OPTIONS] <FILE> [NAME] | commons load --check <FILE>")]
pub(crate) struct Load {
    /// Where from; - is standard input
    pub(crate) file: PathBuf,
    /// The segment's name [default: the one that it was saved from]
    pub(crate) name: Option<OsString>,
    /// The file is exactly the bytes, without header and checksums
    #[arg(long)]
    pub(crate) raw: bool,
    /// Permission bits of a new segment in octal [default: as saved; 0600 for raw bytes]
    #[arg(long, value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// Do not reserve memory for the holes of a new segment
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Only check the file, and say what it is
    #[arg(long, conflicts_with_all = ["name", "raw", "mode", "sparse"])]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Locks {
    /// The free ones too
    #[arg(long)]
    pub(crate) all: bool,
    /// One array of objects, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Unlock {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// The way to the lock in the object, as 'commons locks' shows it; . is the object itself
    pub(crate) lock: String,
    /// Even if its owner lives, who goes on as if it still had it: the data may be half changed, and changed by two
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Hold {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// Make it with so many bytes if it is not there
    #[arg(long, value_parser = size())]
    pub(crate) size: Option<u64>,
    /// The program to run, with its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Answer shmget, semget and their families
    #[arg(long)]
    pub(crate) sysv: bool,
    /// Answer PR_OpenSharedMemory, PR_OpenSemaphore and their families
    #[arg(long)]
    pub(crate) nspr: bool,
    /// The program to run, with its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: Option<OsString>,
    /// Milliseconds from look to look, 20 at least [default: 250; 1000 for all segments]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(20..=86_400_000))]
    pub(crate) interval: Option<u64>,
    /// Where to begin
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = size(), requires = "name")]
    pub(crate) offset: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Worker {
    /// The segment's name; its path in the namespace will do as well
    pub(crate) name: OsString,
    /// Its number, from 1
    pub(crate) number: u64,
    /// The process that started it, which it does not outlive
    pub(crate) parent: u32,
    /// Where to stop, and wait to be killed
    #[arg(long, value_enum)]
    pub(crate) stop: Option<Stop>,
}

/// Where a worker of the demo stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stop {
    /// In the middle of its first chunk
    InChunk,
    /// With the lock of the totals, and its addition half made
    WithLock,
}

impl Stop {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stop::InChunk => "in-chunk",
            Stop::WithLock => "with-lock",
        }
    }
}

/// Parses `4096`, `64K`, `1.5M`, `1G`, all in binary units.
fn size() -> impl TypedValueParser<Value = u64> {
    StringValueParser::new().try_map(|text: String| {
        // A fraction of bytes is a slip: a unit was forgotten.
        let fraction = text.contains('.') && text.ends_with(|last: char| last.is_ascii_digit());
        let parsed = parse_size::Config::new().with_binary().parse_size(text);
        parsed.ok().filter(|_| !fraction).ok_or("a size is bytes, or has a unit: 4096, 64K, 1.5M, 1G")
    })
}

/// Parses permission bits in octal: `640`, `0640`.
fn mode(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    // `from_str_radix` takes a sign as well.
    if digits.starts_with(['+', '-']) {
        return Err("permission bits are octal, as 0640");
    }
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(_) => Err("permission bits are 0777 at most"),
        Err(_) => Err("permission bits are octal, as 0640"),
    }
}

impl Arguments {
    /// Takes paths for the names of what lies there: `/dev/shm/jobs` is `jobs`.
    pub(crate) fn names_for_paths(&mut self, namespace: &Path) {
        let shorten = |name: &mut OsString| {
            if let Ok(inside) = Path::new(&*name).strip_prefix(namespace) {
                if inside.components().count() == 1 {
                    // With a slash, which names do not have: what is named by its path is no System V segment.
                    let system_v = inside.as_os_str().as_bytes().starts_with(b"sysv:");
                    let mut shorter = OsString::from(if system_v { "/" } else { "" });
                    shorter.push(inside);
                    *name = shorter;
                }
            }
        };
        self.names(true).into_iter().for_each(shorten);
    }

    /// The names that the command was given; with patterns, if they are asked for.
    fn names(&mut self, patterns: bool) -> Vec<&mut OsString> {
        match &mut self.command {
            Command::Create(Create { name, .. })
            | Command::Info(Info { name, .. })
            | Command::Grow { name, .. }
            | Command::Read(Range { name, .. })
            | Command::Write(Range { name, .. })
            | Command::Dump(Range { name, .. })
            | Command::Save(Save { name, .. })
            | Command::Load(Load { name: Some(name), .. })
            | Command::Unlock(Unlock { name, .. })
            | Command::Hold(Hold { name, .. }) => vec![name],
            Command::Rm { names } => names.iter_mut().collect(),
            Command::Watch(Watch { name, .. }) => name.iter_mut().collect(),
            Command::Ls(List { pattern, .. }) if patterns => pattern.iter_mut().collect(),
            _ => Vec::new(),
        }
    }

    /// The drop-in whose programs know the segments by the names that the command was given.
    ///
    /// # Errors
    ///
    /// If only some of the names are such.
    pub(crate) fn system(&mut self) -> Outcome<Option<System>> {
        let meant: Vec<Option<System>> = self.names(false).iter().map(|name| dropins::meant(name)).collect();
        let first = meant.first().copied().flatten();
        if meant.iter().any(|other| *other != first) {
            return Err(Failure::Usage(
                "names of drop-ins' segments, as nspr:PATH, are in a namespace of their own: give the others to a command of their own".to_owned(),
            ));
        }
        Ok(first)
    }

    /// Takes the names that drop-ins' programs know for those that the segments have in the drop-in's namespace.
    pub(crate) fn names_of_dropins(&mut self, namespace: &Namespace) -> Outcome<()> {
        for name in self.names(false) {
            if dropins::meant(name).is_some() {
                *name = dropins::segment(namespace, name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("640"), Ok(0o640));
        for bad in ["", "+640", "-1", "9", "rw", "1777", "99999999999999999999"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        let size = |text: &str| {
            let arguments = Arguments::try_parse_from(["commons", "grow", "x", text]).ok()?;
            match arguments.command {
                Command::Grow { size, .. } => Some(size),
                _ => None,
            }
        };
        for (text, bytes) in [("4096", 4096), ("64M", 64 << 20), ("1G", 1 << 30), ("1.5K", 1536), ("0", 0)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "-1", "x", "1Q", "99999999999E", "18446744073709551616", "1e999999999"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
