//! Models with more threads than loom has. Their bodies are the loom models' own (`loom-tests/tests/models/many.rs`), with more of everything; and the
//! example's whole life, with its models and their twins; and the operations on RADOS.
#![expect(clippy::unwrap_used, reason = "in a model a failure is a panic")]

extern crate unwedge_shuttle as unwedge;

mod common;
mod life;
#[path = "../../../loom-tests/tests/models/many.rs"]
mod many;
#[path = "../../../loom-tests/tests/models/mds.rs"]
mod mds;
#[path = "../../../loom-tests/tests/models/mds_admin.rs"]
mod mds_admin;
#[path = "../../../loom-tests/tests/models/rados.rs"]
mod rados;
mod twins;
#[path = "../../../loom-tests/tests/models/world.rs"]
mod world;

/// How many threads of each kind a body of `many` has here.
const MANY: usize = 8;

/// The example's life is whole here: its broken lines are loom's to find.
mod mutants {
    pub fn is(_number: u32) -> bool {
        false
    }
}
