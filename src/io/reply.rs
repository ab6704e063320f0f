//! To whom an operation owes its result, and what is counted when it gives it.
//!
//! # Invariants
//!
//! - **Counted once**: an operation is counted as begun when its [`Reply`] is made and as ended when it is finished or dropped, which happens once,
//!   because both take it by value.
//! - **One outcome**: where operations have a deadline, the completer lies behind a lock, and who takes it out (the operation's end or its
//!   deadline) gives the result. The other finds nothing there.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use super::{
    deadline::Expires,
    error::IoError,
    meter::{Meter, Operation},
};
use crate::{
    Abandoned, Completer,
    registry::flight::Flight,
    sys::{Mutex, now},
};

/// An error that an operation's deadline can be told by.
pub(super) trait Failure: From<Abandoned> + Send + 'static {
    fn of(error: IoError) -> Self;
}

impl<B: Send + 'static> Failure for IoError<B> {
    /// Without a buffer: who had one has it still.
    fn of(error: IoError) -> Self {
        error.bare()
    }
}

impl Failure for Abandoned {
    fn of(_: IoError) -> Self {
        Abandoned
    }
}

/// See the head of this file. Dropped without a result, its completion is abandoned.
pub(super) struct Reply<T, E: Failure = IoError>
where
    T: Send + 'static,
{
    /// `None` only while it is finished.
    route: Option<Route<T, E>>,
    kind: Operation,
    begun: Instant,
    meter: Arc<Meter>,
    /// A report sees the operation for as long as this is there: until it is ended.
    flight: Option<Flight>,
}

enum Route<T, E: Failure> {
    Direct(Completer<T, E>),
    Timed(Arc<Timed<T, E>>),
}

/// What an operation and its deadline share.
struct Timed<T, E: Failure> {
    completer: Mutex<Option<Completer<T, E>>>,
    /// What the deadline says, once.
    error: Mutex<Option<IoError>>,
    meter: Arc<Meter>,
}

impl<T: Send + 'static, E: Failure> Reply<T, E> {
    pub(super) fn new(completer: Completer<T, E>, kind: Operation, meter: &Arc<Meter>, flight: Flight) -> Self {
        meter.begun(kind);
        let route = Some(Route::Direct(completer));
        Reply { route, kind, begun: now(), meter: Arc::clone(meter), flight: Some(flight) }
    }

    /// The same with a deadline, and what the deadline is to be told.
    pub(super) fn timed(
        completer: Completer<T, E>,
        kind: Operation,
        meter: &Arc<Meter>,
        flight: Flight,
        error: IoError,
    ) -> (Self, Weak<dyn Expires>) {
        meter.begun(kind);
        let timed = Arc::new(Timed {
            completer: Mutex::new(Some(completer)),
            error: Mutex::new(Some(error)),
            meter: Arc::clone(meter),
        });
        let shared: Arc<dyn Expires> = timed.clone();
        let route = Some(Route::Timed(timed));
        let reply = Reply { route, kind, begun: now(), meter: Arc::clone(meter), flight: Some(flight) };
        (reply, Arc::downgrade(&shared))
    }

    /// Whether anybody waits for the result.
    pub(super) fn is_wanted(&self) -> bool {
        match &self.route {
            Some(Route::Direct(completer)) => completer.is_wanted(),
            Some(Route::Timed(timed)) => timed.completer.lock().as_ref().is_some_and(Completer::is_wanted),
            None => false,
        }
    }

    /// Says that the thread that calls this owes the result. (Where operations have a deadline nobody says it: their completer lies behind a lock.)
    pub(super) fn owed_by_me(&self) {
        if let Some(Route::Direct(completer)) = &self.route {
            completer.owed_by_me();
        }
    }

    /// Gives the result. One that nobody wants is dropped here.
    pub(super) fn finish(mut self, result: Result<T, E>) {
        let completer = self.end(result.is_ok());
        let unwanted = match completer {
            Some(completer) => completer.finish(result).err(),
            None => Some(result),
        };
        if unwanted.is_some() {
            self.meter.too_late();
        }
    }

    /// Counts the end and takes the completer out, if it is still there.
    fn end(&mut self, ok: bool) -> Option<Completer<T, E>> {
        let route = self.route.take()?;
        self.flight = None;
        self.meter.ended(self.kind, now().saturating_duration_since(self.begun), ok);
        match route {
            Route::Direct(completer) => Some(completer),
            Route::Timed(timed) => timed.completer.lock().take(),
        }
    }
}

impl<T: Send + 'static, E: Failure> Drop for Reply<T, E> {
    fn drop(&mut self) {
        drop(self.end(false));
    }
}

impl<T: Send + 'static, E: Failure> Expires for Timed<T, E> {
    fn expire(&self) {
        let Some(completer) = self.completer.lock().take() else { return };
        let Some(error) = self.error.lock().take() else { return };
        self.meter.timed_out();
        drop(completer.fail(E::of(error)));
    }
}
