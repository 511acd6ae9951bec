//! Processes that hold something while a test looks: the test's own program again, told by its environment what to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Place;

/// A process that does something in a place, says so, and waits to be told to end.
pub struct Holder {
    pub child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    pub fn start(place: &Place, what: &str) -> Holder {
        let mut holder = Holder::start_unready(place, what);
        holder.wait_for("ready");
        holder
    }

    pub fn start_unready(place: &Place, what: &str) -> Holder {
        Holder::start_by(Command::new(std::env::current_exe().unwrap()), place, what)
    }

    pub fn start_by(mut command: Command, place: &Place, what: &str) -> Holder {
        command.args(["--exact", "holds_what_it_is_told_to", "--nocapture", "--test-threads=1"]);
        command.env("COMMONS_TEST_HOLDS", what).env("COMMONS_TEST_PLACE", place.directory());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Holder { stdin: child.stdin.take(), child, stdout }
    }

    #[track_caller]
    pub fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert!(
                self.stdout.read_line(&mut line).unwrap() > 0,
                "the holder ended before it said {word:?}"
            );
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.pid()
    }

    pub fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a holder is to do, and where; `None` in the test itself.
pub fn order() -> Option<(String, std::path::PathBuf)> {
    let what = std::env::var("COMMONS_TEST_HOLDS").ok()?;
    Some((what, std::env::var_os("COMMONS_TEST_PLACE")?.into()))
}

/// Says that the holder does what it is to do, and waits to be told to end.
pub fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}
