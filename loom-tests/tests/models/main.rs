//! The models: `README.md` has the table.
#![expect(clippy::unwrap_used, reason = "in a model a failure is a panic")]

extern crate unwedge_loom as unwedge;

mod checker;
mod common;
mod coordinator;
mod domains;
mod foreign;
mod free_set;
mod law1;
mod law2;
mod law3;
mod law4;
mod law5;
mod law6;
mod law7;
mod law8;
mod law8_registry;
mod light_mutex;
mod many;
mod mds;
mod mds_admin;
mod mutants;
mod order;
mod passing;
mod rados;
mod records;
mod ring;
mod ring_twins;
mod wakers;
mod world;

/// How many threads of each kind a body of `many` has here.
const MANY: usize = 2;
