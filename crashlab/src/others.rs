//! Libraries that come with programs of their own: Boost.Interprocess, NSPR's own, Python, iceoryx2.
//!
//! Simpler than the scenarios: a program works with the library until it is killed, at moments that are sampled; what it
//! leaves is counted, and another program looks, with a bound on its time, whether it can go on. The helpers are
//! compiled here; what is not installed is named.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cargo;
use crate::random::Random;

/// A library, and what is done with it.
struct Other {
    name: &'static str,
    what: &'static str,
    helper: Helper,
    /// Where that leaves something.
    leaves: Leaves,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Helper {
    Boost,
    Nspr,
    Python,
    Iceoryx,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// A file in `/dev/shm`, though nobody has it.
    File,
    /// The kernel's segments.
    SystemV(&'static str),
    /// Files in `/dev/shm` whose names begin with this one's, after who looks has tidied up as the library says to.
    Tidied,
    /// What is meant to stay is not counted.
    Nothing,
}

const OTHERS: &[Other] = &[
    Other {
        name: "Boost.Interprocess: named_mutex",
        what: "mutex",
        helper: Helper::Boost,
        leaves: Leaves::Nothing,
    },
    Other {
        name: "Boost.Interprocess: message_queue",
        what: "queue",
        helper: Helper::Boost,
        leaves: Leaves::Nothing,
    },
    Other {
        name: "Boost.Interprocess: managed_shared_memory",
        what: "memory",
        helper: Helper::Boost,
        leaves: Leaves::File,
    },
    Other {
        name: "libnspr4: PR_OpenSharedMemory to PR_DeleteSharedMemory",
        what: "memory",
        helper: Helper::Nspr,
        leaves: Leaves::SystemV("/proc/sysvipc/shm"),
    },
    Other {
        name: "libnspr4: PR_OpenSemaphore, wait, post",
        what: "semaphore",
        helper: Helper::Nspr,
        leaves: Leaves::Nothing,
    },
    Other { name: "Python: SharedMemory", what: "memory", helper: Helper::Python, leaves: Leaves::File },
    Other {
        name: "Python: the semaphore of multiprocessing.Lock",
        what: "lock",
        helper: Helper::Python,
        leaves: Leaves::Nothing,
    },
    Other {
        name: "iceoryx2: service creation",
        what: "service",
        helper: Helper::Iceoryx,
        leaves: Leaves::Tidied,
    },
];

/// How long who looks may take.
const LONG: Duration = Duration::from_millis(600);
/// The same where who looks tidies up first: iceoryx2 gives others half a second for finishing what they create.
const LONG_FOR_TIDYING: Duration = Duration::from_secs(5);
/// How long a library has for tidying up behind a dead process.
const TIDY: Duration = Duration::from_millis(150);

/// Tries each, at so many moments. What takes long to compile only if `patient`.
pub(crate) fn run(directory: &Path, seed: u64, moments: u64, patient: bool) -> std::io::Result<()> {
    println!("\nKilled at random moments: how many leave others stuck, or something behind");
    println!("{:<56}{:>10}{:>10}{:>10}{:>10}", "library", "killed", "stuck", "leaked", "wrong");
    // What the kernel keeps of System V goes with this process.
    // SAFETY: an IPC namespace of its own changes nothing that memory safety rests on.
    let apart = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWIPC) };
    let mut random = Random::new(seed);
    for other in OTHERS {
        if let (Helper::Nspr, Err(error)) = (other.helper, apart) {
            println!("SKIPPED: {}: an IPC namespace is refused: {error}", other.name);
            continue;
        }
        if other.helper == Helper::Iceoryx && !patient {
            println!(
                "SKIPPED: {}: takes long to compile, and is compared with by 'full' and 'peers'",
                other.name
            );
            continue;
        }
        match other.helper.program(directory) {
            Ok(program) => try_one(other, &program, directory, &mut random, moments)?,
            Err(why) => println!("SKIPPED: {}: {why}", other.name),
        }
    }
    Ok(())
}

