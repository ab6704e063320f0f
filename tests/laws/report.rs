//! L8: who waits for what, since when, who holds which lock: readable at any time, whoever is stuck.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use unwedge::{Completion, Condvar, Monitor, Owed, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits, waits_of};
use crate::{on_each_runtime, until_seen};

/// Sees that the one wait of a member is as told; `line` is where it was begun in this file.
#[track_caller]
fn expect_wait(stop: &Stop, name: &str, what: &str, line: u32, holder: Option<&str>) {
    until_waits(stop, name, what);
    let waits = waits_of(stop, name);
    assert_eq!(waits.len(), 1, "{waits:?}");
    let location = waits[0].location.expect("a place in the source");
    assert!(location.file().ends_with("tests/laws/report.rs"), "{location}");
    assert_eq!(location.line(), line, "{name}");
    assert_eq!(waits[0].holder.as_deref(), holder, "{name}");
    assert!(waits[0].age < GUARD);
}

#[test]
fn law8_a_report_names_the_thread_what_it_waits_for_where_and_who_holds_it() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", parking_lot::RwLock::new(0_u32), &stop));
        let queue = Arc::new(Monitor::new("queue", Mutex::new(0_u32), &stop));
        let never = Arc::new(Condvar::new());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let m = mds.clone();
        stop.spawn("holder", move || {
            let held = m.lock();
            gone.recv().ok();
            drop(held);
        })
        .expect("a thread");
        until("it holds the lock", || matches!(mds.try_lock(), Ok(None)));

        let m = mds.clone();
        let lock = line!() + 1;
        stop.spawn("lock", move || m.lock().map(drop)).expect("a thread");
        let m = mds.clone();
        let read = line!() + 1;
        stop.spawn("read", move || m.read().map(drop)).expect("a thread");
        let (q, c) = (queue.clone(), never.clone());
        let wait = line!() + 1;
        stop.spawn("wait", move || q.lock()?.wait(&c).map(drop)).expect("a thread");
        let q = queue.clone();
        let when = line!() + 1;
        stop.spawn("when", move || q.when(|n| (*n != 0).then_some(()))).expect("a thread");
        let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 4096, length: 512 };
        let (_completer, mut completion) = Completion::<u32>::new(owed, &stop);
        let q = queue.clone();
        let replay = line!() + 1;
        stop.spawn("replay", move || q.lock()?.wait_for(&mut completion).map(drop)).expect("a thread");
        let own = stop.clone();
        let sleep = line!() + 1;
        let sleeper = stop.spawn("beacon", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        let join = line!() + 1;
        stop.spawn("join", move || sleeper.join().is_ok()).expect("a thread");

        expect_wait(&stop, "lock", "lock mds_lock", lock, Some("holder"));
        expect_wait(&stop, "read", "lock mds_lock", read, Some("holder"));
        expect_wait(&stop, "wait", "a condition variable of queue", wait, None);
        expect_wait(&stop, "when", "a change of queue", when, None);
        expect_wait(&stop, "replay", "read 200.00000001 at 4096, 512 bytes", replay, None);
        expect_wait(&stop, "beacon", "the stop", sleep, None);
        expect_wait(&stop, "join", "end of beacon", join, None);

        let report = stop.report();
        assert_eq!((report.domain(), report.reason()), ("mds.a", None));
        assert!(!report.is_clean() && report.elapsed().is_none());
        let tids: Vec<_> = report.members().iter().map(|member| member.tid).collect();
        assert!(tids.iter().all(|tid| *tid != 0 && std::path::Path::new(&format!("/proc/self/task/{tid}")).exists()));
        let text = report.to_string();
        assert!(text.starts_with("mds.a: no stop requested"), "{text}");
        assert!(text.contains("thread replay (tid ") && text.contains("held by holder"), "{text}");
        assert!(text.contains("thread holder") && text.contains("runs, or blocks outside unwedge"), "{text}");
        assert!(text.contains("report.rs:"), "{text}");

        // All but the one that blocks elsewhere end at the stop; the report is there, and it names that one.
        let report = stop.shutdown(Plan::within(Duration::from_millis(200)));
        assert!(!report.is_clean());
        let left: Vec<_> = report.members().iter().map(|member| member.name.as_str()).collect();
        assert_eq!(left, ["holder"], "{report}");
        assert!(report.members()[0].waits.is_empty());
        assert!(report.to_string().contains("NOT STOPPED"), "{report}");
        go.send(()).expect("it waits");
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert!(report.to_string().starts_with("mds.a: stopped (shutdown) in "), "{report}");
    });
}

