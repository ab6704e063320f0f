//! The threads and tasks that wait, hold and owe.
//!
//! A thread or task that a domain started has a slot for as long as it runs; any other thread gets one when it first waits or locks,
//! and gives it back when it ends.
//!
//! # Lives
//! `life` counts the occupants of a slot, in steps of four: odd while there is one, the next number when it has ended, a multiple of four while the next one moves
//! in. A [`MemberRef`] is the slot's index with the life of the one that is meant, so that who has ended is not taken for who came after it: a lock that was left
//! behind, or a result that will never come, is not blamed on a stranger. (Without the step of who moves in, a reader that wants the *name* of who has ended
//! had that of who comes: the model `law8_last_name_protocol`, whose twin leaves it out.)

#[cfg(not(unwedge_loom))]
use std::mem::ManuallyDrop;

use crate::sys::{self, Acquire, PlainU8, PlainU32, PlainU64, Relaxed, Release};

use super::arena::arena;
use super::domain::{DomainCell, DomainRef};
use super::link::Link;
use super::order::HeldList;
use super::text::{Copied, Text};

/// What kind of member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Task,
}

/// A member's slot.
pub(crate) struct Member {
    pub(crate) name: Text<4>,
    /// The kernel's id of the thread, 0 for a task.
    tid: PlainU32,
    kind: PlainU8,
    /// See "Lives". Changed by who claims and who gives back.
    life: PlainU32,
    /// The domain that started it, if one did.
    domain: Link<DomainCell>,
    domain_live: PlainU64,
    /// In how many shutdowns of its domain it is itself: nobody waits for it there. Written by the domain.
    shuts_down: PlainU32,
    /// For the order of locks.
    pub(super) held: HeldList,
    // A reader's notes, for one that may not allocate: with its number in the high half, so that of several at once the last one finds its own.
    /// The wait in which it saw this member. Whoever uses it looks whether that is still so.
    pub(crate) seen_in: PlainU64,
    /// How many chains of waits it saw end here.
    pub(crate) seen_blocked: PlainU64,
}

arena!(
    /// All members of the process.
    members: Member = || Member {
        name: Text::new(),
        tid: PlainU32::new(0),
        kind: PlainU8::new(0),
        life: PlainU32::new(0),
        domain: Link::new(),
        domain_live: PlainU64::new(0),
        shuts_down: PlainU32::new(0),
        held: HeldList::new(),
        seen_in: PlainU64::new(0),
        seen_blocked: PlainU64::new(0),
    }
);

/// The most that `life` counts to: one bit of a [`MemberRef`] is others'.
const LIVES: u32 = u32::MAX >> 1;

/// A member of a certain life. 0 is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct MemberRef(u64);

impl MemberRef {
    pub(crate) const NOBODY: Self = MemberRef(0);

    fn new(index: u32, life: u32) -> Self {
        MemberRef(u64::from(life) << 32 | u64::from(index))
    }

