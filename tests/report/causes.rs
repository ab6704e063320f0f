//! Who is to blame, among others that have waited longer and are innocent.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use unwedge::io::{Io, IoError};
use unwedge::report::{CauseKind, HeldBy, OwedBy, Report, WaitsFor};
use unwedge::{Completion, Condvar, Monitor, Owed, Stop};

use crate::common::guarded;
use crate::seen::{until, until_waits, waits_of};
use crate::{OLDER, end, line_of, names, until_blamed};

fn read(object: &str, offset: u64) -> Owed {
    Owed { operation: "read", object: Some(object.into()), offset, length: 4096 }
}

#[test]
fn the_read_that_blocks_others_is_blamed_among_decoys_that_have_waited_longer() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let queue = Arc::new(Monitor::new("queue", Mutex::new(0), &stop));
        let never = Arc::new(Condvar::new());

        // They have waited longest, and nobody waits for them.
        let own = stop.clone();
        stop.spawn("beacon", move || own.wait_timeout(std::time::Duration::MAX)).expect("a thread");
        for worker in ["worker-0", "worker-1"] {
            let (queue, never) = (queue.clone(), never.clone());
            stop.spawn(worker, move || queue.lock()?.wait(&never).map(drop)).expect("a thread");
        }
        let (other, mut slow) = io.external::<u8, IoError>(read("1.00000000", 0));
        stop.spawn("prefetch", move || slow.wait().is_ok()).expect("a thread");
        until_waits(&stop, "prefetch", "read 1.00000000 at 0, 4096 bytes");
        until_waits(&stop, "worker-1", "a condition variable of queue");
        thread::sleep(OLDER);

        let (frozen, mut journal) = io.external::<u8, IoError>(read("200.00000001", 1 << 20));
        let big_lock = mds.clone();
        let line = line!() + 3;
        stop.spawn("replay", move || {
            let _held = big_lock.lock()?;
            journal.wait().map(drop)
        })
        .expect("a thread");
        until_waits(&stop, "replay", "read 200.00000001 at 1048576, 4096 bytes");
        for name in ["dispatch", "admin"] {
            let mds = mds.clone();
            stop.spawn(name, move || mds.lock().map(drop)).expect("a thread");
        }

        let report = until_blamed(&stop, CauseKind::Storage, 3);
        let cause = &report.causes()[0];
        assert_eq!(names(cause), ["replay"]);
        assert_eq!(line_of(cause), Some(line));
        let culprit = cause.culprit().and_then(|step| step.wait.as_ref()).expect("it waits");
        let WaitsFor::Completion { object, offset, owed_by, .. } = &culprit.on else { panic!("{culprit:?}") };
        assert_eq!((object.as_deref(), *offset, owed_by), (Some("200.00000001"), 1 << 20, &OwedBy::Storage));
        let mut others = cause.others.clone();
        others.sort();
        assert_eq!(others, ["admin", "dispatch"]);

        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "mds.a: no stop requested");
        assert!(lines[1].starts_with("  thread \"replay\" waits "), "{text}");
        assert!(lines[1].contains(" for read of 200.00000001 at 1,048,576 ("), "{text}");
        assert!(lines[1].contains("; 2 more wait for that: "), "{text}");

        // What it holds, and for how long at least: others have queued for it.
        let replay = report.members().iter().find(|member| member.name == "replay").expect("a member");
        assert_eq!(replay.holds, ["mds_lock"]);
        let lock = report.locks().iter().find(|lock| lock.name == "mds_lock").expect("it is waited for");
        assert_eq!(lock.queue, 2);
        assert!(matches!(&lock.held_by, HeldBy::Member(holder) if holder.name == "replay"), "{lock:?}");
        let held_for = lock.held_for.expect("somebody has queued");
        assert!(held_for <= culprit.age + OLDER, "{held_for:?} {:?}", culprit.age);
        // The operations, those waited for longest first.
        let objects: Vec<_> = report.operations().iter().map(|it| (it.object.as_deref(), it.offset)).collect();
        assert_eq!(objects, [(Some("1.00000000"), 0), (Some("200.00000001"), 1 << 20)]);
        drop((frozen, other));
        end(&stop);
    });
}

