//! The shapes of hang that a metadata server's history records: in each the report names the culprit. The numbers are those of the catalogue that the loom
//! models go by as well. Each is built so that it does hang: what would not, with unwedge's own waits and one domain, waits in another life here.

use std::sync::{Arc, Mutex, mpsc};

use unwedge::io::{Io, IoError};
use unwedge::report::{CauseKind, Notified, WaitsFor};
use unwedge::{Completion, Condvar, Monitor, Owed, Plan, Spawned, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};
use crate::{end, line_of, names, until_blamed};

type BigLock = Arc<Monitor<Mutex<u32>>>;

/// A daemon's domain, another life that its stop does not reach, and the big lock in that one.
struct World {
    stop: Stop,
    other: Stop,
    mds: BigLock,
}

impl World {
    fn new() -> Self {
        let (stop, other) = (Stop::new("mds.a"), Stop::new("other"));
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &other));
        World { stop, other, mds }
    }

    fn end(self) {
        self.other.request("the test is over");
        end(&self.stop);
        end(&self.other);
    }

    /// A thread that takes the big lock, tells so, waits for a sign, and then does something with the lock held.
    fn holder(&self, name: &str, then: impl FnOnce() + Send + 'static) -> mpsc::Sender<()> {
        let (told, is_told) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let mds = self.mds.clone();
        self.stop
            .spawn(name, move || {
                let held = mds.lock();
                told.send(()).ok();
                gone.recv().ok();
                then();
                drop(held);
            })
            .expect("a thread");
        is_told.recv_timeout(GUARD).expect("it has the lock");
        go
    }

    /// A thread that wants the big lock.
    fn locker(&self, name: &str) -> Spawned<bool> {
        let mds = self.mds.clone();
        let spawned = self.stop.spawn(name, move || mds.lock().is_ok()).expect("a thread");
        until_waits(&self.stop, name, "lock mds_lock");
        spawned
    }

    /// That these are named as a deadlock, wherever the chain begins.
    #[track_caller]
    fn expect_deadlock(&self, of: &[&str]) {
        let report = until_blamed(&self.stop, CauseKind::Deadlock, of.len());
        let mut found = names(&report.causes()[0]);
        found.sort_unstable();
        assert_eq!(found, of, "{report}");
        let line = report.to_string();
        assert!(line.lines().nth(1).is_some_and(|line| line.contains("a deadlock: thread ")), "{line}");
    }
}

#[test]
fn shape_1_the_stop_does_not_wake_a_replay_thread_that_waits_for_data() {
    guarded(|| {
        let world = World::new();
        let (readable, mds) = (Condvar::new(), world.mds.clone());
        let line = line!() + 3;
        let replay = world.stop.spawn("replay", move || {
            let held = mds.lock()?;
            held.wait(&readable).map(drop)
        });
        until_waits(&world.stop, "replay", "a condition variable of mds_lock");
        let replay = replay.expect("a thread");
        let own = world.other.clone();
        // The one who joins waits in a life of its own too: `join` ends with the domain's stop.
        let (tell, told) = mpsc::channel::<()>();
        own.spawn("stopper", move || {
            drop(tell);
            replay.join().is_ok()
        })
        .expect("a thread");
        assert!(told.recv_timeout(GUARD).is_err(), "it has begun");
        world.stop.request("SIGTERM");
        let report = until_blamed(&world.stop, CauseKind::Unknown, 1);
        assert_eq!(names(&report.causes()[0]), ["replay"]);
        assert_eq!(line_of(&report.causes()[0]), Some(line));
        let text = report.to_string();
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("  stop waits for thread \"replay\", which waits "))
        );
        assert!(text.contains("who is to end that wait is unknown, nobody has yet"), "{text}");
        world.end();
    });
}

#[test]
fn shape_2_a_finisher_is_joined_with_the_lock_that_its_callbacks_need() {
    guarded(|| {
        let world = World::new();
        let (hand, handed) = mpsc::channel::<Spawned<bool>>();
        let go = world.holder("stopper", move || drop(handed.recv().map(Spawned::join)));
        hand.send(world.locker("finisher")).expect("it waits");
        go.send(()).expect("it waits");
        world.expect_deadlock(&["finisher", "stopper"]);
        world.other.request("the test is over");
        world.end();
    });
}

#[test]
fn shape_3_a_messenger_is_shut_down_under_the_lock_that_its_callbacks_take() {
    guarded(|| {
        let world = World::new();
        let messenger = Stop::new("messenger");
        let own = messenger.clone();
        let go = world.holder("stopper", move || drop(own.shutdown(Plan::within(GUARD))));
        let mds = world.mds.clone();
        messenger.spawn("reset", move || mds.lock().is_ok()).expect("a thread");
        until_waits(&messenger, "reset", "lock mds_lock");
        go.send(()).expect("it waits");
        let report = until_blamed(&world.stop, CauseKind::Deadlock, 1);
        let mut found = names(&report.causes()[0]);
        found.sort_unstable();
        assert_eq!(found, ["reset", "stopper"], "{report}");
        world.end();
    });
}

