//! Processes that use shared memory are killed at any moment; afterwards there is no ghost, no stale id, and nothing that
//! is half made.
//!
//! `cargo test -p commons-sysv --test shm_kill -- --kills N --seed S --processes P`

mod common;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{Place, Program, text};

/// Kills between two looks at what is left.
const ROUND: u64 = 100;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }
}

fn argument(name: &str, otherwise: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map_or(otherwise, |value| value.parse().expect("a number"))
}

fn main() {
    let (kills, processes) = (argument("--kills", 300), argument("--processes", 4));
    let seed = argument("--seed", u64::from(std::process::id()));
    // What workers leave becomes a child of this process, which waits for it.
    // SAFETY: changes this process's own attribute.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    println!("shm_kill: {kills} kills, {processes} processes, seed {seed}");
    let program = Program::new("killed");
    let place = Place::new();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut campaign =
        Campaign { program: &program, place: place.0.path(), groups: Vec::new(), started: 0, wrong: 0 };
    let mut done = 0;
    while done < kills {
        let mut workers: Vec<Child> = (0..processes).map(|_| campaign.start(&mut random)).collect();
        for _ in 0..ROUND.min(kills - done) {
            sleep(Duration::from_micros(random.below(8000)));
            let victim = random.below(processes) as usize;
            // Its children live on, for a while.
            workers[victim].kill().unwrap();
            campaign.ended(&mut workers[victim]);
            workers[victim] = campaign.start(&mut random);
            done += 1;
        }
        for worker in &mut workers {
            worker.kill().unwrap();
            campaign.ended(worker);
        }
        campaign.end_groups();
        campaign.check(&place);
        println!("{done} kills, {} processes, {} wrong", campaign.started, campaign.wrong);
    }
    assert_eq!(campaign.wrong, 0, "with seed {seed}");
}

struct Campaign<'c> {
    program: &'c Program,
    place: &'c Path,
    /// Of workers and their children.
    groups: Vec<i32>,
    started: u64,
    wrong: u64,
}

impl Campaign<'_> {
    fn start(&mut self, random: &mut Random) -> Child {
        let program = self.program.on_commons(self.place);
        // Without `timeout`, which would not be killed with it.
        let words: Vec<_> = program.get_args().skip_while(|word| *word != "env").skip(1).collect();
        let (settings, rest): (Vec<_>, Vec<_>) =
            words.into_iter().partition(|word| word.to_str().is_some_and(|word| word.contains('=')));
        let mut command = Command::new(rest.last().unwrap());
        for setting in settings {
            let (name, value) = setting.to_str().unwrap().split_once('=').unwrap();
            command.env(name, value);
        }
        let child = command
            .args(["work", &random.below(u64::from(u32::MAX)).to_string()])
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        self.groups.push(child.id() as i32);
        self.started += 1;
        child
    }

    fn ended(&mut self, worker: &mut Child) {
        let status = worker.wait().unwrap();
        // Killed, or done; anything else it saw, or died of.
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL);
        if !killed && !status.success() {
            println!("a process ended with {status}");
            self.wrong += 1;
        }
    }

    /// Kills the children that were left, and waits until they are gone.
    fn end_groups(&mut self) {
        for group in self.groups.drain(..) {
            // SAFETY: a group that this test made; all of its processes are this test's, to kill and to wait for.
            unsafe {
                libc::kill(-group, libc::SIGKILL);
                while libc::waitpid(-group, std::ptr::null_mut(), 0) > 0 {}
            }
        }
    }

    fn check(&mut self, place: &Place) {
        let output = self.program.on_commons(self.place).arg("check").output().unwrap();
        let text = text(&output);
        for line in text.lines().filter(|line| !line.starts_with("id ")) {
            println!("{line}");
            self.wrong += 1;
        }
        if !output.status.success() && text.is_empty() {
            println!("the check ended with {}", output.status);
            self.wrong += 1;
        }
        // It removed those without a key; so look at what is left.
        let output = self.program.on_commons(self.place).arg("check").output().unwrap();
        let ids: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_prefix("id ").map(|id| format!("shm.{id}")))
            .collect();
        let files: BTreeSet<String> = place.files().into_iter().collect();
        for file in files.symmetric_difference(&ids) {
            println!("half: {file} is only a file, or only an id");
            self.wrong += 1;
        }
    }
}
