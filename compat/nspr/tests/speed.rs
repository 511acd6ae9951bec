//! How fast the calls are, against Debian's libnspr4. Takes some seconds and wants a quiet machine, so it runs when asked
//! for: `cargo test --release -p commons-nspr --test speed -- --ignored --nocapture`.

mod common;

use std::process::Command;

/// How much longer Commons may take.
const BOUND: f64 = 1.5;

#[test]
#[ignore = "measures: wants a quiet machine"]
fn opening_attaching_detaching_and_closing_take_half_as_long_again_at_most() {
    let test = "opening_attaching_detaching_and_closing_take_half_as_long_again_at_most";
    let Some(arguments) = common::nspr(test) else { return };
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("speed");
    if common::compile(test, "cc", "speed.c", &program, &arguments).is_none() {
        return;
    }
    let namespace = common::namespace();
    let measure = |work: &[&str], ours: bool| -> f64 {
        let mut command = Command::new(&program);
        command.arg(place.path().join("name")).args(work);
        if ours {
            command.env("LD_PRELOAD", common::library()).env("COMMONS_NSPR_NAMESPACE", namespace.path());
        }
        common::output(&mut command).trim().parse().unwrap()
    };
    println!("{:<40} {:>8} {:>8} {:>6}", "nanoseconds", "NSPR", "Commons", "ratio");
    let mut worst: f64 = 0.0;
    for (label, work) in [
        ("open, attach, detach, close", &["open"][..]),
        ("the same with PR_SHM_CREATE", &["create"]),
        ("open, attach, touch, detach, close", &["open", "touch"]),
        ("wait, post", &["semaphore"]),
    ] {
        // In turns, so that a busy machine harms both; the middle one of the rounds' ratios.
        let mut rounds: Vec<(f64, f64)> =
            (0..5).map(|_| (measure(work, false), measure(work, true))).collect();
        rounds.sort_by(|one, other| (one.1 / one.0).total_cmp(&(other.1 / other.0)));
        let (theirs, ours) = rounds[2];
        println!("{label:<40} {theirs:>8.0} {ours:>8.0} {:>6.2}", ours / theirs);
        worst = worst.max(ours / theirs);
    }
    assert!(worst <= BOUND, "{worst:.2} is more than {BOUND}");
}
