//! What a wait allocates: nothing, for a thread and for a task; and a completion one block, its own.
//!
//! The allocator counts for each thread by itself, so that tests beside each other do not disturb the figures. What is counted is the steady
//! state: the first waits make slots, which are used again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use unwedge::{Completion, Condvar, Monitor, Stop};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator with what it was given; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many blocks this thread allocates in `rounds` of something, after some that are not counted.
fn allocated(rounds: usize, mut f: impl FnMut()) -> usize {
    (0..rounds).for_each(|_| f());
    let before = COUNT.get();
    (0..rounds).for_each(|_| f());
    COUNT.get() - before
}

const ROUNDS: usize = 500;

/// Wakes a thread that polls.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls on this thread; allocates nothing itself.
fn block_on<F: Future>(future: F, waker: &Waker) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(waker)) {
            return value;
        }
        thread::park();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

type Turn = Arc<(Monitor<Mutex<usize>>, [Condvar; 2])>;

/// Two sides take turns, each in its own way; what each allocates.
fn ping_pong(stop: &Stop, sides: [fn(&Turn, usize); 2]) -> [usize; 2] {
    let turn: Turn = Arc::new((Monitor::new("turn", Mutex::new(0), stop), [Condvar::new(), Condvar::new()]));
    let [first, second] = sides;
    let other = turn.clone();
    let other = thread::spawn(move || allocated(ROUNDS, || second(&other, 1)));
    let own = allocated(ROUNDS, || first(&turn, 0));
    [own, other.join().expect("no panic")]
}

fn by_thread((monitor, condvars): &(Monitor<Mutex<usize>>, [Condvar; 2]), side: usize) {
    let guard = monitor.lock().expect("not stopped");
    let mut guard = guard.wait_while(&condvars[side], |turn| *turn % 2 != side).expect("not stopped");
    *guard += 1;
    condvars[1 - side].notify_one();
}

fn by_deadline((monitor, condvars): &(Monitor<Mutex<usize>>, [Condvar; 2]), side: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let guard = monitor.lock_until(deadline).expect("not stopped");
    let mut back = guard.wait_while_until(&condvars[side], deadline, |turn| *turn % 2 != side).expect("not stopped");
    assert!(!back.timed_out);
    *back.guard += 1;
    condvars[1 - side].notify_one();
}

fn by_when((monitor, condvars): &(Monitor<Mutex<usize>>, [Condvar; 2]), side: usize) {
    monitor.when(|turn| (*turn % 2 == side).then(|| *turn += 1)).expect("not stopped");
    condvars[1 - side].notify_one();
}

thread_local! {
    static WAKER: Waker = waker();
}

fn by_task((monitor, condvars): &(Monitor<Mutex<usize>>, [Condvar; 2]), side: usize) {
    WAKER.with(|waker| {
        let guard = block_on(monitor.lock_async(), waker).expect("not stopped");
        let wait = guard.wait_while_async(&condvars[side], |turn| *turn % 2 != side);
        let mut guard = block_on(wait, waker).expect("not stopped");
        *guard += 1;
        condvars[1 - side].notify_one();
    });
}

fn by_task_when((monitor, condvars): &(Monitor<Mutex<usize>>, [Condvar; 2]), side: usize) {
    WAKER.with(|waker| {
        let when = monitor.when_async(|turn| (*turn % 2 == side).then(|| *turn += 1));
        block_on(when, waker).expect("not stopped");
        condvars[1 - side].notify_one();
    });
}

#[test]
fn a_wait_of_a_thread_allocates_nothing() {
    let stop = Stop::new("alloc");
    assert_eq!(ping_pong(&stop, [|turn, side| by_thread(turn, side), |turn, side| by_thread(turn, side)]), [0, 0]);
    assert_eq!(ping_pong(&stop, [|turn, side| by_thread(turn, side), |turn, side| by_deadline(turn, side)]), [0, 0]);
    assert_eq!(ping_pong(&stop, [|turn, side| by_when(turn, side), |turn, side| by_when(turn, side)]), [0, 0]);
}

#[test]
fn a_wait_of_a_task_allocates_nothing() {
    let stop = Stop::new("alloc");
    assert_eq!(ping_pong(&stop, [|turn, side| by_task(turn, side), |turn, side| by_task(turn, side)]), [0, 0]);
    assert_eq!(ping_pong(&stop, [|turn, side| by_task(turn, side), |turn, side| by_thread(turn, side)]), [0, 0]);
    let whens: [fn(&Turn, usize); 2] = [|turn, side| by_task_when(turn, side), |turn, side| by_when(turn, side)];
    assert_eq!(ping_pong(&stop, whens), [0, 0]);
}

