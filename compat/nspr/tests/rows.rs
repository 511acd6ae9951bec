//! Programs see what NSPR shows them: the same program, run on Debian's libnspr4 and on Commons, prints the same, but
//! for what is mended on purpose.

mod common;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What Commons does where it differs, and what libnspr4 does there; `None` where that depends on the machine.
const MENDED: [(&str, Option<&str>, &str); 15] = [
    // A handle keeps its segment, also when it is deleted and nobody has it attached.
    ("attach after that, nobody attached", Some("null -5987/22"), "not null"),
    ("it can be", Some("0"), "3"),
    ("detach after that", Some("failure -5987/22"), "success"),
    ("attach the memory, nobody attached", Some("null -5987/22"), "not null"),
    // Two files never are one segment, even if the second one gets the inode's number of the first.
    ("create after the file was removed by hand, its number used again", None, "not null"),
    // The real reason, and nothing is left behind.
    ("create, size 0", Some("null -5950/2"), "null -5987/22"),
    ("after that", Some("file of 0 bytes, mode 600"), "no file"),
    ("create, impossible size", Some("null -5950/2"), "null -6000/12"),
    ("after that impossible size", Some("file of 0 bytes, mode 600"), "no file"),
    ("create, a size that cannot be expressed", Some("null -5950/2"), "null -6000/12"),
    ("after deleting what does not exist", Some("file of 0 bytes, mode 644"), "no file"),
    ("create, a name of 1099 bytes", None, "null -5951/36"),
    ("delete a name of 1099 bytes", None, "failure -5951/36"),
    ("semaphore, create with 40000", Some("never returns"), "null -5987/22"),
    ("after that large value", Some("file of 0 bytes, mode 600"), "no file"),
];

fn run(program: &Path, namespace: Option<&Path>) -> Vec<(String, String)> {
    // Other users have to get there.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let mut command = Command::new(program);
    command.arg(directory.path());
    match namespace {
        Some(namespace) => {
            command.env("LD_PRELOAD", common::library()).env("COMMONS_NSPR_NAMESPACE", namespace);
        }
        None => {
            command.env_remove("LD_PRELOAD");
        }
    }
    // What the kernel's System V keeps goes with this namespace.
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWIPC) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let text = common::output(&mut command);
    text.lines()
        .map(|line| line.rsplit_once(": ").unwrap_or((line, "")))
        .map(|(label, result)| (label.to_owned(), result.to_owned()))
        .collect()
}

#[test]
fn programs_see_what_nspr_shows_them() {
    let test = "programs_see_what_nspr_shows_them";
    let Some(arguments) = common::nspr(test) else { return };
    // SAFETY: asks for an id.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: {test}: needs root, for another user and an IPC namespace of its own");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("rows");
    if common::compile(test, "cc", "rows.c", &program, &arguments).is_none() {
        return;
    }
    let namespace = common::namespace();
    let real = run(&program, None);
    let ours = run(&program, Some(namespace.path()));
    assert_eq!(real.len(), ours.len());
    assert!(real.len() > 200, "{}", real.len());
    let mut mended = 0;
    for (real, ours) in real.iter().zip(&ours) {
        match real.0.strip_prefix("mended: ") {
            None => assert_eq!(real, ours),
            Some(label) => {
                assert_eq!(real.0, ours.0);
                let (_, theirs, expected) =
                    MENDED.iter().find(|row| row.0 == label).unwrap_or_else(|| panic!("{label}"));
                assert_eq!(ours.1, *expected, "{label}");
                if let Some(theirs) = theirs {
                    assert_eq!(real.1, *theirs, "{label}: as it is said of NSPR");
                }
                mended += 1;
            }
        }
    }
    println!("{} results are the same, {mended} are mended", real.len() - mended);

    // What is left is what no path leads to, as with NSPR: of a file that was removed by hand; and the semaphore whose
    // file was removed with the memory's, which goes with a sweep.
    let left = |directory: &Path| {
        let names = common::files(directory);
        names.into_iter().filter(|name| !name.ends_with(".path")).collect::<Vec<_>>()
    };
    assert_eq!(left(namespace.path()).len(), 2);
    let sweep = commons::Namespace::at(namespace.path()).unwrap().sweep().unwrap();
    assert_eq!(sweep.segments, 1);
    assert_eq!(left(namespace.path()).len(), 1);
    assert_eq!(commons_compat::nspr::sweep_links(namespace.path()), 1);
}