#[test]
fn a_stop_that_does_not_reach_a_wait_says_so_in_its_first_lines() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let other_life = Stop::new("journaler");
        let io = Io::new(&other_life).expect("I/O");
        let (frozen, mut journal) = io.external::<u8, IoError>(read("200.00000001", 1 << 20));
        stop.spawn("replay", move || journal.wait().is_ok()).expect("a thread");
        until_waits(&stop, "replay", "read 200.00000001 at 1048576, 4096 bytes");
        let report = stop.shutdown(unwedge::Plan::within(OLDER));
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("mds.a: NOT STOPPED (shutdown) after "), "{text}");
        assert!(lines[1].starts_with("  stop waits for thread \"replay\", which waits "), "{text}");
        assert!(lines[1].contains(" for read of 200.00000001 at 1,048,576 ("), "{text}");
        drop(frozen);
        end(&stop);
        end(&other_life);
    });
}

#[test]
fn who_has_ended_with_a_lock_or_a_debt_is_named_as_gone() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        // A real leak, as by a guard that is forgotten.
        let mds = Box::leak(Box::new(Monitor::new("mds_lock", Mutex::new(0), &stop)));
        let mds: &'static Monitor<_> = mds;
        let gone = stop
            .spawn("careless", move || {
                let _forgotten = ManuallyDrop::new(mds.lock());
            })
            .expect("a thread");
        gone.join().expect("it ends");
        until("it has ended", || stop.report().members().is_empty());
        stop.spawn("waiter", move || mds.lock().map(drop)).expect("a thread");
        let report = until_blamed(&stop, CauseKind::Gone, 1);
        assert_eq!(names(&report.causes()[0]), ["waiter"]);
        let wait = &report.members()[0].waits[0];
        let WaitsFor::Lock { held_by: HeldBy::Member(holder), .. } = &wait.on else { panic!("{wait:?}") };
        assert!(holder.has_ended, "{holder:?}");
        assert!(report.to_string().contains("which has ended"), "{report}");

        // Many have come and gone since: nobody is taken for the holder.
        for _ in 0..50 {
            stop.spawn("passer-by", || ()).expect("a thread").join().expect("it ends");
        }
        until("they have ended", || stop.report().members().len() == 1);
        let report = until_blamed(&stop, CauseKind::Gone, 1);
        assert!(!report.to_string().contains("passer-by"), "{report}");
        end(&stop);

        let stop = Stop::new("mds.b");
        let (completer, mut ack) = Completion::<u8>::new("ack", &stop);
        stop.spawn("debtor", move || {
            let completer = ManuallyDrop::new(completer);
            completer.owed_by_me();
        })
        .expect("a thread")
        .join()
        .expect("it ends");
        stop.spawn("waiter", move || ack.wait().is_ok()).expect("a thread");
        let report = until_blamed(&stop, CauseKind::Gone, 1);
        assert!(report.causes()[0].to_string().contains(" for ack ("), "{report}");
        end(&stop);
    });
}

#[test]
fn a_debtor_that_says_so_late_is_known_to_who_waits_already() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (completer, mut ack) = Completion::<u8>::new("ack", &stop);
        stop.spawn("waiter", move || ack.wait().is_ok()).expect("a thread");
        let report = until_blamed(&stop, CauseKind::Unknown, 1);
        assert!(report.causes()[0].to_string().ends_with(", owed by unknown"), "{report}");
        let (go, gone) = mpsc::channel::<()>();
        stop.spawn("dispatch", move || {
            completer.owed_by_me();
            gone.recv().ok();
            completer.complete(1)
        })
        .expect("a thread");
        let report = until_blamed(&stop, CauseKind::Outside, 2);
        assert_eq!(names(&report.causes()[0]), ["dispatch"]);
        assert_eq!(report.causes()[0].others, ["waiter"]);
        go.send(()).expect("it waits");
        end(&stop);
    });
}

