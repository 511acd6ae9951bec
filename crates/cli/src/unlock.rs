//! `unlock`: frees what a lock's owner left behind.

use commons::shared::{self, LockPlace};
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
    if !forced && after.threads().next().is_some() {
        let why = format!(
            "{} has it; wait, end that process, or take it away with --force",
            if after.owners().is_empty() { "somebody".to_owned() } else { after.owners() }
        );
        return Err(fail(&why));
    }
    let told = "the next one to lock it is told that its owner died";
    let line = match (before.state(), after.state()) {
        (State::Free, _) => format!("{lock}: is free, nothing to do"),
        (State::OwnerDied, _) => format!("{lock}: is free already; {told}"),
        (_, State::Free) => format!("{lock}: freed"),
        (_, State::OwnerDied) => format!("{lock}: freed; {told}"),
        (_, state) => format!("{lock}: freed, and {} again by now", state.name()),
    };
    let mut output = Output::new()?;
    output.line(&line)?;
    output.finish()
}

/// The lock that is meant; why there is none.
fn find(attachment: &Attachment, path: &str) -> Result<LockPlace, String> {
    let Some(description) = shared::describe(attachment) else {
        return Err("the segment does not say what object it holds".to_owned());
    };
    if !description.is_intact() {
        return Err("somebody wrote over what the segment says about its object".to_owned());
    }
    let wanted = if path == WHOLE { "" } else { path };
    let found = description.locks().find(|lock| lock.name == wanted);
    found.ok_or_else(|| "there is no such lock; see 'commons locks --all'".to_owned())
}
