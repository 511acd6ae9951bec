//! The crate `raw_sync`: its mutex, reader-writer lock and event, in memory that partners share.

use anyhow::{Result, anyhow};
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit, Mutex, RwLock};

use crate::partner::Memory;

/// Room for one of them; forked partners use it at the same address.
type Room = Memory<[u64; 64]>;

fn room() -> Result<Room> {
    // SAFETY: nobody looks at the words as such.
    unsafe { Memory::zeroed() }
}

fn said(error: Box<dyn std::error::Error>) -> anyhow::Error {
    anyhow!("{error}")
}

/// A lock, of either kind.
pub(crate) struct Lock {
    // Before its memory, which it uses when it goes.
    lock: Box<dyn LockImpl>,
    _room: Room,
}

impl Lock {
    pub(crate) fn mutex() -> Result<Lock> {
        let room = room()?;
        let start = std::ptr::from_ref(&*room).cast_mut().cast::<u8>();
        // SAFETY: the room is large enough, zero, and lives as long as the lock; half of it is the data.
        let (lock, _) = unsafe { Mutex::new(start, start.add(256)) }.map_err(said)?;
        Ok(Lock { lock, _room: room })
    }

    pub(crate) fn reader_writer() -> Result<Lock> {
        let room = room()?;
        let start = std::ptr::from_ref(&*room).cast_mut().cast::<u8>();
        // SAFETY: as above.
        let (lock, _) = unsafe { RwLock::new(start, start.add(256)) }.map_err(said)?;
        Ok(Lock { lock, _room: room })
    }

    #[inline]
    pub(crate) fn lock(&self) -> Result<()> {
        self.visit(|| ())
    }

    /// Works while it is had.
    #[inline]
    pub(crate) fn visit(&self, work: impl FnOnce()) -> Result<()> {
        let guard = self.lock.lock().map_err(said)?;
        work();
        drop(guard);
        Ok(())
    }

    #[inline]
    pub(crate) fn read(&self) -> Result<()> {
        drop(self.lock.rlock().map_err(said)?);
        Ok(())
    }
}

/// An event that resets itself.
pub(crate) struct Signal {
    event: Box<dyn EventImpl>,
    _room: Room,
}

impl Signal {
    pub(crate) fn new() -> Result<Signal> {
        let room = room()?;
        let start = std::ptr::from_ref(&*room).cast_mut().cast::<u8>();
        // SAFETY: the room is large enough, zero, and lives as long as the event.
        let (event, _) = unsafe { Event::new(start, true) }.map_err(said)?;
        Ok(Signal { event, _room: room })
    }

    pub(crate) fn set(&self) {
        let _ = self.event.set(EventState::Signaled);
    }

    pub(crate) fn wait(&self) {
        let _ = self.event.wait(Timeout::Infinite);
    }
}
