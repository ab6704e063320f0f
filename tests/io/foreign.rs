//! Operations that foreign code completes: the hook that tells it that nobody waits, and what a shutdown makes of those that do not end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Monitor, Plan, Stop,
    io::{Backend, ExternalCompletion, Io, IoError, Operation},
};

use super::help::{GUARD, block_on, end, guard, leaked, start};

type Answer = ExternalCompletion<u32, IoError>;

pub fn foreign_code_completes(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let called = Arc::new(AtomicUsize::new(0));
    let ask = |value: Option<u32>| -> Answer {
        let (completer, answer) = io.external::<u32, IoError>("osd_op");
        let calls = Arc::clone(&called);
        completer.on_cancel(move || _ = calls.fetch_add(1, Relaxed)).expect("a callback thread");
        assert!(completer.is_wanted());
        thread::spawn(move || match value {
            Some(value) => assert_eq!(completer.complete(value), Ok(())),
            None => drop(completer),
        });
        answer
    };
    assert_eq!(ask(Some(1)).wait_until(guard()).expect("answered").expect("a value"), 1);
    assert_eq!(block_on(ask(Some(2))).expect("not stopped").expect("a value"), 2);
    let monitor = Monitor::new("lock", std::sync::Mutex::new(0), &stop);
    let (mut total, value) = monitor.lock().expect("free").wait_for(&mut ask(Some(3))).expect("not stopped");
    *total += value.expect("a value");
    drop(total);
    assert!(ask(None).wait_until(guard()).expect("answered").expect_err("dropped").is_abandoned());
    let (send, receive) = mpsc::channel();
    let told = move |result: Result<Result<u32, IoError>, _>| _ = send.send(result.map(Result::ok));
    ask(Some(4)).on_complete(&stop, told).expect("a callback thread");
    assert_eq!(receive.recv_timeout(GUARD).expect("told"), Ok(Some(4)));

    let (completer, answer) = io.external::<u32, IoError>("failing");
    let error = IoError::from(unwedge::Abandoned);
    assert!(completer.fail(error).is_ok());
    assert!(answer.is_complete() && answer.cancel().is_some_and(|result| result.is_err()));
    assert_eq!(called.load(Relaxed), 0, "what has ended is not cancelled");
    let metrics = io.metrics();
    let external = metrics.operation(Operation::External);
    assert_eq!((external.done(), external.failed(), external.in_flight()), (6, 2, 0));
    end(&stop);
}

/// A hook that tells by a channel on which thread it ran.
fn hooked(io: &Io) -> (unwedge::io::ExternalCompleter<u32, IoError>, Answer, mpsc::Receiver<Option<String>>) {
    let (completer, answer) = io.external::<u32, IoError>("osd_op");
    let (send, receive) = mpsc::channel();
    let hook = move || _ = send.send(thread::current().name().map(str::to_owned));
    completer.on_cancel(hook).expect("a callback thread");
    (completer, answer, receive)
}

pub fn a_hook_tells_that_nobody_waits(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let ran = |receive: &mpsc::Receiver<Option<String>>| {
        assert_eq!(receive.recv_timeout(GUARD).expect("it runs").as_deref(), Some("uw-callback"));
        assert!(receive.recv_timeout(GUARD).is_err(), "once: it is gone then");
    };
    // Dropped, cancelled, dropped in a callback: told at once, and what comes then comes back.
    let (completer, answer, receive) = hooked(&io);
    drop(answer);
    ran(&receive);
    assert_eq!(completer.complete(7), Err(7));
    let (completer, answer, receive) = hooked(&io);
    assert!(answer.cancel().is_none());
    ran(&receive);
    assert!(!completer.is_wanted());
    assert_eq!(io.metrics().too_late(), 1);
    assert_eq!(io.metrics().operation(Operation::External).in_flight(), 1);
    assert!(
        completer.fail(IoError::from(unwedge::Abandoned)).is_err_and(|error| error.is_abandoned()),
        "it comes back"
    );

    // A timeout cancels nothing.
    let (completer, mut answer, receive) = hooked(&io);
    assert!(answer.wait_until(Instant::now() + Duration::from_millis(5)).is_err());
    assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
    // A hook that comes late runs at once; a panicking one harms nobody.
    let (late, gone) = io.external::<u32, IoError>("late");
    drop(gone);
    let (send, told) = mpsc::channel();
    late.on_cancel(move || _ = send.send(())).expect("a callback thread");
    told.recv_timeout(GUARD).expect("it runs");
    let (panicking, gone) = io.external::<u32, IoError>("panicking");
    panicking.on_cancel(|| panic!("a hook that panics")).expect("a callback thread");
    drop(gone);
    // The stop: the waiter goes, with or without the foreign code; the hook is told.
    let waiter = thread::spawn(move || answer.wait().map(drop).is_err());
    stop.request("test");
    assert!(waiter.join().expect("ended"));
    ran(&receive);
    // After it nothing begins.
    let (refused, mut answer, receive) = hooked(&io);
    assert!(!refused.is_wanted() && answer.wait().is_err());
    ran(&receive);
    drop((completer, late, panicking, refused));
    end(&stop);
}

