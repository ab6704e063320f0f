//! L5 and L6 for a task's waker (`wait::waker`): it is woken or dropped by one alone, also where the task is polled with another waker while the first
//! one is taken.
//!
//! A failure shows as a count of handles that is wrong (dropped twice, or never), or of wake-ups.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::AtomicU64;
use unwedge::model::thread;
use unwedge::{Completer, Completion};

use crate::common::{Failure, explore_as, fails};
use crate::world::World;

/// Counts its wake-ups, and by its handles whether it was dropped as often as it was made. Some handles are kept: a waker that is dropped twice
/// is counted and not freed.
struct Counted {
    woken: Arc<AtomicUsize>,
    kept: [Arc<Count>; 3],
}

struct Count(Arc<AtomicUsize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counted {
    fn new() -> Self {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::new(Count(woken.clone()));
        Counted { woken, kept: [count.clone(), count.clone(), count] }
    }

    fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.kept[0].clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.woken.load(Ordering::Relaxed)
    }

    fn assert_dropped(&self) {
        assert_eq!(Arc::strong_count(&self.kept[0]), self.kept.len(), "a waker was dropped twice, or never");
    }
}

/// What ends the wait.
type End = fn(&World, Completer<u32>);

/// The task is polled with a second waker while others end its wait.
fn replaced(name: &str, bound: Option<usize>, ends: &'static [End]) {
    explore_as(name, "L5, L6", bound, move || {
        let world = World::new();
        let (completer, mut completion) = Completion::<u32>::new("read", &world.stop);
        let (first, second) = (Counted::new(), Counted::new());
        assert!(first.poll(&mut completion).is_pending());
        let mut completer = Some(completer);
        let others: Vec<_> = ends
            .iter()
            .map(|end| {
                let owed = completer.take().unwrap_or_else(|| Completion::new("nothing", &world.stop).0);
                world.thread(move |world| end(&world, owed))
            })
            .collect();
        let again = second.poll(&mut completion);
        others.into_iter().for_each(|other| other.join().unwrap());
        let woken = (first.woken(), second.woken());
        match again {
            Poll::Pending => assert_eq!(woken, (0, 1), "the waker of the last poll was not woken, or not alone"),
            Poll::Ready(_) => assert!(woken.0 <= 1 && woken.1 == 0, "woken {woken:?} though the outcome was seen"),
        }
        drop(completion);
        first.assert_dropped();
        second.assert_dropped();
    });
}

fn completes(_: &World, completer: Completer<u32>) {
    let _unwanted = completer.complete(1);
}

fn stops(world: &World, _owed: Completer<u32>) {
    world.stop.request("SIGTERM");
}

#[test]
fn waker_replaced_while_it_is_taken() {
    replaced("waker_replaced_beside_a_completer", None, &[completes]);
    replaced("waker_replaced_beside_a_stop", Some(3), &[stops]);
    replaced("waker_replaced_beside_both", Some(2), &[completes, stops]);
}

/// The task is dropped right after its second poll.
#[test]
fn waker_replaced_and_dropped() {
    explore_as("waker_replaced_and_dropped", "L5, L6", Some(2), || {
        let world = World::new();
        let (completer, mut completion) = Completion::<u32>::new("read", &world.stop);
        let (first, second) = (Counted::new(), Counted::new());
        assert!(first.poll(&mut completion).is_pending());
        let storage = world.thread(|world| completes(&world, completer));
        let stopper = world.thread(|world| world.stop.request("SIGTERM"));
        let _either = second.poll(&mut completion);
        drop(completion);
        storage.join().unwrap();
        stopper.join().unwrap();
        assert!(first.woken() + second.woken() <= 1, "one outcome, two wake-ups");
        first.assert_dropped();
        second.assert_dropped();
    });
}

const WAITING: u64 = 1;
const NOTIFIED: u64 = 4;
const WAKER: u64 = 8;
const COUNT: u64 = 16;

/// The protocol in small: a waker is a number, and who becomes its owner counts that. What lies in the slot is not seen by loom, as in the library.
struct Slot {
    word: AtomicU64,
    waker: AtomicUsize,
    owners: [AtomicUsize; 2],
    /// By how much the count grows when a waker is put.
    step: u64,
}

impl Slot {
    fn own(&self, waker: usize) {
        assert_eq!(self.owners[waker].fetch_add(1, Ordering::Relaxed), 0, "a waker has two owners");
    }

    fn copy(&self) -> usize {
        self.waker.load(Ordering::Relaxed)
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The task is polled with the second waker.
    fn replace(&self) {
        let word = self.word.load(Ordering::Acquire);
        if word & WAKER == 0 {
            return;
        }
        let old = self.copy();
        if self.change(word, word & !WAKER) {
            self.waker.store(1, Ordering::Relaxed);
            let bare = word & !WAKER;
            if !self.change(bare, (bare + self.step) | WAKER) {
                self.own(1);
            }
            self.own(old);
        }
    }

    fn notify(&self) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let copy = self.copy();
            match self.word.compare_exchange(
                word,
                word & !WAKER & !WAITING | NOTIFIED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) if word & WAKER != 0 => return self.own(copy),
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn race(step: u64) {
        let slot = loom::sync::Arc::new(Slot {
            word: AtomicU64::new(WAITING | WAKER),
            waker: AtomicUsize::new(0),
            owners: [const { AtomicUsize::new(0) }; 2],
            step,
        });
        let notifier = {
            let slot = slot.clone();
            thread::spawn(move || slot.notify())
        };
        slot.replace();
        notifier.join().unwrap();
        let put = slot.waker.load(Ordering::Relaxed);
        assert_eq!(slot.owners[put].load(Ordering::Relaxed), 1, "the last waker has no owner");
    }
}

/// The small protocol as shipped passes: what fails in its twin is that the count stays.
#[test]
fn waker_protocol() {
    explore_as("waker_protocol", "L5", None, || Slot::race(COUNT));
}

#[test]
fn twin_waker_replaced_without_a_count() {
    fails(Failure::Panic("a waker has two owners"), None, || Slot::race(0));
}
