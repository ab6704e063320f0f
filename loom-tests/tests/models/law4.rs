//! L4, memory outlives the kernel: the buffer is the operation's until the operation ends, whatever becomes of who waits.
//!
//! Here the kernel is a thread that writes into the buffer at any point. A failure shows as a write into a buffer that was freed; loom's cell
//! sees a write beside another access. (The I/O itself is not modelled: its buffers live in the kernel, see `README.md`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::{Mutex as LoomMutex, atomic::AtomicUsize as LoomUsize};
use unwedge::model::thread;
use unwedge::{Completer, Completion, Stop, WaitError};

use crate::common::{Failure, explore, fails};
use crate::world::{later, time_passes};

/// A buffer that counts how many there are.
struct Buffer {
    bytes: UnsafeCell<u8>,
    alive: Arc<AtomicUsize>,
}

impl Buffer {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Buffer { bytes: UnsafeCell::new(0), alive: alive.clone() }
    }

    fn written(&self) -> u8 {
        // SAFETY: a pointer that was just made from a live cell; loom checks that nobody writes meanwhile.
        self.bytes.with(|bytes| unsafe { *bytes })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.with_mut(|_| ());
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An operation under way: it owns the buffer, and gives it back with its completion.
struct Operation {
    buffer: Buffer,
    completer: Completer<Buffer>,
}

/// What the kernel does with it: writes, and completes. Whether somebody still wanted it.
fn kernel(operation: Operation) -> bool {
    assert!(operation.buffer.alive.load(Ordering::Relaxed) > 0, "the kernel writes into freed memory");
    // SAFETY: as in `written`: loom checks that nobody else reads or writes.
    operation.buffer.bytes.with_mut(|bytes| unsafe { *bytes = 7 });
    operation.completer.complete(operation.buffer).is_ok()
}

fn submit(alive: &Arc<AtomicUsize>, stop: &Stop) -> (Operation, Completion<Buffer>) {
    let (completer, completion) = Completion::new("read", stop);
    (Operation { buffer: Buffer::new(alive), completer }, completion)
}

/// Stopped, timed out or dropped: the waiter goes, the buffer stays with the operation, and is freed once.
fn outlives(bound: Option<usize>, name: &str, waiter: fn(&Stop, Completion<Buffer>) -> bool) {
    crate::common::explore_as(name, "L4, L5", bound, move || {
        let alive = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new("life");
        let (operation, completion) = submit(&alive, &stop);
        let kernel = thread::spawn(move || kernel(operation));
        let has_it = waiter(&stop, completion);
        let wanted = kernel.join().unwrap();
        assert!(wanted || !has_it, "nobody can have what was given back");
        assert_eq!(alive.load(Ordering::Relaxed), 0, "freed once, when all is over");
    });
}

#[test]
fn law4_buffer_outlives_who_waits() {
    outlives(Some(3), "buffer_of_a_dropped_wait", |_, completion| {
        drop(completion);
        false
    });
    outlives(Some(3), "buffer_of_a_cancelled_wait", |_, completion| {
        completion.cancel().is_some_and(|buffer| buffer.is_ok_and(|buffer| buffer.written() == 7))
    });
    outlives(Some(3), "buffer_of_a_stopped_wait", |stop, mut completion| {
        let stopper = {
            let stop = stop.clone();
            thread::spawn(move || stop.request("SIGTERM"))
        };
        let has_it = completion.wait().is_ok_and(|buffer| buffer.unwrap().written() == 7);
        stopper.join().unwrap();
        has_it
    });
    outlives(Some(3), "buffer_of_a_late_wait", |_, mut completion| {
        let until = later();
        let clock = thread::spawn(time_passes);
        let has_it = match completion.wait_until(until) {
            Ok(buffer) => buffer.unwrap().written() == 7,
            Err(error) => {
                assert_eq!(error, WaitError::TimedOut);
                // Not stopped: it can be waited for again, and comes.
                completion.wait().unwrap().unwrap().written() == 7
            }
        };
        clock.join().unwrap();
        has_it
    });
}

/// An operation whose buffer belongs to who waits: a stopped wait frees it under the kernel's hands.
#[test]
fn twin_buffer_of_the_waiter() {
    fails(Failure::Panic("the kernel writes into freed memory"), Some(3), || {
        let alive = Arc::new(AtomicUsize::new(0));
        let stop = Stop::new("life");
        let buffer = Buffer::new(&alive);
        let (completer, mut completion) = Completion::<()>::new("read", &stop);
        let kernel = {
            let alive = alive.clone();
            thread::spawn(move || {
                assert!(alive.load(Ordering::Relaxed) > 0, "the kernel writes into freed memory");
                completer.complete(()).is_ok()
            })
        };
        stop.request("SIGTERM");
        let _stopped = completion.wait();
        drop(buffer);
        kernel.join().unwrap();
    });
}

/// Freed by the last of two: neither may touch it after it has said that it is done.
#[test]
fn twin_cell_touched_after_it_was_handed_over() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    fails(Failure::Panic("Causality violation"), Some(3), || {
        let cell = loom::sync::Arc::new((AtomicBool::new(false), UnsafeCell::new(0)));
        let completer = {
            let cell = cell.clone();
            thread::spawn(move || {
                cell.0.store(true, Ordering::Release);
                cell.1.with_mut(|_| ());
            })
        };
        if cell.0.load(Ordering::Acquire) {
            cell.1.with_mut(|_| ());
        }
        completer.join().unwrap();
    });
}

/// The read of a stopped life that comes back later finds nobody, in its own life or in the next.
#[test]
fn law4_late_answer_to_a_dead_life() {
    explore("L4", Some(3), || {
        let alive = Arc::new(AtomicUsize::new(0));
        let old = Stop::new("first life");
        let (operation, mut completion) = submit(&alive, &old);
        let storage = thread::spawn(move || kernel(operation));
        old.request("SIGTERM");
        assert!(completion.wait().is_err(), "a wait that begins after the request is stopped");
        drop((completion, old));
        // The next life takes the same slots.
        let new = Stop::new("second life");
        let (operation, mut completion) = submit(&alive, &new);
        assert!(kernel(operation), "its own waiter wants it");
        assert_eq!(completion.wait().unwrap().unwrap().written(), 7);
        storage.join().unwrap();
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

/// An operation of foreign code that begins beside a shutdown, in small: it is counted and asks whether anything may begin, in one order or the other, while
/// the shutdown says that nothing may, and then looks at the count.
fn external(counted_first: bool) {
    let closed = Arc::new(LoomUsize::new(0));
    let count = Arc::new(LoomMutex::new(0));
    let (own_closed, own_count) = (closed.clone(), count.clone());
    let begins = thread::spawn(move || {
        let is_refused = || own_closed.load(Ordering::Relaxed) != 0;
        let counts = || *own_count.lock().unwrap() += 1;
        if counted_first {
            counts();
            is_refused()
        } else {
            let refused = is_refused();
            counts();
            refused
        }
    });
    closed.store(1, Ordering::Relaxed);
    let found = *count.lock().unwrap();
    let refused = begins.join().unwrap();
    assert!(refused || found == 1, "neither refused nor accounted for");
}

/// It is refused, or the shutdown finds it.
#[test]
fn law4_external_protocol() {
    explore("L4", None, || external(true));
}

/// Asked first, and then counted: the shutdown looks in between.
#[test]
fn twin_external_asked_before_it_is_counted() {
    fails(Failure::Panic("neither refused nor accounted for"), None, || external(false));
}
