//! What is forgotten and never dropped (`ManuallyDrop`, a leak) stays linked where it waited: whoever has that place next does not find it there.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Poll;

use unwedge::{Condvar, Monitor, Stop};

use crate::common::guarded;
use crate::poll_once;
use crate::seen::until_waits;

/// Others' tests may take the place in between: so it is tried some times.
const ROUNDS: usize = 20;

#[test]
fn law3_a_forgotten_wait_takes_no_notification_from_the_next_condition_variable() {
    guarded(|| {
        let stop = Stop::new("l3");
        let monitor = Monitor::new("m", parking_lot::Mutex::new(()), &stop);
        for _ in 0..ROUNDS {
            {
                let gone = Condvar::new();
                let _forgotten = ManuallyDrop::new(monitor.lock().expect("free").wait_async(&gone));
            }
            let condvar = Condvar::new();
            let mut wait = monitor.lock().expect("free").wait_async(&condvar);
            assert!(poll_once(&mut wait).is_pending());
            assert_eq!(condvar.notify_all(), 1, "itself alone");
            assert!(matches!(poll_once(&mut wait), Poll::Ready(Ok(_))));
            assert_eq!(condvar.notify_all(), 0);
        }
    });
}

#[test]
fn law3_a_forgotten_acquisition_takes_no_turn_from_the_next_monitor() {
    guarded(|| {
        let stop = Stop::new("l3");
        for woken in [false, true].repeat(ROUNDS / 2) {
            {
                let gone = Monitor::new("gone", parking_lot::Mutex::new(0), &stop);
                let held = gone.lock().expect("free");
                let mut acquisition = ManuallyDrop::new(gone.lock_async());
                assert!(poll_once(&mut *acquisition).is_pending());
                let mut when = ManuallyDrop::new(gone.when_async(|n| (*n != 0).then_some(())));
                assert!(poll_once(&mut *when).is_pending());
                if woken {
                    drop(held);
                } else {
                    let _held = ManuallyDrop::new(held);
                }
            }
            let next = Arc::new(Monitor::new("next", parking_lot::Mutex::new(0), &stop));
            let held = next.lock().expect("free");
            let own = next.clone();
            let waiter = stop.spawn("waiter", move || own.lock().map(|mut n| *n += 1)).expect("a thread");
            until_waits(&stop, "waiter", "lock next");
            drop(held);
            waiter.join().expect("no panic").expect("not stopped");
            let reported = stop.report().to_string();
            assert!(!reported.contains("gone"), "{reported}");
            assert_eq!(*next.lock().expect("free"), 1);
        }
    });
}
