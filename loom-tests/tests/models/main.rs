//! The models: `README.md` has the table.
#![expect(clippy::unwrap_used, reason = "in a model a failure is a panic")]

extern crate unwedge_loom as unwedge;

mod common;
mod law1;
mod mds;
mod world;
