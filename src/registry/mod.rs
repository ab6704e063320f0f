//! Who waits, holds and owes: slots that a reader can walk without a lock.
//!
//! # Invariants
//! - **Type-stable.** A slot's memory is never freed and never becomes another type's; a slot that is given back is used again for a new
//!   occupant. So a stale reference reads a stale or another occupant's value, never freed memory.
//! - **Generations.** Where acting on the wrong occupant would matter, the slot's word carries a generation and is changed by
//!   compare-and-swap, so that a stale actor fails.
//! - **No pointers to what can be freed.** Every field that a reader looks at is atomic; texts are inline, or `'static`.

pub(crate) mod arena;
pub(crate) mod domain;
pub(crate) mod flight;
#[cfg(not(unwedge_loom))]
mod free;
#[cfg_attr(unwedge_loom, expect(clippy::disallowed_types, reason = "in a model, whose arenas are its own"))]
pub(crate) mod link;
pub(crate) mod member;
pub(crate) mod order;
pub(crate) mod phase;
pub(crate) mod text;