/// As many as a client library has out at a time, some ended and some not: the stop tells each of those that are left.
pub fn each_hook_is_told_of_the_stop(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let mut kept: Vec<_> = (0..200).map(|_| hooked(&io)).collect();
    for i in (0..200).rev().step_by(3) {
        assert!(kept.swap_remove(i).0.complete(7).is_ok());
    }
    stop.request("test");
    for (completer, answer, receive) in kept {
        receive.recv_timeout(GUARD).expect("it runs");
        drop((completer, answer));
    }
    end(&stop);
}

pub fn what_foreign_code_keeps_is_counted(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (kept, _answer, _) = hooked(&io);
    let (ends_late, _other, receive) = hooked(&io);
    // The library heeds the hook of one of them, and never ends the other.
    let library = thread::spawn(move || {
        receive.recv_timeout(GUARD).expect("it runs");
        drop(ends_late);
    });
    let report = stop.shutdown(Plan::within(Duration::from_millis(100)));
    assert!(library.join().is_ok());
    assert_eq!(leaked(&report), (1, 0, 0), "{report}");
    assert_eq!(io.metrics().leaked_operations(), 1);
    drop(kept);

    // One that ends during the shutdown is waited for, and not counted.
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (completer, _answer, receive) = hooked(&io);
    let library = thread::spawn(move || {
        receive.recv_timeout(GUARD).expect("it runs");
        thread::sleep(Duration::from_millis(5));
        drop(completer);
    });
    end(&stop);
    assert!(library.join().is_ok());
}

pub fn a_library_is_closed_last(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (completer, _answer, receive) = hooked(&io);
    let ended = Arc::new(AtomicUsize::new(0));
    let (seen, own) = (Arc::clone(&ended), Arc::clone(&ended));
    let library = thread::spawn(move || {
        receive.recv_timeout(GUARD).expect("it runs");
        own.fetch_add(1, Relaxed);
        drop(completer);
    });
    let closed = Arc::new(AtomicUsize::new(0));
    let (ran_once, not_yet) = (Arc::clone(&closed), Arc::clone(&closed));
    let hook = move |outstanding| {
        assert_eq!((outstanding, seen.load(Relaxed)), (0, 1), "after what it was to wait for");
        ran_once.fetch_add(1, Relaxed);
        0
    };
    assert!(io.on_close(hook).is_ok());
    let phase = Plan::within(GUARD).phase("save", GUARD, move |_| {
        assert_eq!(not_yet.load(Relaxed), 0, "not before the phases");
        Ok(())
    });
    let report = stop.shutdown(phase);
    assert!(report.is_clean(), "{report}");
    assert!(library.join().is_ok());
    assert_eq!((ended.load(Relaxed), closed.load(Relaxed)), (1, 1));
    // Who comes later has its hook back, and nobody runs it.
    assert!(io.on_close(|_| unreachable!("the service was closed")).is_err());

    // What a hook leaves is counted, and so is one that panics.
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    assert!(io.on_close(|_| 2).is_ok());
    assert!(io.on_close(|_| panic!("a hook that panics")).is_ok());
    let report = stop.shutdown(Plan::within(GUARD));
    assert_eq!((report.leaked_operations(), report.leaked_threads()), (0, 3), "{report}");

    // What is outstanding is said; one that is not through at the deadline is left.
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (kept, _answer, _) = hooked(&io);
    let (send, told) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let hook = move |outstanding| {
        _ = send.send(outstanding);
        _ = held.recv();
        0
    };
    assert!(io.on_close(hook).is_ok());
    let report = stop.shutdown(Plan::within(Duration::from_millis(50)));
    assert_eq!(told.recv_timeout(GUARD), Ok(1));
    assert_eq!((report.leaked_operations(), report.leaked_threads()), (1, 1), "{report}");
    drop((kept, let_go));
}

pub fn an_external_completion_becomes_a_plain_one(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let (completer, answer, receive) = hooked(&io);
    let mut plain = answer.into_completion();
    assert!(completer.complete(7).is_ok());
    assert!(matches!(plain.wait(), Ok(Ok(7))));
    drop(plain);
    assert!(receive.recv_timeout(GUARD).is_err(), "the hook was thrown away");
    // A drop tells the foreign code nothing; a stop does.
    let (completer, answer, receive) = hooked(&io);
    let plain = answer.into_completion();
    drop(plain);
    assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
    assert!(!completer.is_wanted());
    stop.request("test");
    receive.recv_timeout(GUARD).expect("it runs");
    drop(completer);
    end(&stop);
}
