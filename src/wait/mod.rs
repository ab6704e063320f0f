//! Waiting: one waiter and its state word, the FIFO lists, the condition variable, the monitor.
//!
//! | file | what it is |
//! |---|---|
//! | `waiter` | a slot for one wait; its state word; how a stop reaches it |
//! | `ticket` | the owner's side of a wait |
//! | `spare` | the slots that a thread keeps |
//! | `look` | a wait as a report sees it |
//! | `debtor` | who owes what is waited for |
//! | `trace` | the waits and held locks of a model (in what ships nothing: `untraced`) |
//! | `waker` | where a task's waker lies |
//! | `list` | the FIFO list of slots |
//! | `condition` | the waiters of one condition; notification and wait morphing |
//! | `line` | the waiters for a monitor's lock; who is woken at an unlock |
//! | `pending` | one acquisition of a monitor's lock, for threads and tasks |
//! | `monitor`, `guard`, `future` | what users see of a monitor |
//! | `condvar` | what users see of a condition variable; a thread's waits over a lock that unwedge does not own |
//! | `foreign` | a task's |

pub(crate) mod condition;
pub(crate) mod condvar;
pub(crate) mod debtor;
mod foreign;
pub(crate) mod future;
pub(crate) mod guard;
pub(crate) mod line;
mod list;
pub(crate) mod look;
pub(crate) mod monitor;
mod pending;
mod spare;
pub(crate) mod ticket;
#[cfg(unwedge_loom)]
pub(crate) mod trace;
#[cfg(not(unwedge_loom))]
#[path = "untraced.rs"]
mod trace;
pub(crate) mod waiter;
mod waker;

use condition::Condition;
use line::MonitorCell;
use waiter::Wake;

/// A wait was ended that had already consumed something: hands it to the next in line (L3). Whom the caller is to wake.
fn pass_on(
    passing: Option<&'static Condition>,
    monitor: Option<&'static MonitorCell>,
    had_turn: bool,
) -> impl Iterator<Item = Wake> {
    let notified = passing.and_then(Condition::notify_next);
    let next = monitor.filter(|_| had_turn).map(MonitorCell::next_turn);
    notified.into_iter().chain(next).flatten().flatten()
}