#[test]
fn a_task_that_was_woken_and_not_polled_is_named_and_since_when() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (completer, completion) = Completion::<u32>::new("read", &stop);
        let (_spawned, task) = stop.track("asleep", completion);
        let mut task = Box::pin(task);
        let mut poll = || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            task.as_mut().poll(&mut cx)
        };
        assert!(poll().is_pending());
        thread::sleep(OLDER);
        let before = std::time::Instant::now();
        completer.complete(1).expect("wanted");
        thread::sleep(OLDER);
        let report = until_blamed(&stop, CauseKind::Unpolled, 1);
        let wait = &report.members()[0].waits[0];
        let woken = wait.woken_for.expect("a task that was woken");
        // The clock of ages is coarse.
        assert!(woken <= before.elapsed() + OLDER / 4 && woken >= OLDER / 2, "{woken:?}");
        assert!(wait.age >= woken + OLDER / 2, "{wait:?}");
        assert!(report.to_string().contains("was woken and has not been polled for "), "{report}");
        assert!(poll().is_ready());
        end(&stop);
    });
}

#[test]
fn a_task_that_waits_for_several_things_is_not_blamed_on_one_of_them() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let (_owes, first) = Completion::<u32>::new("ack", &stop);
        let held = mds.lock().expect("no stop");
        let own = mds.clone();
        let (_spawned, task) = stop.track("both", async move {
            let lock = std::pin::pin!(own.lock_async());
            let first = std::pin::pin!(first);
            join(lock, first).await
        });
        let mut task = Box::pin(task);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(task.as_mut().poll(&mut cx).is_pending());
        let report = stop.report();
        assert_eq!(report.causes()[0].kind, CauseKind::Several, "{report}");
        drop(held);
        drop(task);
        end(&stop);
    });
}

/// One half of it waits for the lock that the other half holds until its read ends.
#[test]
fn a_task_whose_one_half_waits_for_the_other_is_no_deadlock() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let (frozen, journal) = io.external::<u8, IoError>(read("200.00000001", 0));
        let (_spawned, task) = stop.track("both", async move {
            let reads = std::pin::pin!(async {
                let held = mds.lock_async().await;
                drop((journal.await, held));
            });
            join(reads, std::pin::pin!(mds.lock_async())).await
        });
        let mut task = Box::pin(task);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(task.as_mut().poll(&mut cx).is_pending());
        let report = stop.report();
        assert_eq!(report.causes()[0].kind, CauseKind::Several, "{report}");
        assert_eq!(report.members()[0].waits.len(), 2, "{report}");
        assert!(report.to_string().contains("held by both, which is itself ("), "{report}");
        assert!(!report.to_string().contains("deadlock"), "{report}");
        drop((frozen, task));
        end(&stop);
    });
}

/// Polls both until both are ready.
async fn join<A: Future + Unpin, B: Future + Unpin>(mut a: A, mut b: B) {
    let (mut a_done, mut b_done) = (false, false);
    std::future::poll_fn(|cx| {
        a_done = a_done || std::pin::Pin::new(&mut a).poll(cx).is_ready();
        b_done = b_done || std::pin::Pin::new(&mut b).poll(cx).is_ready();
        if a_done && b_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn who_hands_work_on_all_the_time_is_never_taken_for_a_deadlock() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let queue = Arc::new(Monitor::new("queue", Mutex::new(Vec::new()), &stop));
        let (work, own) = (queue.clone(), stop.clone());
        stop.spawn("asks", move || {
            loop {
                let (completer, mut answer) = Completion::<u8>::new("answer", &own);
                queue.lock()?.push(completer);
                if answer.wait()?.is_err() {
                    return Ok::<(), unwedge::Stopped>(());
                }
            }
        })
        .expect("a thread");
        stop.spawn("answers", move || {
            while let Ok(asked) = work.when(Vec::pop) {
                asked.complete(1).ok();
            }
        })
        .expect("a thread");
        for _ in 0..5_000 {
            let report = stop.report();
            assert!(report.causes().iter().all(|cause| cause.kind != CauseKind::Deadlock), "{report}");
        }
        end(&stop);
    });
}

