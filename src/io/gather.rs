//! Many parts, one completion: the parts of a list come in from several threads, and who brings the last one gives the result.
//!
//! What is brought in its turn goes to its place in the list at once; what comes too early lies aside until then. So nothing has to be made before the
//! parts come, and nothing to be moved after the last one. What is brought when nobody waits for the result any more is not kept, nor what came before it.

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
    /// How many were not brought.
    missing: usize,
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
        Arc::new(Gather { state: Mutex::new(State { parts, aside: BTreeMap::new(), missing: count, whole }) })
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().is_wanted()
    }

    /// Brings some parts, the first of which is number `first`. Each number is brought once.
    pub(super) fn put(&self, first: usize, mut some: Vec<P>) {
        let mut state = self.state.lock();
        state.missing -= some.len();
        let is_wanted = state.is_wanted();
        let State { parts, aside, missing, whole } = &mut *state;
        let mut unwanted = None;
        if !is_wanted {
            unwanted = Some((std::mem::take(parts), std::mem::take(aside)));
        } else if first == parts.len() {
            parts.append(&mut some);
            while let Some(mut next) = aside.remove(&parts.len()) {
                parts.append(&mut next);
            }
        } else {
            aside.insert(first, std::mem::take(&mut some));
        }
        let last = (*missing == 0).then(|| (std::mem::take(parts), whole.take()));
        drop(state);
        drop(unwanted);
        if let Some((parts, Some(Whole { reply, finish }))) = last {
            reply.finish(finish(parts));
        }
    }
}

impl<P, T: Send + 'static, E: Failure> State<P, T, E> {
    fn is_wanted(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.reply.is_wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Completion, Stop,
        io::{
            error::IoError,
            meter::{Meter, Operation},
        },
        registry::flight::Flight,
    };

    type Counted = Gather<Arc<()>, usize, IoError>;

    fn gather(stop: &Stop) -> (Arc<Counted>, Completion<usize, IoError>) {
        let (completer, completion) = Completion::new("parts", stop);
        let flight = Flight::begin("parts", "", 0, 0, *stop.domain());
        let reply = Reply::new(completer, Operation::Stat, &Arc::new(Meter::new()), flight);
        (Gather::new(4, reply, |parts| Ok(parts.len())), completion)
    }

    #[test]
    fn what_comes_in_any_order_is_one_result() {
        let stop = Stop::new("test");
        let (gather, mut completion) = gather(&stop);
        let part = Arc::new(());
        for first in [3, 0, 2, 1] {
            assert!(!completion.is_complete());
            gather.put(first, vec![part.clone()]);
        }
        assert_eq!(completion.wait().ok().and_then(Result::ok), Some(4));
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let stop = Stop::new("test");
        let (gather, completion) = gather(&stop);
        let part = Arc::new(());
        gather.put(0, vec![part.clone()]);
        gather.put(2, vec![part.clone()]);
        assert_eq!(Arc::strong_count(&part), 3);
        drop(completion);
        gather.put(1, vec![part.clone()]);
        assert_eq!(Arc::strong_count(&part), 1);
        gather.put(3, vec![part.clone()]);
        assert_eq!(Arc::strong_count(&part), 1);
    }
}
