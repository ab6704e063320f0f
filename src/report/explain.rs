//! The answer to "why does it not stop?": a walk over the snapshot.
//!
//! Each member has at most one wait that is *followed*: the one that it has besides waiting for its domain's stop. A wait leads to the member that holds the
//! lock or owes the result, or it is where the chain ends ([`End`]). So the graph is a function, and following it comes to an end or to a cycle, which is a
//! deadlock. A member that waits for several things at once (a task) ends its chain, unless all of them are storage's: which of them it needs is not
//! known, and nothing is guessed.
//!
//! The registry is read bit by bit, so a cycle may be made of what was so at two moments. It is called a deadlock only where each wait in it still lasts after all was
//! read: then nobody in it has taken or let go a lock meanwhile.
//!
//! A shutdown waits for *all* members of a domain: it is followed to one that waits for the shutdown in turn, if there is one, else to the most to blame.
//!
//! The step of a phase that runs comes first: it is what the shutdown waits for now, whoever else has not ended.
//!
//! What is blamed is the end of a chain, and first the one for which most wait in turn: how long somebody waits says little, for a beacon that waits
//! for its stop has waited longest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::registry::flight;
use crate::registry::member::MemberRef;
use crate::wait::debtor::Debtor;
use crate::wait::line::{MonitorCell, SeenLock};
use crate::wait::look::{self, Seen, Stage};
use crate::wait::waiter::What;

use super::parts::{Party, WaitReport};
use super::quick::QuickMap;
use super::snapshot::{PhaseStep, Snapshot};

/// Why something does not stop, or does not go on: a chain of waits and its end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Cause {
    /// What is at the end of the chain.
    pub kind: CauseKind,
    /// Who waits for whom: each step's wait leads to the next step's member. The last one is to blame. In a deadlock the last one waits for the first.
    pub chain: Vec<Step>,
    /// How many of the report's threads and tasks wait for this end, directly or in turn; with those of the chain.
    pub blocked: usize,
    /// The names of some of those that are not in the chain.
    pub others: Vec<String>,
    /// The phase of the shutdown whose step the first one of the chain runs, if it does.
    pub phase: Option<String>,
    /// How many of them wait in turn: for one that waits itself.
    pub(super) in_turn: usize,
}

/// What is at the end of a chain of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseKind {
    /// The chain is a cycle.
    Deadlock,
    /// Who holds the lock or owes the result has ended.
    Gone,
    /// An operation of storage.
    Storage,
    /// A task that was woken and has not been polled since.
    Unpolled,
    /// A thread or task that runs, or blocks outside unwedge.
    Outside,
    /// A wait of which nobody knows who is to end it: a condition variable, a result of which nobody said that he owes it, readers.
    Unknown,
    /// A task that waits for several things at once.
    Several,
    /// It waits for the stop, and ends with it.
    Idle,
}

/// A step of a chain.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// Who waits.
    pub member: Party,
    /// For what; `None` for one that runs, or blocks outside unwedge.
    pub wait: Option<WaitReport>,
}

impl Cause {
    /// Who is at the end of the chain: the one to look at.
    #[must_use]
    pub fn culprit(&self) -> Option<&Step> {
        self.chain.last()
    }

    /// For how long the last wait of the chain has lasted.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.culprit().and_then(|step| step.wait.as_ref()).map_or(Duration::ZERO, |wait| wait.age)
    }
}

impl Cause {
    /// For how long the oldest wait of the chain has lasted.
    #[cfg(all(feature = "tracing", not(unwedge_loom)))]
    pub(super) fn longest(&self) -> Duration {
        self.chain.iter().filter_map(|step| step.wait.as_ref()).map(|wait| wait.age).max().unwrap_or_default()
    }
}

/// How many names of others are given.
const NAMES: usize = 8;

/// The longest chain that is told. A longer one ends there.
const LONGEST: usize = 64;

/// Where the wait that is followed leads.
#[derive(Clone, Copy)]
enum Follow {
    /// To the member at this place.
    To(u32),
    Ends(CauseKind),
}

/// What ends are the same: of one key there is one cause.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Key {
    Member(u32),
    Slot(*const ()),
    /// What stands for the operation: [`flight::said`].
    Operation(u64),
    Idle,
}

/// The graph of a snapshot.
struct Graph<'a> {
    snapshot: &'a Snapshot,
    /// For each place: the wait that is followed, and where it leads.
    follows: Vec<(Option<&'a Seen>, Follow)>,
    /// For each place: the place where its chain ends; in a cycle the lowest.
    ends: Vec<u32>,
    in_cycle: Vec<bool>,
    /// Those that run phases; and for each place which of them it is, plus one.
    steps: &'a [PhaseStep],
    step_of: Vec<u32>,
}