    pub(crate) fn from_word(word: u64) -> Self {
        MemberRef(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    fn life(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Its slot, which may be another's by now.
    pub(crate) fn slot(self) -> Option<&'static Member> {
        members().find(self.index())
    }

    /// Who that is, if it has not ended.
    pub(crate) fn look(self) -> Option<SeenMember> {
        members().find(self.index())?.look(self.index()).filter(|seen| seen.member == self)
    }

    /// Its name, also after its end as long as nobody else has its slot.
    pub(crate) fn last_name(self) -> Option<Copied<4>> {
        let slot = members().find(self.index())?;
        let name = slot.name.copy();
        sys::plain_fence(Acquire);
        let life = slot.life.load(Acquire);
        (life == self.life() || life == ended(self.life())).then_some(name)
    }
}

/// The number of a life when it is over.
fn ended(life: u32) -> u32 {
    (life + 1) & LIVES
}

/// The number of a slot in which the one after this life is moving in.
fn moving_in(life: u32) -> u32 {
    ((life & !3) + 4) & LIVES
}

/// A member that has not ended, as a reader sees it.
#[derive(Clone, Copy)]
pub(crate) struct SeenMember {
    pub(crate) member: MemberRef,
    pub(crate) name: Copied<4>,
    pub(crate) kind: Kind,
    /// The kernel's id of the thread; 0 for a task, or one that has not begun.
    pub(crate) tid: u32,
    pub(crate) domain: Option<DomainRef>,
    pub(crate) shuts_down: bool,
}

impl Member {
    /// Whether this is a thread or a task.
    pub(crate) fn kind(&self) -> Kind {
        if self.kind.load(Relaxed) == 0 { Kind::Thread } else { Kind::Task }
    }

    /// Who is here, if anybody; read without a lock, and without a mixture of two.
    pub(crate) fn look(&self, index: u32) -> Option<SeenMember> {
        // Ordering: Acquire, partner of the Release in `Membership::new`: the fields are this occupant's.
        let life = self.life.load(Acquire);
        if life % 2 == 0 {
            return None;
        }
        let seen = SeenMember {
            member: MemberRef::new(index, life),
            name: self.name.copy(),
            kind: self.kind(),
            tid: self.tid.load(Relaxed),
            domain: DomainRef::from_parts(self.domain.get(), self.domain_live.load(Relaxed)),
            shuts_down: self.shuts_down.load(Relaxed) != 0,
        };
        // Ordering: partner of the fence in `Membership::new`: who has seen a field of a later occupant sees that this one is gone.
        sys::plain_fence(Acquire);
        (self.life.load(Relaxed) == life).then_some(seen)
    }
}

impl SeenMember {
    /// Whether it belongs to that domain, if there is one, or to a part of it.
    pub(crate) fn is_within(&self, domain: Option<DomainRef>) -> bool {
        domain.is_some_and(|whole| self.domain.is_some_and(|own| own.is_within(whole)))
    }
}

/// Room for so many members holds them all, but for those that come.
pub(crate) fn most() -> usize {
    members().count()
}

/// Every member that has not ended. Takes no lock and allocates nothing.
pub(crate) fn look() -> impl Iterator<Item = SeenMember> {
    members().look().filter_map(|(index, member)| member.look(index))
}

/// The member of which the low bits of its life are known: who is in that slot now or was last, if the bits say so.
pub(crate) fn from_low_bits(index: u32, low: u32, bits: u32) -> MemberRef {
    let mask = (1 << bits) - 1;
    let now = members().find(index).map_or(0, |slot| slot.life.load(Acquire));
    // The latest life with these bits that is not after the present one.
    MemberRef::new(index, now.wrapping_sub(now.wrapping_sub(low) & mask) & LIVES)
}

/// Says in how many shutdowns of its domain a member is itself.
pub(crate) fn set_shuts_down(index: u32, count: u32) {
    members().get(index).shuts_down.store(count, Relaxed);
}

/// A slot for as long as this lives.
pub(crate) struct Membership(MemberRef);

impl Membership {
    /// A member that `domain` starts.
    pub(crate) fn new(name: &str, kind: Kind, domain: Option<DomainRef>) -> Self {
        let index = members().claim();
        let member = members().get(index);
        let moving_in = moving_in(member.life.load(Relaxed));
        member.life.store(moving_in, Relaxed);
        // Ordering: Release, partner of the Acquire fences in `Member::look` and `last_name`: who sees a field of this occupant sees that the last one is gone,
        // and its name too.
        sys::plain_fence(Release);
        member.name.set_name(name);
        member.tid.store(0, Relaxed);
        member.kind.store(u8::from(kind == Kind::Task), Relaxed);
        let (cell, live) = domain.map(DomainRef::parts).unzip();
        member.domain.set(cell);
        member.domain_live.store(live.unwrap_or(0), Relaxed);
        member.shuts_down.store(0, Relaxed);
        member.held.clear();
        let life = moving_in + 1;
        // Ordering: Release, partner of the Acquire in `Member::look`.
        member.life.store(life, Release);
        Membership(MemberRef::new(index, life))
    }

    pub(crate) fn member(&self) -> MemberRef {
        self.0
    }

    /// It has ended: no reader sees it from now on. The slot is nobody else's until this is dropped.
    pub(crate) fn retire(&self) {
        // Ordering: Release, as in `new`.
        members().get(self.0.index()).life.store(ended(self.0.life()), Release);
    }

    /// What runs on this thread from now on is this task. (The slot, where nothing was looked at for long, is not looked at.)
    pub(crate) fn enter(&self) -> Entered {
        Entered(sys::set_current_member(self.0.word()))
    }

    /// Runs on the member's own thread: what runs here from now on is this member.
    pub(crate) fn enter_thread(&self) -> Entered {
        members().get(self.0.index()).tid.store(thread_id(), Relaxed);
        self.enter()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.retire();
        members().release(self.0.index());
    }
}

/// Restores who ran on this thread before.
pub(crate) struct Entered(u64);

impl Drop for Entered {
    fn drop(&mut self) {
        sys::set_current_member(self.0);
    }
}

/// Who runs on this thread.
#[inline]
pub(crate) fn me() -> MemberRef {
    match sys::current_member() {
        0 => adopt_thread(),
        word => MemberRef(word),
    }
}

/// Who notifies. (In a model only who is known already: it plays no part there, and a slot would be claimed for it.)
#[inline]
pub(crate) fn signaller() -> MemberRef {
    if cfg!(unwedge_loom) { MemberRef(sys::current_member()) } else { me() }
}

/// Whether this member is a thread of the crate's own, by its name: a callback's, a pool's.
pub(crate) fn is_own(index: u32) -> bool {
    members().get(index).name.get().starts_with("uw-")
}

/// A slot for a thread that no domain started.
#[cold]
fn adopt_thread() -> MemberRef {
    #[cfg(not(unwedge_loom))]
    {
        /// A thread's slot until its thread-locals are destroyed: whoever runs on it later is not this member.
        struct Guest(Membership);
        impl Drop for Guest {
            fn drop(&mut self) {
                sys::set_current_member(0);
            }
        }
        fn claim() -> Membership {
            let thread = std::thread::current();
            Membership::new(thread.name().unwrap_or_default(), Kind::Thread, None)
        }
        std::thread_local! {
            static GUEST: Guest = Guest(claim());
        }
        // A thread that already destroys its thread-locals gets a slot that stays claimed: it is rare and small.
        let member = GUEST.try_with(|guest| guest.0.member()).unwrap_or_else(|_| ManuallyDrop::new(claim()).member());
        members().get(member.index()).tid.store(thread_id(), Relaxed);
        sys::set_current_member(member.word());
        member
    }
    #[cfg(unwedge_loom)]
    {
        let member =
            std::mem::ManuallyDrop::new(Membership::new("a thread outside every domain", Kind::Thread, None)).member();
        sys::set_current_member(member.word());
        member
    }
}

#[cfg(not(unwedge_loom))]
fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

#[cfg(unwedge_loom)]
fn thread_id() -> u32 {
    0
}

#[cfg(all(test, not(unwedge_loom)))]
#[expect(clippy::disallowed_methods, reason = "threads of a test, as any user has them")]
mod tests {
    use std::thread;

    use super::{Kind, LIVES, MemberRef, Membership, ended, moving_in};
    use crate::sys::{PlainU64, Relaxed};

    #[test]
    fn the_lives_of_a_slot_are_told_apart_also_when_the_count_begins_anew() {
        let mut life = LIVES & !3;
        for _ in 0..3 {
            let next = moving_in(life);
            assert_eq!((next % 4, next & !LIVES), (0, 0));
            assert!(![next, next + 1, ended(next + 1)].contains(&life));
            life = ended(next + 1);
            assert_eq!(life % 4, 2);
        }
    }

    /// Who has ended is asked for its name again and again, while others move into its slot and out of it.
    #[test]
    fn who_has_ended_is_never_given_the_name_of_who_comes_after() {
        let (latest, over) = (PlainU64::new(0), PlainU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    let gone = Membership::new("the debtor of a journal entry", Kind::Thread, None);
                    latest.store(gone.member().word(), Relaxed);
                    drop(gone);
                    drop(Membership::new("a stranger with a longish name", Kind::Task, None));
                }
                over.store(1, Relaxed);
            });
            while over.load(Relaxed) == 0 {
                let name = MemberRef::from_word(latest.load(Relaxed)).last_name();
                assert!(name.is_none_or(|name| name.is("the debtor of a journal entry")), "{name:?}");
            }
        });
    }
}
