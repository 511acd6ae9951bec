//! `commons ls` on a machine with 300 processes that share memory of all kinds.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use commons::sysv::SystemV;
use commons::{Attachment, Segment, SegmentOptions};

use super::{by_command, command, is_there, time};
use crate::child::{Child, Parent};
use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::interrupt;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Name;
use crate::statistics::Limit;

const PROCESSES: usize = 300;

/// The role of a child that shares memory of some kind.
pub(super) const SHARER: &str = "sharer";

pub(super) fn share(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [number] = arguments else { bail!("which number?") };
    let number: usize = number.parse()?;
    let label = Name::new(&format!("busy-{number}"));
    let mut kept: Vec<Attachment> = Vec::new();
    let mut files: Vec<File> = Vec::new();
    match number % 5 {
        0 => kept.push(Segment::create(label.as_str(), 1 << 16)?.attach()?),
        1 => kept.push(Segment::anonymous(1 << 16)?.attach()?),
        2 => {
            // A System V segment that goes with its process.
            let segment = SystemV::private(1 << 16, 0o600)?;
            let attached = segment.attach();
            segment.remove()?;
            kept.push(attached?);
        }
        3 => {
            // A file that was deleted and is still mapped.
            let segment = SegmentOptions::new().size(1 << 16).create(label.as_str())?;
            kept.push(segment.attach()?);
            segment.delete()?;
        }
        _ => {
            // A memfd that is open, and not mapped.
            let name = CString::new(label.as_str())?;
            files.push(rustix::fs::memfd_create(&name, rustix::fs::MemfdFlags::CLOEXEC)?.into());
        }
    }
    parent.serve(|_| Ok(format!("{} {}", kept.len(), files.iter().map(AsRawFd::as_raw_fd).count())))
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let mut children = Vec::with_capacity(PROCESSES);
    for number in 0..PROCESSES {
        interrupt::check()?;
        children.push(Child::start(SHARER, context.placement.other, &[&number.to_string()])?);
    }
    for child in &mut children {
        child.ask("ready?")?;
    }
    if is_there().is_ok() {
        let listed = command(&["ls", "--json"])?.output().context("running commons ls")?;
        let text = String::from_utf8_lossy(&listed.stdout);
        for kind in ["posix", "memfd", "sysv", "deleted"] {
            ensure!(text.contains(&format!("\"kind\": \"{kind}\"")), "no {kind} among what was listed");
        }
    }
    let results = Contest::new()
        .peer(COMMONS, by_command(|| time(command(&["ls"])?)))
        .add(FLOOR, read_maps)
        .run(context.rounds(30, 5))?;
    let busy = results
        .work("list a machine with 300 processes that share memory of all kinds", Unit::Seconds, COMMONS)?
        .bound(COMMONS, Limit::AtMost(0.3))
        .note("the floor is to read what each process has mapped");
    for child in children {
        child.kill()?;
    }
    // Those that were killed have left orphans.
    commons::Namespace::posix()?.sweep()?;
    Ok(vec![busy])
}

/// What nobody can do without who wants to know what processes have mapped.
fn read_maps() -> Result<f64> {
    let started = Instant::now();
    let mut bytes = 0;
    for entry in std::fs::read_dir("/proc")? {
        // A process may end meanwhile.
        bytes += std::fs::read(entry?.path().join("maps")).map_or(0, |maps| maps.len());
    }
    ensure!(bytes > 0, "nothing is mapped");
    Ok(nanoseconds(started))
}
