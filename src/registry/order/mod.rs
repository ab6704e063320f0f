//! Lock order: in which order locks are taken and waits begin, and where two orders contradict each other.
//!
//! In debug builds and with the feature `lockdep` each monitor, and each completion, has a *class*: its name and where it was made. While something is held and
//! something else is wanted, the order of the two classes is an edge of a graph. An edge that closes a cycle is an inversion: it is told even if nobody has come to
//! harm this time. Owing a result counts as holding it, and waiting for it as wanting it: so "waits with A held for what is owed by one who needs A" is a
//! cycle too; and a thread or task owes its end for as long as it runs.
//!
//! | file | what it is |
//! |---|---|
//! | `watched` | the hooks, where the order is watched |
//! | `graph` | the graph and what it finds |
//! | `unwatched` | the same hooks where it is not: nothing, of no size |
//!
//! What is tried without waiting (`try_lock`) wants nothing, and is held afterwards like any other.

use std::fmt;
use std::panic::Location;

#[cfg(all(any(debug_assertions, feature = "lockdep"), not(unwedge_loom)))]
mod graph;
#[cfg(all(any(debug_assertions, feature = "lockdep"), not(unwedge_loom)))]
mod watched;
#[cfg(all(any(debug_assertions, feature = "lockdep"), not(unwedge_loom)))]
pub(crate) use watched::{
    Class, Debt, Held, HeldList, Place, WATCHED, found, latest, owe, owe_end, paid, place, set_hook, wait_for, want,
};

#[cfg(not(all(any(debug_assertions, feature = "lockdep"), not(unwedge_loom))))]
mod unwatched;
#[cfg(not(all(any(debug_assertions, feature = "lockdep"), not(unwedge_loom))))]
pub(crate) use unwatched::{
    Class, Debt, Held, HeldList, Place, WATCHED, found, latest, owe, owe_end, paid, place, set_hook, wait_for, want,
};

/// Something held, and something wanted meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// What was held, or owed.
    pub held: String,
    /// Where it was taken, or where it was said who owes it.
    pub held_at: &'static Location<'static>,
    /// What was wanted then.
    pub wanted: String,
    /// Where.
    pub wanted_at: &'static Location<'static>,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}), then {} ({})", self.held, self.held_at, self.wanted, self.wanted_at)
    }
}

/// Two orders that contradict each other: a deadlock that has not happened yet, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inversion {
    /// The order that was seen last.
    pub now: Order,
    /// What had been seen before, and leads from what was wanted now back to what was held: one order, or several in a row.
    pub before: Vec<Order>,
}

impl fmt::Display for Inversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock order inversion: {}", self.now)?;
        for (at, order) in self.before.iter().enumerate() {
            write!(f, "; {}{order}", if at == 0 { "but before: " } else { "and " })?;
        }
        Ok(())
    }
}
