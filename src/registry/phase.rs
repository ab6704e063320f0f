//! The phases of shutdowns that run: what each is called, how far it has come, how much time it has, and what becomes of it when it is late.
//!
//! A shutdown claims a slot for each phase of its plan before it runs the first one, and gives them back at its end; so a reader sees what is still to come
//! as well, and what is over.
//!
//! # The word
//! `generation << 8 | state`. Only the shutdown that claimed the slot changes it.
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `FREE` | nobody's, or being filled in | `PLANNED` |
//! | `PLANNED` | its turn has not come | `RUNNING`, or how it ended without having begun |
//! | `RUNNING` | its step runs; `due` is its deadline | `LATE`, or how it ended |
//! | `LATE` | its deadline has come, and it was stopped | how it ended |
//! | `OVER` + 0 to 4 | how it ended: [`Ended`] | `FREE` |

use std::time::Duration;

use crate::sys::{self, Acquire, PlainU32, PlainU64, Relaxed, Release};

use super::arena::arena;
use super::domain::{DomainCell, DomainRef};
use super::link::Link;
use super::text::{Copied, Text};

const FREE: u64 = 0;
const PLANNED: u64 = 1;
const RUNNING: u64 = 2;
const LATE: u64 = 3;
const OVER: u64 = 4;

/// The part of the word that is the state.
const STATE: u64 = 0xff;

/// The slot of a phase.
pub(crate) struct PhaseCell {
    word: PlainU64,
    name: Text<4>,
    /// Why it failed, if it did. Written before the state that says so.
    why: Text<16>,
    /// The domain that is shut down.
    domain: Link<DomainCell>,
    domain_live: PlainU64,
    /// The phase's own domain, of which its step is a member. Written before the state `RUNNING`.
    own: Link<DomainCell>,
    own_live: PlainU64,
    /// Which plan it is of, and its place there, from 0.
    plan: PlainU64,
    place: PlainU32,
    /// Whether a late one ends the process.
    or_abort: PlainU32,
    /// Coarse milliseconds. Written before the state they belong to.
    begun: PlainU64,
    limit: PlainU64,
    ended: PlainU64,
}

arena!(
    /// All phases of the process.
    phases: PhaseCell = || PhaseCell {
        word: PlainU64::new(0),
        name: Text::new(),
        why: Text::new(),
        domain: Link::new(),
        domain_live: PlainU64::new(0),
        own: Link::new(),
        own_live: PlainU64::new(0),
        plan: PlainU64::new(0),
        place: PlainU32::new(0),
        or_abort: PlainU32::new(0),
        begun: PlainU64::new(0),
        limit: PlainU64::new(0),
        ended: PlainU64::new(0),
    }
);

/// How far a phase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its turn has not come.
    Planned,
    /// Its step runs.
    Running,
    /// Its deadline has come, and it was stopped.
    Late,
    /// It is over.
    Over(Ended),
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Stopped,
    Failed,
    /// Its time was up, and its thread has not ended.
    Left,
    /// Not begun: the stop was hurried.
    Skipped,
}

impl State {
    /// Whether the phase's step may still run: then members of its domain are waited for, or were left.
    pub(crate) fn may_run(self) -> bool {
        matches!(self, State::Running | State::Late | State::Over(Ended::Left))
    }

    /// Whether the shutdown waits for it.
    pub(crate) fn is_current(self) -> bool {
        matches!(self, State::Running | State::Late)
    }

    fn of(word: u64) -> Option<Self> {
        Some(match word & STATE {
            PLANNED => State::Planned,
            RUNNING => State::Running,
            LATE => State::Late,
            over => State::Over(match over.checked_sub(OVER)? {
                0 => Ended::Done,
                1 => Ended::Stopped,
                2 => Ended::Failed,
                3 => Ended::Left,
                4 => Ended::Skipped,
                _ => return None,
            }),
        })
    }
}

