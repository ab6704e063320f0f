//! What a wait allocates: a waiting thread nothing, a waiting task at most one node for each wait.
//!
//! The allocator counts for each thread, so that what a test harness or another thread allocates meanwhile is not among it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Builder;
use unwedge::{Completion, Condvar, Monitor, Stop};

thread_local! {
    /// Allocations of this thread. Constant at the start and without a destructor: reaching it never allocates.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to `System` with the arguments it came with, and `System` keeps the trait's contract; counting touches a
// thread-local number alone, neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same for `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System` with this layout, as all that this allocator gives out does.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: `at` came from `System` with this layout, and the caller keeps `realloc`'s contract for `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// How many allocations this thread made in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Waits or hand-overs that are counted; as many go before them uncounted, so that what a thread sets up once is not among them.
const WAITS: u64 = 1000;

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(std::hint::black_box(7)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

struct Turns {
    turn: Monitor<Mutex<usize>>,
    mine: [Condvar; 2],
}

impl Turns {
    fn new() -> Turns {
        Turns {
            turn: Monitor::new("turn", Mutex::new(0), &Stop::new("allocations")),
            mine: [Condvar::new(), Condvar::new()],
        }
    }

    fn take(&self, me: usize) {
        let mut turn = self.turn.lock().expect("no stop");
        for _ in 0..WAITS {
            turn = turn.wait_while(&self.mine[me], |turn| *turn != me).expect("no stop");
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }

    async fn take_async(&self, me: usize) {
        for _ in 0..WAITS {
            let waiting =
                self.turn.lock_async().await.expect("no stop").wait_while_async(&self.mine[me], |turn| *turn != me);
            let mut turn = waiting.await.expect("no stop");
            *turn = 1 - me;
            self.mine[1 - me].notify_one();
        }
    }
}

#[test]
fn a_thread_that_waits_on_a_condition_variable_allocates_nothing() {
    let turns = Turns::new();
    let counted = |me| {
        turns.take(me);
        allocations(|| turns.take(me))
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| counted(1));
        assert_eq!(counted(0), 0);
        assert_eq!(other.join().expect("no panic"), 0);
    });
}

#[test]
fn a_thread_that_waits_until_a_deadline_allocates_nothing() {
    let (turns, soon) = (Turns::new(), Duration::from_millis(1));
    let wait = || {
        let turn = turns.turn.lock().expect("no stop");
        assert!(turn.wait_until(&turns.mine[1], Instant::now() + soon).expect("no stop").timed_out);
    };
    wait();
    assert_eq!(allocations(|| (0..20).for_each(|_| wait())), 0);
}

#[test]
fn a_thread_that_waits_for_a_monitor_allocates_nothing() {
    let turns = Turns::new();
    let wait = |held: Duration| {
        let (turn, taken) = (&turns.turn, std::sync::Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let guard = turn.lock().expect("no stop");
                taken.wait();
                thread::sleep(held);
                drop(guard);
            });
            taken.wait();
            let begun = Instant::now();
            let allocated = allocations(|| drop(turn.lock().expect("no stop")));
            assert!(begun.elapsed() > held / 2, "the lock was not waited for");
            allocated
        })
    };
    let held = Duration::from_millis(50);
    wait(held);
    assert_eq!(wait(held), 0);
}

#[test]
fn a_task_that_waits_allocates_one_node_at_most() {
    let turns = Turns::new();
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        tokio::join!(turns.take_async(0), turns.take_async(1));
    });
    let allocated = allocations(|| {
        runtime.block_on(async {
            tokio::join!(turns.take_async(0), turns.take_async(1));
        });
    });
    // Both tasks waited `WAITS` times, on this one thread.
    assert!(allocated <= 2 * WAITS, "{allocated} allocations for {} waits", 2 * WAITS);
}

#[test]
fn a_completion_is_one_allocation_at_most_and_waiting_for_it_none() {
    let stop = Stop::new("allocations");
    let make = || Completion::<u64>::new("result", &stop);
    let fresh = || {
        let mut pairs = Vec::with_capacity(64);
        allocations(|| pairs.extend((0..64).map(|_| make())))
    };
    let elsewhere = || thread::scope(|scope| scope.spawn(fresh).join().expect("no panic"));
    assert!(elsewhere() <= 64);
    assert_eq!(elsewhere(), 0, "the process keeps the memory of as many as there were at once");
    drop(make());
    assert_eq!(allocations(|| drop(make())), 0, "a thread keeps the memory of those before");
    let large = || drop(Completion::<[u64; 64]>::new("result", &stop));
    large();
    assert_eq!(allocations(large), 1, "of a large value nothing is kept");
    let wait = || {
        let (completer, mut completion) = make();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                assert_eq!(completer.complete(7), Ok(()));
            });
            allocations(|| assert_eq!(completion.wait(), Ok(Ok(7))))
        })
    };
    // The first wait of a thread sets the thread up.
    wait();
    for _ in 0..10 {
        assert_eq!(wait(), 0);
    }
}

#[test]
fn a_result_that_is_ready_needs_no_allocation() {
    let stop = Stop::new("allocations");
    let taken = || assert_eq!(Completion::<u64>::ready(Ok(9), &stop).wait(), Ok(Ok(9)));
    taken();
    assert_eq!(allocations(taken), 0);
}
