//! What of a plan no step uses up (a step that is not begun, the hook of its progress) is dropped by threads of its own: it is the user's, and its drop may
//! block, on a file of a dead mount say. Those threads have what the shutdown's plan has left, as a member at its end has, and are then left.

use std::mem::ManuallyDrop;
use std::time::Instant;

use crate::sys::{self, JoinHandle};
use crate::wait::waiter::contain;

/// Has something dropped by a thread of its own. Where there is none to be had it is kept for good: its drop here might never return.
pub(crate) fn drop_apart(it: impl Send + 'static) -> Option<JoinHandle<()>> {
    let it = ManuallyDrop::new(it);
    sys::spawn_service("uw-drop", move || contain(|| drop(ManuallyDrop::into_inner(it)))).ok()
}

/// What is being dropped so.
#[derive(Default)]
pub(super) struct Undone(Vec<JoinHandle<()>>);

impl Undone {
    pub(super) fn push(&mut self, it: impl Send + 'static) {
        self.0.extend(drop_apart(it));
    }

    /// Joins them, by a deadline that may come nearer meanwhile. How many are left.
    pub(super) fn join(self, deadline: impl Fn() -> Instant) -> usize {
        sys::join_all_by(self.0, deadline)
    }
}
