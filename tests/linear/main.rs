//! Linearizability: what real threads saw of one object can be put in one order that the specification allows.
//!
//! Each round is a small history: a few threads, a few calls each, with the moments of call and return. `checker.rs` looks for an order of their effects, each
//! between its call and its return, that the specification of the object takes (Wing and Gong's search). An order that does not exist is a failure, and the
//! history is printed. The loom models explore every schedule of fewer calls; here the hardware, the kernel and the shipped code have their say.
//!
//! A call that waits has two effects: where it begins (a wait that begins after the request is stopped) and where it ends. A stop has its own: the flag,
//! the end of each wait, and that what the stopped had goes on to others.
//!
//! `UNWEDGE_LINEAR_ROUNDS=100000 cargo test --release --test linear` has more rounds of each.

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod completion;
mod monitor;
mod stop;

/// Rounds of each history.
fn rounds() -> u64 {
    std::env::var("UNWEDGE_LINEAR_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}
