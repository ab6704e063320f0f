//! The groups: in each of them ours and its peers do the same work.
//!
//! Rules of the game, for every group:
//! - One generic function does the work for all sides; a side differs by a small trait implementation, nothing else.
//! - A peer that lacks a part gets it from the best there is: a primitive without a lock gets a parking_lot mutex and a predicate around
//!   it, for tasks as for threads.
//! - Each peer is used in the fastest form that its documentation gives for that work.
//! - Tasks of all sides run on tokio runtimes of the same kind.
//! - A run counts what it did and panics if that is not what was asked for.

use std::time::Duration;

use crate::measure::Measured;
use crate::verdict::Bar;

mod completion;
mod condvar;
pub mod io;
mod monitor;
mod ping_pong;
mod ping_pong_mixed;
mod ping_pong_tasks;
mod stop;
mod stop_fanout;

/// Why a wait of ours cannot fail here.
const UNSTOPPED: &str = "no stop is requested";
/// Why a lock of std cannot fail here.
const UNPOISONED: &str = "nobody panics";

/// One way to do the work of a group.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Who does it.
    pub name: &'static str,
    /// The work.
    pub work: Work,
}

/// The work of a side, by what bounds it.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// So many operations.
    Ops(fn(u64) -> Measured),
    /// As many operations as competing threads get done in a span of time.
    Span {
        /// The work, untouched by any timing of its parts.
        work: fn(Duration) -> Measured,
        /// The same work with each acquisition timed, in nanoseconds.
        latencies: fn(Duration) -> Vec<u32>,
    },
}

impl Side {
    const fn ops(name: &'static str, work: fn(u64) -> Measured) -> Side {
        Side { name, work: Work::Ops(work) }
    }

    /// Wall time of `n` operations: what criterion asks for.
    #[must_use]
    pub fn time(&self, n: u64) -> Duration {
        match self.work {
            Work::Ops(work) => work(n).wall,
            Work::Span { work, .. } => {
                Duration::from_secs_f64(work(Duration::from_millis(20)).wall_ns() * n as f64 / 1e9)
            }
        }
    }
}

/// Ours against those whom a bar names, under the same conditions.
#[derive(Clone, Debug)]
pub struct Contest {
    /// Ours.
    pub ours: Side,
    /// The peers, each with its bar.
    pub peers: Vec<(Side, Bar)>,
}

impl Contest {
    /// Ours against peers of which it must not be slower than the best.
    fn of_all<const N: usize>(ours: Side, peers: [Side; N]) -> Contest {
        Contest { ours, peers: peers.map(|peer| (peer, Bar::BestPeer(1.0))).into() }
    }
}

/// Some work, and who does it.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The name on the command line and in the table.
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// Who competes; more than one contest where the conditions differ.
    pub contests: fn() -> Vec<Contest>,
    /// Whether it reads the files of [`io::scene`], which have to be made first: such a group runs only when it is named.
    pub files: bool,
}

/// All groups, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Group> {
    PRIMITIVES.iter().chain(&io::GROUPS)
}

/// Runs that are made in a process of their own.
pub(crate) const APART: [crate::apart::Run; 2] = stop_fanout::APART;

/// Groups without files.
const PRIMITIVES: [Group; 12] = [
    Group {
        name: "monitor_uncontended",
        operation: "lock, change a number, unlock; one thread",
        contests: monitor::uncontended,
        files: false,
    },
    Group {
        name: "monitor_contended",
        operation: "the same by two threads at once, 20 spin hints inside and 20 outside the section",
        contests: monitor::contended,
        files: false,
    },
    Group {
        name: "condvar_notify_idle",
        operation: "notify_one while nobody waits",
        contests: condvar::notify_idle,
        files: false,
    },
    Group {
        name: "condvar_ping_pong_threads",
        operation: "one thread hands the turn to another and waits",
        contests: ping_pong::contests,
        files: false,
    },
    Group {
        name: "condvar_ping_pong_tasks",
        operation: "one task hands the turn to another and waits",
        contests: ping_pong_tasks::contests,
        files: false,
    },
    Group {
        name: "condvar_ping_pong_mixed",
        operation: "the turn goes between a thread and a task",
        contests: ping_pong_mixed::contests,
        files: false,
    },
    Group {
        name: "condvar_notify_all_64",
        operation: "64 threads are woken, and all have held the lock and wait again",
        contests: condvar::notify_all,
        files: false,
    },
    Group {
        name: "completion_ready",
        operation: "make a pair, complete it, take the result; one thread",
        contests: completion::ready,
        files: false,
    },
    Group {
        name: "completion_task",
        operation: "make a pair, a task waits for it, another task completes it",
        contests: completion::tasks,
        files: false,
    },
    Group {
        name: "completion_thread",
        operation: "make a pair, a thread waits for it, another thread completes it",
        contests: completion::threads,
        files: false,
    },
    Group {
        name: "stop_is_requested",
        operation: "ask whether to stop, while nobody asked for it",
        contests: stop::contests,
        files: false,
    },
    Group {
        name: "stop_fanout",
        operation: "64 threads and 10,000 tasks wait; from the request of the stop until all have ended; each in a process of its own",
        contests: stop_fanout::contests,
        files: false,
    },
];
