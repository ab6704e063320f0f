//! The operations in flight, and who waits for which.
//!
//! An operation and a wait for it know nothing of each other in the registry: they are matched by what both say, which is what is done, to what, where and how
//! much. Of several that say the same each is given one of the waits.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use crate::registry::domain::DomainRef;
use crate::registry::flight::{self, SeenFlight};
use crate::registry::phase::SeenPhase;
use crate::wait::debtor::Debtor;
use crate::wait::look::Seen;

use super::parts::{OperationReport, Party};
use super::snapshot::Snapshot;

/// Those of some domains.
#[derive(Clone)]
pub(super) struct Flights {
    domains: Vec<DomainRef>,
    flights: Vec<SeenFlight>,
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("flights", &self.flights.len()).finish_non_exhaustive()
    }
}

impl Flights {
    /// Those of these domains, and of the phases' own.
    pub(super) fn take(domains: &[DomainRef], phases: &[SeenPhase]) -> Self {
        let domains = domains.iter().copied().chain(phases.iter().filter_map(|phase| phase.own)).collect();
        let mut this = Flights { domains, flights: Vec::new() };
        this.look_again(true);
        this
    }

    /// Looks what is there now; or forgets what was, if there is nothing to be seen.
    pub(super) fn look_again(&mut self, look: bool) {
        self.flights.clear();
        if look {
            let domains = &self.domains;
            self.flights.reserve(flight::most());
            self.flights.extend(flight::look().filter(|flight| domains.contains(&flight.domain)));
        }
    }

    /// Those that nobody waits for, the oldest first.
    pub(super) fn unwaited(&self, snapshot: &Snapshot) -> Vec<OperationReport> {
        if self.flights.is_empty() {
            return Vec::new();
        }
        let mut waits = Waits::new(snapshot);
        let unwaited = self.flights.iter().filter(|flight| waits.take(flight).is_none());
        let mut unwaited: Vec<_> = unwaited.map(|flight| report(flight, None)).collect();
        unwaited.sort_by_key(|operation| Reverse(operation.age));
        unwaited
    }

    /// All of them, with who waits for them, and what else of storage is waited for at these places: the oldest first.
    pub(super) fn operations(&self, snapshot: &Snapshot, places: &[u32]) -> Vec<OperationReport> {
        let mut waits = Waits::new(snapshot);
        let report = |flight| report(flight, waits.take(flight).map(|wait| snapshot.party(wait.member)));
        let mut operations: Vec<_> = self.flights.iter().map(report).collect();
        let mut ours = vec![false; snapshot.members.len()];
        for place in places {
            ours[*place as usize] = true;
        }
        let is_ours = |wait: &&Seen| snapshot.place(wait.member).is_some_and(|place| ours[place as usize]);
        let others = waits.rest().filter(|wait| wait.debtor == Debtor::Storage).filter(is_ours);
        operations.extend(others.map(|wait| OperationReport {
            operation: wait.operation.to_string(),
            object: (!wait.object.is_empty()).then(|| wait.object.to_string()),
            offset: wait.offset,
            length: wait.length,
            age: Duration::from_millis(wait.age_ms),
            waiter: Some(snapshot.party(wait.member)),
        }));
        operations.sort_by_key(|operation| Reverse(operation.age));
        operations
    }
}

fn report(flight: &SeenFlight, waiter: Option<Party>) -> OperationReport {
    OperationReport {
        operation: flight.operation.to_string(),
        object: (!flight.object.is_empty()).then(|| flight.object.to_string()),
        offset: flight.offset,
        length: flight.length,
        age: Duration::from_millis(flight.age_ms),
        waiter,
    }
}

const NONE: u32 = u32::MAX;

/// Waits for results by what they are for, each of which is taken once. A table of its own, of numbers that stand for what is said: a daemon has thousands of
/// them, and a report is to be cheap.
struct Waits<'a> {
    snapshot: &'a Snapshot,
    /// The first of each bucket, as a place in `Snapshot::results`.
    buckets: Vec<u32>,
    /// For each the next one of its bucket.
    next: Vec<u32>,
    taken: Vec<bool>,
}

impl<'a> Waits<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let results = &snapshot.results;
        let mut buckets = vec![NONE; (2 * results.len()).next_power_of_two()];
        let mut next = vec![NONE; results.len()];
        for (at, (said, _)) in results.iter().enumerate().rev() {
            let bucket = *said as usize & (buckets.len() - 1);
            next[at] = std::mem::replace(&mut buckets[bucket], at as u32);
        }
        Waits { snapshot, buckets, next, taken: vec![false; results.len()] }
    }

    /// One that waits for this, and that nobody has been given.
    fn take(&mut self, flight: &SeenFlight) -> Option<&'a Seen> {
        let bucket = flight.said as usize & (self.buckets.len() - 1);
        let (mut before, mut at) = (NONE, self.buckets[bucket]);
        while at != NONE {
            let next = self.next[at as usize];
            let (said, wait) = self.snapshot.results[at as usize];
            if said == flight.said {
                let link = if before == NONE { &mut self.buckets[bucket] } else { &mut self.next[before as usize] };
                *link = next;
                self.taken[at as usize] = true;
                return Some(self.snapshot.wait_at(wait));
            }
            (before, at) = (at, next);
        }
        None
    }

    /// Those that were not taken.
    fn rest(&self) -> impl Iterator<Item = &'a Seen> {
        let snapshot = self.snapshot;
        let rest = snapshot.results.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        rest.map(|((_, wait), _)| snapshot.wait_at(*wait))
    }
}
