//! Which shutdowns still have phases to run: what such a phase saves with is not closed under it.
//!
//! A phase of a domain may use the I/O of that domain, of a part of it and of what it is a part of. So the last stage of a shutdown waits until no other
//! shutdown of these has phases before it. Whose own time is up before that leaves to the other one what is that one's, which comes to it in turn; the rest is
//! closed, as its plan says.
//!
//! # Invariants
//! - **Entered before its first phase, gone after its last one**, and then it closes nothing before the others' phases are over either. So the last one of
//!   them clears away, or one that came after it.
//! - **Nobody waits for who waits for it** (L7). A shutdown waits here when it has no phases any more: so no two wait here for each other. One that the other
//!   one waits for (it is called by a member of that one's domain), or that a phase may wait for (a step calls it, or its thread holds a monitor's lock), does
//!   not wait here. (Who holds a lock for reading, or one that is no monitor's, is not known to.)
//!
//! The list is that of the root of the tree, so that one look sees all that a domain has to do with, and what is born meanwhile needs no entry.

use std::panic::Location;
use std::time::Instant;

use crate::registry::domain::DomainRef;
use crate::registry::member::MemberRef;
use crate::registry::phase::{self, SeenPhase};
use crate::sys::Mutex;
use crate::wait::line::monitors;
use crate::wait::ticket::Ticket;
use crate::wait::waiter::{self, WAITING, Watcher};

use super::Stop;
use super::shutdown::StopperThread;

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

/// Whether this is a member of a phase of one of these shutdowns that runs, or was left, or of a part of such a phase, for which that waits as well.
pub(super) fn is_step_of(me: MemberRef, shutdowns: &[Stop]) -> bool {
    let Some(me) = me.look() else { return false };
    let is_of = |phase: &SeenPhase| shutdowns.iter().any(|of| of.domain == phase.domain);
    phase::look().any(|phase| phase.state.may_run() && is_of(&phase) && me.is_within(phase.own))
}

/// Whether one of these shutdowns waits for this member, or a phase of theirs may.
fn may_be_waited_for(me: MemberRef, stopper: &StopperThread, shutdowns: &[Stop]) -> bool {
    let is_of = |domain| shutdowns.iter().flat_map(Stop::family).any(|part| Some(part.domain) == domain);
    let is_awaited = || me.look().is_some_and(|seen| !seen.shuts_down && is_of(seen.domain));
    let holds_a_lock = || monitors().look().any(|(_, cell)| cell.look().holder == me);
    // A thread of the crate's own is a callback's or a job's, which the phase may have asked for.
    stopper.is_own || is_awaited() || is_step_of(me, shutdowns) || holds_a_lock()
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

    /// Waits until no other shutdown has phases that may use what belongs to this domain; not past the deadline, nor past the stop of `hurry`. Those that are
    /// left: what belongs to their domains is theirs to clear away.
    pub(super) fn wait_for_phases(
        &self,
        (me, stopper): (MemberRef, &StopperThread),
        deadline: Instant,
        hurry: DomainRef,
        location: &'static Location<'static>,
    ) -> Vec<Stop> {
        let phasing = &self.root().inner.phasing.0;
        let is_related = |of: &&Stop| of.is_within(self) || self.is_within(of);
        let related = || -> Vec<Stop> { phasing.lock().of.iter().filter(is_related).cloned().collect() };
        loop {
            let shutdowns = related();
            if shutdowns.is_empty() || may_be_waited_for(me, stopper, &shutdowns) {
                return shutdowns;
            }
            let ticket = {
                let mut state = phasing.lock();
                // The last one may be through meanwhile.
                let Some(first) = state.of.iter().find(is_related) else { return Vec::new() };
                let ticket = Ticket::begin(waiter::Kind::Thread, WAITING, &first.watcher_note(Some(hurry), location));
                state.watchers.push(ticket.watcher());
                ticket
            };
            if ticket.is_over() || !ticket.park_while(|state| state == WAITING, Some(deadline)) {
                return related();
            }
        }
    }

    /// Whether one of these shutdowns clears it away in its turn.
    pub(super) fn is_left_to(&self, shutdowns: &[Stop]) -> bool {
        shutdowns.iter().any(|of| self.is_within(of))
    }
}
