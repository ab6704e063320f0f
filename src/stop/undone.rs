//! What of a plan no step uses up (a step that is not begun, the hook of its progress) is dropped by threads of its own: it is the user's, and its drop may
//! block, on a file of a dead mount say. Those threads have the time of a way out, and are then left.

use std::mem::ManuallyDrop;

use crate::sys::{self, JoinHandle};
use crate::wait::waiter::contain;

use super::shutdown::WAY_OUT;

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

    /// How many threads are left.
    pub(super) fn join(self) -> usize {
        let until = sys::now() + WAY_OUT;
        self.0.into_iter().map(|thread| usize::from(!sys::join_by(thread, || until))).sum()
    }
}
