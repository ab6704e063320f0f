//! Lists of paths that are being looked at, to let go of what is no longer wanted while one of their jobs is stuck in the kernel.
//!
//! Who gave a list up tells nobody, and a thread in the kernel can let go of nothing. So the next list that comes has them looked through, and so has the close
//! of the service. What each thread has in hand stays with it.

use std::sync::Weak;

use super::backend::guarded;
use crate::sys::Mutex;

/// A part of a list.
pub(super) trait Sweep: Send + Sync {
    /// Lets go of what nobody wants, and, where the service is closed, of all that was not begun.
    fn sweep(&self);
}

/// So few are looked through each time.
const FEW: usize = 64;

/// See the head of this file.
pub(super) struct Lists(Mutex<State>);

/// Under the lock.
struct State {
    parts: Vec<Weak<dyn Sweep>>,
    /// They are looked through when there are so many.
    due: usize,
}

impl Lists {
    pub(super) fn new() -> Self {
        Lists(Mutex::new(State { parts: Vec::new(), due: 0 }))
    }

    /// Adds a part; those before it are looked through, or were not long ago.
    pub(super) fn add(&self, part: Weak<dyn Sweep>) {
        let is_due = {
            let state = self.0.lock();
            state.parts.len() < FEW || state.parts.len() >= state.due
        };
        if is_due {
            self.sweep();
        }
        self.0.lock().parts.push(part);
    }

    /// Looks through all of them.
    pub(super) fn sweep(&self) {
        let parts: Vec<_> = {
            let mut state = self.0.lock();
            state.parts.retain(|part| part.strong_count() > 0);
            // So that a look at each costs no more than to have added it.
            state.due = 2 * state.parts.len();
            state.parts.iter().filter_map(Weak::upgrade).collect()
        };
        // What they let go of is the user's.
        for part in parts {
            guarded(|| part.sweep());
            guarded(|| drop(part));
        }
    }
}
