//! Recording a history, and Wing and Gong's search for an order of it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;

/// What an object does, one effect after the other.
pub(crate) trait Spec: Clone + Eq + Hash + Debug {
    /// An effect, with what was seen of it.
    type Effect: Clone + Debug + Send;

    /// The object after the effect; `None` if it cannot have been seen so here.
    fn after(&self, effect: &Self::Effect) -> Option<Self>;
}

/// An effect, and between which moments it took place.
#[derive(Clone, Debug)]
pub(crate) struct Event<E> {
    pub(crate) thread: usize,
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) effect: E,
}

/// Whether the effects can be put in an order that the specification takes.
pub(crate) fn is_linearizable<S: Spec>(start: &S, history: &[Event<S::Effect>]) -> bool {
    assert!(history.len() <= 64, "small histories");
    let all = if history.len() == 64 { u64::MAX } else { (1 << history.len()) - 1 };
    let mut seen = HashSet::new();
    let mut open = vec![(0u64, start.clone())];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = || history.iter().enumerate().filter(|(at, _)| done & 1 << at == 0);
        // Whatever returned before an effect was called for comes before it.
        let first_return = left().map(|(_, event)| event.returned).min().unwrap_or(u64::MAX);
        for (at, event) in left() {
            if event.called <= first_return {
                if let Some(next) = state.after(&event.effect) {
                    open.push((done | 1 << at, next));
                }
            }
        }
    }
    false
}

/// The history of a round, while it is made.
pub(crate) struct Recorder<E> {
    /// SeqCst: a moment that was read after another one is later on every thread.
    clock: AtomicU64,
    events: Mutex<Vec<Event<E>>>,
}

impl<E: Clone + Debug + Send> Recorder<E> {
    pub(crate) fn new() -> Self {
        Recorder { clock: AtomicU64::new(0), events: Mutex::default() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst)
    }

    /// Makes a call, and notes the effects that its result says it had.
    pub(crate) fn call<R>(&self, thread: usize, call: impl FnOnce() -> R, effects: impl FnOnce(&R) -> Vec<E>) -> R {
        let called = self.now();
        let result = call();
        let returned = self.now();
        let effects = effects(&result).into_iter().map(|effect| Event { thread, called, returned, effect });
        self.events.lock().expect("nobody panics with it").extend(effects);
        result
    }

    /// The history, and whether it is one of the specification's.
    #[track_caller]
    pub(crate) fn check<S: Spec<Effect = E>>(self, start: &S, round: u64) {
        let mut history = self.events.into_inner().expect("nobody panics with it");
        history.sort_by_key(|event| (event.called, event.returned));
        if !is_linearizable(start, &history) {
            let lines: Vec<String> = history
                .iter()
                .map(|event| {
                    format!("thread {}, {} to {}: {:?}", event.thread, event.called, event.returned, event.effect)
                })
                .collect();
            panic!("round {round}: no order of this history is the specification's:\n  {}", lines.join("\n  "));
        }
    }
}

/// A thread's part in a round; what it is given is when to begin.
pub(crate) type Part<'a> = Box<dyn FnOnce(&mut Jitter) + Send + 'a>;

/// Runs the parts at the same time, each after a pause of its own that differs from round to round.
pub(crate) fn together(round: u64, parts: Vec<Part<'_>>) {
    let barrier = Barrier::new(parts.len());
    thread::scope(|scope| {
        for (number, part) in parts.into_iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut jitter =
                    Jitter(round.wrapping_mul(31).wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                barrier.wait();
                jitter.pause();
                part(&mut jitter);
            });
        }
    });
}

/// Pauses that differ.
pub(crate) struct Jitter(u64);

impl Jitter {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % n
    }

    /// From nothing to about two microseconds; and now and then the processor is another's.
    pub(crate) fn pause(&mut self) {
        for _ in 0..self.below(400) {
            std::hint::spin_loop();
        }
        if self.below(8) == 0 {
            thread::yield_now();
        }
    }
}

/// A register, for the checker's own tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Register(u8);

#[derive(Clone, Debug)]
enum Access {
    Write(u8),
    Read(u8),
}

impl Spec for Register {
    type Effect = Access;

    fn after(&self, effect: &Access) -> Option<Self> {
        match effect {
            Access::Write(n) => Some(Register(*n)),
            Access::Read(n) => (self.0 == *n).then(|| self.clone()),
        }
    }
}

fn event(called: u64, returned: u64, effect: Access) -> Event<Access> {
    Event { thread: 0, called, returned, effect }
}

#[test]
fn the_checker_takes_what_overlaps_in_any_order() {
    use Access::{Read, Write};
    for seen in [0, 1] {
        assert!(is_linearizable(&Register(0), &[event(0, 3, Write(1)), event(1, 2, Read(seen))]));
    }
}

#[test]
fn the_checker_refuses_what_has_no_order() {
    use Access::{Read, Write};
    // An old value after the write has returned; and two readers that see two writes in two orders.
    assert!(!is_linearizable(&Register(0), &[event(0, 1, Write(1)), event(2, 3, Read(0))]));
    let writes = [event(0, 9, Write(1)), event(0, 9, Write(2))];
    let reads = [event(1, 2, Read(1)), event(3, 4, Read(2)), event(5, 6, Read(1))];
    assert!(!is_linearizable(&Register(0), &[&writes[..], &reads[..]].concat()));
}