#[test]
fn shape_6_two_locks_are_taken_in_both_orders() {
    guarded(|| {
        let world = World::new();
        let admin = Arc::new(Monitor::new("admin_lock", Mutex::new(0), &world.other));
        let second = admin.clone();
        let go = world.holder("dispatch", move || drop(second.lock()));
        let mds = world.mds.clone();
        world
            .stop
            .spawn("admin", move || {
                let _admin = admin.lock()?;
                mds.lock().map(drop)
            })
            .expect("a thread");
        until_waits(&world.stop, "admin", "lock mds_lock");
        go.send(()).expect("it waits");
        world.expect_deadlock(&["admin", "dispatch"]);
        world.end();
    });
}

/// Somebody waits with the lock held for what another one owes, who needs the lock to give it.
fn owed_by_who_needs_the_lock(operation: &'static str, waiter: &'static str, debtor: &'static str) {
    guarded(move || {
        let world = World::new();
        let (completer, mut owed) = Completion::<u8>::new(operation, &world.other);
        let go = world.holder(waiter, move || _ = owed.wait());
        let mds = world.mds.clone();
        world
            .stop
            .spawn(debtor, move || {
                completer.owed_by_me();
                let _held = mds.lock();
                drop(completer);
            })
            .expect("a thread");
        until_waits(&world.stop, debtor, "lock mds_lock");
        go.send(()).expect("it waits");
        let mut both = [waiter, debtor];
        both.sort_unstable();
        world.expect_deadlock(&both);
        world.end();
    });
}

#[test]
fn shape_7_a_hook_is_unregistered_under_the_lock_that_it_needs_to_finish() {
    owed_by_who_needs_the_lock("end of hook", "unregister", "hook");
}

#[test]
fn shape_8_the_beacon_s_answer_is_waited_for_under_the_lock_of_who_delivers_it() {
    owed_by_who_needs_the_lock("beacon_ack", "suicide", "dispatch");
}

#[test]
fn shape_9_a_sender_sleeps_on_a_condition_variable_that_nobody_signals() {
    guarded(|| {
        let world = World::new();
        let wake = Arc::new(Condvar::new());
        let (own, mds) = (wake.clone(), world.mds.clone());
        let line = line!() + 4;
        let sender = world.stop.spawn("sender", move || {
            let mut held = mds.lock()?;
            loop {
                held = held.wait(&own)?;
                if *held == 7 {
                    return Ok::<(), unwedge::Stopped>(());
                }
            }
        });
        until_waits(&world.stop, "sender", "a condition variable of mds_lock");
        // Once somebody has signalled it, and then that one has ended.
        let notified = line!() + 1;
        let signaller = world.stop.spawn("messenger", move || _ = wake.notify_all());
        signaller.expect("a thread").join().expect("it ends");
        until("it waits again, and the other one has ended", || {
            let report = world.stop.report();
            report.members().len() == 1
                && report.causes()[0].kind == CauseKind::Unknown
                && matches!(report.members()[0].waits[0].on, WaitsFor::Condition { .. })
        });
        let report = world.stop.report();
        assert_eq!((names(&report.causes()[0]), line_of(&report.causes()[0])), (vec!["sender"], Some(line)));
        let WaitsFor::Condition { notified_by: Some(Notified { by, location, .. }), .. } =
            &report.members()[0].waits[0].on
        else {
            panic!("{report:?}")
        };
        assert_eq!((by.name.as_str(), by.has_ended), ("messenger", true));
        assert_eq!(location.map(|at| at.line()), Some(notified));
        assert!(
            report.causes()[0].to_string().contains("unknown, last it was thread \"messenger\", which has ended (")
        );
        drop(sender);
        world.end();
    });
}

/// Over a lock that unwedge does not own it is known as well.
#[test]
fn who_notified_last_is_named_over_a_lock_that_others_also_take() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (lock, changed) = (Arc::new(Mutex::new(0)), Arc::new(Condvar::new()));
        let (own, wake) = (stop.clone(), changed.clone());
        stop.spawn("sender", move || {
            let mut held = lock.lock().expect("not poisoned");
            loop {
                held = changed.wait(&own, &*lock, held)?;
                if *held == 7 {
                    return Ok::<(), unwedge::Stopped>(());
                }
            }
        })
        .expect("a thread");
        until_waits(&stop, "sender", "a condition variable");
        stop.spawn("messenger", move || _ = wake.notify_all()).expect("a thread").join().expect("it ends");
        until("it waits again, and who has notified it is named", || {
            let report = stop.report();
            let waits = report.members().iter().find(|member| member.name == "sender").map(|member| &member.waits);
            waits.is_some_and(|waits| {
                let on = waits.first().map(|wait| &wait.on);
                matches!(on, Some(WaitsFor::Condition { notified_by: Some(by), .. }) if by.by.name == "messenger")
            })
        });
        end(&stop);
    });
}

