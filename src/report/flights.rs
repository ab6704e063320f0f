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
use crate::registry::text::Copied;
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

/// What is done, to what, where and how much.
type Key = (Copied<2>, Copied<6>, u64, u64);

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
            self.flights.extend(flight::look().filter(|flight| domains.contains(&flight.domain)));
            self.flights.sort_by_key(|flight| Reverse(flight.age_ms));
        }
    }

    /// Those that nobody waits for, the oldest first.
    pub(super) fn unwaited(&self, snapshot: &Snapshot) -> Vec<OperationReport> {
        if self.flights.is_empty() {
            return Vec::new();
        }
        let mut waits = Waits::new(snapshot);
        self.flights.iter().filter(|flight| waits.take(flight).is_none()).map(|flight| report(flight, None)).collect()
    }

    /// All of them, with who waits for them, and what else of storage is waited for at these places: the oldest first.
    pub(super) fn operations(&self, snapshot: &Snapshot, places: &[u32]) -> Vec<OperationReport> {
        let mut waits = Waits::new(snapshot);
        let report = |flight| report(flight, waits.take(flight).map(|place| snapshot.party_at(place)));
        let mut operations: Vec<_> = self.flights.iter().map(report).collect();
        let mut ours = vec![false; snapshot.members.len()];
        for place in places {
            ours[*place as usize] = true;
        }
        let others = waits.rest().filter(|(place, wait)| ours[*place as usize] && wait.debtor == Debtor::Storage);
        operations.extend(others.map(|(place, wait)| OperationReport {
            operation: wait.operation.to_string(),
            object: (!wait.object.is_empty()).then(|| wait.object.to_string()),
            offset: wait.offset,
            length: wait.length,
            age: Duration::from_millis(wait.age_ms),
            waiter: Some(snapshot.party_at(place)),
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

/// Waits for results by what they are for, each of which is taken once. A table of its own: a daemon has thousands of them, and a report is to be cheap.
struct Waits<'a> {
    waits: Vec<(u32, &'a Seen)>,
    /// The first wait of each hash.
    buckets: Vec<u32>,
    /// For each wait the next one of the same bucket.
    next: Vec<u32>,
    taken: Vec<bool>,
}

impl<'a> Waits<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let waits: Vec<_> = snapshot.waits_for_results().collect();
        let mut buckets = vec![NONE; (2 * waits.len()).next_power_of_two()];
        let mut next = vec![NONE; waits.len()];
        for (at, (_, wait)) in waits.iter().enumerate().rev() {
            let bucket = bucket(&key_of(wait), buckets.len());
            next[at] = std::mem::replace(&mut buckets[bucket], at as u32);
        }
        let taken = vec![false; waits.len()];
        Waits { waits, buckets, next, taken }
    }

    /// The place of one that waits for this, and that nobody has been given.
    fn take(&mut self, flight: &SeenFlight) -> Option<u32> {
        let key = (flight.operation, flight.object, flight.offset, flight.length);
        let bucket = bucket(&key, self.buckets.len());
        let (mut before, mut at) = (NONE, self.buckets[bucket]);
        while at != NONE {
            let next = self.next[at as usize];
            let (place, wait) = self.waits[at as usize];
            if key_of(wait) == key {
                let link = if before == NONE { &mut self.buckets[bucket] } else { &mut self.next[before as usize] };
                *link = next;
                self.taken[at as usize] = true;
                return Some(place);
            }
            (before, at) = (at, next);
        }
        None
    }

    /// Those that were not taken.
    fn rest(&self) -> impl Iterator<Item = (u32, &'a Seen)> {
        self.waits.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(wait, _)| *wait)
    }
}

fn key_of(wait: &Seen) -> Key {
    (wait.operation, wait.object, wait.offset, wait.length)
}

fn bucket(key: &Key, count: usize) -> usize {
    let (operation, object, offset, length) = key;
    let mixed = (operation.mixed() ^ object.mixed().rotate_left(17) ^ offset.rotate_left(31) ^ length)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & (count - 1)
}
