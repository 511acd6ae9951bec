//! Nothing of a set of semaphores is lost, half done or stuck, whoever is killed when: `-- --kills N --seed S --workers W`.
//! What the processes do, and what has to be true, says `c/semaphore_kill.c`.

mod common;

use common::{Place, Program};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("semaphore_kill: test");
        return;
    }
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(otherwise).to_string()
    };
    let (place, program) = (Place::new(), Program::new("semaphore_kill"));
    let seed = number("--seed", 1);
    println!("seed {seed}");
    // Without the time limit of shorter tests.
    let status = std::process::Command::new(&program.path)
        .env("LD_PRELOAD", program.directory.path().join("libcommons_sysv.so"))
        .env("COMMONS_SYSV_NAMESPACE", place.0.path())
        .args([number("--kills", 300), seed, number("--workers", 4)])
        .status()
        .unwrap();
    let left: Vec<_> = place.files().into_iter().filter(|file| file.starts_with("sem.")).collect();
    assert!(left.is_empty(), "sets are left: {left:?}");
    drop(place);
    assert!(status.success(), "{status}");
}
