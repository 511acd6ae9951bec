//! Some attach what others remove this moment.

mod common;

use common::{Place, Program, text};

#[test]
fn what_is_attached_is_counted_whoever_removes_it_meanwhile() {
    let program = Program::new("killed");
    let place = Place::new();
    let start = |seed: u32| {
        let mut command = program.on_commons(place.0.path());
        command.args(["race", &seed.to_string()]).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let processes: Vec<_> = (1..=4).map(start).collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", output.status, text(&output));
    }
    let check = program.on_commons(place.0.path()).arg("check").output().unwrap();
    assert!(check.status.success(), "{}", text(&check));
    assert!(place.files().len() <= 1, "{:?}", place.files());
}
