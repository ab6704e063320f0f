//! A second request: what takes the time away from a shutdown, and what does not.

use std::pin::Pin;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use unwedge::io::{Backend, Io};
use unwedge::report::Outcome;
use unwedge::{Plan, Step, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};

const LONG: Duration = Duration::from_secs(3600);

/// What a hurry leaves to who is on its way out.
const WAY_OUT: Duration = Duration::from_millis(100);

thread_local! {
    /// Waits in its destructor.
    static LAST: std::cell::RefCell<Option<AtTheEnd>> = const { std::cell::RefCell::new(None) };
}

struct AtTheEnd(mpsc::Receiver<()>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.recv().ok();
    }
}

/// Has this thread hang in a thread-local's destructor until it is let go.
fn hang_at_its_end(until: mpsc::Receiver<()>) {
    LAST.set(Some(AtTheEnd(until)));
}

/// A member that heeds no stop, and what lets it go.
fn deaf(stop: &Stop) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    stop.spawn("deaf", move || released.recv().is_ok()).expect("a thread");
    release
}

/// Runs a shutdown on a thread outside the domain.
fn shut_down(stop: &Stop, plan: Plan) -> mpsc::Receiver<unwedge::report::Report> {
    let (told, tell) = mpsc::channel();
    let own = stop.clone();
    std::thread::spawn(move || drop(told.send(own.shutdown(plan))));
    tell
}

#[test]
fn a_request_does_not_hurry_and_a_hurry_ends_the_wait_for_members() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let release = deaf(&stop);
        let ended = shut_down(&stop, Plan::within(2 * LONG).phase("save", LONG, |_| Ok(())));
        until("the shutdown runs", || stop.is_requested());
        for _ in 0..10 {
            assert!(!stop.request("another part of the daemon"));
        }
        assert!(!stop.is_hurried());
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the member");
        let since = Instant::now();
        assert!(stop.hurry("a second SIGTERM"));
        assert!(!stop.hurry("a third SIGTERM"), "it does nothing worse");
        let report = ended.recv_timeout(GUARD).expect("it was hurried");
        assert!(since.elapsed() >= WAY_OUT);
        assert_eq!(report.reason(), Some("shutdown"), "the first request's");
        assert_eq!(report.members()[0].name, "deaf");
        assert_eq!(report.phases()[0].outcome, Outcome::Skipped);
        assert!(report.to_string().contains("phase save: not begun: the stop was hurried"), "{report}");
        drop(release);
        until("it has ended", || stop.report().members().is_empty());
        assert!(stop.shutdown(Plan::within(LONG)).is_clean(), "who has ended is no trouble to a hurried one");
    });
}

#[test]
fn a_hurry_ends_a_phase_and_skips_the_others() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (begun, begins) = mpsc::channel();
        let plan = Plan::within(4 * LONG)
            .phase("first", LONG, |_| Ok(()))
            .phase("second", LONG, move |phase| {
                begun.send(())?;
                phase.wait_timeout(Duration::MAX);
                Err("given up".into())
            })
            .phase("third", LONG, |_| Ok(()));
        let ended = shut_down(&stop, plan);
        begins.recv_timeout(GUARD).expect("the second begins");
        assert!(stop.hurry("again"));
        let report = ended.recv_timeout(GUARD).expect("it was hurried");
        let outcomes: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Stopped, Outcome::Skipped]);
        assert!(report.is_clean(), "{report}");
    });
}

#[test]
fn a_hurry_ends_the_drain_of_the_io() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = io.run_blocking("stuck", move || begun.send(()).is_ok() && stuck.recv().is_ok());
        let (_never, _reply) = io.external::<u8, unwedge::Abandoned>("a reply");
        begins.recv().expect("a thread has it");
        let ended = shut_down(&stop, Plan::within(LONG));
        until("it drains", || stop.is_requested());
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the job");
        stop.hurry("again");
        let report = ended.recv_timeout(GUARD).expect("it was hurried");
        assert!(report.leaked_operations() >= 1, "{report}");
        drop((release, job));
    });
}

/// Runs a shutdown that has to wait for a thread at its end, hurries it, and sees that this thread is left.
fn a_hurry_leaves_a_thread(stop: &Stop, release: mpsc::Sender<()>) {
    let ended = shut_down(stop, Plan::within(LONG));
    until("the shutdown runs", || stop.is_requested());
    assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the thread");
    stop.hurry("again");
    let report = ended.recv_timeout(GUARD).expect("it was hurried");
    assert_eq!((report.members().len(), report.leaked_threads()), (0, 1), "{report}");
    drop(release);
}

