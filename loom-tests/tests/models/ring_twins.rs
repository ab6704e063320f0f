//! What `ring` would be if it were made the naive way: each must fail.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use unwedge::model::thread;

use crate::common::{Failure, fails, happened};
use crate::ring::{Service, Wrong, two_for_one_permit};

/// A bell with a token, as an eventfd.
#[derive(Default)]
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn ring(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// An owner that looks into the inbox, and says that it sleeps only after it has let the lock go.
#[test]
fn twin_ring_sleeps_after_the_look() {
    fails(Failure::LostWakeUp, Some(2), || {
        let shared = Arc::new((Mutex::new(Vec::new()), AtomicBool::new(false), Bell::default()));
        let owners = shared.clone();
        let owner = thread::spawn(move || {
            let (inbox, asleep, bell) = &*owners;
            while inbox.lock().unwrap().pop().is_none() {
                asleep.store(true, Ordering::Release);
                bell.wait();
            }
        });
        let (inbox, asleep, bell) = &*shared;
        inbox.lock().unwrap().push("read");
        happened();
        if asleep.swap(false, Ordering::AcqRel) {
            bell.ring();
        }
        owner.join().unwrap();
    });
}

/// A caller that looks whether the service is closed before it takes the inbox's lock.
#[test]
fn twin_ring_looks_before_the_lock() {
    fails(Failure::Panic("neither refused nor taken"), Some(2), || {
        let shared = Arc::new((Mutex::new(Vec::new()), AtomicBool::new(false)));
        let callers = shared.clone();
        let caller = thread::spawn(move || {
            let (inbox, closing) = &*callers;
            let refused = closing.load(Ordering::Acquire);
            if !refused {
                inbox.lock().unwrap().push("read");
            }
        });
        let (inbox, closing) = &*shared;
        closing.store(true, Ordering::Release);
        // The owner's last look.
        inbox.lock().unwrap().clear();
        caller.join().unwrap();
        assert!(inbox.lock().unwrap().is_empty(), "neither refused nor taken");
    });
}

/// The shipped rounds over a kernel whose cancel counts as the end of what the device has begun.
#[test]
fn twin_ring_trusts_a_cancel() {
    fails(Failure::Panic("Causality violation"), Some(2), || {
        let service = Service::start(1, 1, Wrong { cancel_is_the_end: true, ..Wrong::default() });
        service.freeze();
        let (completion, _memory) = service.put();
        service.close();
        service.thaw_when_told();
        drop(completion);
        service.join();
    });
}

/// The shipped rounds over a kernel that knows operations by their index alone.
#[test]
fn twin_ring_without_generations() {
    fails(Failure::Panic("another operation was cancelled"), Some(2), || {
        two_for_one_permit(Wrong { no_generations: true, ..Wrong::default() });
    });
}
