//! From nothing to a first message received, both ends in one process: what a program waits for at its start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Result, ensure};
use commons::sync::AutoEvent;
use commons::{Shareable, Shared};

use crate::contest::{Contest, batch};
use crate::harness::Context;
use crate::peers;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::Name;

const BATCH: u32 = 20;

#[repr(C)]
#[derive(Shareable)]
struct Mailbox {
    full: AutoEvent,
    message: AtomicU64,
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (name, plain) = (Name::new("mailbox"), Name::new("mailbox-raw"));
    let posix = plain.posix()?;
    let messenger = peers::iceoryx2::Messenger::new("first");
    let results = Contest::new()
        .add(
            COMMONS,
            batch(BATCH, || {
                let receiver = Shared::<Mailbox>::create(name.as_str())?;
                let sender = Shared::<Mailbox>::open(name.as_str())?;
                sender.message.store(42, Relaxed);
                sender.full.set();
                receiver.full.wait();
                ensure!(receiver.message.load(Relaxed) == 42, "another message came");
                Ok(())
            }),
        )
        .add(
            FLOOR,
            batch(BATCH, || {
                raw::create(&posix, 4096)?;
                raw::open_attach_detach(&posix)?;
                raw::open_attach_detach(&posix)?;
                std::fs::remove_file(std::path::Path::new("/dev/shm").join(plain.as_str()))?;
                Ok(())
            }),
        )
        .peer("iceoryx2", messenger.map(|messenger| batch(2, move || messenger.first_message())))
        .run(context.rounds(100, 15))?;
    Ok(vec![
        results
            .work("from nothing to a first message received", Unit::Microseconds, COMMONS)?
            .note("the floor is a file created, mapped twice and unlinked by raw calls"),
    ])
}
