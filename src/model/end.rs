//! What must not be left when a model ends, and what a model says when it hangs.
#![expect(clippy::disallowed_types, reason = "the panic hook is the process's, not the model's")]

use std::cell::Cell;
use std::sync::Once;

use crate::sys::Running;
use crate::wait::trace;

use super::choice;
use super::store;

std::thread_local! {
    /// How many guards of a model's own locks there are.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// Whether an execution runs on this thread.
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// Counts a guard for as long as it lives.
#[derive(Debug)]
pub(super) struct Held(());

impl Held {
    pub(super) fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Held(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get().saturating_sub(1));
    }
}

/// An execution begins.
pub(super) fn begin() {
    HELD.set(0);
    RUNS.set(true);
    Running::begin();
    trace::begin();
    store::begin();
}

/// The model's closure has returned: asserts that nothing is left.
pub(super) fn end() {
    let mut left: Vec<String> = Running::names().into_iter().map(|name| format!("{name} has not ended")).collect();
    left.extend(trace::waits());
    let held = trace::holds();
    if held.is_empty() && HELD.get() > 0 {
        left.push("a lock of the model is held".to_owned());
    }
    left.extend(held);
    left.extend(store::end());
    assert!(left.is_empty(), "left at the end of the model: {}", left.join("; "));
    RUNS.set(false);
    trace::end();
}

/// Has a model that hangs say who waits for what: loom says only how many threads are blocked.
pub(super) fn explain_hangs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
            if RUNS.get() && message.starts_with("deadlock; threads") {
                eprintln!("the model hangs: {}", [trace::waits(), trace::holds()].concat().join("; "));
            }
            if RUNS.get() {
                choice::say();
            }
            before(panic);
        }));
    });
}