/// Reports, again and again, of a domain in which everything goes on, beside so many that wait that a report takes its time.
fn look_often(stop: &Stop, mut look: impl FnMut(&Report)) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let crowd = Stop::new("crowd");
    let waits: Vec<_> = (0..2_000)
        .map(|_| {
            let own = crowd.clone();
            let (_, mut task) = crowd.track("idle", async move { own.requested().await });
            assert!(Box::pin(&mut task).as_mut().poll(&mut cx).is_pending());
            task
        })
        .collect();
    for _ in 0..300 {
        look(&stop.report());
    }
    drop(waits);
    end(stop);
}

/// Who waits for a lock when the waits are read may have it when the locks are.
#[test]
fn who_has_just_got_the_lock_is_not_said_to_wait_for_itself() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u64), &stop));
        for name in ["one", "two", "three"] {
            let mds = mds.clone();
            stop.spawn(name, move || {
                loop {
                    *mds.lock()? += 1;
                    if false {
                        return Ok::<(), unwedge::Stopped>(());
                    }
                }
            })
            .expect("a thread");
        }
        look_often(&stop, |report| {
            let text = report.to_string();
            assert!(!text.contains("deadlock"), "{text}");
        });
    });
}

/// A blocking job may wait for anything: so its result is not owed by storage.
#[test]
fn the_thread_that_runs_a_job_owes_its_result() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        let mut job = io.run_blocking("scrub", move || stuck.recv().is_ok());
        stop.spawn("asks", move || job.wait().is_ok()).expect("a thread");
        until("the thread is named", || {
            waits_of(&stop, "asks").iter().any(|wait| {
                let WaitsFor::Completion { owed_by: OwedBy::Member(party), .. } = &wait.on else { return false };
                party.name.starts_with("uw-pool-")
            })
        });
        drop(release);
        end(&stop);
    });
}

/// Who owes when the waits are read may have paid and ended when it is asked who that is.
#[test]
fn who_ends_when_it_has_given_all_is_not_said_to_have_left_it_behind() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u64), &stop));
        let own = stop.clone();
        stop.spawn("starts", move || {
            loop {
                let (completer, mut answer) = Completion::<u8>::new("answer", &own);
                let lock = mds.clone();
                own.spawn("short", move || {
                    completer.owed_by_me();
                    let held = lock.lock();
                    completer.complete(1).ok();
                    drop(held);
                })
                .ok();
                if answer.wait()?.is_err() {
                    return Ok::<(), unwedge::Stopped>(());
                }
                drop(mds.lock()?);
            }
        })
        .expect("a thread");
        look_often(&stop, |report| {
            assert!(report.causes().iter().all(|cause| cause.kind != CauseKind::Gone), "{report}");
        });
    });
}

/// A monitor may be another one's place when the locks are read: a daemon has one for each inode.
#[test]
fn a_lock_that_is_gone_is_not_taken_for_the_one_that_came_after_it() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        for (name, waits) in [("even", "even waiter"), ("odd", "odd waiter")].into_iter().cycle().take(8) {
            let (give, given) = mpsc::channel::<Arc<Monitor<Mutex<()>>>>();
            let (done, is_done) = mpsc::channel::<()>();
            let own = stop.clone();
            stop.spawn(name, move || {
                while !own.is_requested() {
                    let monitor = Arc::new(Monitor::new(name, Mutex::new(()), &own));
                    let held = monitor.lock();
                    give.send(monitor.clone()).ok();
                    thread::sleep(std::time::Duration::from_micros(20));
                    drop(held);
                    is_done.recv().ok();
                }
            })
            .expect("a thread");
            stop.spawn(waits, move || {
                while let Ok(monitor) = given.recv() {
                    drop(monitor.lock());
                    drop(monitor);
                    done.send(()).ok();
                }
            })
            .expect("a thread");
        }
        look_often(&stop, |report| {
            for member in report.members() {
                let other = if member.name.starts_with("even") { "odd" } else { "even" };
                let is_other_s = |what: &str| what.contains(other);
                assert!(!member.waits.iter().any(|wait| is_other_s(&wait.what)), "{report}");
                assert!(!member.holds.iter().any(|lock| is_other_s(lock)), "{report}");
            }
        });
    });
}
