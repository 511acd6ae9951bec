//! `demo`: four processes count the words of a text in one segment, and two of them are killed meanwhile.
//!
//! The text is loaded into a segment that appears whole. Worker processes, which are this command again,
//! take its chunks one after the other from the [board] at the segment's beginning, and add what they have
//! counted to the [totals], which a lock protects. Two of them stop, one in the middle of a chunk, one with
//! the lock and its addition half made, and are killed with `kill -9`. What they had taken is free again once
//! the kernel says that they have ended, and the others count it anew; the next one to lock the totals is told
//! that their owner died, and makes them good. The totals have to be what a single thread counts, and what `wc`
//! counts; and at the end nothing may be left. Anything else is a failure.

mod board;
mod count;
mod input;
mod team;
mod totals;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::Instant;

use commons::{Error, Namespace, Segment, SegmentOptions};

use crate::args::Stop;
use crate::failure::{Failure, Outcome};
use crate::output::{self, ALARM, GOOD, HEADING, Output};
use board::{Board, Plan};
use count::Counts;
use input::Input;
use team::Team;
use totals::Totals;

pub(crate) fn demo(namespace: &Namespace, files: &[PathBuf]) -> Outcome<()> {
    let started = Instant::now();
    let inputs = input::load(files)?;
    let mut story = Story { output: Output::new()?, steps: 0 };
    let used = used(namespace);
    let name = format!("commons-demo-{}", std::process::id());
    let counted = {
        let segment = share(namespace, &name, &inputs, &mut story)?;
        let attachment = segment.attach()?;
        let totals = Totals::create(namespace, &name)?;
        story.tell(&format!(
            "the totals are in another, \"{}\", behind a lock: 'commons locks' shows who has it",
            Totals::name(&name)
        ))?;
        let counted = work_together(namespace, &name, &Board::new(&attachment)?, &totals, &mut story)?;
        add_up(&inputs, counted, &mut story)?;
        counted
    };
    leave(namespace, &name, used, &mut story)?;
    let end = format!(
        "{} words, four processes, two of them killed, nothing wrong and nothing left: {} ms",
        counted.words,
        started.elapsed().as_millis()
    );
    let end = story.output.styled(GOOD, end);
    story.output.line(&end)?;
    story.output.finish()
}

/// What the demo tells, step by step, as it goes.
struct Story {
    output: Output,
    steps: u32,
}

impl Story {
    fn step(&mut self, title: &str) -> Outcome<()> {
        self.steps += 1;
        let title = self.output.styled(HEADING, format!("{}. {title}", self.steps));
        self.output.line(&title)?;
        self.output.flush()
    }

    fn tell(&mut self, text: &str) -> Outcome<()> {
        self.output.line(&format!("   {text}"))?;
        self.output.flush()
    }
}

/// Puts the inputs into a segment that nobody sees before it is complete.
fn share(namespace: &Namespace, name: &str, inputs: &[Input], story: &mut Story) -> Outcome<Segment> {
    story.step("Load")?;
    for input in inputs {
        story.tell(&format!("{}, {}", input.label, output::size(input.bytes.len() as u64)))?;
    }
    let plan = Plan::new(inputs);
    let segment = SegmentOptions::new()
        .namespace(namespace)
        .size(plan.size())
        .initialize(|bytes| {
            plan.fill(inputs, bytes);
            Ok(())
        })
        .create(name)?;
    story.tell(&format!(
        "now in one segment, \"{name}\" in {}, which got its name when it was complete",
        namespace.directory().display()
    ))?;
    Ok(segment)
}