/// The most causes that are told: a daemon may have thousands of operations out.
const MOST: usize = 64;

/// Those that end in the same, before it is told.
struct Group {
    end: u32,
    /// From where the chain is told: see `Graph::prefers`.
    from: u32,
    blocked: usize,
    in_turn: usize,
    /// How much it matters to a phase: see `Graph::weight`.
    weight: u8,
}

/// Why those at these places do not go on, the worst first, and how many causes more there are. `steps`: those of them that run phases.
pub(super) fn explain(snapshot: &Snapshot, roots: &[u32], steps: &[PhaseStep]) -> (Vec<Cause>, usize) {
    let graph = Graph::new(snapshot, steps);
    let mut known: QuickMap<Key, u32> = QuickMap::default();
    known.reserve(snapshot.results.len());
    let mut group_of_end = vec![u32::MAX; snapshot.members.len()];
    let mut groups: Vec<Group> = Vec::new();
    for &root in roots {
        let end = graph.ends[root as usize];
        let mut at = group_of_end[end as usize];
        if at == u32::MAX {
            at = *known.entry(graph.key(end)).or_insert(groups.len() as u32);
            group_of_end[end as usize] = at;
        }
        if at as usize == groups.len() {
            groups.push(Group { end, from: root, blocked: 0, in_turn: 0, weight: 0 });
        }
        let group = &mut groups[at as usize];
        group.weight = group.weight.max(graph.weight(root));
        group.blocked += 1;
        group.in_turn += usize::from(end != root);
        if graph.prefers(root, group.from) {
            group.from = root;
        }
    }
    let mut worst = BinaryHeap::with_capacity(MOST);
    for (at, group) in (0_u32..).zip(&groups) {
        let ranked = (graph.rank(group), at);
        if worst.len() < MOST {
            worst.push(ranked);
        } else if let Some(mut least) = worst.peek_mut().filter(|least| ranked < **least) {
            *least = ranked;
        }
    }
    let causes = worst.into_sorted_vec().into_iter().map(|(_, at)| {
        let others = roots.iter().copied().filter(|root| group_of_end[graph.ends[*root as usize] as usize] == at);
        graph.cause(&groups[at as usize], others)
    });
    (causes.collect(), groups.len().saturating_sub(MOST))
}

impl<'a> Graph<'a> {
    fn new(snapshot: &'a Snapshot, steps: &'a [PhaseStep]) -> Self {
        let count = snapshot.members.len();
        let follows = (0..count as u32).map(|place| follow(snapshot, place)).collect();
        let (ends, in_cycle) = (vec![0; count], vec![false; count]);
        let mut step_of = vec![0; count];
        for (at, step) in (1..).zip(steps) {
            let known = &mut step_of[step.place as usize];
            *known = if *known == 0 { at } else { *known };
        }
        let mut this = Graph { snapshot, follows, ends, in_cycle, steps, step_of };
        this.follow_shutdowns();
        while let Some(moved_on) = this.find_ends() {
            this.follows[moved_on as usize] = (None, Follow::Ends(CauseKind::Outside));
        }
        this
    }

    /// Says for each that waits for a domain's members which of them it is followed to.
    fn follow_shutdowns(&mut self) {
        for place in 0..self.follows.len() as u32 {
            let Some(domain) = self.follows[place as usize].0.and_then(Seen::end_of) else { continue };
            let left = self.snapshot.members.iter().enumerate().filter_map(|(at, member)| {
                let waited_for = member.domain.is_some_and(|of| of == domain) && !member.shuts_down;
                (waited_for && at as u32 != place).then_some(at as u32)
            });
            let mut worst: Option<(u8, u32)> = None;
            for member in left {
                let (end, leads_back) = self.walk(member, place);
                let class = if leads_back { 0 } else { 1 + end as u8 };
                if worst.is_none_or(|(known, _)| class < known) {
                    worst = Some((class, member));
                }
            }
            if let Some((_, to)) = worst {
                self.follows[place as usize].1 = Follow::To(to);
            }
        }
    }

    /// Where a chain ends, and whether it comes past `looked_for`.
    fn walk(&self, from: u32, looked_for: u32) -> (CauseKind, bool) {
        let mut at = from;
        for _ in 0..LONGEST {
            if at == looked_for {
                return (CauseKind::Deadlock, true);
            }
            match self.follows[at as usize].1 {
                Follow::To(next) => at = next,
                Follow::Ends(kind) => return (kind, false),
            }
        }
        (CauseKind::Deadlock, false)
    }

