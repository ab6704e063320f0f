//! Windows of completions, in order and as they come, on every backend.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use unwedge::{
    Completion, Monitor, Stop,
    io::{Backend, IoError, Ordered, Unordered},
};

use super::help::{Dir, GUARD, READ, block_on, end, get, guard, pattern, start, until};

pub fn windows_of_reads(backend: Backend) {
    const WINDOW: usize = 5;
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = start(backend, &stop);
    let content = pattern(64 * 4096);
    let path = dir.file("journal", &content);
    let file = get(io.open(&path, READ)).expect("opened");
    let begun = AtomicUsize::new(0);
    let piece = |i: usize| {
        begun.fetch_add(1, Relaxed);
        io.read_at(&file, vec![0; 4096], i as u64 * 4096)
    };
    let ordered = Ordered::new((0..64).map(piece), WINDOW);
    assert_eq!(begun.load(Relaxed), 0);
    let mut read = Vec::new();
    for next in ordered {
        assert!(begun.load(Relaxed) <= read.len() / 4096 + WINDOW);
        read.extend(get(next).expect("read"));
    }
    assert!(read == content);

    // What is there at once has nothing begun behind it, unless what is not is in the window with it.
    let (begun, mut owed) = (AtomicUsize::new(0), Vec::new());
    let kinds = [true, true, true, false, true, true, false, true, true, true, true, true];
    let mixed = kinds.map(|at_once| {
        let (completer, completion) = Completion::<_, IoError>::new("piece", &stop);
        if at_once {
            assert!(completer.complete(()).is_ok())
        } else {
            owed.push(completer)
        }
        completion
    });
    let ordered = Ordered::new(mixed.into_iter().inspect(|_| _ = begun.fetch_add(1, Relaxed)), 4);
    let mut counts = Vec::new();
    for next in ordered {
        counts.push(begun.load(Relaxed));
        if !next.is_complete() {
            assert!(owed.remove(0).complete(()).is_ok());
        }
        assert!(get(next).is_ok());
    }
    assert_eq!(counts, [1, 2, 3, 7, 8, 9, 10, 10, 10, 10, 11, 12]);

    let numbered = |i: usize| {
        let mut piece = piece(i);
        let (completer, completion) = Completion::<_, IoError>::new("piece", &stop);
        drop(completer.complete((i, piece.wait_until(guard()).expect("answered").expect("read"))));
        completion
    };
    let mut unordered = Unordered::new((0..64).map(numbered), WINDOW);
    let mut seen = HashSet::new();
    while let Some(next) = unordered.wait_until(guard()) {
        let (i, piece) = next.expect("not stopped").expect("read");
        assert!(piece == content[i * 4096..(i + 1) * 4096] && seen.insert(i));
    }
    assert_eq!(seen.len(), 64);
    assert!(block_on(unordered.next()).is_none());

    // As they come: the one that is held up comes last, and a stop ends the wait for it.
    let (held, last) = Completion::<u32>::new("late", &stop);
    let mut first = Some(last);
    let jobs = (0..20).map(|i| first.take().unwrap_or_else(|| io.run_blocking("job", move || i)));
    let mut unordered = Unordered::new(jobs, 3);
    let mut got: Vec<u32> =
        (0..19).map(|_| block_on(unordered.next()).expect("more").expect("not stopped").expect("run")).collect();
    got.sort_unstable();
    assert_eq!(got, (1..20).collect::<Vec<_>>());
    let timed_out = unordered.wait_until(Instant::now() + Duration::from_millis(5));
    assert!(timed_out.expect("one is left").expect_err("held").is_timed_out());
    let stopper = Arc::new(stop.clone());
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        stopper.request("test")
    });
    assert!(unordered.wait().expect("one is left").is_err(), "stopped");
    assert!(unordered.wait().is_none());
    assert!(thread.join().expect("ended"));
    drop((held, unordered));
    end(&stop);
}