/// Four workers count, two are killed, the others take over.
fn work_together(
    namespace: &Namespace,
    name: &str,
    board: &Board<'_>,
    totals: &Totals,
    story: &mut Story,
) -> Outcome<Counts> {
    story.step("Count")?;
    let mut team = Team::start(namespace, name, board)?;
    story.tell(&format!("worker processes {} attach it", team.pids().join(", ")))?;
    story.tell(&format!(
        "and take {} chunks, one after the other, by an atomic cursor",
        board.chunks().len()
    ))?;
    story.step("Kill two of them: one in the middle of a chunk, one while it has the lock")?;
    for (number, stop) in team::VICTIMS {
        let killed = team.kill(number)?;
        let command = story.output.styled(ALARM, format!("kill -9 {}", killed.pid));
        let (chunk, counted, bytes) = (killed.chunk + 1, killed.counted, killed.bytes);
        story.tell(&match stop {
            Stop::InChunk => format!(
                "{command}: it was in chunk {chunk} and had counted {counted} of {bytes} bytes; the chunk is free again"
            ),
            Stop::WithLock => format!(
                "{command}: it had locked the totals and added the lines of chunk {chunk}, not its words; the chunk is free again"
            ),
        })?;
    }
    team.wait()?;
    let (counted, mender, excess) = totals.result(board)?;
    if mender == 0 {
        return Err(Failure::new("the demo does not add up: nobody was told that the lock's owner had died"));
    }
    story.tell(&format!(
        "{} got the lock with the news that its owner had died, and mended the totals: {excess} lines too many",
        team.pid(mender)
    ))?;
    for (number, _) in team::VICTIMS {
        let chunk = team.chunk_of(number);
        let by = board.chunks().nth(chunk).map_or(0, |chunk| team.pid(chunk.worker()));
        story.tell(&format!("chunk {} was counted anew, by {by}", chunk + 1))?;
    }
    Ok(counted)
}

/// Compares with a count by a single thread, and by `wc`.
fn add_up(inputs: &[Input], counted: Counts, story: &mut Story) -> Outcome<()> {
    story.step("Add up")?;
    let line = |counts: &Counts| {
        format!("{:>12} lines {:>12} words {:>12} bytes", counts.lines, counts.words, counts.bytes)
    };
    story.tell(&format!("the survivors   {}", line(&counted)))?;
    let alone: Counts = inputs.iter().map(|input| count::simply(&input.bytes)).sum();
    story.tell(&format!("a single thread {}", line(&alone)))?;
    if counted != alone {
        return Err(Failure::new(
            "the demo does not add up: the workers and a single thread count differently",
        ));
    }
    let Some(wc) = count::by_wc(inputs)? else {
        return story.tell("wc is not on this machine, so that it cannot be asked");
    };
    story.tell(&format!("wc              {}", line(&wc)))?;
    let all_agree_on_words = inputs.iter().all(|input| count::has_plain_words(&input.bytes));
    if (wc.lines, wc.bytes) != (counted.lines, counted.bytes)
        || (all_agree_on_words && wc.words != counted.words)
    {
        return Err(Failure::new("the demo does not add up: the workers and wc count differently"));
    }
    if wc.words != counted.words {
        story.tell(
            "(words differ: not all here is ASCII text, and versions of wc differ on what else is a word)",
        )?;
    }
    Ok(())
}

/// Makes sure that nothing is left.
fn leave(namespace: &Namespace, name: &str, before: Option<u64>, story: &mut Story) -> Outcome<()> {
    story.step("Leave")?;
    for name in [name, &Totals::name(name)] {
        if namespace.exists(name)? {
            return Err(Failure::new(format!(
                "the demo does not add up: all have left, and \"{name}\" is still there; see 'commons info {name}'"
            )));
        }
    }
    story.tell("everybody has left, and the names went with the last one")?;
    // Only looks: what others left is theirs to sweep.
    let is_orphan = |entry: &commons::Entry| entry.look().is_some_and(|look| look.is_orphan());
    match namespace.list()?.filter_map(Result::ok).filter(is_orphan).count() {
        0 => story.tell("a look for orphans finds none")?,
        orphans => story.tell(&format!(
            "a look for orphans finds none of these, and {orphans} of before: 'commons sweep' deletes them"
        ))?,
    }
    match namespace.entry(name) {
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(Failure::new(format!(
                "the demo does not add up: \"{name}\" outlived its last holder"
            )));
        }
    }
    if let (Some(before), Some(after)) = (before, used(namespace)) {
        let others = if before == after { "" } else { " (others use it too)" };
        story.tell(&format!(
            "in use in {}: {} before, {} after{others}",
            namespace.directory().display(),
            output::size(before),
            output::size(after)
        ))?;
    }
    Ok(())
}

/// Bytes in use on the namespace's filesystem.
fn used(namespace: &Namespace) -> Option<u64> {
    let now = rustix::fs::statvfs(namespace.directory()).ok()?;
    now.f_blocks.checked_sub(now.f_bfree)?.checked_mul(now.f_frsize)
}
