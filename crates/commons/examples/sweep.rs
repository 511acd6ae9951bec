//! Finds what a killed program left, and gives its memory back: the last holder of a segment is ended with
//! `kill -9`, and one sweep removes what nobody holds any more.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use commons::{Namespace, Segment};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => killer(),
        Some(name) => {
            let _held = Segment::create(name, 1 << 20)?;
            // The parent's kill comes first; otherwise this ends in good order.
            std::thread::sleep(Duration::from_secs(10));
            Ok(())
        }
    }
}

fn killer() -> Result<(), Box<dyn Error>> {
    let name = format!("example-sweep-{}", std::process::id());
    let mut victim = Command::new(std::env::current_exe()?).arg(&name).spawn()?;
    drop(Segment::open_wait(&name, Duration::from_secs(5))?);
    victim.kill()?;
    victim.wait()?;

    let namespace = Namespace::from_env()?;
    let mut found = false;
    let sweep = namespace.sweep_with(|orphan, bytes| {
        found |= orphan.file_name() == name.as_str();
        println!("removed {orphan}, {bytes} bytes");
    })?;
    println!("{} orphans removed, {} bytes came back", sweep.segments, sweep.bytes);
    if !found || namespace.exists(&name)? {
        return Err("the sweep left what it should have removed".into());
    }
    Ok(())
}
