//! What the example's daemon does with signals and panics: a second signal hurries its stop and a third does nothing worse, and a panic has the whole process
//! say what it waits for. Each in a process of its own, because signals and the hook of panics are the process's.

#![allow(dead_code, unused_imports, reason = "the example uses more of these files")]

#[path = "common/again.rs"]
mod again;
mod common;
#[path = "../examples/mds/daemon.rs"]
mod daemon;
#[path = "../examples/mds/decode/mod.rs"]
mod decode;
#[path = "../examples/mds/life.rs"]
mod life;
#[path = "../examples/mds/manager.rs"]
mod manager;
#[path = "../examples/mds/namespace.rs"]
mod namespace;
#[path = "../examples/mds/omap.rs"]
mod omap;
#[path = "../examples/mds/pool.rs"]
mod pool;
#[path = "../examples/mds/protocol.rs"]
mod protocol;
#[path = "../examples/mds/rank.rs"]
mod rank;
#[path = "../examples/mds/refresh.rs"]
mod refresh;
#[path = "common/seen.rs"]
mod seen;
#[path = "../examples/mds/serve.rs"]
mod serve;
#[path = "../examples/mds/state.rs"]
mod state;
#[path = "../examples/mds/store.rs"]
mod store;
#[path = "../examples/mds/world.rs"]
mod world;

use common::GUARD;
use seen::until;
use unwedge::{Completion, Plan, Stop};

/// Set in the process that a test is about.
const WITHIN: &str = "UNWEDGE_TEST_WITHIN";

/// Runs a test again in a process of its own, which must end well: what it has printed on its standard error. In that process: `None`.
fn apart(test: &str) -> Option<String> {
    if std::env::var_os(WITHIN).is_some() {
        return None;
    }
    let output = again::again(test, WITHIN).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    Some(said)
}

#[test]
fn a_second_signal_hurries_the_stop_and_a_third_does_nothing_worse() {
    if apart("a_second_signal_hurries_the_stop_and_a_third_does_nothing_worse").is_some() {
        return;
    }
    let runtime = daemon::runtime().expect("a runtime");
    let (stop, apart) = (Stop::new("mds"), Stop::new("apart"));
    daemon::stop_on_signals(&runtime, &stop).expect("signals");
    let raise = |signal| {
        // SAFETY: the signal has a handler, which is what is looked at here.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    };
    // A member that heeds no stop of this domain, and a shutdown that has ten times what the test has.
    let (never, mut read) = Completion::<u8>::new("read", &apart);
    let own = apart.clone();
    stop.spawn("deaf", move || read.wait_in(&own).is_err()).expect("a thread");
    raise(libc::SIGTERM);
    until("the first signal requests the stop", || stop.is_requested());
    let own = stop.clone();
    let shutdown = std::thread::spawn(move || own.shutdown(Plan::within(10 * GUARD)));
    assert_eq!(stop.reason().as_deref(), Some("SIGTERM"));
    assert!(!stop.is_hurried() && !shutdown.is_finished());
    raise(libc::SIGINT);
    until("the second ends the shutdown", || shutdown.is_finished());
    assert!(stop.is_hurried());
    raise(libc::SIGTERM);
    let report = shutdown.join().expect("no panic");
    assert_eq!((report.members().len(), report.reason()), (1, Some("SIGTERM")), "{report}");
    apart.request("the test is over");
    until("it has ended", || stop.report().members().is_empty());
    drop(never);
}

#[test]
fn a_panic_has_the_process_say_what_it_waits_for() {
    let Some(said) = apart("a_panic_has_the_process_say_what_it_waits_for") else {
        let stop = Stop::new("mds");
        daemon::report_on_signals(&stop).expect("signals");
        let (never, mut read) = Completion::<u8>::new("journal read", &stop);
        stop.spawn("replay", move || read.wait().is_err()).expect("a thread");
        until("it waits", || stop.report().members().iter().any(|member| !member.waits.is_empty()));
        let panics = stop.spawn("tick", || panic!("on purpose")).expect("a thread");
        assert!(panics.join().is_err());
        drop(never);
        return;
    };
    let panic = said.find("on purpose").expect("the hook that was there before tells of the panic");
    let report = &said[panic..];
    let replay = report.lines().find(|line| line.contains("mds: thread \"replay\" (tid "));
    assert!(
        replay.is_some_and(|line| line.contains(" for journal read, owed by unknown (tests/mds_signals.rs:")),
        "{said}"
    );
}
