//! The registry as it was at a moment: every member, wait and lock of the process, read without a lock (L8).
//!
//! The parts are read one after the other, so what moves meanwhile may be seen at two moments; what has hung for a while is seen as it is. Nobody is taken
//! for somebody else: references carry the life of the member that is meant.

use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::domain::DomainRef;
use crate::registry::flight;
use crate::registry::member::{self, Kind, MemberRef, SeenMember};
use crate::registry::phase::{self, SeenPhase};
use crate::registry::text::Copied;
use crate::wait::condition::Notifier;
use crate::wait::debtor::Debtor;
use crate::wait::line::{MonitorCell, SeenLock, monitors};
use crate::wait::look::{self, Seen, Stage};
use crate::wait::waiter::What;

use super::explain::{Lead, lead, still_leads_to};
use super::parts::{HeldBy, LockReport, MemberReport, Notified, OwedBy, Party, WaitReport, WaitsFor};
use super::quick::QuickMap;

/// See the head of this file.
pub(super) struct Snapshot {
    pub(super) members: Vec<SeenMember>,
    /// The member of each slot: its place in `members`, plus one.
    places: Vec<u32>,
    waits: Vec<Seen>,
    /// The first wait of each member, and the next one of the same member after each wait, as places in `waits`; `NONE` where there is none.
    first: Vec<u32>,
    next: Vec<u32>,
    /// The locks that are held, and those of every monitor that a wait is of.
    locks: QuickMap<Slot, Lock>,
    /// Who notified the conditions that are waited on.
    notifiers: QuickMap<Slot, Notifier>,
    /// The waits for results: what each says that it is for ([`flight::said`]), and its place in `waits`.
    pub(super) results: Vec<(u64, u32)>,
    /// The phases of all shutdowns.
    phases: Vec<SeenPhase>,
}

/// No wait.
const NONE: u32 = u32::MAX;

/// A member that runs the step of a phase, or a part of it.
#[derive(Debug, Clone)]
pub(super) struct PhaseStep {
    pub(super) place: u32,
    pub(super) phase: Arc<str>,
    /// Which plan that is of, and its place there.
    pub(super) at: (u64, u32),
    /// Whether the shutdown waits for the phase now, and has not left it.
    pub(super) is_current: bool,
}

/// The address of a monitor's or a condition's slot: what tells it from others, and nothing is read there.
type Slot = usize;

fn slot<T>(of: &'static T) -> Slot {
    std::ptr::from_ref(of).addr()
}

/// Counts those that were seen to wait for a lock.
fn count(locks: &mut QuickMap<Slot, Lock>, of: Option<Slot>, queue: &mut usize) {
    let these = std::mem::take(queue);
    if let Some(lock) = of.and_then(|of| locks.get_mut(&of)) {
        lock.queue += these;
    }
}

impl Lock {
    fn of(cell: &MonitorCell) -> Option<Self> {
        let (life, name, seen) = cell.look_by_name()?;
        Some(Lock { life, name, seen, queue: 0 })
    }
}

/// A monitor's lock.
pub(super) struct Lock {
    /// Which monitor it is of those whose cell it has been.
    life: u32,
    pub(super) name: Copied<4>,
    pub(super) seen: SeenLock,
    pub(super) queue: usize,
}

