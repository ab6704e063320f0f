//! Many parts, one completion: the parts of a list come in from several threads, and who brings the last one gives the result.
//!
//! What is brought in its turn goes to its place in the list at once; what comes too early lies aside until then. So nothing has to be made before the
//! parts come, and nothing to be moved after the last one.

use std::{collections::BTreeMap, sync::Arc};

use super::reply::{Failure, Reply};
use crate::sys::Mutex;

/// Parts of type `P` that make one result `T`.
pub(super) struct Gather<P, T: Send + 'static, E: Failure> {
    state: Mutex<State<P, T, E>>,
}

/// All under the lock.
struct State<P, T: Send + 'static, E: Failure> {
    /// The parts up to the first that is missing; room for all of them.
    parts: Vec<P>,
    /// What came before its turn, by the number of its first part.
    aside: BTreeMap<usize, Vec<P>>,
    count: usize,
    /// Taken out with the last part, and used when the lock was let go.
    whole: Option<Whole<P, T, E>>,
}

struct Whole<P, T: Send + 'static, E: Failure> {
    reply: Reply<T, E>,
    finish: Finish<P, T, E>,
}

/// Makes the result of the parts.
pub(super) type Finish<P, T, E> = fn(Vec<P>) -> Result<T, E>;

impl<P: Send, T: Send + 'static, E: Failure> Gather<P, T, E> {
    /// Waits for so many parts, one at least.
    pub(super) fn new(count: usize, reply: Reply<T, E>, finish: Finish<P, T, E>) -> Arc<Self> {
        let (parts, whole) = (Vec::with_capacity(count), Some(Whole { reply, finish }));
        Arc::new(Gather { state: Mutex::new(State { parts, aside: BTreeMap::new(), count, whole }) })
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().whole.as_ref().is_some_and(|whole| whole.reply.is_wanted())
    }

    /// Brings some parts, the first of which is number `first`. Each number is brought once.
    pub(super) fn put(&self, first: usize, mut some: Vec<P>) {
        let mut state = self.state.lock();
        let State { parts, aside, count, whole } = &mut *state;
        if first == parts.len() {
            parts.append(&mut some);
            while let Some(mut next) = aside.remove(&parts.len()) {
                parts.append(&mut next);
            }
        } else {
            aside.insert(first, std::mem::take(&mut some));
        }
        if parts.len() < *count {
            return;
        }
        let (parts, whole) = (std::mem::take(parts), whole.take());
        drop(state);
        if let Some(Whole { reply, finish }) = whole {
            reply.finish(finish(parts));
        }
    }
}