impl Helper {
    /// The command, compiled if that is needed.
    fn program(self, directory: &Path) -> Result<Vec<String>, String> {
        let (file, source, compiler) = match self {
            Helper::Iceoryx => return built_by_cargo(),
            Helper::Boost => ("boost.cc", include_str!("../others/boost.cc"), "c++"),
            Helper::Nspr => ("nspr.c", include_str!("../others/nspr.c"), "cc"),
            Helper::Python => ("memory.py", include_str!("../others/memory.py"), "python3"),
        };
        let (path, program) = (directory.join(file), directory.join(file).with_extension("program"));
        std::fs::write(&path, source).map_err(|error| error.to_string())?;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut check = Command::new(compiler);
        let command = match self {
            Helper::Python => {
                check.args(["-c", "import multiprocessing.shared_memory"]);
                vec![compiler.to_owned(), text(&path)]
            }
            _ => {
                check.arg("-O1").arg(&path).arg("-o").arg(&program);
                if self == Helper::Nspr {
                    check.args(["-I/usr/include/nspr", "-lnspr4"]);
                } else {
                    check.args(["-lrt", "-lpthread"]);
                }
                vec![text(&program)]
            }
        };
        let quiet = check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match quiet.status() {
            Ok(status) if status.success() => Ok(command),
            Ok(_) => Err(format!("{compiler} finds it not installed")),
            Err(error) => Err(format!("{compiler}: {error}")),
        }
    }
}

/// The crate beside this one, with what it depends on.
fn built_by_cargo() -> Result<Vec<String>, String> {
    let executable = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = executable.parent().and_then(Path::parent).ok_or("there is no directory to build in")?;
    let target = target.join("others");
    cargo::build(["--release", "--manifest-path", "crashlab/others/iceoryx2/Cargo.toml"], &target)?;
    Ok(vec![target.join("release/crashlab-iceoryx2").to_string_lossy().into_owned()])
}

fn start(program: &[String], arguments: [&str; 3]) -> std::io::Result<Child> {
    Command::new(&program[0])
        .args(&program[1..])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn try_one(
    other: &Other,
    program: &[String],
    directory: &Path,
    random: &mut Random,
    moments: u64,
) -> std::io::Result<()> {
    let short = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // NSPR wants a path, the others a name in `/dev/shm`: a file there with this process's name in front.
    let name = format!("{short}-other");
    let file = Path::new("/dev/shm").join(&name);
    let argument = if other.helper == Helper::Nspr { file.to_string_lossy().into_owned() } else { name };
    let (mut stuck, mut leaked, mut wrong) = (0, 0, 0);
    for _ in 0..moments {
        let mut victim = start(program, [other.what, "work", &argument])?;
        let mut byte = [0];
        let begun = victim.stdout.take().is_some_and(|mut out| out.read_exact(&mut byte).is_ok());
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        let _ = victim.kill();
        let _ = victim.wait();
        if !begun {
            wrong += 1;
            continue;
        }
        let by_whom_looks = other.leaves == Leaves::Tidied;
        let tidied = Instant::now() + TIDY;
        while !by_whom_looks && other.leaves.something(&file) && Instant::now() < tidied {
            std::thread::sleep(Duration::from_millis(5));
        }
        leaked += u64::from(!by_whom_looks && other.leaves.something(&file));
        let long = if by_whom_looks { LONG_FOR_TIDYING } else { LONG };
        match bounded(start(program, [other.what, "look", &argument])?, long)? {
            Some(0) => {}
            Some(1) | None => stuck += 1,
            Some(_) => wrong += 1,
        }
        leaked += u64::from(by_whom_looks && other.leaves.something(&file));
        for path in beginning_with(&file) {
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
        let _ = std::fs::remove_file(file.with_file_name(format!("sem.{argument}")));
    }
    println!("{:<56}{moments:>10}{stuck:>10}{leaked:>10}{wrong:>10}", other.name);
    Ok(())
}

/// How it ended; `None` if it did not.
fn bounded(mut child: Child, long: Duration) -> std::io::Result<Option<i32>> {
    let until = Instant::now() + long;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(2)));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(None)
}

impl Leaves {
    fn something(self, file: &Path) -> bool {
        match self {
            Leaves::File => file.exists(),
            // A line of heads, and one for each segment.
            Leaves::SystemV(list) => std::fs::read_to_string(list).is_ok_and(|list| list.lines().count() > 1),
            Leaves::Tidied => beginning_with(file).any(|path| has_file(&path)),
            Leaves::Nothing => false,
        }
    }
}

/// Whether it is a file, or a directory with one in it; iceoryx2's one for all nodes stays also without a crash.
fn has_file(path: &Path) -> bool {
    if path.to_string_lossy().ends_with(".global_mgmt") {
        return false;
    }
    match path.read_dir() {
        Ok(entries) => entries.flatten().any(|entry| has_file(&entry.path())),
        Err(_) => path.exists(),
    }
}

/// What stands beside this file, or is it, and has a name that begins as its does.
fn beginning_with(file: &Path) -> impl Iterator<Item = PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = file.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    entries
        .filter(move |entry| entry.file_name().to_string_lossy().starts_with(&name))
        .map(|entry| entry.path())
}
