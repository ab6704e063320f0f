//! Requests, looks and waits for the stop of one domain and its child, at the same time.

use unwedge::Stop;

use crate::checker::{Jitter, Part, Recorder, Spec, together};
use crate::common::{GUARD, guarded};
use crate::rounds;

#[derive(Clone, Debug)]
enum Effect {
    /// A request of the domain (0) or its child (1), by whom, and whether it was the first.
    Request { domain: usize, by: usize, is_first: bool },
    /// A request of the domain comes to its child, with the reason of the first one: after it, and before the call returns.
    Reach,
    /// A look, and whether it was requested.
    Look { domain: usize, is_requested: bool },
    /// The reason that is seen: who gave it.
    Reason { domain: usize, by: Option<usize> },
}

/// Who has requested the stop of the domain, and of its child.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Model([Option<usize>; 2]);

impl Spec for Model {
    type Effect = Effect;

    fn after(&self, effect: &Effect) -> Option<Model> {
        let mut next = self.clone();
        let may = match *effect {
            Effect::Request { domain, by, is_first } => {
                next.0[domain].get_or_insert(by);
                self.0[domain].is_none() == is_first
            }
            Effect::Reach => {
                // The child may have been stopped by itself before.
                next.0[1] = self.0[1].or(self.0[0]);
                self.0[0].is_some()
            }
            Effect::Look { domain, is_requested } => self.0[domain].is_some() == is_requested,
            Effect::Reason { domain, by } => self.0[domain] == by,
        };
        may.then_some(next)
    }
}

const NAMES: [&str; 3] = ["0", "1", "2"];

fn round(number: u64) {
    let recorder = Recorder::new();
    let root = Stop::new("life");
    let domains = &[root.child("part"), root];
    // The child is the second one.
    let domain = |which: usize| &domains[1 - which];
    let note = &recorder;
    let request = move |by: usize, which: usize| {
        let effects = |is_first: &bool| {
            let request = Effect::Request { domain: which, by, is_first: *is_first };
            let reach = (which == 0).then_some(Effect::Reach);
            std::iter::once(request).chain(reach).collect()
        };
        note.call(by, || domain(which).request(NAMES[by]), effects);
    };
    let look = move |by: usize, which: usize| {
        let effects = |is: &bool| vec![Effect::Look { domain: which, is_requested: *is }];
        note.call(by, || domain(which).is_requested(), effects);
    };
    let reason = move |by: usize, which: usize| {
        let seen = || domain(which).reason().and_then(|reason| NAMES.iter().position(|name| **name == *reason));
        note.call(by, seen, |by| vec![Effect::Reason { domain: which, by: *by }]);
    };
    let wait = move |by: usize, which: usize| {
        // It comes: others request it.
        let effects = |is: &bool| vec![Effect::Look { domain: which, is_requested: *is }];
        note.call(by, || domain(which).wait_timeout(GUARD), effects);
    };
    let first = move |jitter: &mut Jitter| {
        look(0, 0);
        request(0, jitter.below(2) as usize);
        look(0, 1);
        reason(0, 1);
    };
    let second = move |jitter: &mut Jitter| {
        look(1, 1);
        request(1, 0);
        jitter.pause();
        reason(1, 0);
    };
    let third = move |_: &mut Jitter| {
        look(2, 0);
        look(2, 1);
        wait(2, 1);
        wait(2, 0);
        reason(2, 1);
    };
    let parts: Vec<Part<'_>> = vec![Box::new(first), Box::new(second), Box::new(third)];
    together(number, parts);
    recorder.check(&Model([None; 2]), number);
}

#[test]
fn request_look_and_wait() {
    guarded(|| (0..rounds()).for_each(round));
}

#[test]
fn a_look_that_goes_back_is_seen() {
    let recorder = Recorder::new();
    recorder.call(0, || (), |()| vec![Effect::Look { domain: 0, is_requested: true }]);
    recorder.call(1, || (), |()| vec![Effect::Request { domain: 0, by: 1, is_first: true }]);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recorder.check(&Model([None; 2]), 0)));
    assert!(checked.is_err());
}
