//! The state word of a barrier: its bits, as the [barrier's](super) layout says, and the steps that it takes.

/// One that has come.
pub(super) const ONE: u32 = 1;
pub(super) const COME: u32 = 0x1f;
pub(super) const PARTIES: u32 = 0x3f << PARTIES_AT;
pub(super) const PARTIES_AT: u32 = 5;
pub(super) const SLEEPERS: u32 = 1 << 11;
pub(super) const BROKEN: u32 = 1 << 12;
pub(super) const PHASE: u32 = 7 << PHASE_AT;
pub(super) const PHASE_AT: u32 = 13;
pub(super) const EPOCH_AT: u32 = 16;

pub(super) fn come(state: u32) -> u32 {
    state & COME
}

pub(super) fn parties(state: u32) -> u32 {
    (state & PARTIES) >> PARTIES_AT
}

pub(super) fn epoch(state: u32) -> u32 {
    state >> EPOCH_AT
}

/// The state at the beginning of the phase behind this one.
pub(super) fn next_phase(state: u32) -> u32 {
    let phase = state.wrapping_add(1 << PHASE_AT) & PHASE;
    state & !(COME | SLEEPERS | PHASE) | phase
}

/// The state at the beginning of the epoch behind this one.
pub(super) fn next_epoch(state: u32) -> u32 {
    epoch(state).wrapping_add(1) << EPOCH_AT
}

/// What a member that joins in this epoch writes into its place's flags.
pub(in crate::sync) fn flags_of(epoch: u32) -> u32 {
    epoch << 1
}

/// A state, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync) struct Reading {
    pub(in crate::sync) parties: u32,
    pub(in crate::sync) arrived: u32,
    pub(in crate::sync) broken: bool,
    pub(in crate::sync) sleepers: bool,
    pub(in crate::sync) epoch: u32,
}

impl Reading {
    pub(in crate::sync) fn of(state: u32) -> Reading {
        Reading {
            parties: parties(state),
            arrived: come(state),
            broken: state & BROKEN != 0,
            sleepers: state & SLEEPERS != 0,
            epoch: epoch(state),
        }
    }
}
