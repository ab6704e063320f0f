//! tokio-graceful before 0.1.5 (found by its own loom test). A receiver looks whether the trigger was pulled, then takes the list's lock and enters its waker;
//! the sender sets the flag and wakes whom it finds in the list, in between.
//!
//! Cause: check-then-register once more. Cure: as in x3: the waker is in its place before the flag is looked at for the last time.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Poll, Waker};

use loom::sync::atomic::AtomicBool;
use unwedge::model::block_on;

use crate::common::{explore, happened};
use crate::naive::{self, Mutex, misses, spawn};
use crate::world::World;

#[test]
fn x8_task_hears_of_the_stop() {
    explore("L1", Some(3), || {
        let world = World::new();
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        block_on(world.stop.requested());
        stopper.join().unwrap();
    });
}

#[test]
fn x8_twin() {
    misses(Some(2), &["stop waits for the trigger"], || {
        let pulled = Arc::new(AtomicBool::new(false));
        let wakers = Arc::new(Mutex::new("wakers", Vec::<Waker>::new()));
        let (flag, list) = (pulled.clone(), wakers.clone());
        let sender = spawn("sender", move || {
            flag.store(true, SeqCst);
            let woken = std::mem::take(&mut *list.lock());
            woken.into_iter().for_each(Waker::wake);
            happened();
        });
        naive::blocking("the trigger".to_owned(), None, || {
            block_on(std::future::poll_fn(|cx| {
                if pulled.load(SeqCst) {
                    return Poll::Ready(());
                }
                wakers.lock().push(cx.waker().clone());
                Poll::Pending
            }));
        });
        sender.join();
    });
}