#[test]
fn a_wait_that_is_given_up_allocates_nothing() {
    let stop = Stop::new("alloc");
    let monitor = Monitor::new("m", Mutex::new(0), &stop);
    let condvar = Condvar::new();
    let foreign = Mutex::new(());
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    let by_timeout = allocated(ROUNDS, || {
        let back = monitor.lock().expect("free").wait_until(&condvar, Instant::now()).expect("not stopped");
        assert!(back.timed_out);
        drop(back);
        let guard = foreign.lock().expect("not poisoned");
        assert!(condvar.wait_until(&stop, &foreign, guard, Instant::now()).is_ok_and(|back| back.timed_out));
        assert!(!stop.wait_timeout(Duration::ZERO));
    });
    assert_eq!(by_timeout, 0);
    let by_drop = allocated(ROUNDS, || {
        let mut wait = monitor.lock().expect("free").wait_async(&condvar);
        assert!(Pin::new(&mut wait).poll(&mut context).is_pending());
        drop(wait);
        let held = monitor.lock().expect("free");
        let mut lock = monitor.lock_async();
        assert!(Pin::new(&mut lock).poll(&mut context).is_pending());
        drop(held);
        drop(lock);
        let mut requested = stop.requested();
        assert!(Pin::new(&mut requested).poll(&mut context).is_pending());
    });
    assert_eq!(by_drop, 0);
}

#[test]
fn a_wait_that_is_stopped_allocates_nothing() {
    let stop = Stop::new("alloc");
    let monitor = Monitor::new("m", Mutex::new(0), &stop);
    let condvar = Condvar::new();
    let next = Stop::new("next");
    stop.request("test");
    let stopped = allocated(ROUNDS, || {
        assert!(monitor.lock().is_err());
        assert!(monitor.lock_in(&next).expect("free").adopt(&stop).wait(&condvar).is_err());
        assert!(stop.wait_timeout(Duration::MAX));
    });
    assert_eq!(stopped, 0);
}

#[test]
fn a_completion_takes_the_block_of_one_before() {
    let stop = Stop::new("alloc");
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    drop(Completion::<usize>::new("the thread's first", &stop));
    // Where the sanitizer looks on, no thread keeps any.
    let each = if cfg!(unwedge_asan) { ROUNDS } else { 0 };
    let ready = allocated(ROUNDS, || {
        assert_eq!(Completion::<usize>::ready(Ok(1), &stop).wait(), Ok(Ok(1)));
    });
    assert_eq!(ready, each);
    let completed = allocated(ROUNDS, || {
        let (completer, mut completion) = Completion::<usize>::new("value", &stop);
        assert_eq!(completer.complete(1), Ok(()));
        assert_eq!(completion.wait(), Ok(Ok(1)));
    });
    assert_eq!(completed, each);
    let polled = allocated(ROUNDS, || {
        let (completer, mut completion) = Completion::<usize>::new("value", &stop);
        assert!(Pin::new(&mut completion).poll(&mut context).is_pending());
        assert_eq!(completer.complete(1), Ok(()));
        assert_eq!(Pin::new(&mut completion).poll(&mut context), Poll::Ready(Ok(Ok(1))));
    });
    assert_eq!(polled, each);
    let abandoned = allocated(ROUNDS, || {
        let (completer, completion) = Completion::<usize>::new("value", &stop);
        drop(completion);
        assert_eq!(completer.complete(1), Err(1));
    });
    assert_eq!(abandoned, each);
}

#[test]
fn a_thread_that_waits_for_a_completion_allocates_nothing() {
    let stop = Stop::new("alloc");
    // Made before the count, and each completed by another thread while it is waited for.
    let (completers, completions): (Vec<_>, Vec<_>) =
        (0..2 * ROUNDS).map(|_| Completion::<usize>::new("value", &stop)).unzip();
    let mut completions = completions.into_iter();
    let turn = Arc::new(Monitor::new("turn", Mutex::new(0), &stop));
    let own = turn.clone();
    let completing = thread::spawn(move || {
        let mut completers = completers.into_iter().enumerate();
        allocated(ROUNDS, || {
            let (number, completer) = completers.next().expect("enough of them");
            own.when(|turn| (*turn > number).then_some(())).expect("not stopped");
            assert_eq!(completer.complete(number), Ok(()));
        })
    });
    let mut number = 0;
    let waiting = allocated(ROUNDS, || {
        let mut completion = completions.next().expect("enough of them");
        let mut guard = turn.lock().expect("not stopped");
        *guard += 1;
        let (guard, value) = guard.wait_for(&mut completion).expect("not stopped");
        assert_eq!((*guard, value), (number + 1, Ok(number)));
        number += 1;
    });
    assert_eq!((waiting, completing.join().expect("no panic")), (0, 0));
}
