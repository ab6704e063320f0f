//! pika #113. A stop that comes while a stop callback is made runs it at once and does not mark it as run; who removes it then waits for that mark.
//!
//! Cause: a callback with three owners and two places where it may run. Cure: a wait has no callback but one word, which the stop, the event or its owner
//! changes last (L5): a wait that ends by itself beside a request waits for nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use crate::common::explore;
use crate::naive::{Condvar, Mutex, deadlocks, spawn};
use crate::world::World;

#[test]
fn x5_wait_that_is_dropped_beside_a_request() {
    explore("L5", Some(3), || {
        let world = World::new();
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        let mut requested = Box::pin(world.stop.requested());
        let _seen = Pin::new(&mut requested).poll(&mut Context::from_waker(Waker::noop()));
        drop(requested);
        stopper.join().unwrap();
    });
}

/// A stop's state: whether it was requested, whether the callback is in its list, whether it has run.
type State = (Mutex<(bool, bool, bool)>, Condvar);

#[test]
fn x5_twin() {
    deadlocks(Some(2), &["stop waits for its callback to have run"], || {
        let state: Arc<State> =
            Arc::new((Mutex::new("the stop's lock", (false, false, false)), Condvar::new("its callback to have run")));
        let own = state.clone();
        let requester = spawn("requester", move || {
            let mut state = own.0.lock();
            state.0 = true;
            if state.1 {
                (state.1, state.2) = (false, true); // takes it out, runs it, and marks it
                own.1.notify_all();
            }
        });
        // The callback is made: entered in the list, or run here and now if the stop was requested.
        let mut now = state.0.lock();
        now.1 = !now.0;
        drop(now);
        // It is removed: if it is not in the list it is being run, and that is waited for.
        let mut now = state.0.lock();
        while !now.1 && !now.2 {
            now = state.1.wait(now);
        }
        drop(now);
        requester.join();
    });
}