#[test]
fn a_hurry_ends_the_wait_for_a_hook_that_closes_a_library() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        assert!(io.on_close(move |_| usize::from(stuck.recv().is_ok())).is_ok());
        a_hurry_leaves_a_thread(&stop, release);
    });
}

#[test]
fn a_hurry_ends_the_wait_for_a_thread_at_its_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, stuck) = mpsc::channel::<()>();
        let member = stop.spawn("stuck", || hang_at_its_end(stuck)).expect("a thread");
        member.join().expect("it gave its result");
        until("it is no member", || stop.report().members().is_empty());
        a_hurry_leaves_a_thread(&stop, release);
    });
}

/// A callback that does not return, as a hurry leaves it: it is counted, and so is the thread that it has.
#[test]
fn a_hurry_ends_the_wait_for_a_callback() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &stop);
        completion
            .on_complete(&stop, move |_| assert!(begun.send(()).is_ok() && stuck.recv().is_err()))
            .expect("a thread");
        completer.complete(1).expect("wanted");
        begins.recv_timeout(GUARD).expect("it runs");
        let ended = shut_down(&stop, Plan::within(LONG));
        until("the shutdown runs", || stop.is_requested());
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the callback");
        let since = Instant::now();
        stop.hurry("again");
        let report = ended.recv_timeout(GUARD).expect("it was hurried");
        assert!(since.elapsed() >= WAY_OUT);
        assert!(report.to_string().contains("callbacks left: 1"), "{report}");
        assert_eq!(report.leaked_threads(), 1, "{report}");
        drop(release);
    });
}

/// The shutdown of a part waits for that of the whole, which clears the part away and is not hurried itself.
#[test]
fn a_hurry_ends_the_wait_for_what_another_shutdown_clears_away() {
    guarded(|| {
        let (stop, watched) = (Stop::new("mds.a"), Stop::new("the test"));
        let part = stop.child("rank.0");
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &part);
        completion
            .on_complete(&part, move |_| assert!(begun.send(()).is_ok() && stuck.recv().is_err()))
            .expect("a thread");
        completer.complete(1).expect("wanted");
        begins.recv_timeout(GUARD).expect("it runs");
        let own = stop.clone();
        let whole = watched.spawn("whole", move || own.shutdown(Plan::within(LONG))).expect("a thread");
        until_waits(&watched, "whole", "threads and tasks to end");
        let ended = shut_down(&part, Plan::within(LONG));
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the other one");
        part.hurry("again");
        let report = ended.recv_timeout(GUARD).expect("it was hurried");
        assert_eq!(report.closing(), 1, "{report}");
        assert!(!whole.is_finished());
        drop(release);
        assert!(whole.join().expect("no panic").is_clean());
        assert!(watched.shutdown(Plan::within(LONG)).is_clean());
    });
}

/// What is closed before it may have used up all the time: a callback thread that has nothing to do is given some for its end.
#[test]
fn a_callback_thread_that_has_nothing_to_do_is_not_left() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &stop);
        completion.on_complete(&stop, |_| ()).expect("a thread");
        completer.complete(1).expect("wanted");
        let io = Io::new(&stop).expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        assert!(io.on_close(move |_| usize::from(stuck.recv().is_ok())).is_ok());
        let report = stop.shutdown(Plan::within(Duration::from_millis(50)));
        assert_eq!(report.leaked_threads(), 1, "the hook's: {report}");
        assert!(!report.to_string().contains("callbacks left"), "{report}");
        drop(release);
    });
}

#[test]
fn a_hurry_ends_the_wait_for_the_callback_thread_at_its_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, stuck) = mpsc::channel::<()>();
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &stop);
        completion.on_complete(&stop, move |_| hang_at_its_end(stuck)).expect("a thread");
        completer.complete(1).expect("wanted");
        a_hurry_leaves_a_thread(&stop, release);
    });
}

#[test]
fn a_hurry_ends_the_wait_for_a_thread_of_the_pool_at_its_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::builder(&stop).backend(Backend::Pool).build().expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        io.run_blocking("job", move || hang_at_its_end(stuck)).wait().expect("no stop").expect("it ran");
        a_hurry_leaves_a_thread(&stop, release);
    });
}

/// A start hook's thread-local may hang on the ring's own thread, too. Without a ring there is nothing to see.
#[test]
fn a_hurry_ends_the_wait_for_the_thread_of_the_ring_at_its_end() {
    guarded(|| {
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = std::sync::Mutex::new(Some(stuck));
        let hook = move |name: &str| {
            if name.ends_with("-ring") {
                stuck.lock().expect("no panic").take().into_iter().for_each(hang_at_its_end);
            }
        };
        let stop = Stop::builder("mds.a").on_thread_start(hook).build();
        match Io::builder(&stop).backend(Backend::Uring).build() {
            Ok(_io) => a_hurry_leaves_a_thread(&stop, release),
            Err(error) => eprintln!("not tested on io_uring: {error}"),
        }
    });
}

