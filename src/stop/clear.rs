//! The last stage of a shutdown: closes a domain's services, lets its last callbacks run, and joins its threads that are at their end.
//!
//! What a phase of another shutdown may still use is not cleared away under it (`phasing`). Whatever is to be cleared away is taken by one shutdown; another
//! one that runs at the same time finds nothing left, and waits until the first is through: otherwise it would call a domain clean that is still being closed.
//!
//! # Invariants
//! - **No two wait for each other** (L7): a shutdown first clears away what it took itself, and waits for others only when it has no mark of its
//!   own any more. One that runs on a thread of this crate's own (a callback, a blocking job) waits for nobody, because that very thread may be what
//!   is waited for.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use crate::registry::domain::DomainRef;
use crate::sys::{self, Mutex, Until};
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{self, WAITING, Watcher, What};

use super::shutdown::{Leaked, Service, WAY_OUT};
use super::{Stop, StopperThread};

/// What a domain closes last, and who is at it.
pub(super) struct Clearing(Mutex<State>);

#[derive(Default)]
struct State {
    services: Vec<Arc<dyn Service>>,
    /// Those that are being closed.
    closing: Vec<Arc<dyn Service>>,
    /// What services and threads could not give back: counts for later shutdowns too.
    leaked: Leaked,
    /// How many shutdowns are at it.
    busy: usize,
    /// Who waits until nobody is.
    watchers: Vec<Watcher>,
}

/// A shutdown that is at it, and what it could not clear away.
struct Busy<'a> {
    clearing: &'a Clearing,
    left: Leaked,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let (watchers, closed) = {
            let mut state = self.clearing.0.lock();
            state.leaked.add(self.left);
            state.busy -= 1;
            if state.busy == 0 {
                (std::mem::take(&mut state.watchers), std::mem::take(&mut state.closing))
            } else {
                (Vec::new(), Vec::new())
            }
        };
        drop(closed);
        for watcher in watchers {
            watcher.notify();
        }
    }
}

/// What could not be cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) leaked: Leaked,
    pub(crate) late_callbacks: usize,
    /// Domains that another shutdown is still clearing away.
    pub(crate) busy: usize,
}

impl Clearing {
    pub(super) fn new() -> Self {
        Clearing(Mutex::new(State::default()))
    }

    pub(super) fn add(&self, service: Arc<dyn Service>) {
        self.0.lock().services.push(service);
    }

    /// The deadline of what is being closed is now.
    pub(super) fn hurry(&self) {
        let closing = self.0.lock().closing.clone();
        for service in closing {
            service.hurry();
        }
    }

    fn begin(&self) -> (Busy<'_>, Vec<Arc<dyn Service>>) {
        let mut state = self.0.lock();
        state.busy += 1;
        let services = std::mem::take(&mut state.services);
        state.closing.extend(services.iter().cloned());
        drop(state);
        (Busy { clearing: self, left: Leaked::default() }, services)
    }

    /// Waits until no shutdown is at it, but not past the deadline; `None`: not at all. What was left, and whether another one is still at it.
    fn result(
        &self,
        deadline: Option<Instant>,
        hurry: DomainRef,
        location: &'static Location<'static>,
    ) -> (Leaked, bool) {
        loop {
            let ticket = {
                let mut state = self.0.lock();
                if state.busy == 0 || deadline.is_none() {
                    return (state.leaked, false);
                }
                let note = Note { domain: Some(hurry), ..Note::endless(What::End, location) };
                let ticket = Ticket::begin(waiter::Kind::Thread, WAITING, &note);
                state.watchers.push(ticket.watcher());
                ticket
            };
            if ticket.is_over() || !ticket.park_while(|state| state == WAITING, deadline) {
                let state = self.0.lock();
                return (state.leaked, state.busy != 0);
            }
        }
    }
}

impl Rest {
    /// Adds what is known of domains that are left to another shutdown, which has phases to run. Who runs on a thread of this crate's own, or on one of its
    /// phases', does not count them, as in [`clear`].
    pub(super) fn leave(&mut self, parts: &[Stop], counts: bool) {
        for stop in parts {
            self.leaked.add(stop.inner.clearing.0.lock().leaked);
            self.busy += usize::from(counts);
        }
    }
}

/// Clears these domains away: services by `drained_by`, callbacks by `deadline`; all of it at once when `hurry` is over.
pub(super) fn clear(
    parts: &[Stop],
    stopper: &StopperThread,
    (drained_by, deadline): (Instant, Instant),
    hurry: DomainRef,
    location: &'static Location<'static>,
) -> Rest {
    let mut rest = Rest::default();
    let way_out = Until::new(deadline.max(sys::now() + WAY_OUT), || hurry.is_over());
    for stop in parts {
        let (mut busy, services) = stop.inner.clearing.begin();
        for service in services {
            // A hurry that comes later finds the service among those that are being closed.
            let by = if hurry.is_over() { sys::now() } else { drained_by };
            busy.left.add(service.close(by));
        }
        if !stopper.is_callback_of(stop) {
            let (threads, callbacks) = stop.inner.callbacks.finish(deadline, hurry);
            busy.left.threads += threads;
            rest.late_callbacks += callbacks;
        }
        busy.left.threads += stop.inner.members.join_ended(|| way_out.at());
    }
    let until = (!stopper.is_own).then(|| drained_by.max(sys::now() + WAY_OUT));
    for stop in parts {
        let (left, busy) = stop.inner.clearing.result(until, hurry, location);
        rest.leaked.add(left);
        rest.busy += usize::from(busy);
    }
    rest
}
