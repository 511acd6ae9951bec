//! Nothing of a set of semaphores is lost, half done or stuck, whoever is killed when: `-- --kills N --seed S --workers W`.
//! What the processes do, and what has to be true, says `c/semaphore_kill.c`.

mod common;

use common::Place;

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
    let place = Place::new();
    let program = place.program("semaphore_kill.c");
    let seed = number("--seed", 1);
    println!("seed {seed}");
    let status = place
        .on_commons(&program)
        .args([number("--kills", 300), seed, number("--workers", 4)])
        .status()
        .unwrap();
    let left: Vec<_> = place.files().into_iter().filter(|file| file.starts_with("sem.")).collect();
    assert!(left.is_empty(), "sets are left: {left:?}");
    drop(place);
    assert!(status.success(), "{status}");
}