    /// Finds where each chain ends; or, instead, one in a cycle who has gone on since.
    fn find_ends(&mut self) -> Option<u32> {
        self.in_cycle.fill(false);
        const NEW: u8 = 0;
        const ON_PATH: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; self.follows.len()];
        let mut path = Vec::new();
        for start in 0..self.follows.len() as u32 {
            let mut at = start;
            while state[at as usize] == NEW {
                state[at as usize] = ON_PATH;
                path.push(at);
                match self.follows[at as usize].1 {
                    Follow::To(next) => at = next,
                    Follow::Ends(_) => break,
                }
            }
            let end = match state[at as usize] {
                DONE => self.ends[at as usize],
                _ if matches!(self.follows[at as usize].1, Follow::Ends(_)) => at,
                _ => {
                    // Back on the path: from there on it is a cycle.
                    let begin = path.iter().position(|place| *place == at).unwrap_or(0);
                    for place in &path[begin..] {
                        if !self.follows[*place as usize].0.is_some_and(Seen::still_waits) {
                            return Some(*place);
                        }
                        self.in_cycle[*place as usize] = true;
                    }
                    path[begin..].iter().copied().min().unwrap_or(at)
                }
            };
            for place in path.drain(..) {
                state[place as usize] = DONE;
                self.ends[place as usize] = end;
            }
        }
        None
    }

    fn kind(&self, end: u32) -> CauseKind {
        match self.follows[end as usize].1 {
            Follow::Ends(kind) => kind,
            Follow::To(_) => CauseKind::Deadlock,
        }
    }

    fn key(&self, end: u32) -> Key {
        let slot = |wait: &Seen| {
            let condition = wait.condition.map(|condition| std::ptr::from_ref(condition).cast());
            condition.filter(|_| !wait.wants_lock()).or(wait.monitor.map(|cell| std::ptr::from_ref(cell).cast()))
        };
        match (self.kind(end), self.follows[end as usize].0) {
            (CauseKind::Idle, _) if self.weight(end) == 0 => Key::Idle,
            (CauseKind::Storage, Some(wait)) if !wait.object.is_empty() => {
                // How much is asked for does not matter.
                Key::Operation(flight::said(&wait.operation, &wait.object, wait.offset, 0))
            }
            (CauseKind::Gone | CauseKind::Unknown, Some(wait)) => slot(wait).map_or(Key::Member(end), Key::Slot),
            _ => Key::Member(end),
        }
    }

    fn step_at(&self, place: u32) -> Option<&PhaseStep> {
        self.steps.get((self.step_of[place as usize] as usize).checked_sub(1)?)
    }

    /// 2 where the shutdown waits for this one's phase, 1 where it has left it, 0 for all others.
    fn weight(&self, place: u32) -> u8 {
        self.step_at(place).map_or(0, |step| 1 + u8::from(step.is_current))
    }

    fn age(&self, place: u32) -> u64 {
        self.follows[place as usize].0.map_or(0, |wait| wait.age_ms)
    }

    /// Whether the chain is rather told from the first: from a phase's step; from the one to blame, where that is one of the report's; then from the oldest.
    fn prefers(&self, one: u32, other: u32) -> bool {
        let rank = |place: u32| {
            let is_own = self.ends[place as usize] == place || self.in_cycle[place as usize];
            (self.weight(place), is_own, self.age(place), Reverse(place))
        };
        rank(one) > rank(other)
    }

    /// The less, the worse.
    fn rank(&self, group: &Group) -> (Reverse<u8>, u8, Reverse<(usize, u64)>, u32) {
        let class = class(self.kind(group.end), group.in_turn > 0);
        (Reverse(group.weight), class, Reverse((group.blocked, self.age(group.end))), group.end)
    }

    /// The cause that a group has in common.
    fn cause(&self, group: &Group, members: impl Iterator<Item = u32>) -> Cause {
        let places = self.chain(group.from);
        // A look at all members, so only where there is somebody.
        let most = if group.blocked > 1 { NAMES } else { 0 };
        let others = members.filter(|place| !places.contains(place)).take(most);
        let step = self.step_at(group.from);
        Cause {
            kind: self.kind(group.end),
            blocked: group.blocked,
            in_turn: group.in_turn,
            others: others.map(|place| self.snapshot.party_at(place).name).collect(),
            phase: step.map(|step| step.phase.as_ref().to_owned()),
            chain: places.iter().map(|place| self.step(*place)).collect(),
        }
    }

    fn chain(&self, from: u32) -> Vec<u32> {
        let mut places = vec![from];
        let mut at = from;
        while let Follow::To(next) = self.follows[at as usize].1 {
            if places.contains(&next) || places.len() == LONGEST {
                break;
            }
            places.push(next);
            at = next;
        }
        places
    }

    fn step(&self, place: u32) -> Step {
        let wait = self.follows[place as usize].0.map(|seen| self.snapshot.wait(seen));
        Step { member: self.snapshot.party_at(place), wait }
    }
}

