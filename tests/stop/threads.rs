//! What the system sees of the threads: names of at most 15 bytes, `uw-` for the library's own, and every signal blocked on those but a crash's.

use std::fs;
use std::sync::mpsc;

use unwedge::{Completion, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::until;
use crate::signals::is_blocked_as_it_should;

/// A field of the calling thread's status.
fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_start_matches(':').trim().to_owned()
}

fn comm() -> String {
    fs::read_to_string("/proc/thread-self/comm").expect("a name").trim_end_matches('\n').to_owned()
}

#[test]
fn the_library_s_own_threads_have_its_name_and_block_all_signals_but_a_crash_s() {
    guarded(|| {
        let before = status("SigBlk");
        let stop = Stop::new("mds.a");
        let (completer, completion) = Completion::<u8>::new("value", &stop);
        let (told, tell) = mpsc::channel();
        completion.on_complete(&stop, move |_| drop(told.send((comm(), status("SigBlk"))))).expect("a thread");
        completer.complete(1).expect("wanted");
        let (name, blocked) = tell.recv_timeout(GUARD).expect("told");
        assert_eq!(name, "uw-callback");
        assert!(is_blocked_as_it_should(&blocked), "{blocked}");
        assert_eq!(status("SigBlk"), before, "who started it has its own mask");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn a_shutdown_for_a_task_is_a_thread_of_the_library_s_own_too() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let stuck = stop.spawn("stuck", move || gone.recv().is_ok()).expect("a thread");
        let shutdown = stop.shutdown_async(Plan::within(GUARD));
        let own = || {
            let tasks = fs::read_dir("/proc/self/task").expect("the tasks");
            tasks.flatten().find(|task| {
                fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() == "uw-shutdown")
            })
        };
        until("it runs", || own().is_some());
        let status = fs::read_to_string(own().expect("it runs").path().join("status")).expect("a status");
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("the field").trim();
        assert!(is_blocked_as_it_should(blocked), "{blocked}");
        go.send(()).expect("it is there");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert!(runtime.block_on(shutdown).is_clean());
        assert!(stuck.is_finished());
        until("it has ended", || own().is_none());
    });
}

#[test]
fn a_member_s_name_is_cut_at_a_character_and_its_signals_are_its_maker_s() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let before = status("SigBlk");
        for (name, cut) in [
            ("replay", "replay"),
            ("fifteen bytes..", "fifteen bytes.."),
            ("sixteen bytes...", "sixteen bytes.."),
            ("fourteen byte\u{fc}\u{fc}", "fourteen byte\u{fc}"),
            ("fourteen byte.\u{fc}", "fourteen byte."),
        ] {
            let seen = stop.spawn(name, || (comm(), status("SigBlk"))).expect("a thread").join().expect("no panic");
            assert_eq!(seen, (cut.to_owned(), before.clone()));
        }
        let plan = Plan::within(GUARD).phase("a phase with a long name", GUARD, |_| {
            assert_eq!(comm(), "a phase with a ");
            Ok(())
        });
        let report = stop.shutdown(plan);
        assert_eq!(report.phases()[0].outcome, unwedge::report::Outcome::Done, "{report}");
    });
}
