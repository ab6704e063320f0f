//! Waiting: one waiter and its state word, the FIFO lists, the condition variable, the monitor.
//!
//! | file | what it is |
//! |---|---|
//! | `waiter` | a slot for one wait; its state word; how a stop reaches it |
//! | `waker` | where a task's waker lies |
//! | `list` | the FIFO list of slots |
//! | `condition` | the waiters of one condition; notification and wait morphing |
//! | `line` | the waiters for a monitor's lock; who is woken at an unlock |
//! | `pending` | one acquisition of a monitor's lock, for threads and tasks |
//! | `monitor`, `guard`, `future` | what users see of a monitor |
//! | `condvar` | what users see of a condition variable; a thread's waits over a lock that unwedge does not own |
//! | `foreign` | a task's |

mod condition;
pub(crate) mod condvar;
mod foreign;
pub(crate) mod future;
pub(crate) mod guard;
mod line;
mod list;
pub(crate) mod monitor;
mod pending;
pub(crate) mod waiter;
mod waker;

/// A stop ended a wait that had already consumed something: hands it to the next in line (L3).
fn pass_on(passing: u32, monitor: u32, had_turn: bool) {
    if passing != 0 {
        condition::conditions().get(passing).notify_one();
    }
    if had_turn && monitor != 0 {
        line::monitors().get(monitor).wake_next();
    }
}

/// Name of a monitor and who holds it now (a member's index, 0 for nobody), read without a lock.
pub(crate) fn look_monitor(index: u32) -> (String, u32) {
    let cell = line::monitors().get(index);
    (cell.name.get(), cell.holder())
}

/// Name of a condition variable, read without a lock.
pub(crate) fn look_condition(index: u32) -> String {
    condition::conditions().get(index).name.get()
}
