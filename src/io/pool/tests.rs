//! The pool's threads: when one is added, and what becomes of what waits when the pool is closed.

use std::{
    io::ErrorKind,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
};

use super::*;

#[path = "../../../tests/io/lingering.rs"]
mod lingering;

use lingering::lingering;

/// Long enough that only a hang comes to it.
const GUARD: Duration = Duration::from_secs(30);

/// A pool that has one thread when none is stuck, and for a device no more than `each`.
fn pool(each: usize) -> Pool {
    hooked(each, None)
}

fn hooked(each: usize, hook: Option<StartHook>) -> Pool {
    Pool(Arc::new(Shared {
        state: Mutex::new(State::new(each)),
        work: Signal::default(),
        crowded: Signal::default(),
        left: Signal::default(),
        base: 1,
        most: 8,
        name: "uw-test".into(),
        hook,
    }))
}

/// A job that says when it is begun, and ends when it is let go.
struct Held {
    begun: Sender<()>,
    go: Receiver<()>,
}

impl Job for Held {
    fn run(self: Box<Self>) {
        self.begun.send(()).expect("the test waits");
        let _ = self.go.recv();
    }

    fn is_wanted(&self) -> bool {
        true
    }
}

/// Queues one: what tells of its begin, and what lets it go.
fn hold(pool: &Pool, place: Place) -> (Receiver<()>, Sender<()>) {
    let ((begun, begins), (let_go, go)) = (channel(), channel());
    pool.run(place, Box::new(Held { begun, go }));
    (begins, let_go)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = now() + GUARD;
    while !holds() {
        assert!(now() < end, "never: {what}");
        thread::yield_now();
    }
}

/// Ends the pool; nothing may be left of it.
fn end(pool: &Pool) {
    assert_eq!(pool.close(now() + GUARD), Leaked::default());
}

#[test]
fn a_thread_is_added_when_the_queue_has_not_moved_for_a_while() {
    let pool = pool(64);
    for round in 1..=3 {
        let (first, first_goes) = hold(&pool, Place::Anywhere);
        first.recv_timeout(GUARD).expect("there is a thread for it");
        let since = now();
        let (second, second_goes) = hold(&pool, Place::Anywhere);
        second.recv_timeout(GUARD).expect("there is one more");
        assert!(since.elapsed() >= STUCK, "only when the first was seen to be stuck");
        assert!(pool.threads() >= 3, "with the supervisor");
        drop((first_goes, second_goes));
        until("one of them ends, one waits", || {
            let state = pool.0.state.lock();
            (state.live, state.idle) == (2, 1)
        });
        assert_eq!(pool.0.state.lock().begun, 2 * round);
        // The supervisor looks once more, and then waits until it is told of work.
        thread::sleep(2 * STUCK);
    }
    end(&pool);
}

/// An idle thread is woken for the first, and may get stuck at it before it comes to the second: the supervisor has to know.
#[test]
fn who_sleeps_is_told_of_what_no_thread_was_woken_for() {
    let mut state = State::new(64);
    let add = |state: &mut State| {
        let ((begun, _), (_, go)) = (channel(), channel());
        state.add(Some(7), Work::Job(Place::Device(7), Box::new(Held { begun, go })), 1)
    };
    assert_eq!((add(&mut state), add(&mut state)), (Wake::Thread, Wake::Supervisor));
    assert_eq!(add(&mut state), Wake::Nobody, "it looks");
    drop(state.queue.take());
    (state.idle, state.sleeps) = (1, true);
    assert_eq!([add(&mut state), add(&mut state), add(&mut state)], [Wake::One, Wake::Sleeper, Wake::Nobody]);
}

#[test]
fn a_thread_is_added_only_where_it_helps() {
    let mut state = State::new(1);
    state.live = 2;
    assert!(!state.needs_a_thread(0, 2), "there is nothing to do");
    let ((begun, _begins), (_let_go, go)) = (channel(), channel());
    state.queue.push(Some(7), Work::Job(Place::Device(7), Box::new(Held { begun, go })));
    assert!(state.needs_a_thread(0, 2));
    assert!(!state.needs_a_thread(0, 1), "there are enough");
    state.begun = 1;
    assert!(!state.needs_a_thread(0, 2), "it has moved");
    assert!(state.needs_a_thread(1, 2));
    state.ending = true;
    assert!(!state.needs_a_thread(1, 2), "the pool is at its end");
}

