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

/// Whether a stop was requested is never asked in time: what a cancel does is enough.
#[derive(Clone)]
pub(super) struct Domain;

impl Domain {
    pub(super) fn is_requested(&self) -> bool {
        false
    }
}

/// A domain with room for one operation that its stop ends, or none.
#[derive(Clone, Default)]
pub(super) struct Io(Option<Arc<Mutex<Option<Hook>>>>);

impl Io {
    pub(super) fn of_a_domain() -> Io {
        Io(Some(Arc::new(Mutex::new(None))))
    }

    pub(super) fn external<T, E>(&self, _owed: Owed) -> (ExternalCompleter<T, E>, ExternalCompletion<T, E>)
    where
        E: From<Abandoned>,
    {
        let both = Arc::new(Both { answer: Mutex::new(Answer::Open(None)), ended: Condvar::new() });
        (ExternalCompleter(Arc::clone(&both), self.clone()), ExternalCompletion(both))
    }

    /// Ends the operation that there is, if there is one; whether there was.
    pub(super) fn stop(&self) -> bool {
        let cancel = self.0.as_ref().and_then(|domain| domain.lock().unwrap().take());
        cancel.map(|cancel| cancel()).is_some()
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

pub(super) struct ExternalCompleter<T, E>(Arc<Both<T, E>>, Io);
pub(super) struct ExternalCompletion<T, E>(Arc<Both<T, E>>);

impl<T: Send + 'static, E: From<Abandoned> + Send + 'static> ExternalCompleter<T, E> {
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
        if let Some(domain) = &self.1.0 {
            let own = ExternalCompletion(Arc::clone(&self.0));
            *domain.lock().unwrap() = Some(Box::new(move || own.cancel()));
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
