//! The decoders of the example, compiled from its own files, and a fuzz target for each.

#![allow(dead_code, unused_imports, reason = "the example uses more of these files")]

#[path = "../../examples/mds/decode/mod.rs"]
mod decode;
#[path = "../../rados/src/encode.rs"]
mod encode;
#[path = "../../examples/mds/fixture.rs"]
mod fixture;
#[path = "../../examples/mds/namespace.rs"]
mod namespace;
#[path = "../../examples/mds/omap.rs"]
mod omap;
#[path = "../../rados/examples/mds-rados/packed.rs"]
mod packed;
#[path = "../../examples/mds/pool.rs"]
mod pool;
#[path = "../../examples/mds/protocol.rs"]
mod protocol;
#[path = "../../examples/mds/rank.rs"]
mod rank;
#[path = "../../examples/mds/state.rs"]
mod state;
pub mod targets;
#[path = "../../examples/mds/world.rs"]
mod world;

/// The part of `unwedge_rados`'s errors that its decoder knows.
mod error {
    /// Why there is no answer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Cause {
        /// It cannot be decoded.
        Garbled,
    }
}