/// What is set aside is asked whether it is wanted now and then, and not all the time.
#[test]
fn what_is_set_aside_is_looked_at_now_and_then() {
    struct Asked(Sender<()>);
    impl Job for Asked {
        fn run(self: Box<Self>) {}

        fn is_wanted(&self) -> bool {
            self.0.send(()).is_ok()
        }
    }
    let pool = pool(1);
    let (first, first_goes) = hold(&pool, Place::Device(7));
    first.recv_timeout(GUARD).expect("there is a thread for it");
    let (since, (asked, asks)) = (now(), channel());
    pool.run(Place::Device(7), Box::new(Asked(asked)));
    (0..2).for_each(|_| asks.recv_timeout(GUARD).expect("it is asked"));
    let more = asks.try_iter().count() as u32;
    assert!(since.elapsed() >= (2 + more) * SWEEP, "{more} more");
    first_goes.send(()).expect("it waits");
    end(&pool);
}

#[test]
fn a_supervisor_that_could_not_be_made_is_made_later() {
    let pool = pool(64);
    let (first, first_goes) = hold(&pool, Place::Anywhere);
    first.recv_timeout(GUARD).expect("there is a thread for it");
    let fails = |role| {
        pool.0.state.lock().live += 1;
        pool.0.could_not_start(role, &ErrorKind::WouldBlock.into());
    };
    pool.0.state.lock().supervised = true;
    fails(Role::Supervisor);
    let (second, second_goes) = hold(&pool, Place::Anywhere);
    second.recv_timeout(GUARD).expect("there is one more");
    fails(Role::Server);
    assert!(pool.0.state.lock().supervised, "there is a supervisor all the same");
    drop((first_goes, second_goes));
    end(&pool);
}

/// What waits behind a device that does not answer is refused when the pool is closed, but for closes: they are made in their turn, and one that does not come
/// back is left.
#[test]
fn what_waits_at_the_end_is_refused_and_closes_are_made() {
    let pool = pool(1);
    let (first, first_goes) = hold(&pool, Place::Device(7));
    first.recv_timeout(GUARD).expect("there is a thread for it");
    let (waits, _waits_goes) = hold(&pool, Place::Device(7));
    let (socket, peer) = lingering();
    assert!(pool.submit(Op::Close(socket.into(), 7)).is_ok());
    thread::scope(|threads| {
        let closes = threads.spawn(|| pool.close(now() + 2 * GUARD));
        assert_eq!(waits.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected), "not begun, and gone");
        first_goes.send(()).expect("it waits");
        until("the drop and the close are begun, and nobody else is there", || {
            let state = pool.0.state.lock();
            // The first, what refuses the second, and the close.
            (state.begun, state.live) == (3, 1) || closes.is_finished()
        });
        pool.hurry();
        assert_eq!(closes.join().expect("no panic"), Leaked { operations: 1, bytes: 0, threads: 1 });
    });
    drop(peer);
    until("it has come back", || pool.threads() == 0);
}

/// Its drop waits until the other end has gone.
struct Blocks(Receiver<()>);

impl Job for Blocks {
    fn run(self: Box<Self>) {}