#[test]
fn law8_a_thread_that_waits_for_itself_is_named_as_a_deadlock() {
    guarded(|| {
        let stop = Stop::new("l8");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(()), &stop));
        let m = monitor.clone();
        stop.spawn("twice", move || {
            let _first = m.lock();
            m.lock().is_err()
        })
        .expect("a thread");
        until_waits(&stop, "twice", "lock m");
        assert_eq!(waits_of(&stop, "twice")[0].holder.as_deref(), Some("twice, which is itself: a deadlock"));
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

#[test]
fn law8_tasks_are_named_with_all_that_they_wait_for_and_who_was_woken_and_has_not_run() {
    on_each_runtime(|| async {
        let stop = Stop::new("l8");
        let monitor = Arc::new(Monitor::new("m", tokio::sync::Mutex::new(0_u32), &stop));
        let (completer, completion) = Completion::<u32>::new("read", &stop);
        let m = monitor.clone();
        let line = line!() + 2;
        drop(stop.spawn_task("both", async move {
            let when = m.when_async(|n| (*n != 0).then_some(()));
            tokio::join!(when, completion).0
        }));
        until_seen("it waits for both", || waits_of(&stop, "both").len() == 2).await;
        let mut waits = waits_of(&stop, "both");
        waits.sort_by(|a, b| a.what.cmp(&b.what));
        assert_eq!(waits[0].what, "a change of m");
        assert_eq!(waits[1].what, "read");
        assert_eq!(waits[0].location.map(|place| place.line()), Some(line));
        let report = stop.report();
        assert!(report.members()[0].is_task && report.members()[0].tid == 0);
        assert!(report.to_string().contains("task both waits"), "{report}");
        completer.complete(1).expect("wanted");
        assert!(stop.shutdown_async(Plan::within(GUARD)).await.is_clean());
    });

    // A task that nobody polls.
    let stop = Stop::new("l8");
    let (completer, completion) = Completion::<u32>::new("read", &stop);
    let (_spawned, task) = stop.track("asleep", completion);
    let mut task = Box::pin(task);
    assert!(crate::poll_once(&mut task).is_pending());
    let woken = || waits_of(&stop, "asleep").first().map(|wait| (wait.woken, wait.woken_for.is_some()));
    assert_eq!(woken(), Some((false, false)));
    completer.complete(1).expect("wanted");
    assert_eq!(woken(), Some((true, true)));
    assert!(stop.report().to_string().contains("woken but not run yet"));
    assert!(crate::poll_once(&mut task).is_ready());
    assert!(stop.report().members().is_empty());

    // And one that was woken by the stop.
    let (_completer, completion) = Completion::<u32>::new("read", &stop);
    let (_spawned, task) = stop.track("asleep", completion);
    let mut task = Box::pin(task);
    assert!(crate::poll_once(&mut task).is_pending());
    stop.request("test");
    assert_eq!(woken(), Some((true, true)));
}

#[test]
fn law8_members_of_children_are_in_the_report_also_of_those_born_stopped() {
    guarded(|| {
        let stop = Stop::new("l8");
        let child = stop.child("child").child("grandchild");
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let early = child.spawn("early", move || gone.recv().is_ok()).expect("a thread");
        stop.request("test");
        let late = stop.child("born stopped");
        assert!(late.is_requested());
        assert_eq!(late.reason().as_deref(), Some("test"));
        let (go_late, gone) = std::sync::mpsc::channel::<()>();
        let late = late.spawn("late", move || gone.recv().is_ok()).expect("a thread");
        let names: Vec<_> = stop.report().members().iter().map(|member| member.name.clone()).collect();
        assert_eq!(names, ["early", "late"]);
        let report = stop.shutdown(Plan::within(Duration::from_millis(1)));
        assert_eq!(report.members().len(), 2, "{report}");
        go.send(()).expect("it waits");
        go_late.send(()).expect("it waits");
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        drop((early, late));
    });
}

#[test]
fn law8_a_thread_outside_every_domain_is_named_as_holder() {
    guarded(|| {
        let stop = Stop::new("l8");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(()), &stop));
        let m = monitor.clone();
        let (held, is_held) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let guest = std::thread::Builder::new().name("guest".into()).spawn(move || {
            let _held = m.lock();
            held.send(()).expect("the test waits");
            gone.recv().ok();
        });
        is_held.recv_timeout(GUARD).expect("it has the lock");
        let m = monitor.clone();
        stop.spawn("waiter", move || m.lock().map(drop)).expect("a thread");
        until_waits(&stop, "waiter", "lock m");
        assert_eq!(waits_of(&stop, "waiter")[0].holder.as_deref(), Some("guest"));
        go.send(()).expect("it waits");
        guest.expect("a thread").join().expect("no panic");
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
    });
}

/// Looks at who holds a lock from a destructor that runs after those of unwedge.
struct AtTheEnd(Stop, Arc<Monitor<Mutex<()>>>, std::sync::mpsc::Sender<Option<String>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let AtTheEnd(stop, monitor, told) = self;
        let held = monitor.lock();
        // The waiter has the slot in the registry that this thread had.
        let own = monitor.clone();
        let waiter = stop.spawn("waiter", move || own.lock().map(drop)).expect("a thread");
        until_waits(stop, "waiter", "lock m");
        told.send(waits_of(stop, "waiter")[0].holder.clone()).ok();
        drop(held);
        waiter.join().ok();
    }
}

std::thread_local! {
    static LATE: std::cell::RefCell<Option<AtTheEnd>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn law8_a_thread_at_its_end_is_not_taken_for_another() {
    guarded(|| {
        let stop = Stop::new("l8");
        let monitor = Arc::new(Monitor::new("m", Mutex::new(()), &stop));
        let (told, holder) = std::sync::mpsc::channel();
        let (s, m) = (stop.clone(), monitor.clone());
        let ending = std::thread::Builder::new().name("ending".into()).spawn(move || {
            // First of all, so that it is dropped last.
            LATE.set(Some(AtTheEnd(s, m.clone(), told)));
            drop(m.lock());
        });
        let holder = holder.recv_timeout(GUARD).expect("told");
        assert!(holder.is_some_and(|name| !name.contains("waiter")), "the waiter holds nothing");
        ending.expect("a thread").join().expect("no panic");
    });
}
