//! The stop domain: reasons, children, hooks, members, the plan and its phases, shutdowns at the same time, tokens, and the threads' names and
//! signals.
//!
//! The time limits here are those of plans under test; nothing is asserted about how fast anything is.

#[path = "../common/again.rs"]
mod again;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/seen.rs"]
mod seen;
#[path = "../common/signals.rs"]
mod signals;

mod drops;
mod hurry;
mod joins;
mod members;
mod nested;
mod phases;
mod plans;
mod ranks;
mod threads;
mod together;
#[cfg(feature = "tokio")]
mod tokens;