/// All of them, `most` at the most: with room for so many from when it is seen that they are not just a few, as after a stop that thousands have followed.
fn gathered<T>(all: impl Iterator<Item = T>, most: usize) -> Vec<T> {
    const FEW: usize = 256;
    let mut gathered = Vec::with_capacity(FEW.min(most));
    all.for_each(|one| {
        if gathered.len() == gathered.capacity() {
            gathered.reserve_exact(most.saturating_sub(gathered.len()).max(FEW));
        }
        gathered.push(one);
    });
    gathered
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("members", &self.members.len())
            .field("waits", &self.waits.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn take() -> Self {
        // Members after waits: who has begun to wait since is not seen, and who has ended since has no waits.
        let waits = gathered(look::look(), look::most());
        let members = gathered(member::look(), member::most());
        let slots = members.last().map_or(0, |last: &SeenMember| last.member.index() as usize + 1);
        let mut places = vec![0; slots];
        for (place, seen) in members.iter().enumerate() {
            places[seen.member.index() as usize] = place as u32 + 1;
        }
        let mut this = Snapshot {
            members,
            places,
            waits,
            first: Vec::new(),
            next: Vec::new(),
            locks: QuickMap::default(),
            notifiers: QuickMap::default(),
            results: Vec::new(),
            phases: phase::look().collect(),
        };
        this.note_locks();
        let over = this.take_out_what_is_over();
        this.note_order(over);
        this
    }

    /// `over`: the places of waits that are nobody's any more, in order.
    fn note_order(&mut self, mut over: Vec<u32>) {
        self.first = vec![NONE; self.members.len()];
        self.next = vec![NONE; self.waits.len()];
        // From the last one, so that each member's waits come in their order.
        for at in (0..self.waits.len()).rev() {
            if over.last().is_some_and(|last| *last as usize == at) {
                over.pop();
                continue;
            }
            if let Some(place) = self.place(self.waits[at].member) {
                self.next[at] = std::mem::replace(&mut self.first[place as usize], at as u32);
            }
        }
    }

    fn note_locks(&mut self) {
        for (_, cell) in monitors().look() {
            let lock = Lock::of(cell).filter(|lock| lock.seen.holder != MemberRef::NOBODY || lock.seen.readers != 0);
            self.locks.extend(lock.map(|lock| (slot(cell), lock)));
        }
        self.results.reserve(self.waits.len());
        // Most wait for the lock of the one before.
        let (mut last, mut queue) = (None, 0);
        for (at, wait) in self.waits.iter().enumerate() {
            if wait.what == What::Completion {
                let said = flight::said(&wait.operation, &wait.object, wait.offset, wait.length);
                self.results.push((said, at as u32));
            }
            if let Some(cell) = wait.monitor {
                if last != Some(slot(cell)) {
                    count(&mut self.locks, last, &mut queue);
                    if let Entry::Vacant(vacant) = self.locks.entry(slot(cell)) {
                        Lock::of(cell).map(|lock| vacant.insert(lock));
                    }
                    last = Some(slot(cell));
                }
                queue += usize::from(wait.wants_lock());
            }
            if let Some(condition) = wait.condition.filter(|_| !wait.wants_lock()) {
                if let Some(last) = condition.last_notifier() {
                    self.notifiers.entry(slot(condition)).or_insert(last);
                }
            }
        }
        count(&mut self.locks, last, &mut queue);
    }

    /// Finds the waits that ended while all was read: whose monitor is gone and its cell another one's, whose lock has come to the waiter itself, or whose debtor
    /// has paid, and has ended since. Those are no deadlock, nobody is gone, and nobody waits for another monitor's holder.
    fn take_out_what_is_over(&mut self) -> Vec<u32> {
        let is_others = |wait: &Seen, cell| self.lock_of(cell).is_none_or(|lock| lock.life != wait.monitor_life);
        let is_over = |(_, wait): &(u32, &Seen)| match self.lead(wait) {
            _ if wait.monitor.is_some_and(|cell| is_others(wait, cell)) => true,
            Lead::To(own) if own == wait.member => !wait.still_waits(),
            Lead::To(gone) if self.place(gone).is_none() => gone.look().is_none() && !still_leads_to(wait, gone),
            _ => false,
        };
        let over: Vec<u32> = (0..).zip(&self.waits).filter(is_over).map(|(at, _)| at).collect();
        for at in &over {
            let wait = &self.waits[*at as usize];
            if let Some(lock) =
                wait.monitor.filter(|_| wait.wants_lock()).and_then(|cell| self.locks.get_mut(&slot(cell)))
            {
                // (Not below none: that of a monitor that is gone was not counted, if its lock was looked up before the next one was in its place.)
                lock.queue = lock.queue.saturating_sub(1);
            }
        }
        over
    }

    /// Where a wait leads.
    pub(super) fn lead(&self, wait: &Seen) -> Lead {
        lead(wait, wait.monitor.and_then(|cell| self.lock_of(cell)).map(|lock| lock.seen))
    }

    /// The place of a member that has not ended.
    pub(super) fn place(&self, member: MemberRef) -> Option<u32> {
        let place = self.places.get(member.index() as usize)?.checked_sub(1)?;
        (self.members[place as usize].member == member).then_some(place)
    }

    /// The phases of these domains' shutdowns, in order.
    pub(super) fn phases_of(&self, domains: &[DomainRef]) -> Vec<SeenPhase> {
        let mut phases: Vec<_> = self.phases.iter().filter(|phase| domains.contains(&phase.domain)).copied().collect();
        phases.sort_by_key(|phase| (phase.plan, phase.place));
        phases
    }

    /// Who runs the steps of these phases, and whom they have started: a phase waits for all of its domain, parts of it included.
    pub(super) fn steps_of(&self, phases: &[SeenPhase]) -> Vec<PhaseStep> {
        let mut steps = Vec::new();
        for phase in phases.iter().filter(|phase| phase.state.may_run()) {
            let of_phase = |(_, seen): &(u32, &SeenMember)| seen.is_within(phase.own);
            let name: Arc<str> = phase.name.to_string().into();
            steps.extend((0..).zip(&self.members).filter(of_phase).map(|(place, _)| PhaseStep {
                place,
                phase: name.clone(),
                at: (phase.plan, phase.place),
                is_current: phase.state.is_current(),
            }));
        }
        steps
    }

    /// A member of the report. `holdings` as of [`holdings`](Self::holdings).
    pub(super) fn member(&self, place: u32, holdings: &[(u32, String)]) -> MemberReport {
        let seen = &self.members[place as usize];
        let begin = holdings.partition_point(|(holder, _)| *holder < place);
        let holds = holdings[begin..].iter().take_while(|(holder, _)| *holder == place);
        MemberReport {
            id: seen.member.word(),
            name: seen.name.to_string(),
            is_task: seen.kind == Kind::Task,
            tid: seen.tid,
            phase: None,
            waits: self.waits_of(place).map(|wait| self.wait(wait)).collect(),
            holds: holds.map(|(_, lock)| lock.clone()).collect(),
        }
    }

    /// A wait at its place.
    pub(super) fn wait_at(&self, place: u32) -> &Seen {
        &self.waits[place as usize]
    }

    /// What a member waits for.
    pub(super) fn waits_of(&self, place: u32) -> impl Iterator<Item = &Seen> {
        let is_one = |wait: &u32| *wait != NONE;
        let first = Some(self.first[place as usize]).filter(is_one);
        std::iter::successors(first, move |wait| Some(self.next[*wait as usize]).filter(is_one))
            .map(|wait| &self.waits[wait as usize])
    }

    /// A monitor's lock, if it is held or waited for.
    pub(super) fn lock_of(&self, cell: &'static MonitorCell) -> Option<&Lock> {
        self.locks.get(&slot(cell))
    }

    /// The locks that somebody of these holds or waits for, and who holds which.
    pub(super) fn locks_of(&self, places: &[u32]) -> Vec<LockReport> {
        let mut cells: Vec<_> =
            places.iter().flat_map(|place| self.waits_of(*place)).filter_map(|wait| wait.monitor.map(slot)).collect();
        let mut ours = vec![false; self.members.len()];
        for place in places {
            ours[*place as usize] = true;
        }
        let held =
            self.locks.iter().filter(|(_, lock)| self.place(lock.seen.holder).is_some_and(|at| ours[at as usize]));
        cells.extend(held.map(|(cell, _)| *cell));
        cells.sort_unstable();
        cells.dedup();
        let now = crate::sys::coarse_millis();
        let mut locks: Vec<_> = cells
            .into_iter()
            .filter_map(|cell| self.locks.get(&cell))
            .map(|lock| LockReport {
                name: lock.name.to_string(),
                held_by: self.held_by(lock),
                held_for: lock.seen.since.map(|since| Duration::from_millis(now.saturating_sub(since))),
                queue: lock.queue,
            })
            .collect();
        locks.sort_by(|a, b| b.queue.cmp(&a.queue).then_with(|| a.name.cmp(&b.name)));
        locks
    }

    /// The names of the locks that are held exclusively, by who holds them: sorted by place.
    pub(super) fn holdings(&self) -> Vec<(u32, String)> {
        let held = self.locks.values().filter_map(|lock| Some((self.place(lock.seen.holder)?, lock.name.to_string())));
        let mut held: Vec<_> = held.collect();
        held.sort();
        held
    }

    pub(super) fn party(&self, member: MemberRef) -> Party {
        match self.place(member) {
            Some(place) => self.party_at(place),
            // It may have begun since.
            None => match member.look() {
                Some(seen) => party(&seen),
                None => Party {
                    id: member.word(),
                    name: member.last_name().map(|name| name.to_string()).unwrap_or_default(),
                    is_task: false,
                    tid: 0,
                    has_ended: true,
                },
            },
        }
    }

    pub(super) fn party_at(&self, place: u32) -> Party {
        party(&self.members[place as usize])
    }

    pub(super) fn held_by(&self, lock: &Lock) -> HeldBy {
        match (lock.seen.holder, lock.seen.readers) {
            (MemberRef::NOBODY, 0) => HeldBy::Nobody,
            (MemberRef::NOBODY, readers) => HeldBy::Readers(readers),
            (holder, _) => HeldBy::Member(self.party(holder)),
        }
    }

    /// A wait, as the report has it.
    pub(super) fn wait(&self, seen: &Seen) -> WaitReport {
        let on = self.on(seen);
        let holder = match &on {
            WaitsFor::Lock { held_by: HeldBy::Member(holder), .. } if holder.id == seen.member.word() => {
                // A task with another wait lets the lock go where that one ends, for all that is known.
                let has_another = self.place(seen.member).is_some_and(|place| self.waits_of(place).nth(1).is_some());
                Some(format!("{}, which is itself{}", holder.name, if has_another { "" } else { ": a deadlock" }))
            }
            WaitsFor::Lock { held_by: HeldBy::Member(holder), .. } => Some(holder.name.clone()),
            _ => None,
        };
        WaitReport {
            what: self.what(seen),
            on,
            location: seen.location,
            age: Duration::from_millis(seen.age_ms),
            holder,
            woken: matches!(seen.stage, Stage::Woken | Stage::Stopped),
            woken_for: seen.woken_ms.map(Duration::from_millis),
            slot: match (seen.condition.map(slot), seen.monitor.map(slot)) {
                (Some(condition), _) if !seen.wants_lock() => condition as u64,
                (_, Some(monitor)) if seen.what != What::Completion => monitor as u64,
                _ => seen.index.into(),
            },
        }
    }

    /// The name of a wait's monitor.
    fn name_of(&self, seen: &Seen) -> Copied<4> {
        seen.monitor.and_then(|cell| self.lock_of(cell)).map_or(Copied::EMPTY, |lock| lock.name)
    }

    fn what(&self, seen: &Seen) -> String {
        let name = || self.name_of(seen);
        let has_turn = matches!(seen.stage, Stage::Queued | Stage::Woken) && seen.monitor.is_some();
        match seen.what {
            What::Lock if seen.monitor.is_none() => "a lock that others also take (notified)".to_owned(),
            What::Lock => format!("lock {}", name()),
            What::Condition if has_turn => format!("lock {} (notified)", name()),
            What::Predicate if has_turn => format!("lock {} (to look again)", name()),
            What::Condition => match seen.monitor {
                Some(_) => format!("a condition variable of {}", name()),
                None => "a condition variable".to_owned(),
            },
            What::Predicate => match seen.monitor {
                Some(_) => format!("a change of {}", name()),
                None => "a change".to_owned(),
            },
            What::Completion => owed_text(seen),
            What::Stop => "the stop".to_owned(),
            What::End => "threads and tasks to end".to_owned(),
        }
    }

    fn on(&self, seen: &Seen) -> WaitsFor {
        let name = || self.name_of(seen).to_string();
        if seen.wants_lock() {
            let lock = seen.monitor.and_then(|cell| self.lock_of(cell));
            let held_by = lock.map_or(HeldBy::Nobody, |lock| self.held_by(lock));
            return WaitsFor::Lock { name: name(), shared: seen.shared, held_by };
        }
        match seen.what {
            What::Lock | What::Condition => {
                let monitor = seen.monitor.map(|_| name());
                WaitsFor::Condition { monitor, notified_by: self.notified(seen) }
            }
            What::Predicate => WaitsFor::Change { monitor: name(), changed_by: self.notified(seen) },
            What::Completion => WaitsFor::Completion {
                operation: seen.operation.to_string(),
                object: (!seen.object.is_empty()).then(|| seen.object.to_string()),
                offset: seen.offset,
                length: seen.length,
                owed_by: match seen.debtor {
                    Debtor::Unknown => OwedBy::Unknown,
                    Debtor::Storage => OwedBy::Storage,
                    Debtor::Member(member) => OwedBy::Member(self.party(member)),
                },
            },
            What::Stop => WaitsFor::Stop,
            What::End => WaitsFor::End { of: (!seen.object.is_empty()).then(|| seen.object.to_string()) },
        }
    }

    fn notified(&self, seen: &Seen) -> Option<Notified> {
        let notifier = self.notifiers.get(&slot(seen.condition?))?;
        let mut by = self.party(notifier.member);
        if by.has_ended {
            by.name = notifier.name.to_string();
        }
        Some(Notified { by, location: notifier.location })
    }
}

fn party(seen: &SeenMember) -> Party {
    Party {
        id: seen.member.word(),
        name: seen.name.to_string(),
        is_task: seen.kind == Kind::Task,
        tid: seen.tid,
        has_ended: false,
    }
}

/// What a completion owes, in words.
fn owed_text(seen: &Seen) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    // Writing to a string does not fail.
    let _ = write!(text, "{}", seen.operation);
    if !seen.object.is_empty() {
        let _ = write!(text, " {}", seen.object);
    }
    if seen.length != 0 {
        let _ = write!(text, " at {}, {} bytes", seen.offset, seen.length);
    }
    text
}