/// A phase as a reader saw it.
#[derive(Clone, Copy)]
pub(crate) struct SeenPhase {
    pub(crate) name: Copied<4>,
    pub(crate) why: Copied<16>,
    /// The domain that is shut down.
    pub(crate) domain: DomainRef,
    /// The phase's own domain, once it has begun.
    pub(crate) own: Option<DomainRef>,
    /// Which plan it is of, and its place there.
    pub(crate) plan: u64,
    pub(crate) place: u32,
    pub(crate) or_abort: bool,
    pub(crate) state: State,
    /// From its begin to its end, or to now; zero before.
    pub(crate) elapsed: Duration,
    /// What it was given when it began; before that, what it asks for.
    pub(crate) limit: Duration,
    /// Until its deadline, to a few milliseconds; zero before it begins and after.
    pub(crate) left: Duration,
}

/// A slot for as long as this lives: one phase of a shutdown.
pub(crate) struct PhaseSlot(u32);

/// What a plan says of a phase.
pub(crate) struct Planned<'a> {
    pub(crate) name: &'a str,
    /// The domain that is shut down.
    pub(crate) domain: DomainRef,
    /// A number of the plan's own.
    pub(crate) plan: u64,
    pub(crate) place: usize,
    pub(crate) limit: Duration,
    pub(crate) or_abort: bool,
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

impl PhaseSlot {
    /// The phase is planned.
    pub(crate) fn plan(phase: &Planned<'_>) -> Self {
        let index = phases().claim();
        let cell = phases().get(index);
        // Ordering: Release, partner of the Acquire fence in `look`: who sees a field of this phase sees that the last one is gone.
        sys::plain_fence(Release);
        cell.name.set(phase.name);
        cell.why.clear();
        let (link, live) = phase.domain.parts();
        cell.domain.set(Some(link));
        cell.domain_live.store(live, Relaxed);
        cell.own.set(None);
        cell.plan.store(phase.plan, Relaxed);
        cell.place.store(phase.place.try_into().unwrap_or(u32::MAX), Relaxed);
        cell.or_abort.store(u32::from(phase.or_abort), Relaxed);
        cell.begun.store(0, Relaxed);
        cell.limit.store(millis(phase.limit), Relaxed);
        cell.ended.store(0, Relaxed);
        // Ordering: Release, partner of the Acquire in `look`: its fields are seen.
        cell.word.store((cell.word.load(Relaxed) & !STATE) + STATE + 1 + PLANNED, Release);
        PhaseSlot(index)
    }

    /// Its step begins as a member of this domain, and has this much time.
    pub(crate) fn begin(&self, own: DomainRef, limit: Duration) {
        let cell = phases().get(self.0);
        let (link, live) = own.parts();
        cell.own_live.store(live, Relaxed);
        cell.own.set(Some(link));
        cell.begun.store(sys::coarse_millis(), Relaxed);
        cell.limit.store(millis(limit), Relaxed);
        self.advance(RUNNING);
    }

    /// Its deadline has come.
    pub(crate) fn late(&self) {
        self.advance(LATE);
    }

    /// It is over. `why`: what it failed of.
    pub(crate) fn end(&self, how: Ended, why: &str) {
        let cell = phases().get(self.0);
        cell.why.set(why);
        cell.ended.store(sys::coarse_millis(), Relaxed);
        self.advance(OVER + how as u64);
    }

    fn advance(&self, state: u64) {
        let word = &phases().get(self.0).word;
        // Ordering: Release, partner of the Acquire in `look`. Nobody else changes the word.
        word.store(word.load(Relaxed) & !STATE | state, Release);
    }
}

impl Drop for PhaseSlot {
    fn drop(&mut self) {
        self.advance(FREE);
        phases().release(self.0);
    }
}

/// Every phase of every shutdown that runs, in no order. Takes no lock and allocates nothing.
pub(crate) fn look() -> impl Iterator<Item = SeenPhase> {
    let now = sys::coarse_millis();
    phases().look().filter_map(move |(_, cell)| cell.look(now))
}