#[test]
fn shape_10_a_thread_is_joined_that_was_never_started() {
    guarded(|| {
        let world = World::new();
        let (never, task) = world.other.track("never-started", async {});
        let mut never = Some(never);
        // The one who joins; a task, because the join of a thread ends with the stop of its domain.
        world.stop.spawn("stopper", move || never.take().map(Spawned::join).is_some()).expect("a thread");
        until_waits(&world.stop, "stopper", "end of never-started");
        let report = until_blamed(&world.stop, CauseKind::Outside, 1);
        assert_eq!(names(&report.causes()[0]), ["stopper", "never-started"]);
        drop(task);
        world.end();
    });
}

#[test]
fn shape_11_and_20_a_wake_up_is_lost_between_the_look_and_the_wait() {
    guarded(|| {
        let world = World::new();
        let recovered = Condvar::new();
        assert_eq!(recovered.notify_all(), 0, "too early: nobody waits");
        let mds = world.mds.clone();
        let line = line!() + 2;
        // It had looked before, and does not look again.
        world.stop.spawn("waiter", move || mds.lock()?.wait(&recovered).map(drop)).expect("a thread");
        until_waits(&world.stop, "waiter", "a condition variable of mds_lock");
        let report = until_blamed(&world.stop, CauseKind::Unknown, 1);
        assert_eq!(line_of(&report.causes()[0]), Some(line));
        let on = &report.members()[0].waits[0].on;
        assert!(matches!(on, WaitsFor::Condition { notified_by: None, .. }), "{on:?}");
        world.end();
    });
}

#[test]
fn shape_12_a_completion_that_is_run_under_the_journalers_lock_takes_it_again() {
    guarded(|| {
        let world = World::new();
        let journaler = Arc::new(Monitor::new("journaler", Mutex::new(0), &world.other));
        let again = journaler.clone();
        let line = line!() + 1;
        let completion = move || again.lock().is_ok();
        let own = journaler.clone();
        world
            .stop
            .spawn("journaler", move || {
                let _held = own.lock()?;
                Ok::<bool, unwedge::Stopped>(completion())
            })
            .expect("a thread");
        until_waits(&world.stop, "journaler", "lock journaler");
        // One that is innocent.
        world.stop.spawn("flush", move || journaler.lock().is_ok()).expect("a thread");
        until_waits(&world.stop, "flush", "lock journaler");
        let report = until_blamed(&world.stop, CauseKind::Deadlock, 2);
        let cause = &report.causes()[0];
        assert_eq!((names(cause), line_of(cause)), (vec!["journaler"], Some(line)));
        assert_eq!(cause.others, ["flush"]);
        world.end();
    });
}

#[test]
fn shape_17_and_22_a_thread_waits_for_storage_and_is_joined() {
    guarded(|| {
        let world = World::new();
        let io = Io::new(&world.other).expect("I/O");
        let owed = Owed { operation: "read", object: Some("400.00000000".into()), offset: 0, length: 22 };
        let (frozen, mut pointer) = io.external::<u8, IoError>(owed);
        let line = line!() + 1;
        let old = world.stop.spawn("replay", move || pointer.wait().is_ok()).expect("a thread");
        until_waits(&world.stop, "replay", "read 400.00000000 at 0, 22 bytes");
        let tid = world.stop.report().members()[0].tid;
        // The same thread again, before the old one is joined.
        world.stop.spawn("replay", move || old.join().is_ok()).expect("a thread");
        let report = until_blamed(&world.stop, CauseKind::Storage, 2);
        let cause = &report.causes()[0];
        assert_eq!((names(cause), line_of(cause)), (vec!["replay"], Some(line)));
        assert_eq!(cause.culprit().map(|step| step.member.tid), Some(tid), "the first of the two");
        drop(frozen);
        world.end();
    });
}

#[test]
fn shape_18_a_callback_waits_for_itself() {
    guarded(|| {
        let world = World::new();
        let (completer, mut end) = Completion::<u8>::new("end of finisher", &world.other);
        world
            .stop
            .spawn("finisher", move || {
                completer.owed_by_me();
                end.wait().is_ok()
            })
            .expect("a thread");
        world.expect_deadlock(&["finisher"]);
        world.end();
    });
}

#[test]
fn shape_21_a_submitter_blocks_in_a_throttle_with_the_lock_that_replies_need() {
    guarded(|| {
        let world = World::new();
        let throttle = Arc::new(Monitor::new("throttle", Mutex::new(0_u32), &world.other));
        let (line, own) = (line!() + 1, throttle.clone());
        let go = world.holder("submitter", move || _ = own.when(|free| free.checked_sub(1).map(|left| *free = left)));
        world.locker("reply-0");
        world.locker("reply-1");
        go.send(()).expect("it waits");
        // That the replies would free it, only their code knows: the chain ends at the throttle, with all who wait behind it.
        let report = until_blamed(&world.stop, CauseKind::Unknown, 3);
        let cause = &report.causes()[0];
        assert_eq!((names(cause), line_of(cause)), (vec!["submitter"], Some(line)));
        assert!(cause.to_string().contains(" for a change of throttle "), "{cause}");
        world.end();
    });
}
