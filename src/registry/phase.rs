//! The phases of shutdowns that run: what each is called, how far it has come, and how much time it has.
//!
//! A shutdown claims a slot for each phase of its plan before it runs the first one, and gives them back at its end; so a reader sees what is still to come
//! as well.
//!
//! # The word
//! `generation << 8 | state`. Only the shutdown that claimed the slot changes it.
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `FREE` | nobody's, or being filled in | `PLANNED` |
//! | `PLANNED` | its turn has not come | `RUNNING`, or `OVER` (never begun) |
//! | `RUNNING` | its step runs; `due` is its deadline | `LATE`, `OVER` |
//! | `LATE` | its deadline has come, and it was stopped | `OVER` |
//! | `OVER` | it has ended, or was left | `FREE` |

use std::time::Duration;

use crate::sys::{self, Acquire, PlainU32, PlainU64, Relaxed, Release};

use super::arena::arena;
use super::domain::{DomainCell, DomainRef};
use super::link::Link;
use super::text::Text;

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
    pub(crate) name: Text<4>,
    /// The domain that is shut down.
    domain: Link<DomainCell>,
    domain_live: PlainU64,
    /// Its place in the plan, from 0.
    place: PlainU32,
    /// Coarse milliseconds. Written before the state they belong to.
    begun: PlainU64,
    due: PlainU64,
}

arena!(
    /// All phases of the process.
    phases: PhaseCell = || PhaseCell {
        word: PlainU64::new(0),
        name: Text::new(),
        domain: Link::new(),
        domain_live: PlainU64::new(0),
        place: PlainU32::new(0),
        begun: PlainU64::new(0),
        due: PlainU64::new(0),
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
    /// It has ended, or was left.
    Over,
}

/// A phase as a reader saw it.
#[derive(Clone)]
#[cfg_attr(any(not(test), unwedge_loom), expect(dead_code, reason = "for who reads the registry"))]
pub(crate) struct SeenPhase {
    pub(crate) name: String,
    /// The domain that is shut down: [`DomainRef::parts`].
    pub(crate) domain: (&'static DomainCell, u64),
    pub(crate) place: u32,
    pub(crate) state: State,
    /// Since it began; zero before.
    pub(crate) elapsed: Duration,
    /// Until its deadline, to a few milliseconds; zero before it begins and after.
    pub(crate) left: Duration,
}

/// A slot for as long as this lives: one phase of a shutdown.
pub(crate) struct PhaseSlot(u32);

impl PhaseSlot {
    /// The phase is planned.
    pub(crate) fn plan(name: &str, domain: DomainRef, place: usize) -> Self {
        let index = phases().claim();
        let cell = phases().get(index);
        // Ordering: Release, partner of the Acquire fence in `look`: who sees a field of this phase sees that the last one is gone.
        sys::plain_fence(Release);
        cell.name.set(name);
        let (link, live) = domain.parts();
        cell.domain.set(Some(link));
        cell.domain_live.store(live, Relaxed);
        cell.place.store(place.try_into().unwrap_or(u32::MAX), Relaxed);
        cell.begun.store(0, Relaxed);
        cell.due.store(0, Relaxed);
        // Ordering: Release, partner of the Acquire in `look`: its fields are seen.
        cell.word.store((cell.word.load(Relaxed) & !STATE) + STATE + 1 + PLANNED, Release);
        PhaseSlot(index)
    }

    /// Its step begins, and has this much time.
    pub(crate) fn begin(&self, limit: Duration) {
        let (cell, now) = (phases().get(self.0), sys::coarse_millis());
        cell.begun.store(now, Relaxed);
        cell.due.store(now.saturating_add(limit.as_millis().try_into().unwrap_or(u64::MAX)), Relaxed);
        self.advance(RUNNING);
    }

    /// Its deadline has come.
    pub(crate) fn late(&self) {
        self.advance(LATE);
    }

    /// It has ended, or is left.
    pub(crate) fn end(&self) {
        self.advance(OVER);
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

/// Every phase of every shutdown that runs, each as its plan has it.
#[cfg_attr(any(not(test), unwedge_loom), expect(dead_code, reason = "for who reads the registry"))]
pub(crate) fn look() -> Vec<SeenPhase> {
    let now = sys::coarse_millis();
    phases().look().filter_map(|(_, cell)| cell.look(now)).collect()
}

impl PhaseCell {
    fn look(&self, now: u64) -> Option<SeenPhase> {
        // Ordering: Acquire, partner of the Release in `plan` and `advance`.
        let word = self.word.load(Acquire);
        let state = match word & STATE {
            PLANNED => State::Planned,
            RUNNING => State::Running,
            LATE => State::Late,
            OVER => State::Over,
            _ => return None,
        };
        let begun = self.begun.load(Relaxed);
        let seen = SeenPhase {
            name: self.name.get(),
            domain: (self.domain.get()?, self.domain_live.load(Relaxed)),
            place: self.place.load(Relaxed),
            state,
            elapsed: Duration::from_millis(if begun == 0 { 0 } else { now.saturating_sub(begun) }),
            left: Duration::from_millis(match state {
                State::Running => self.due.load(Relaxed).saturating_sub(now),
                _ => 0,
            }),
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
    use super::{PhaseSlot, State, look};
    use crate::registry::domain::DomainRef;
    use std::time::Duration;

    #[test]
    fn a_phase_is_seen_from_its_plan_to_its_end() {
        let domain = DomainRef::claim("seen phases");
        let mine = || {
            let mut mine: Vec<_> = look().into_iter().filter(|phase| phase.domain.1 == domain.parts().1).collect();
            mine.retain(|phase| std::ptr::eq(phase.domain.0, domain.parts().0));
            mine.sort_by_key(|phase| phase.place);
            mine.into_iter().map(|phase| (phase.name, phase.state, phase.left)).collect::<Vec<_>>()
        };
        let (save, release) = (PhaseSlot::plan("save", domain, 0), PhaseSlot::plan("release", domain, 1));
        let none = Duration::ZERO;
        let planned = ("release".to_owned(), State::Planned, none);
        assert_eq!(mine(), [("save".to_owned(), State::Planned, none), planned.clone()]);
        save.begin(Duration::from_secs(3600));
        let seen = mine();
        assert_eq!((&seen[0].1, &seen[1]), (&State::Running, &planned));
        assert!(look().iter().all(|phase| phase.elapsed < Duration::from_secs(600)));
        assert!(seen[0].2 > Duration::from_secs(3000) && seen[0].2 <= Duration::from_secs(3600));
        save.late();
        assert_eq!(mine()[0], ("save".to_owned(), State::Late, none));
        save.end();
        assert_eq!(mine()[0].1, State::Over);
        drop(save);
        assert_eq!(mine(), [planned]);
        release.begin(Duration::MAX);
        assert_eq!(mine()[0].1, State::Running);
        drop(release);
        assert_eq!(mine(), []);
        domain.release();
    }
}
