//! The namespace that NSPR's segments live in, remembered by each process.
//!
//! Where it is depends on the effective user, unless the environment says it, so the answer is kept with that. It is found without a lock, because a
//! child that is forked at the wrong moment would wait for it for ever: two threads that look at once both look,
//! and one answer stays.

use std::ptr;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire},
};

use commons::Namespace;
use commons_compat::code;
use commons_compat::place::System;

use crate::failure::Result;

struct Known {
    /// For whom it is; `None` for everybody.
    user: Option<u32>,
    namespace: Namespace,
}

static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());

fn user() -> u32 {
    // SAFETY: has no preconditions.
    unsafe { libc::geteuid() }
}

fn known() -> Option<Namespace> {
    // SAFETY: what it points to, once it does, was leaked by `remember`.
    let known = unsafe { KNOWN.load(Acquire).as_ref() }?;
    known.user.is_none_or(|known| known == user()).then(|| known.namespace.clone())
}

/// What was known before stays in memory: another thread may just be reading it, and a process changes its user
/// rarely.
fn remember(namespace: &Namespace) {
    let user = (!System::Nspr.is_named()).then(user);
    let known = Box::new(Known { user, namespace: namespace.clone() });
    KNOWN.swap(Box::into_raw(known), AcqRel);
}

/// Where segments are looked for; `None` if nobody has made one yet.
pub(crate) fn existing() -> Result<Option<Namespace>> {
    if let Some(namespace) = known() {
        return Ok(Some(namespace));
    }
    let directory = System::Nspr.directory();
    match Namespace::at(&directory) {
        Ok(namespace) => {
            remember(&namespace);
            Ok(Some(namespace))
        }
        Err(error) if code::errno(&error) == libc::ENOENT => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where segments are made. The directory is made if it was not there, or has been removed.
pub(crate) fn prepared() -> Result<Namespace> {
    let directory = System::Nspr.prepare()?;
    let namespace = Namespace::at(directory)?;
    remember(&namespace);
    Ok(namespace)
}
