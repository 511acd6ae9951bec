//! Waiting until something in a directory changes.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;

/// A watch on a directory; where the system gives none, it merely sleeps.
pub(crate) struct Watch(Option<OwnedFd>);

impl Watch {
    /// Begins to watch for names that appear, and for files whose size or mode changes.
    pub(crate) fn new(directory: &CStr) -> Watch {
        let begin = || -> super::super::Result<OwnedFd> {
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let events = inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::ATTRIB;
            inotify::add_watch(&fd, directory, events)?;
            Ok(fd)
        };
        Watch(begin().ok())
    }

    /// Waits until something has changed since the last call, `longest` at most. May return early.
    pub(crate) fn wait(&self, longest: Duration) {
        let Some(fd) = &self.0 else {
            std::thread::sleep(longest.min(Duration::from_millis(5)));
            return;
        };
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1..)) {
            return;
        }
        // What changed does not matter: forget it all, so that the next wait sees only what is new.
        let mut bytes = [0_u8; 4096];
        while matches!(rustix::io::read(fd, &mut bytes), Ok(1..)) {}
    }
}
