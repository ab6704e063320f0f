//! To and from tokio-util's `CancellationToken`.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use unwedge::{Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};

#[test]
fn a_token_is_cancelled_with_the_domain() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let token = stop.token().expect("a thread");
        let child = stop.child("child").token().expect("a thread");
        assert!(!token.is_cancelled());
        stop.request("test");
        until("both are cancelled", || token.is_cancelled() && child.is_cancelled());
        assert!(stop.token().expect("no thread is needed").is_cancelled());
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());

        let stop = Stop::new("mds.b");
        let token = stop.token().expect("a thread");
        token.cancel();
        assert!(!stop.is_requested(), "it is one way");
        let token = stop.token().expect("a thread");
        drop(stop);
        until("it is cancelled", || token.is_cancelled());
    });
}

#[test]
fn a_domain_is_stopped_by_its_token() {
    guarded(|| {
        let token = CancellationToken::new();
        let stop = Stop::from_token("mds.a", &token.child_token());
        assert_eq!(stop.name(), "mds.a");
        let own = stop.clone();
        stop.spawn("beacon", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        until_waits(&stop, "beacon", "the stop");
        assert!(!stop.is_requested());
        token.cancel();
        assert!(stop.is_requested(), "at once, in the thread that cancels");
        assert!(stop.reason().is_some_and(|reason| reason.contains("token")));
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
        assert!(Stop::from_token("late", &token).is_requested());
    });
}

#[test]
fn a_stop_does_not_cancel_the_token_and_a_dropped_domain_leaves_nothing_in_it() {
    let token = CancellationToken::new();
    let stop = Stop::from_token("mds.a", &token);
    stop.request("test");
    assert!(!token.is_cancelled());
    drop(stop);
    token.cancel();
}

#[test]
fn a_token_and_a_drop_and_a_request_race() {
    guarded(|| {
        for round in 0..500 {
            let token = CancellationToken::new();
            let stop = Stop::from_token("race", &token);
            let bridge = stop.token().expect("a thread");
            let (told, tell) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(|| token.cancel());
                scope.spawn(move || {
                    if round % 2 == 0 {
                        stop.request("race");
                        told.send(stop.is_requested()).ok();
                    }
                    drop(stop);
                });
            });
            assert_ne!(tell.try_recv(), Ok(false));
            until("the other token follows", || bridge.is_cancelled());
        }
    });
}
