//! The user's own blocking work, as a completion.

use super::{
    Io,
    meter::Operation,
    pool::{Job, Place},
    reply::Reply,
};
use crate::{Abandoned, Completion};

/// Jobs.
impl Io {
    /// Runs anything that blocks on a thread of the pool, under a name for reports: an atomic save, a call of a library.
    ///
    /// Nobody knows on what a job may get stuck: so all jobs together have at most as many threads as one file system, see
    /// [`threads`](super::IoBuilder::threads).
    ///
    /// A job that panics, and one that was still queued when the service was closed, is [`Abandoned`].
    ///
    /// # Cancel safety
    ///
    /// A job that has begun runs to its end, whoever waits for it; one that has not and that nobody waits for is not begun.
    pub fn run_blocking<T, F>(&self, name: &'static str, job: F) -> Completion<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.refusal().is_some() {
            return Completion::ready(Err(Abandoned), self.domain());
        }
        let (completer, completion) = Completion::new(name, self.domain());
        let reply = Reply::new(completer, Operation::Job, self.meter(), self.flight(name, "", 0, 0));
        self.run(Place::Anywhere, Box::new(Blocking { reply, job }));
        completion
    }
}

/// A job of the user's, and to whom its result is owed.
struct Blocking<T: Send + 'static, F> {
    reply: Reply<T, Abandoned>,
    job: F,
}

impl<T: Send + 'static, F: FnOnce() -> T + Send> Job for Blocking<T, F> {
    fn run(self: Box<Self>) {
        let Blocking { reply, job } = *self;
        if reply.is_wanted() {
            reply.owed_by_me();
            reply.finish(Ok(job()));
        }
    }

    fn is_wanted(&self) -> bool {
        self.reply.is_wanted()
    }
}
