//! What must be true after any crash, written once for each floor.

pub(crate) mod locks;
pub(crate) mod names;