pub fn windows_under_a_lock(backend: Backend) {
    let (stop, done, later) = (Stop::new("test"), Stop::new("done"), Stop::new("later"));
    let io = start(backend, &stop);
    let lock = Arc::new(Monitor::new("lock", Mutex::new(0), &stop));
    let mut jobs = Unordered::new((0..100).map(|i: u32| io.run_blocking("job", move || i)), 7);
    let mut sum = lock.lock().expect("free");
    while let (held, Some(job)) = jobs.wait_in(sum).expect("not stopped") {
        sum = held;
        *sum += job.expect("run");
    }
    assert_eq!(*lock.lock().expect("let go at the end"), 4950);

    // The lock is free while nothing is there: whoever completes it needs it first.
    let (completer, answer) = Completion::<u32>::new("answer", &stop);
    let mut answers = Unordered::new([answer].into_iter(), 3);
    std::thread::scope(|threads| {
        let held = lock.lock().expect("free");
        threads.spawn(|| {
            *lock.lock().expect("free in the end") = 1;
            assert!(completer.complete(7).is_ok());
        });
        let (held, answer) = answers.wait_in(held).expect("not stopped");
        assert_eq!((*held, answer), (1, Some(Ok(7))));
        assert_eq!(answers.wait_in(held).expect("nothing to wait for").1, None);
    });

    // A stop ends it, without the lock: by the guard's domain (here a phase that is over by itself), and by the completion's.
    let (_kept, never) = Completion::<u32>::new("never", &stop);
    let mut nevers = Unordered::new([never].into_iter(), 1);
    let phase = Stop::new("phase");
    let (give, given) = std::sync::mpsc::channel();
    let (its_lock, its_phase) = (Arc::clone(&lock), phase.clone());
    let waiter = phase.spawn("waiter", move || {
        let stopped = its_lock.lock_in(&its_phase).and_then(|held| nevers.wait_in(held).map(|_| ())).is_err();
        assert!(give.send((nevers, stopped)).is_ok());
    });
    assert!(waiter.is_ok());
    until("it waits", || phase.report().to_string().contains("next of a window"));
    phase.request("over");
    let (mut nevers, stopped) = given.recv_timeout(GUARD).expect("ended");
    assert!(stopped);
    assert!(lock.try_lock().is_ok_and(|guard| guard.is_some()), "unlocked");
    let held = lock.lock().expect("free");
    done.request("over");
    assert!(nevers.wait_in(held.adopt(&done)).is_err(), "it does not even begin");
    let mut there = Unordered::new([Completion::<u32>::ready(Ok(7), &later)].into_iter(), 1);
    assert!(there.wait_in(lock.lock().expect("free").adopt(&done)).is_err(), "nor is what is there given out");
    assert_eq!(there.wait_in(lock.lock_in(&later).expect("free")).expect("not stopped").1, Some(Ok(7)));
    let held = lock.lock_in(&later).expect("free");
    stop.request("test");
    assert!(nevers.wait_in(held).is_err());
    assert!(lock.lock_in(&later).is_ok_and(|held| nevers.wait_in(held).is_ok_and(|(_, none)| none.is_none())));
    end(&later);
    end(&phase);
    end(&stop);
}

/// As the combinators of the `futures` crate see it.
#[cfg(feature = "tokio")]
pub fn a_window_is_a_stream(backend: Backend) {
    let stop = Stop::new("test");
    let io = start(backend, &stop);
    let mut jobs = Unordered::new((0..10).map(|i: u32| io.run_blocking("job", move || i)), 3);
    let mut sum = 0;
    while let Some(job) =
        block_on(std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut jobs), cx)))
    {
        sum += job.expect("not stopped").expect("run");
    }
    assert_eq!(sum, 45);
    end(&stop);
}

#[cfg(not(feature = "tokio"))]
pub fn a_window_is_a_stream(_: Backend) {}