/// A waker that blocks, run by the thread that tells operations that their time is up.
#[test]
fn a_hurry_ends_the_wait_for_the_thread_of_the_deadlines() {
    struct Blocks(std::sync::Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl std::task::Wake for Blocks {
        fn wake(self: std::sync::Arc<Self>) {
            self.1.send(()).expect("the test waits");
            self.0.lock().expect("no panic").recv().ok();
        }
    }
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::builder(&stop).deadline(Duration::from_millis(50)).build().expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let waker = std::sync::Arc::new(Blocks(stuck.into(), begun)).into();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let file = io.attach(reader, "frozen").expect("a descriptor");
        let mut read = io.read_at(&file, vec![0; 1], 0);
        // If its time is up already, there is nobody to wake: then the next one.
        while Pin::new(&mut read).poll(&mut std::task::Context::from_waker(&waker)).is_ready() {
            read = io.read_at(&file, vec![0; 1], 0);
        }
        begins.recv_timeout(GUARD).expect("its time is up");
        drop((read, file, writer));
        a_hurry_leaves_a_thread(&stop, release);
    });
}

#[test]
fn a_hurry_before_the_shutdown_counts_and_goes_down_the_tree() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (early, apart) = (stop.child("early"), Stop::new("apart"));
        assert!(stop.hurry("twice at once"));
        assert!(stop.is_requested() && stop.is_hurried() && early.is_requested() && early.is_hurried());
        let late = stop.child("late");
        assert!(late.is_hurried() && !apart.is_hurried());
        for part in [&early, &late] {
            let release = deaf(part);
            let report = part.shutdown(Plan::within(LONG));
            assert_eq!(report.members().len(), 1, "{report}");
            drop(release);
        }
        // Not the other way round.
        let (parent, sibling) = (Stop::new("mds.b"), apart.child("sibling"));
        parent.child("child").hurry("a child's");
        assert!(!parent.is_hurried() && !parent.is_requested() && !sibling.is_hurried());
    });
}

#[test]
fn a_hurried_member_and_a_hurried_callback_have_time_for_their_way_out() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let own = stop.clone();
        stop.spawn("sleeper", move || own.wait_timeout(Duration::MAX)).expect("a thread");
        until_waits(&stop, "sleeper", "the stop");
        let (told, tell) = mpsc::channel();
        let own = stop.clone();
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &stop);
        let sleeper = move |_| assert!(told.send(()).is_ok() && own.wait_timeout(Duration::MAX));
        completion.on_complete(&stop, sleeper).expect("a thread");
        completer.complete(1).expect("wanted");
        tell.recv_timeout(GUARD).expect("it runs");
        stop.hurry("at once");
        let report = stop.shutdown(Plan::within(LONG));
        assert!(report.is_clean(), "{report}");
    });
}

/// From a thread of the domain, from a callback's and from a phase: it never blocks.
#[test]
fn a_hurry_from_anywhere() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let own = stop.clone();
        stop.spawn("admin", move || own.hurry("an operator")).expect("a thread");
        until("it is hurried", || stop.is_hurried());
        assert!(stop.shutdown(Plan::within(LONG)).is_clean());

        let stop = Stop::new("mds.b");
        let own = stop.clone();
        let (told, tell) = mpsc::channel();
        let (completer, completion) = unwedge::Completion::<u8>::new("value", &Stop::new("apart"));
        completion
            .on_complete(&stop, move |_| told.send(own.hurry("a callback")).expect("the test reads"))
            .expect("a thread");
        drop(completer);
        assert_eq!(tell.recv_timeout(GUARD), Ok(true));
        assert!(stop.shutdown(Plan::within(LONG)).is_clean());
    });
}

/// The rest of its phase's time is the thread's for as long as nobody is in a hurry.
#[test]
fn a_hurry_leaves_the_thread_of_a_phase_at_its_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (release, stuck) = mpsc::channel();
        let (told, over) = mpsc::channel();
        let step = Step::new("save", LONG).or_abort().run(move |_| {
            hang_at_its_end(stuck);
            told.send(())?;
            Ok(())
        });
        let ended = shut_down(&stop, Plan::within(2 * LONG).step(step));
        over.recv_timeout(GUARD).expect("the step runs");
        assert!(ended.recv_timeout(Duration::from_millis(200)).is_err(), "it waits for the thread");
        stop.hurry("a second SIGTERM");
        let report = ended.recv_timeout(GUARD).expect("the shutdown returns");
        assert_eq!(report.phases()[0].outcome, Outcome::Left);
        drop(release);
    });
}