/// How bad the end of a chain is: the less, the worse. `is_waited_for`: somebody else's chain ends there.
pub(super) fn class(kind: CauseKind, is_waited_for: bool) -> u8 {
    match kind {
        CauseKind::Deadlock => 0,
        CauseKind::Gone => 1,
        CauseKind::Storage | CauseKind::Unpolled => 2,
        CauseKind::Outside | CauseKind::Unknown | CauseKind::Several if is_waited_for => 2,
        CauseKind::Outside => 3,
        CauseKind::Unknown | CauseKind::Several => 4,
        CauseKind::Idle => 5,
    }
}

/// Whether a wait says something beside another one: that for the stop does not.
pub(super) fn is_real(wait: &Seen) -> bool {
    wait.what != What::Stop || wait.stage != Stage::Waiting
}

/// Whether of two waits of one member the first is rather followed.
pub(super) fn is_rather_followed(wait: &Seen, than: &Seen) -> bool {
    than.woken_ms.is_none() && (wait.woken_ms.is_some() || wait.age_ms > than.age_ms)
}

/// The wait of a member that is followed, and where it leads.
fn follow(snapshot: &Snapshot, place: u32) -> (Option<&Seen>, Follow) {
    let mut real = snapshot.waits_of(place).filter(|wait| is_real(wait));
    let Some(first) = real.next() else {
        return match snapshot.waits_of(place).next() {
            Some(idle) => (Some(idle), Follow::Ends(CauseKind::Idle)),
            None => (None, Follow::Ends(CauseKind::Outside)),
        };
    };
    let mut oldest = first;
    let mut count = 1;
    let mut all_storage = is_storage(first);
    for wait in real {
        count += 1;
        all_storage &= is_storage(wait);
        if is_rather_followed(wait, oldest) {
            oldest = wait;
        }
    }
    let leads = match lead_in(snapshot, oldest) {
        leads if count == 1 || all_storage => leads,
        leads @ Follow::Ends(CauseKind::Unpolled) => leads,
        _ => Follow::Ends(CauseKind::Several),
    };
    (Some(oldest), leads)
}

pub(super) fn is_storage(wait: &Seen) -> bool {
    wait.what == What::Completion && wait.debtor == Debtor::Storage && wait.stage == Stage::Waiting
}

/// Where a wait leads, as far as the registry's words tell.
#[derive(Clone, Copy)]
pub(super) enum Lead {
    /// To this member, if it has not ended.
    To(MemberRef),
    Ends(CauseKind),
}

/// Where a wait leads. `lock`: the lock of its monitor. Allocates nothing.
pub(super) fn lead(wait: &Seen, lock: Option<SeenLock>) -> Lead {
    match wait.stage {
        Stage::Woken | Stage::Stopped if wait.is_task => return Lead::Ends(CauseKind::Unpolled),
        // A thread that is about to run.
        Stage::Stopped => return Lead::Ends(CauseKind::Outside),
        Stage::Woken if wait.monitor.is_none() => return Lead::Ends(CauseKind::Outside),
        _ => {}
    }
    if wait.wants_lock() {
        return match lock.map(|lock| lock.holder) {
            None | Some(MemberRef::NOBODY) => Lead::Ends(CauseKind::Unknown),
            Some(holder) => Lead::To(holder),
        };
    }
    match (wait.what, wait.debtor) {
        (What::Completion, Debtor::Storage) => Lead::Ends(CauseKind::Storage),
        (What::Completion, Debtor::Member(member)) => Lead::To(member),
        (What::Stop, _) => Lead::Ends(CauseKind::Idle),
        _ => Lead::Ends(CauseKind::Unknown),
    }
}

/// Whether this very wait leads there also now. Of one who has ended: then it has left something behind, and has not given it before its end.
pub(super) fn still_leads_to(wait: &Seen, member: MemberRef) -> bool {
    let now = look::look_at(wait.index).filter(|now| now.began == wait.began && now.member == wait.member);
    now.is_some_and(|now| matches!(lead(&now, now.monitor.map(MonitorCell::look)), Lead::To(to) if to == member))
}

/// Where a wait leads in a snapshot.
fn lead_in(snapshot: &Snapshot, wait: &Seen) -> Follow {
    match snapshot.lead(wait) {
        Lead::Ends(kind) => Follow::Ends(kind),
        Lead::To(member) => match snapshot.place(member) {
            Some(place) => Follow::To(place),
            // It has begun since, and may have ended since.
            None if member.look().is_some() || !still_leads_to(wait, member) => Follow::Ends(CauseKind::Outside),
            None => Follow::Ends(CauseKind::Gone),
        },
    }
}
