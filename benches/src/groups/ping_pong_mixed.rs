//! A thread and a task that hand a turn to and fro over one object: the thread parks, the task runs on a tokio runtime with one thread.

use std::pin::pin;
use std::thread;

use event_listener::{Listener, listener};
use saa::{Gate, Pager};

use super::ping_pong::{Ours, Turns, WARM_UP};
use super::ping_pong_tasks::{EventListener, TaskTurns, Turn, one_thread};
use super::{Contest, Side};
use crate::machine::Pinned;
use crate::measure::{Measured, Stopwatch};

impl Turns for EventListener {
    fn new() -> Self {
        TaskTurns::new()
    }

    fn take(&self, me: usize, n: u64) {
        for _ in 0..n {
            while !self.turn.pass(me) {
                listener!(self.mine[me] => notified);
                // The turn may have come between the look and the registration.
                if self.turn.pass(me) {
                    break;
                }
                notified.wait();
            }
            self.mine[1 - me].notify(1);
        }
    }
}

/// saa's gate: `permit` lets in those who wait and is not kept for who comes later, so a waiter registers before its second look.
struct SaaGate {
    turn: Turn,
    mine: [Gate; 2],
}

impl Turns for SaaGate {
    fn new() -> Self {
        SaaGate { turn: Turn::first(), mine: [Gate::new(), Gate::new()] }
    }

    fn take(&self, me: usize, n: u64) {
        for _ in 0..n {
            while !self.turn.pass(me) {
                let mut permitted = pin!(Pager::default());
                self.mine[me].register_pager(&mut permitted, true);
                if self.turn.pass(me) {
                    break;
                }
                // A spurious failure is one more look at the turn, like a permit.
                let _ = permitted.poll_sync();
            }
            self.mine[1 - me].permit().expect("the gate is neither opened nor sealed");
        }
    }
}

impl TaskTurns for SaaGate {
    fn new() -> Self {
        Turns::new()
    }

    async fn take_async(&self, me: usize, n: u64) {
        for _ in 0..n {
            while !self.turn.pass(me) {
                let mut permitted = pin!(Pager::default());
                self.mine[me].register_pager(&mut permitted, false);
                if self.turn.pass(me) {
                    break;
                }
                let _ = permitted.poll_async().await;
            }
            self.mine[1 - me].permit().expect("the gate is neither opened nor sealed");
        }
    }
}

/// On `CORES` cores, 1 or 2. One operation is one turn; a lost one would be a hang.
fn mixed<T: Turns + TaskTurns, const CORES: usize>(n: u64) -> Measured {
    let each = n.div_ceil(2);
    let turns = <T as Turns>::new();
    let runtime = one_thread();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let _pinned = Pinned::to(CORES - 1);
            turns.take(1, WARM_UP + each);
        });
        let _pinned = Pinned::to(0);
        runtime.block_on(turns.take_async(0, WARM_UP));
        let watch = Stopwatch::start();
        runtime.block_on(turns.take_async(0, each));
        thread.join().expect("the thread panicked");
        watch.stop(2 * each)
    })
}

pub(super) fn contests() -> Vec<Contest> {
    vec![
        Contest::of_all(
            Side::ops("unwedge Condvar, 1 core", mixed::<Ours, 1>),
            [
                Side::ops("event-listener, 1 core", mixed::<EventListener, 1>),
                Side::ops("saa Gate, 1 core", mixed::<SaaGate, 1>),
            ],
        ),
        Contest::of_all(
            Side::ops("unwedge Condvar, 2 cores", mixed::<Ours, 2>),
            [
                Side::ops("event-listener, 2 cores", mixed::<EventListener, 2>),
                Side::ops("saa Gate, 2 cores", mixed::<SaaGate, 2>),
            ],
        ),
    ]
}
