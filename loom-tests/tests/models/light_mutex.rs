//! The library's own mutex, whose unlock is a store (`sys::light_mutex`). The other models have loom's in its place; here the shipped code runs.
//!
//! A failure shows as a causality violation where two are in it at once, or as a deadlock where a wake-up is lost.

use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU32, fence};
use loom::sync::{Arc, Condvar as LoomCondvar, Mutex as LoomMutex};
use unwedge::model::parts::LightMutex;
use unwedge::model::thread;

use crate::common::{Failure, explore_as, fails, happened};

/// That many threads, each of which is in it that many times.
fn count(threads: u32, times: u32) {
    let mutex = Arc::new(LightMutex::new(0));
    let add = move |mutex: &LightMutex<u32>| (0..times).for_each(|_| mutex.with(|value| *value += 1));
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let mutex = mutex.clone();
            thread::spawn(move || add(&mutex))
        })
        .collect();
    add(&mutex);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(mutex.with(|value| *value), threads * times);
}

#[test]
fn light_mutex() {
    explore_as("light_mutex_of_two", "L3", None, || count(2, 1));
    explore_as("light_mutex_of_two_twice", "L3", Some(3), || count(2, 2));
    explore_as("light_mutex_of_three", "L3", Some(3), || count(3, 1));
}

/// The same in small, and without a value: what can be left out is a parameter.
struct Small {
    word: AtomicU32,
    sleepers: AtomicU32,
    queue: LoomMutex<()>,
    woken: LoomCondvar,
    barriers: bool,
}

impl Small {
    fn barrier(&self) {
        if self.barriers {
            fence(Ordering::SeqCst);
        }
    }

    fn try_word(&self) -> bool {
        self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn lock(&self) {
        if self.try_word() {
            return;
        }
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        self.barrier();
        while !self.try_word() {
            let queue = self.queue.lock().unwrap();
            if self.word.load(Ordering::Acquire) == 1 {
                drop(self.woken.wait(queue).unwrap());
            }
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    fn unlock(&self) {
        self.word.store(0, Ordering::Release);
        happened();
        self.barrier();
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            drop(self.queue.lock());
            self.woken.notify_one();
        }
    }

    /// One has it, the other wants it.
    fn race(barriers: bool) {
        let small = Arc::new(Small {
            word: AtomicU32::new(1),
            sleepers: AtomicU32::new(0),
            queue: LoomMutex::new(()),
            woken: LoomCondvar::new(),
            barriers,
        });
        let other = {
            let small = small.clone();
            thread::spawn(move || small.lock())
        };
        small.unlock();
        other.join().unwrap();
    }
}

/// The small one with its barriers passes: what fails in its twin is that they are left out.
#[test]
fn light_mutex_in_small() {
    explore_as("light_mutex_in_small", "L3", None, || Small::race(true));
}

#[test]
fn twin_light_mutex_without_barriers() {
    fails(Failure::LostWakeUp, None, || Small::race(false));
}
