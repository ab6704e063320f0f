//! Many parts, one completion: the parts of a list come in from several threads, and who brings the last one gives the result.

use std::sync::Arc;

use super::reply::{Failure, Reply};
use crate::sys::Mutex;

/// Parts of type `P` that make one result `T`.
pub(super) struct Gather<P, T: Send + 'static, E: Failure> {
    state: Mutex<State<P, T, E>>,
}

/// All under the lock.
struct State<P, T: Send + 'static, E: Failure> {
    parts: Vec<Option<P>>,
    missing: usize,
    /// Taken out with the last part, and used when the lock was let go.
    whole: Option<Whole<P, T, E>>,
}

struct Whole<P, T: Send + 'static, E: Failure> {
    reply: Reply<T, E>,
    finish: Finish<P, T, E>,
}

/// Makes the result of the parts. A part is `None` if it was lost to a panic.
pub(super) type Finish<P, T, E> = fn(Vec<Option<P>>) -> Result<T, E>;

impl<P: Send, T: Send + 'static, E: Failure> Gather<P, T, E> {
    /// Waits for so many parts, one at least.
    pub(super) fn new(parts: usize, reply: Reply<T, E>, finish: Finish<P, T, E>) -> Arc<Self> {
        let state =
            State { parts: (0..parts).map(|_| None).collect(), missing: parts, whole: Some(Whole { reply, finish }) };
        Arc::new(Gather { state: Mutex::new(state) })
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().whole.as_ref().is_some_and(|whole| whole.reply.is_wanted())
    }

    /// Brings parts, the first of which is number `first`. Each number is brought once.
    pub(super) fn put(&self, first: usize, parts: impl ExactSizeIterator<Item = Option<P>>) {
        let mut state = self.state.lock();
        state.missing -= parts.len();
        for (place, part) in state.parts[first..].iter_mut().zip(parts) {
            *place = part;
        }
        if state.missing > 0 {
            return;
        }
        let parts = std::mem::take(&mut state.parts);
        let whole = state.whole.take();
        drop(state);
        if let Some(Whole { reply, finish }) = whole {
            reply.finish(finish(parts));
        }
    }
}
