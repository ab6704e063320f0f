//! Two tasks that hand a turn to and fro: on a runtime with one thread, where nothing but the primitive and the scheduler counts, and on
//! one with two workers, where a task may also be woken on the other core.

use std::sync::Arc;

use event_listener::{Event, listener};
use parking_lot as pl;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::ping_pong::{Ours, WARM_UP};
use super::{Contest, Side, UNSTOPPED};
use crate::measure::{Measured, Stopwatch};
use crate::verdict::Bar;

/// As [`Turns`](super::ping_pong::Turns), for a task.
pub(super) trait TaskTurns: Send + Sync + 'static {
    fn new() -> Self;
    /// Takes `n` turns as `me`, 0 or 1, and hands each on to the other; on return the last one is handed over.
    fn take_async(&self, me: usize, n: u64) -> impl Future<Output = ()> + Send;
}

impl TaskTurns for Ours {
    fn new() -> Self {
        super::ping_pong::Turns::new()
    }

    async fn take_async(&self, me: usize, n: u64) {
        // The lock is held from one wait to the next, as by a thread: what lives across an await is the future, and never the guard.
        let not_mine = |turn: &mut usize| *turn != me;
        let mut waiting = self.turn.lock_async().await.expect(UNSTOPPED).wait_while_async(&self.mine[me], not_mine);
        for _ in 0..n {
            let mut turn = waiting.await.expect(UNSTOPPED);
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
            waiting = turn.wait_while_async(&self.mine[me], not_mine);
        }
    }
}

/// A turn behind a parking_lot mutex, for the peers that have no lock of their own.
pub(super) struct Turn(pl::Mutex<usize>);

impl Turn {
    /// The turn is 0's.
    pub(super) fn first() -> Turn {
        Turn(pl::Mutex::new(0))
    }

    /// Hands the turn on if it is `me`'s.
    pub(super) fn pass(&self, me: usize) -> bool {
        let mut turn = self.0.lock();
        let is_mine = *turn == me;
        if is_mine {
            *turn = 1 - me;
        }
        is_mine
    }
}

struct TokioNotify {
    turn: Turn,
    mine: [Notify; 2],
}

impl TaskTurns for TokioNotify {
    fn new() -> Self {
        TokioNotify { turn: Turn::first(), mine: [Notify::new(), Notify::new()] }
    }

    async fn take_async(&self, me: usize, n: u64) {
        for _ in 0..n {
            // A notification to nobody is kept as a permit: no need to register before the turn is looked at.
            while !self.turn.pass(me) {
                self.mine[me].notified().await;
            }
            self.mine[1 - me].notify_one();
        }
    }
}

/// event-listener, for the groups with tasks: its events are for threads and tasks alike.
pub(super) struct EventListener {
    pub(super) turn: Turn,
    pub(super) mine: [Event; 2],
}

impl TaskTurns for EventListener {
    fn new() -> Self {
        EventListener { turn: Turn::first(), mine: [Event::new(), Event::new()] }
    }

    async fn take_async(&self, me: usize, n: u64) {
        for _ in 0..n {
            while !self.turn.pass(me) {
                listener!(self.mine[me] => notified);
                // The turn may have come between the look and the registration.
                if self.turn.pass(me) {
                    break;
                }
                notified.await;
            }
            self.mine[1 - me].notify(1);
        }
    }
}

struct Mea {
    turn: mea::mutex::Mutex<usize>,
    mine: [mea::condvar::Condvar; 2],
}

impl TaskTurns for Mea {
    fn new() -> Self {
        Mea { turn: mea::mutex::Mutex::new(0), mine: [mea::condvar::Condvar::new(), mea::condvar::Condvar::new()] }
    }

    async fn take_async(&self, me: usize, n: u64) {
        for _ in 0..n {
            let turn = self.turn.lock().await;
            let mut turn = self.mine[me].wait_while(turn, |turn| *turn != me).await;
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }
}

/// One operation is one turn; a lost one would be a hang.
fn tasks<T: TaskTurns>(runtime: &Runtime, n: u64) -> Measured {
    let each = n.div_ceil(2);
    runtime.block_on(async {
        let turns = Arc::new(T::new());
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take_async(1, WARM_UP + each).await }
        });
        let this = tokio::spawn(async move {
            turns.take_async(0, WARM_UP).await;
            let watch = Stopwatch::start();
            turns.take_async(0, each).await;
            other.await.expect("the other task panicked");
            watch.stop(2 * each)
        });
        this.await.expect("a task panicked")
    })
}

/// The runtime with one thread.
pub(super) fn one_thread() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without I/O needs nothing")
}

fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().expect("a thread can be started")
}

fn contest(names: [&'static str; 4], runs: [fn(u64) -> Measured; 4]) -> Contest {
    let side = |i: usize| Side::ops(names[i], runs[i]);
    Contest { ours: side(0), peers: [1, 2, 3].map(|i| (side(i), Bar::BestPeer(1.0))).into() }
}

pub(super) fn contests() -> Vec<Contest> {
    vec![
        contest(
            ["unwedge Condvar", "tokio Notify", "event-listener", "mea Condvar"],
            [
                |n| tasks::<Ours>(&one_thread(), n),
                |n| tasks::<TokioNotify>(&one_thread(), n),
                |n| tasks::<EventListener>(&one_thread(), n),
                |n| tasks::<Mea>(&one_thread(), n),
            ],
        ),
        contest(
            [
                "unwedge Condvar, 2 workers",
                "tokio Notify, 2 workers",
                "event-listener, 2 workers",
                "mea Condvar, 2 workers",
            ],
            [
                |n| tasks::<Ours>(&two_workers(), n),
                |n| tasks::<TokioNotify>(&two_workers(), n),
                |n| tasks::<EventListener>(&two_workers(), n),
                |n| tasks::<Mea>(&two_workers(), n),
            ],
        ),
    ]
}
