//! Every lock that ships with an adapter, and locks of a user's own, against what the traits in `unwedge::lock` ask for.
//!
//! Nothing here waits for time to pass but where a timeout itself is tested; `GUARD` only turns a hang into a failure.

mod adapters;
mod fairness;
mod kinds;
mod relock;

use std::time::Duration;

/// Long enough that only a hang comes to it.
pub const GUARD: Duration = Duration::from_secs(30);
