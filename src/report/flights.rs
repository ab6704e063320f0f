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

use super::left::Domains;
use super::parts::OperationReport;
use super::snapshot::Snapshot;

/// Those of some domains.
#[derive(Clone)]
pub(super) struct Flights {
    domains: Vec<DomainRef>,
    /// Those that somebody waits for: the place of the wait, which says what they are, and their age.
    waited: Vec<(u32, u64)>,
    unwaited: Vec<SeenFlight>,
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.waited.len() + self.unwaited.len();
        f.debug_struct("Flights").field("flights", &count).finish_non_exhaustive()
    }
}

impl Flights {
    /// Those of these domains, and of the phases' own.
    pub(super) fn take(domains: &[DomainRef], phases: &[SeenPhase], snapshot: &Snapshot) -> Self {
        let domains = domains.iter().copied().chain(phases.iter().filter_map(|phase| phase.own)).collect();
        let mut this = Flights { domains, waited: Vec::new(), unwaited: Vec::new() };
        this.look_again(snapshot);
        this
    }

    /// Forgets what was to be seen.
    pub(super) fn forget(&mut self) {
        self.waited.clear();
        self.unwaited.clear();
    }

    /// Looks what is there now.
    pub(super) fn look_again(&mut self, snapshot: &Snapshot) {
        self.forget();
        let mut domains = Domains::new(&self.domains);
        let mut waits = Waits::new(snapshot);
        self.waited.reserve(flight::most().min(snapshot.results.len()));
        flight::look_in(|domain| domains.have(domain)).for_each(|flight| match waits.take(&flight) {
            Some(wait) => self.waited.push((wait, flight.age_ms)),
            None => self.unwaited.push(flight),
        });
    }

    /// Those that nobody waits for, the oldest first.
    pub(super) fn unwaited(&self) -> Vec<OperationReport> {
        let mut unwaited: Vec<_> = self.unwaited.iter().map(report).collect();
        unwaited.sort_by_key(|operation| Reverse(operation.age));
        unwaited
    }

    /// All of them, with who waits for them, and what else of storage is waited for at these places: the oldest first.
    pub(super) fn operations(&self, snapshot: &Snapshot, places: &[u32]) -> Vec<OperationReport> {
        let mut operations: Vec<_> = self.unwaited.iter().map(report).collect();
        let mut is_told = vec![false; snapshot.results.last().map_or(0, |(_, last)| *last as usize + 1)];
        for (wait, age) in &self.waited {
            is_told[*wait as usize] = true;
            operations.push(report_wait(snapshot, snapshot.wait_at(*wait), *age));
        }
        let mut ours = vec![false; snapshot.members.len()];
        for place in places {
            ours[*place as usize] = true;
        }
        let is_ours = |wait: &&Seen| snapshot.place(wait.member).is_some_and(|place| ours[place as usize]);
        let others = snapshot.results.iter().filter(|(_, wait)| !is_told[*wait as usize]);
        let others = others.map(|(_, wait)| snapshot.wait_at(*wait));
        let others = others.filter(|wait| wait.debtor == Debtor::Storage).filter(is_ours);
        operations.extend(others.map(|wait| report_wait(snapshot, wait, wait.age_ms)));
        operations.sort_by_key(|operation| Reverse(operation.age));
        operations
    }
}

/// An operation that somebody waits for, by what the wait says.
fn report_wait(snapshot: &Snapshot, wait: &Seen, age_ms: u64) -> OperationReport {
    OperationReport {
        operation: wait.operation.to_string(),
        object: (!wait.object.is_empty()).then(|| wait.object.to_string()),
        offset: wait.offset,
        length: wait.length,
        age: Duration::from_millis(age_ms),
        waiter: Some(snapshot.party(wait.member)),
    }
}

fn report(flight: &SeenFlight) -> OperationReport {
    OperationReport {
        operation: flight.operation.to_string(),
        object: (!flight.object.is_empty()).then(|| flight.object.to_string()),
        offset: flight.offset,
        length: flight.length,
        age: Duration::from_millis(flight.age_ms),
        waiter: None,
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
        Waits { snapshot, buckets, next }
    }

    /// The place of one that waits for this, and that nobody has been given.
    fn take(&mut self, flight: &SeenFlight) -> Option<u32> {
        let bucket = flight.said as usize & (self.buckets.len() - 1);
        let (mut before, mut at) = (NONE, self.buckets[bucket]);
        while at != NONE {
            let next = self.next[at as usize];
            let (said, wait) = self.snapshot.results[at as usize];
            if said == flight.said {
                let link = if before == NONE { &mut self.buckets[bucket] } else { &mut self.next[before as usize] };
                *link = next;
                return Some(wait);
            }
            (before, at) = (at, next);
        }
        None
    }
}
