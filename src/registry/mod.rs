//! Who waits, holds and owes: slots that a reader can walk without a lock.
//!
//! # Invariants
//! - **Type-stable.** A slot's memory is never freed and never becomes another type's; a slot that is given back is used again for a new
//!   occupant. So a stale reference reads a stale or another occupant's value, never freed memory.
//! - **Generations.** Where acting on the wrong occupant would matter, the slot's word carries a generation and is changed by
//!   compare-and-swap, so that a stale actor fails.
//! - **No pointers to what can be freed.** Every field that a reader looks at is atomic; texts are inline, or `'static`.

#[expect(
    clippy::disallowed_types,
    reason = "a chunk is made once, by whom does not matter, and a model has arenas of its own"
)]
pub(crate) mod arena;
pub(crate) mod domain;
pub(crate) mod flight;
pub(crate) mod link;
pub(crate) mod member;
pub(crate) mod order;
pub(crate) mod phase;
pub(crate) mod text;
