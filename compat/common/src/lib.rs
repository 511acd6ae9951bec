//! What the drop-ins for older systems have in common: where each keeps its segments, and how errors become codes.
//!
//! ```
//! use commons_compat::place::System;
//!
//! assert_eq!(System::SystemV.variable(), "COMMONS_SYSV_NAMESPACE");
//! ```

pub mod code;
pub mod gpl;
pub mod nspr;
pub mod place;
pub mod sysv;
