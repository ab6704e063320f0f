//! Which shutdowns still have phases to run: what such a phase saves with is not closed under it.
//!
//! A phase of a domain may use the I/O of that domain, of a part of it and of what it is a part of. So the last stage of a shutdown waits until no other
//! shutdown of these has phases before it; whose own time is up before that leaves the clearing away to the other one, which comes to it in turn.
//!
//! # Invariants
//! - **Entered before its first phase, gone after its last one**, and then it closes nothing before the others' phases are over either. So the last one of
//!   them clears away, or one that came after it.
//! - **Nobody waits for who waits for it** (L7). A shutdown waits here when it has no phases any more: so no two wait here for each other. One that a phase may
//!   wait for (a step calls it, or its thread holds a monitor's lock) does not wait here.
//!
//! The list is that of the root of the tree, so that one look sees all that a domain has to do with, and what is born meanwhile needs no entry.

use std::panic::Location;
use std::time::Instant;

use crate::registry::domain::DomainRef;
use crate::registry::member::{self, MemberRef};
use crate::registry::phase;
use crate::sys::Mutex;
use crate::wait::line::monitors;
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{self, WAITING, Watcher, What};

use super::Stop;

/// The shutdowns of a tree of domains that have phases to run. Of the root alone.
pub(super) struct Phasing(Mutex<State>);

#[derive(Default)]
struct State {
    /// The domain of each.
    of: Vec<Stop>,
    /// Who waits until there are fewer.
    watchers: Vec<Watcher>,
}

impl Phasing {
    pub(super) fn new() -> Self {
        Phasing(Mutex::new(State::default()))
    }
}

/// A shutdown has phases to run, as long as this lives.
pub(super) struct HasPhases<'a>(&'a Stop);

impl<'a> HasPhases<'a> {
    pub(super) fn new(stop: &'a Stop) -> Self {
        stop.root().inner.phasing.0.lock().of.push(stop.clone());
        HasPhases(stop)
    }
}

impl Drop for HasPhases<'_> {
    fn drop(&mut self) {
        let (one, watchers) = {
            let mut state = self.0.root().inner.phasing.0.lock();
            let at = state.of.iter().position(|stop| stop.domain == self.0.domain);
            (at.map(|at| state.of.swap_remove(at)), std::mem::take(&mut state.watchers))
        };
        // Not the last handle: there is the one whose shutdown it is.
        drop(one);
        for watcher in watchers {
            watcher.notify();
        }
    }
}

/// Whether this is a member of a phase that runs, or was left.
pub(super) fn is_step(me: MemberRef) -> bool {
    let domain = me.look().and_then(|seen| seen.domain);
    domain.is_some() && phase::look().any(|phase| phase.state.may_run() && phase.own == domain)
}

/// Whether a phase that runs may wait for this member.
fn may_be_waited_for(me: MemberRef) -> bool {
    // The thread of the crate's own is a callback's or a job's, which the phase may have asked for.
    member::is_own(me.index()) || is_step(me) || monitors().look().any(|(_, cell)| cell.look().holder == me)
}

impl Stop {
    /// The domain that this one is a part of, with no other above it.
    fn root(&self) -> &Stop {
        let mut root = self;
        while let Some(parent) = &root.inner.parent {
            root = parent;
        }
        root
    }

    /// Whether this is that domain or a part of it.
    fn is_within(&self, other: &Stop) -> bool {
        let mut at = Some(self);
        while let Some(stop) = at {
            if stop.domain == other.domain {
                return true;
            }
            at = stop.inner.parent.as_ref();
        }
        false
    }

    /// Waits until no other shutdown has phases that may use what belongs to this domain; not past the deadline, nor past the stop of `hurry`. Whether
    /// there is none.
    pub(super) fn wait_for_phases(
        &self,
        me: MemberRef,
        deadline: Instant,
        hurry: DomainRef,
        location: &'static Location<'static>,
    ) -> bool {
        let phasing = &self.root().inner.phasing.0;
        let is_none = |state: &State| !state.of.iter().any(|of| of.is_within(self) || self.is_within(of));
        loop {
            if is_none(&phasing.lock()) {
                return true;
            }
            if may_be_waited_for(me) {
                return false;
            }
            let note = Note { domain: Some(hurry), ..Note::endless(What::End, location) };
            let ticket = Ticket::begin(waiter::Kind::Thread, WAITING, &note);
            {
                let mut state = phasing.lock();
                if is_none(&state) {
                    return true;
                }
                state.watchers.push(ticket.watcher());
            }
            if ticket.is_over() || !ticket.park_while(|state| state == WAITING, Some(deadline)) {
                return is_none(&phasing.lock());
            }
        }
    }
}
