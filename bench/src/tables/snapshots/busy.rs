//! `commons ls` on a machine with 300 processes that share memory of all kinds, and in a namespace of 100,000.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result, bail, ensure};
use commons::sysv::SystemV;
use commons::{Attachment, Lifetime, Segment, SegmentOptions};

use super::{command, time};
use crate::child::{Child, Parent};
use crate::harness::{Context, Variant, interleave};
use crate::interrupt;
use crate::report::{Unit, Work};
use crate::scratch::{Directory, Name};
use crate::statistics::Limit;

const PROCESSES: usize = 300;
const SEGMENTS: usize = 100_000;

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
    let listed = command(&["ls", "--json"])?.output().context("running commons ls")?;
    let text = String::from_utf8_lossy(&listed.stdout);
    for kind in ["posix", "memfd", "sysv", "deleted"] {
        ensure!(text.contains(&format!("\"kind\": \"{kind}\"")), "no {kind} among what was listed");
    }
    let mut variants = [Variant::new("commons ls", || Ok([time(command(&["ls"])?)?]))];
    let series = interleave(context.rounds(30, 10), &mut variants)?;
    let busy = Work::new("list a machine with 300 processes that share memory of all kinds")
        .row("commons ls", Unit::Seconds, &series[0][0])
        .bound(Limit::AtMost(0.3));
    for child in children {
        child.kill()?;
    }
    // Those that were killed have left orphans.
    commons::Namespace::posix()?.sweep()?;
    Ok(vec![busy, many(context)?])
}

fn many(context: &Context) -> Result<Work> {
    let directory = Directory::new("many")?;
    let namespace = directory.namespace()?;
    let options = SegmentOptions::new().size(4096).lifetime(Lifetime::UntilDeleted).namespace(&namespace);
    for number in 0..SEGMENTS {
        if number % 1000 == 0 {
            interrupt::check()?;
        }
        options.create(format!("s{number}"))?;
    }
    let within = super::text(directory.path())?;
    let mut variants = [Variant::new("commons ls", || Ok([time(command(&["ls", "--namespace", within])?)?]))];
    let series = interleave(context.rounds(15, 5), &mut variants)?;
    Ok(Work::new("list 100,000 segments")
        .row("commons ls", Unit::Seconds, &series[0][0])
        .bound(Limit::AtMost(1.0)))
}
