//! `unlock`: frees what a lock's owner left behind.

use commons::shared::{self, Description, LockPlace, Part};
use commons::{Attachment, Namespace, OwnerPolicy, SegmentOptions};

use crate::args::Unlock;
use crate::failure::{self, Failure, Outcome, complain};
use crate::lock::{Lock, State, WHOLE};
use crate::output::Output;

pub(crate) fn unlock(namespace: &Namespace, owner: OwnerPolicy, unlock: &Unlock) -> Outcome<()> {
    let segment = SegmentOptions::new().namespace(namespace).owner(owner).open(&unlock.name)?;
    let attachment = segment.attach()?;
    attachment.guard()?;
    let title = segment.name().map(|name| name.to_string()).unwrap_or_default();
    let lock = failure::one_line(&unlock.lock);
    let fail = |why: &str| {
        let directory = namespace.directory().display();
        Failure::new(format!("cannot unlock \"{lock}\" of \"{title}\" in {directory}: {why}"))
    };
    let place = find(&attachment, &unlock.lock).map_err(|why| fail(&why))?;
    let mut released = shared::release_abandoned(&attachment, &place);
    let in_use = released.as_ref().is_ok_and(|released| {
        released.as_ref().is_some_and(|released| released.after.threads().next().is_some())
    });
    let forced = unlock.force && (in_use || matches!(released, Err(commons::Error::OtherPidNamespace(_))));
    if forced {
        complain(&format!(
            "warning: \"{lock}\" of \"{title}\" is taken from its owner; the data behind it may be half changed"
        ));
        // SAFETY: this process does not touch the data. That the owner does not either is what whoever says --force
        // answers for; where it does all the same, there are two who write.
        released = unsafe { shared::release_by_force(&attachment, &place) };
    }
    let Some(released) = released? else {
        return Err(fail(&format!("this version of Commons knows no locks of the kind {}", place.kind)));
    };
    let before = Lock::new(place.clone(), Some(released.before), false);
    let after = Lock::new(place, Some(released.after), false);
    if let Some(why) = refusal(&before, &after, forced) {
        return Err(fail(&why));
    }
    let mut output = Output::new()?;
    output.line(&format!("{lock}: {}", outcome(&before, &after)))?;
    output.finish()
}

/// Why nothing was freed, if somebody has it.
fn refusal(before: &Lock, after: &Lock, forced: bool) -> Option<String> {
    let owners = match after.describe_living() {
        none if none.is_empty() => "somebody".to_owned(),
        owners => owners,
    };
    let freed = after.owners().count() < before.owners().count();
    match after.state() {
        _ if after.owners().next().is_none() => None,
        _ if after.place.kind == "Semaphore" => {
            let why =
                format!("{owners} has permits of it, which come back as that process drops them, or ends");
            (!freed).then_some(why)
        }
        _ if forced => None,
        State::Joined => Some(format!(
            "{owners} takes part in it; wait, end that process, or break it for all who do with --force"
        )),
        _ => Some(format!("{owners} has it; wait, end that process, or take it away with --force")),
    }
}

/// What was done, in a line.
fn outcome(before: &Lock, after: &Lock) -> String {
    let told = "the next one to lock it is told that its owner died";
    match (before.state(), after.state()) {
        _ if before.place.kind == "Condvar" => {
            "nobody ever has a condition variable; there is nothing to release".to_owned()
        }
        (State::Set | State::NotSet, _) => "nobody ever has an event; there is nothing to release".to_owned(),
        (State::Free | State::Done | State::NotDone, _) => "is free, nothing to do".to_owned(),
        (State::Broken, _) => "is broken already; whoever joins next is told, and has to reset it".to_owned(),
        (State::OwnerDied, _) => format!("is free already; {told}"),
        (_, State::OwnerDied) => format!("freed; {told}"),
        (_, State::Broken) => "broken; all who take part in it, or join it, are told".to_owned(),
        (_, State::NotDone) => "freed; the next one does it".to_owned(),
        _ if before.place.kind == "Semaphore" => {
            let back = before.owners().count().saturating_sub(after.owners().count());
            format!("{back} {} given back", if back == 1 { "permit was" } else { "permits were" })
        }
        (_, State::Free | State::Done) => "freed".to_owned(),
        (_, state) => format!("freed, and {} again by now", state.name()),
    }
}

/// The lock that is meant; why there is none.
fn find(attachment: &Attachment, path: &str) -> Result<LockPlace, String> {
    let nothing = "there is nothing to release:";
    let Some(description) = shared::describe(attachment) else {
        return Err(format!(
            "{nothing} the segment is plain bytes, and does not say of what object, so that no lock in it is known"
        ));
    };
    if !description.is_intact() {
        return Err("somebody wrote over what the segment says about its object".to_owned());
    }
    let wanted = if path == WHOLE { "" } else { path };
    if let Some(found) = description.locks().find(|lock| lock.name == wanted) {
        return Ok(found);
    }
    if wanted.is_empty() {
        let headline = description.headline();
        return Err(format!(
            "{nothing} the object itself is no lock, but \"{headline}\"; see 'commons locks --all'"
        ));
    }
    let has_locks = |part: &Part| {
        let end = part.offset + part.size * part.elements.unwrap_or(1);
        description.locks().any(|lock| (part.offset..end).contains(&lock.offset))
    };
    match part(&description, wanted) {
        Some(part) if !has_locks(part) => Err(format!(
            "{nothing} it is no lock, but plain bytes of type {}; see 'commons locks --all'",
            part.kind
        )),
        _ => Err("there is no such lock; see 'commons locks --all'".to_owned()),
    }
}

/// The part with this path, whichever element of its arrays that means.
fn part<'d>(description: &'d Description, path: &str) -> Option<&'d Part> {
    let mut wanted = String::new();
    for step in path.split('[') {
        wanted.push_str(step.split_once(']').map_or(step, |(_, rest)| rest));
    }
    let mut way: Vec<&str> = Vec::new();
    description.parts().iter().find(|part| {
        way.truncate(part.depth - 1);
        way.push(if part.elements.is_some() { "" } else { &part.name });
        let path: Vec<&str> = way.iter().copied().filter(|name| !name.is_empty()).collect();
        path.join(".") == wanted
    })
}
