//! Touching a large segment in huge pages, by whichever ways the machine has, against small ones.
//!
//! The filesystems with huge pages are mounted by a child, which has a mount namespace of its own, so that
//! nothing is left of them when it ends.

use std::ffi::CString;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use commons::{AttachOptions, Namespace, SegmentOptions};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::create_and_touch;
use crate::child::{Child, Parent};
use crate::harness::{Context, Variant, interleave, nanoseconds};
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::{Limit, Series};

const SIZE: u64 = 256 << 20;

/// The role of a child that mounts a filesystem and times the work there as often as it is asked.
pub(super) const MOUNT: &str = "mount";

/// Arguments: the filesystem's type, its options, and a directory to mount it on.
pub(super) fn mount(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [kind, data, directory] = arguments else { anyhow::bail!("mount what, how and where?") };
    // SAFETY: only mounts and the working directory are unshared, no memory or descriptors; there is one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.context("a mount namespace of its own")?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let data = CString::new(data.as_str())?;
    rustix::mount::mount(kind.as_str(), directory, kind.as_str(), MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mounting {kind} with {data:?}"))?;
    let namespace = Namespace::at(directory)?;
    let options = options().namespace(&namespace);
    let attach = AttachOptions::new().huge_pages(true);
    parent.serve(|question| match question {
        "run" => {
            let [touch, total] = create_and_touch(|| options.create("large"), &attach)?;
            Ok(format!("{touch} {total}"))
        }
        _ => {
            let segment = options.create("look")?;
            let attachment = segment.attach_with(&attach)?;
            super::touch(&attachment);
            Ok(in_huge_pages()?.to_string())
        }
    })
}

fn options() -> SegmentOptions<'static> {
    SegmentOptions::new().size(SIZE).huge_pages(true)
}

/// Bytes of files that this process has mapped in huge pages.
fn in_huge_pages() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let keys = ["ShmemPmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"];
    let kilobytes = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        keys.contains(&fields.next()?).then(|| fields.next()?.parse::<u64>().ok()).flatten()
    });
    Ok(kilobytes.sum::<u64>() << 10)
}

/// One way to huge pages: a child to ask, or why there is none.
fn mounted(context: &Context, kind: &str, data: &str, directory: &Directory) -> Result<Child> {
    let path = directory.path().to_string_lossy();
    let mut child = Child::start(MOUNT, context.placement.own, &[kind, data, &path])?;
    let answer = child.ask("look").context("mounting needs the rights of root")?;
    ensure!(answer == SIZE.to_string(), "only {answer} of {SIZE} bytes came in huge pages");
    Ok(child)
}

fn answered(child: &mut Child) -> Result<[f64; 2]> {
    let answer = child.ask("run")?;
    let Some((touch, total)) = answer.split_once(' ') else { bail!("a child answered {answer:?}") };
    Ok([touch.parse()?, total.parse()?])
}

/// Which setting is chosen, of those that `/sys` shows in brackets.
fn memfd_setting() -> String {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("missing", |(chosen, _)| chosen).into()
}

/// Whether there are huge pages enough in the pool of hugetlbfs.
fn pool() -> Result<()> {
    let number = |path: &str| -> u64 {
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let free = number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    ensure!(free >= SIZE >> 21, "its pool has {free} free pages of 2 MiB; /proc/sys/vm/nr_hugepages sets it");
    Ok(())
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (small, on_tmpfs, on_hugetlbfs) =
        (Directory::new("small")?, Directory::new("tmpfs")?, Directory::new("hugetlbfs")?);
    let namespace = small.namespace()?;
    let in_small_pages = SegmentOptions::new().size(SIZE).namespace(&namespace);
    let attach = AttachOptions::new();
    let attach_huge = AttachOptions::new().huge_pages(true);

    let mut missing = Vec::new();
    let mut bytes = vec![1_u8; usize::try_from(SIZE)?];
    let mut variants = vec![
        Variant::new("4 KiB pages", || create_and_touch(|| in_small_pages.create("large"), &attach)),
        Variant::new("floor", || {
            let started = Instant::now();
            black_box(&mut bytes).fill(0);
            Ok([nanoseconds(started); 2])
        }),
    ];
    match mounted(context, "tmpfs", "huge=always,size=1g", &on_tmpfs) {
        Ok(mut child) => variants.push(Variant::new(TMPFS, move || answered(&mut child))),
        Err(error) => missing.push((TMPFS, format!("{error:#}"))),
    }
    match memfd_setting().as_str() {
        "always" | "within_size" | "advise" | "force" => variants
            .push(Variant::new(MEMFD, || create_and_touch(|| options().anonymous("large"), &attach_huge))),
        setting => {
            missing.push((MEMFD, format!("the machine does not allow it: shmem_enabled is {setting:?}")))
        }
    }
    match pool().and_then(|()| mounted(context, "hugetlbfs", "pagesize=2M", &on_hugetlbfs)) {
        Ok(mut child) => variants.push(Variant::new(HUGETLBFS, move || answered(&mut child))),
        Err(error) => missing.push((HUGETLBFS, format!("{error:#}"))),
    }
    let ways: Vec<_> = variants.iter().skip(2).map(Variant::subject).collect();
    let series = interleave(context.rounds(30, 7), &mut variants)?;
    let ([[touch, total], [floor, _]], huge) = series.split_first_chunk().context("two variants at least")?;

    let remark = "the floor is to write zeros over as many bytes that are mapped already";
    let mut works = Vec::new();
    for (way, [huge_touch, huge_total]) in ways.iter().zip(huge) {
        let work = |what: &str, commons: &Series, small: &Series| {
            Work::new(format!("{what}: {way}"), Unit::Milliseconds)
                .row(COMMONS, commons)
                .row(FLOOR, floor)
                .row("4 KiB pages", small)
        };
        works.push(
            work("attach and touch 256 MiB in huge pages, created before", huge_touch, touch)
                .bound("4 KiB pages", Limit::AtLeast(4.0)),
        );
        works.push(work("create, attach and touch 256 MiB in huge pages", huge_total, total).note(remark));
    }
    for (way, why) in missing {
        works.push(
            Work::new(
                format!("attach and touch 256 MiB in huge pages, created before: {way}"),
                Unit::Milliseconds,
            )
            .missing(COMMONS, why)
            .row("4 KiB pages", touch)
            .bound("4 KiB pages", Limit::AtLeast(4.0)),
        );
    }
    Ok(works)
}

const TMPFS: &str = "tmpfs huge=always";
const MEMFD: &str = "memfd";
const HUGETLBFS: &str = "hugetlbfs";
