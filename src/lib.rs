//! unwedge.
pub mod error;
pub mod lock;
