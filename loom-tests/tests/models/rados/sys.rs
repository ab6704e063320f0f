//! What `rados/src/sys.rs` has, under loom; and an external operation whose hook is run by who cancels, as the callback thread would.

pub(super) use std::sync::{Arc, PoisonError};

pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
use unwedge::{Abandoned, Owed};

type Hook = Box<dyn FnOnce() + Send>;

/// How it has ended: by a result, which is kept, or by nobody's waiting for it.
pub(super) enum Answer<T, E> {
    Open(Option<Hook>),
    Cancelled(Option<Result<T, E>>),
    Ended(Result<T, E>),
}

pub(super) struct Io;

impl Io {
    pub(super) fn external<T, E>(&self, _owed: Owed) -> (ExternalCompleter<T, E>, ExternalCompletion<T, E>)
    where
        E: From<Abandoned>,
    {
        let both = Arc::new(Both { answer: Mutex::new(Answer::Open(None)), ended: Condvar::new() });
        (ExternalCompleter(Arc::clone(&both)), ExternalCompletion(both))
    }
}

/// Nobody wanted the result.
#[derive(Debug)]
pub(super) struct Unwanted;

/// What its two ends share.
struct Both<T, E> {
    answer: Mutex<Answer<T, E>>,
    ended: Condvar,
}

pub(super) struct ExternalCompleter<T, E>(Arc<Both<T, E>>);
pub(super) struct ExternalCompletion<T, E>(Arc<Both<T, E>>);

impl<T, E: From<Abandoned>> ExternalCompleter<T, E> {
    pub(super) fn is_wanted(&self) -> bool {
        matches!(*self.0.answer.lock().unwrap(), Answer::Open(_))
    }

    pub(super) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let mut answer = self.0.answer.lock().unwrap();
        match &mut *answer {
            Answer::Open(place) => *place = Some(Box::new(hook)),
            Answer::Cancelled(_) => {
                drop(answer);
                hook();
            }
            Answer::Ended(_) => {}
        }
        Ok(())
    }

    pub(super) fn fail(self, error: E) -> Result<(), Unwanted> {
        self.finish(Err(error))
    }

    pub(super) fn finish(self, result: Result<T, E>) -> Result<(), Unwanted> {
        let mut answer = self.0.answer.lock().unwrap();
        let hook = match &mut *answer {
            Answer::Open(hook) => hook.take(),
            Answer::Cancelled(late) => {
                assert!(late.is_none(), "it ends twice");
                *late = Some(result);
                self.0.ended.notify_all();
                return Err(Unwanted);
            }
            Answer::Ended(_) => unreachable!("it ends twice"),
        };
        *answer = Answer::Ended(result);
        drop(answer);
        self.0.ended.notify_all();
        drop(hook);
        Ok(())
    }
}

impl<T, E> ExternalCompletion<T, E> {
    pub(super) fn share(&self) -> ExternalCompletion<T, E> {
        ExternalCompletion(Arc::clone(&self.0))
    }

    /// Nobody waits any more: the hook runs.
    pub(super) fn cancel(&self) {
        let mut answer = self.0.answer.lock().unwrap();
        let Answer::Open(hook) = &mut *answer else { return };
        let hook = hook.take();
        *answer = Answer::Cancelled(None);
        drop(answer);
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Waits until it has ended, whether or not somebody wants to know: how.
    pub(super) fn end(&self) -> Answer<T, E> {
        let mut answer = self.0.answer.lock().unwrap();
        while matches!(*answer, Answer::Open(_) | Answer::Cancelled(None)) {
            answer = self.0.ended.wait(answer).unwrap();
        }
        std::mem::replace(&mut *answer, Answer::Open(None))
    }
}