impl PhaseCell {
    fn look(&self, now: u64) -> Option<SeenPhase> {
        // Ordering: Acquire, partner of the Release in `plan` and `advance`.
        let word = self.word.load(Acquire);
        let state = State::of(word)?;
        let (begun, limit) = (self.begun.load(Relaxed), self.limit.load(Relaxed));
        let until = if let State::Over(_) = state { self.ended.load(Relaxed) } else { now };
        let elapsed = if begun == 0 { 0 } else { until.saturating_sub(begun) };
        let left = if state == State::Running { limit.saturating_sub(elapsed) } else { 0 };
        let seen = SeenPhase {
            name: self.name.copy(),
            why: self.why.copy(),
            domain: DomainRef::from_parts(self.domain.get(), self.domain_live.load(Relaxed))?,
            own: DomainRef::from_parts(self.own.get(), self.own_live.load(Relaxed)),
            plan: self.plan.load(Relaxed),
            place: self.place.load(Relaxed),
            or_abort: self.or_abort.load(Relaxed) != 0,
            state,
            elapsed: Duration::from_millis(elapsed),
            limit: Duration::from_millis(limit),
            left: Duration::from_millis(left),
        };
        // The slot may have changed hands meanwhile: then this is a mixture, and is not shown. (Ordering: the fence, partner of the one in `plan`: who sees
        // a field of the next phase sees the word of it, or that this one is gone.)
        sys::plain_fence(Acquire);
        let after = self.word.load(Acquire);
        (after & !STATE == word & !STATE && after & STATE != FREE).then_some(seen)
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::{Ended, PhaseSlot, Planned, State, look};
    use crate::registry::domain::DomainRef;
    use std::time::Duration;

    #[test]
    fn a_phase_is_seen_from_its_plan_to_its_end() {
        let domain = DomainRef::claim("seen phases");
        let own = DomainRef::claim("save");
        let plan = crate::sys::next_generation();
        let mine = || {
            let mut mine: Vec<_> = look().filter(|phase| phase.domain == domain && phase.plan == plan).collect();
            mine.sort_by_key(|phase| phase.place);
            mine.into_iter().map(|phase| (phase.name.to_string(), phase.state, phase.left)).collect::<Vec<_>>()
        };
        let planned = |name, place| {
            let limit = Duration::from_secs(7);
            PhaseSlot::plan(&Planned { name, domain, plan, place, limit, or_abort: place == 1 })
        };
        let (save, release) = (planned("save", 0), planned("release", 1));
        let none = Duration::ZERO;
        let next = ("release".to_owned(), State::Planned, none);
        assert_eq!(mine(), [("save".to_owned(), State::Planned, none), next.clone()]);
        assert!(look().filter(|phase| phase.domain == domain).all(|it| it.limit == Duration::from_secs(7)));
        assert!(look().filter(|phase| phase.domain == domain).all(|it| it.or_abort == (it.place == 1)));
        save.begin(own, Duration::from_secs(3600));
        let seen = mine();
        assert_eq!((&seen[0].1, &seen[1]), (&State::Running, &next));
        assert!(look().all(|phase| phase.elapsed < Duration::from_secs(600)));
        assert!(seen[0].2 > Duration::from_secs(3000) && seen[0].2 <= Duration::from_secs(3600));
        assert!(look().any(|phase| phase.own == Some(own)));
        save.late();
        assert_eq!(mine()[0], ("save".to_owned(), State::Late, none));
        for (how, why) in [(Ended::Done, ""), (Ended::Stopped, ""), (Ended::Failed, "no space"), (Ended::Left, "")] {
            save.end(how, why);
            assert_eq!(mine()[0].1, State::Over(how));
            assert!(look().filter(|phase| phase.own == Some(own)).all(|phase| phase.why.is(why)));
        }
        drop(save);
        assert_eq!(mine(), [next]);
        release.begin(own, Duration::MAX);
        assert_eq!(mine()[0].1, State::Running);
        release.end(Ended::Skipped, "");
        assert_eq!(mine()[0].1, State::Over(Ended::Skipped));
        drop(release);
        assert_eq!(mine(), []);
        domain.release();
        own.release();
    }
}
