//! Whom `report_fd` blames: it is of the whole process, so this is a process of its own, with one thing at a time in it.

#[path = "common/mod.rs"]
mod common;
#[path = "common/seen.rs"]
mod seen;
#[path = "common/written.rs"]
mod written;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use unwedge::io::{Io, IoError};
use unwedge::{Completion, Condvar, Monitor, Owed, Plan, Stop, Stopped};

use common::{GUARD, guarded};
use seen::{until, until_waits};
use written::written;

/// The line that says who is to blame; empty, if none does.
fn blamed() -> String {
    let text = written();
    let line = text.lines().nth(1).expect("a second line");
    if line.starts_with("to blame: ") { line.to_owned() } else { String::new() }
}

fn end(stop: &Stop) {
    assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
}

/// Polls both until both are ready.
async fn join<A: Future, B: Future>(a: A, b: B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    std::future::poll_fn(|cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A thread that waits for its work, and has for long.
fn idle(stop: &Stop) {
    let queue = Arc::new(Monitor::new("queue", Mutex::new(0), stop));
    let never = Arc::new(Condvar::new());
    stop.spawn("worker", move || queue.lock()?.wait(&never).map(drop)).expect("a thread");
    until_waits(stop, "worker", "a condition variable of queue");
}

fn a_read_among_those_who_wait_for_work() {
    let stop = Stop::new("mds.a");
    let io = Io::new(&stop).expect("I/O");
    idle(&stop);
    assert_eq!(blamed(), "", "it waits for work, and nobody for it");
    let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 1 << 20, length: 4096 };
    let (frozen, mut journal) = io.external::<u8, IoError>(owed);
    let mds = Monitor::new("mds_lock", Mutex::new(0), &stop);
    stop.spawn("replay", move || mds.lock()?.wait_for(&mut journal).map(drop)).expect("a thread");
    until_waits(&stop, "replay", "read 200.00000001 at 1048576, 4096 bytes");
    let line = blamed();
    assert!(line.starts_with("to blame: thread \"replay\" (tid "), "{line}");
    assert!(
        line.contains("for read 200.00000001 at 1,048,576, 4,096 bytes (") && line.ends_with("; 1 wait for that"),
        "{line}"
    );
    drop(frozen);
    end(&stop);
}

fn a_task_that_waits_for_several_things() {
    let stop = Stop::new("mds.a");
    let (go, gone) = mpsc::channel::<()>();
    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
    let big_lock = mds.clone();
    stop.spawn("holder", move || {
        let held = big_lock.lock()?;
        gone.recv().ok();
        drop(held);
        Ok::<(), Stopped>(())
    })
    .expect("a thread");
    until("it holds the lock", || matches!(mds.try_lock(), Ok(None)));
    let (_unowed, first) = Completion::<u32>::new("ack", &stop);
    let (completer, mut answer) = Completion::<u32>::new("answer", &stop);
    let (_spawned, task) = stop.track("both", async move {
        completer.owed_by_me();
        join(first, mds.lock_async()).await;
        completer.complete(1)
    });
    let mut task: Pin<Box<dyn Future<Output = _>>> = Box::pin(task);
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    stop.spawn("asks", move || answer.wait().map(drop)).expect("a thread");
    until_waits(&stop, "asks", "answer");
    let line = blamed();
    assert!(line.starts_with("to blame: task \"both\" waits for several things at once"), "{line}");
    assert!(line.ends_with("; 2 wait for that"), "{line}");
    go.send(()).expect("it waits");
    drop(task);
    end(&stop);
}

fn who_keeps_a_shutdown_from_its_end() {
    let stop = Stop::new("mds.a");
    let (go, gone) = mpsc::channel::<()>();
    idle(&stop);
    stop.spawn("stuck", move || gone.recv().ok()).expect("a thread");
    let (own, ops) = (stop.clone(), Stop::new("ops"));
    let stopper = ops.spawn("stopper", move || own.shutdown(Plan::within(GUARD)).is_clean()).expect("a thread");
    let (told, clean) = mpsc::channel();
    ops.spawn("joins", move || told.send(stopper.join().expect("no stop")).ok()).expect("a thread");
    until_waits(&ops, "joins", "end of stopper");
    until("the others have ended", || {
        let report = stop.report();
        report.reason().is_some() && report.members().len() == 1
    });
    until("it is blamed", || blamed().starts_with("to blame: thread \"stuck\" (tid "));
    let line = blamed();
    assert!(line.ends_with("runs, or blocks outside unwedge"), "{line}");
    go.send(()).expect("it waits");
    assert!(clean.recv().expect("it was joined"));
    end(&ops);
}

/// A step may start thousands.
fn a_phase_of_many() {
    const MANY: usize = 20_000;
    let stop = Stop::new("mds.a");
    let own = stop.clone();
    let (go, gone) = mpsc::channel::<()>();
    let (told, begun) = mpsc::channel();
    let plan = Plan::within(20 * GUARD).phase("save", 10 * GUARD, move |phase| {
        let mut cx = Context::from_waker(Waker::noop());
        let (owed, waits): (Vec<_>, Vec<_>) = (0..MANY).map(|_| Completion::<u8>::new("write", phase)).unzip();
        let tasks: Vec<_> = waits.into_iter().map(|wait| Box::pin(phase.track("writer", wait).1)).collect();
        let tasks: Vec<_> =
            tasks.into_iter().map(|mut task| (task.as_mut().poll(&mut cx).is_pending(), task)).collect();
        told.send(())?;
        gone.recv()?;
        drop((tasks, owed));
        Ok(())
    });
    let shutdown = std::thread::spawn(move || own.shutdown(plan).is_clean());
    begun.recv().expect("it runs");
    assert_eq!(stop.report().members().len(), MANY + 1);
    let text = written();
    let heads: Vec<_> = text.lines().skip(1).take_while(|line| !line.starts_with("  ")).collect();
    assert!(heads.len() <= 4, "{} lines", heads.len());
    assert!(heads[0].starts_with("stop of mds.a waits for phase save, "), "{heads:?}");
    assert_eq!(heads[3], "stop of mds.a waits for phase save: and 19998 more threads and tasks");
    go.send(()).expect("it waits");
    assert!(shutdown.join().expect("no panic"));
}

/// Two threads may panic at once.
fn several_reports_at_once() {
    let stop = Stop::new("mds.a");
    idle(&stop);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let text = written();
                    let worker = text.lines().find(|line| line.starts_with("  mds.a: thread \"worker\" "));
                    assert!(worker.is_some_and(|line| line.contains(" for a condition variable of queue (")), "{text}");
                }
            });
        }
    });
    end(&stop);
}

#[test]
fn the_culprit_is_blamed_among_the_innocent() {
    guarded(|| {
        a_read_among_those_who_wait_for_work();
        a_task_that_waits_for_several_things();
        who_keeps_a_shutdown_from_its_end();
        several_reports_at_once();
        a_phase_of_many();
    });
}
