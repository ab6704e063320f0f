//! A wait with a predicate and a deadline: a predicate that is over at once, at the deadline, and before it; and how a condition variable prints.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use unwedge::{Condvar, Monitor, Stop};

use crate::common::{GUARD, guarded};

#[test]
fn a_predicate_that_is_over_is_not_waited_for() {
    let stop = Stop::new("life");
    let monitor = Monitor::new("lock", Mutex::new(1), &stop);
    // Nobody notifies, and the deadline has passed.
    let mut looks = 0;
    let waited = monitor.lock().expect("not stopped").wait_while_until(&Condvar::new(), Instant::now(), |_| {
        looks += 1;
        false
    });
    let waited = waited.expect("not stopped");
    assert!(!waited.timed_out && *waited.guard == 1);
    drop(waited);
    assert_eq!(looks, 1);
}

#[test]
fn at_the_deadline_the_predicate_is_looked_at_once_more() {
    let stop = Stop::new("life");
    let monitor = Monitor::new("lock", Mutex::new(()), &stop);
    for is_over_then in [false, true] {
        let mut looks = 0;
        let waited = monitor.lock().expect("not stopped").wait_while_until(&Condvar::new(), Instant::now(), |()| {
            looks += 1;
            looks == 1 || !is_over_then
        });
        let timed_out = waited.expect("not stopped").timed_out;
        assert_eq!((timed_out, looks), (!is_over_then, 2));
    }
}

#[test]
fn before_the_deadline_a_notification_has_it_looked_at() {
    guarded(|| {
        let stop = Stop::new("life");
        let monitor = Arc::new(Monitor::new("lock", Mutex::new(0), &stop));
        let changed = Arc::new(Condvar::new());
        let (other, notifier) = (monitor.clone(), changed.clone());
        let counter = thread::spawn(move || {
            for _ in 0..3 {
                *other.lock().expect("not stopped") += 1;
                notifier.notify_all();
            }
        });
        let guard = monitor.lock().expect("not stopped");
        let waited = guard.wait_while_until(&changed, Instant::now() + GUARD, |n| *n < 3).expect("not stopped");
        assert!(!waited.timed_out && *waited.guard == 3);
        drop(waited);
        counter.join().expect("no panic");
    });
}

#[test]
fn it_prints_its_name() {
    assert_eq!(format!("{:?}", Condvar::new()), "Condvar { .. }");
}