    fn is_wanted(&self) -> bool {
        true
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// All the threads that may be at what is refused are stuck there: none comes to what a shutdown refuses.
#[test]
fn who_closes_refuses_nothing_itself() {
    let pool = pool(1);
    let (release, waits) = channel();
    {
        let mut state = pool.0.state.lock();
        assert!(state.queue.refuse(vec![Work::Refused(Vec::new())]));
        assert!(matches!(state.queue.next(), Next::Begin(..)));
        state.queue.push(Some(7), Work::Job(Place::Device(7), Box::new(Blocks(waits))));
    }
    let own = Pool(Arc::clone(&pool.0));
    let closes = thread::spawn(move || own.close(now()));
    until("it returns", || closes.is_finished());
    drop(release);
    closes.join().expect("no panic");
}

/// Also by a thread that is late, because the user's hook holds it up.
#[test]
fn who_closes_drops_nothing_that_a_thread_was_made_for() {
    struct Told(Sender<Option<String>>);
    impl Job for Told {
        fn run(self: Box<Self>) {}

        fn is_wanted(&self) -> bool {
            true
        }
    }
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }
    let gate = Arc::new(std::sync::RwLock::new(()));
    let at_the_gate = Arc::clone(&gate);
    let pool = hooked(1, Some(Arc::new(move |_: &str| drop(at_the_gate.read()))));
    let (first, first_goes) = hold(&pool, Place::Device(7));
    first.recv_timeout(GUARD).expect("there is a thread for it");
    let held_up = gate.write().expect("no panic");
    let (told, tells) = channel();
    pool.run(Place::Device(7), Box::new(Told(told)));
    assert_eq!(pool.close(now()), Leaked { operations: 1, bytes: 0, threads: 3 });
    drop((held_up, first_goes));
    let by = tells.recv_timeout(GUARD).expect("dropped");
    assert!(by.as_ref().is_some_and(|name| name.starts_with("uw-test-")), "{by:?}");
    until("they have ended", || pool.threads() == 0);
}

/// What is told as left is all that is: an operation has ended when the close returns, though no thread has come to what it refuses.
#[test]
fn who_closes_refuses_operations_itself() {
    let gate = Arc::new(std::sync::RwLock::new(()));
    let at_the_gate = Arc::clone(&gate);
    let pool = hooked(1, Some(Arc::new(move |_: &str| drop(at_the_gate.read()))));
    let held_up = gate.write().expect("no panic");
    let stop = crate::Stop::new("test");
    let io = crate::io::Io::new(&stop).expect("a backend");
    let path: Arc<std::path::Path> = std::path::Path::new("/nonexistent").into();
    let (reply, completion) = io.owe(crate::io::Operation::Open, "open", &path, None);
    let (options, home) = (crate::io::OpenOptions::new().read(true), Arc::clone(&io.backends));
    let open = crate::io::op::Open { path, dir: None, name: c"/nonexistent".into(), options, reply, home };
    assert!(pool.submit(Op::Open(Box::new(open))).is_ok());
    assert!(!completion.is_complete());
    assert_eq!(pool.close(now()).operations, 0);
    assert!(completion.is_complete(), "its buffer would be out, and not counted");
    drop(held_up);
    until("they have ended", || pool.threads() == 0);
}

/// One that has taken leave, and is in the destructor of a job's thread-local.
#[test]
fn a_thread_that_is_late_is_counted_also_where_one_is_made_at_the_end() {
    thread_local! {
        static LAST: std::cell::RefCell<Option<Blocks>> = const { std::cell::RefCell::new(None) };
    }
    struct Leaves(Held, Blocks);
    impl Job for Leaves {
        fn run(self: Box<Self>) {
            LAST.set(Some(self.1));
            Box::new(self.0).run();
        }

        fn is_wanted(&self) -> bool {
            true
        }
    }
    let pool = pool(1);
    let ((begun, first), (first_goes, go), (late_goes, late)) = (channel(), channel(), channel());
    pool.run(Place::Device(7), Box::new(Leaves(Held { begun, go }, Blocks(late))));
    first.recv_timeout(GUARD).expect("there is a thread for it");
    let (second, second_goes) = hold(&pool, Place::Device(8));
    second.recv_timeout(GUARD).expect("there is one more");
    drop(second_goes);
    until("the second one waits", || pool.0.state.lock().idle >= 1);
    drop(first_goes);
    until("the first one has taken leave", || {
        let state = pool.0.state.lock();
        (state.live, state.idle) == (2, 1)
    });
    let (third, third_goes) = hold(&pool, Place::Device(7));
    third.recv_timeout(GUARD).expect("there is a thread for it");
    let (refused, _) = hold(&pool, Place::Device(7));
    let left = pool.close(now() + 2 * LEAVE);
    assert!(left.operations == 1 && left.threads >= 2, "{left:?}");
    assert_eq!(refused.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected));
    drop((third_goes, late_goes));
    until("they have ended", || pool.threads() == 0);
}

/// A close for which there is no thread of the pool's does not block who is told so.
#[test]
fn a_close_without_a_thread_is_made_elsewhere() {
    let pool = pool(1);
    let (socket, peer) = lingering();
    {
        let mut state = pool.0.state.lock();
        state.live = 1;
        state.queue.push(Some(7), Work::Op(Op::Close(socket.into(), 7)));
    }
    thread::scope(|threads| {
        let told = threads.spawn(|| pool.0.could_not_start(Role::Server, &ErrorKind::WouldBlock.into()));
        let end = now() + GUARD;
        while !told.is_finished() && now() < end {
            thread::yield_now();
        }
        let in_time = told.is_finished();
        drop(peer);
        assert!(in_time, "it waits for the close");
    });
}
