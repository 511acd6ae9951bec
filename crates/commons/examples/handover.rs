//! Hands memory without a name to a child process, which answers in it. Nobody else can open it, nobody can
//! truncate it, and it goes with the last of the two.

use std::error::Error;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;

use commons::Segment;

const QUESTION: &[u8] = b"anybody there?";
const ANSWER: &[u8] = b"yes, your child";
/// Where the answer goes.
const ANSWER_AT: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        None => parent(),
        Some(number) => child(number.parse()?),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let segment = Segment::anonymous(4096)?;
    let memory = segment.attach()?;
    memory.write_at(0, QUESTION)?;

    let mut command = Command::new(std::env::current_exe()?);
    let number = segment.inherit(&mut command)?;
    let status = command.arg(number.to_string()).status()?;

    let mut answer = [0; ANSWER.len()];
    memory.read_at(ANSWER_AT, &mut answer)?;
    println!("parent read: {}", String::from_utf8_lossy(&answer));
    if !status.success() || answer != ANSWER {
        return Err("the child did not answer".into());
    }
    Ok(())
}

fn child(number: i32) -> Result<(), Box<dyn Error>> {
    // SAFETY: the parent passed this descriptor, and nothing else here uses it.
    let segment = Segment::from_fd(unsafe { OwnedFd::from_raw_fd(number) })?;
    let memory = segment.attach()?;
    let mut question = [0; QUESTION.len()];
    memory.read_at(0, &mut question)?;
    println!("child read: {}", String::from_utf8_lossy(&question));
    memory.write_at(ANSWER_AT, ANSWER)?;
    Ok(())
}
