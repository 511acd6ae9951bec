//! A sparse segment of 10 GiB with 10 MiB in scattered pages.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use commons::SegmentOptions;

use super::{by_command, command, fill, text, time};
use crate::contest::Contest;
use crate::harness::{Context, nanoseconds};
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Directory;
use crate::statistics::Limit;

const SIZE: u64 = 10 << 30;
const PAGES: u64 = 2560;

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let directory = Directory::new("sparse")?;
    let namespace = directory.namespace()?;
    let _segment = SegmentOptions::new().size(SIZE).sparse(true).namespace(&namespace).create("sparse")?;
    let file = File::options().write(true).open(directory.path().join("sparse"))?;
    for at in pages() {
        fill(&file, at, 4096)?;
    }
    let target = directory.path().join("target");
    let (to, within) = (text(&target)?, text(directory.path())?);
    let save = |options: &[&str]| -> Result<f64> {
        let took =
            time(command(&[&["save", "sparse", to, "--no-sync", "--namespace", within], options].concat())?)?;
        fs::remove_file(&target)?;
        Ok(took)
    };
    let from = directory.path().join("sparse");
    let results = Contest::new()
        .peer("commons, save", by_command(|| save(&[])))
        .peer("commons, raw", by_command(|| save(&["--raw"])))
        .add(FLOOR, || {
            let started = Instant::now();
            copy_pages(&from, &target)?;
            let took = nanoseconds(started);
            fs::remove_file(&target)?;
            Ok(took)
        })
        .peer(
            "cp --sparse=always",
            Ok(Box::new(|| {
                let mut cp = Command::new("cp");
                cp.arg("--sparse=always").args([&from, &target]).stdin(Stdio::null());
                let took = time(cp)?;
                fs::remove_file(&target)?;
                Ok(took)
            })),
        )
        .run(context.rounds(20, 3))?;
    let limit = Limit::AtMost(0.1);
    let work = |name: &str, how: &str| -> Result<Work> {
        let name = format!("save a sparse 10 GiB segment with 10 MiB in scattered pages{name}");
        Ok(results.work(name, Unit::Seconds, how)?.bound(COMMONS, limit))
    };
    Ok(vec![
        work("", "commons, save")?.note("the floor is to read and write the pages, told where they are"),
        work(", raw bytes", "commons, raw")?,
    ])
}

/// Where the pages with something in them are.
fn pages() -> impl Iterator<Item = u64> {
    (0..PAGES).map(|page| page * (SIZE / PAGES) / 4096 * 4096)
}

fn copy_pages(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    to.set_len(SIZE)?;
    let mut page = [0; 4096];
    for at in pages() {
        from.read_exact_at(&mut page, at)?;
        to.write_all_at(&page, at)?;
    }
    Ok(())
}
