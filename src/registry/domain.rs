//! The flag of a stop domain: one word that every wait looks at.
//!
//! | word | meaning |
//! |---|---|
//! | `live` (even: a generation) | the domain lives; a [`DomainRef`] remembers this value |
//! | `live + 1` | a stop was requested |
//! | anything else | the domain is gone, and the cell serves another |
//!
//! So "is it over?" is one load and one comparison, and a reference that outlives its domain needs no count: it finds the domain over.

use std::fmt;

use crate::sys::{self, Acquire, AtomicU64, PlainU32, PlainU64, Relaxed, Release};

use super::arena::arena;
use super::link::Link;
use super::text::{Copied, Text};

/// The cell of a domain.
pub(crate) struct DomainCell {
    word: AtomicU64,
    /// Which life this is, for reports.
    pub(crate) name: Text<4>,
    /// The generation of its next domain: 2 more than that of the one whose name is here. Written by who claims the cell.
    next: PlainU64,
    /// Its own place.
    index: PlainU32,
    /// What it is a part of: a domain lives for as long as its parts do. Written by who claims the cell.
    parent: Link<DomainCell>,
    parent_live: PlainU64,
}

arena!(
    /// All domains of the process.
    domains: DomainCell = || DomainCell {
        word: AtomicU64::new(0),
        name: Text::new(),
        next: PlainU64::new(2),
        index: PlainU32::new(0),
        parent: Link::new(),
        parent_live: PlainU64::new(0),
    }
);

/// A domain, as waits know it. Plain data: copying it costs nothing, and it is never dangling.
#[derive(Clone, Copy)]
pub(crate) struct DomainRef {
    cell: &'static DomainCell,
    live: u64,
}

impl DomainRef {
    /// A new domain in a cell of its own.
    pub(crate) fn claim(name: &str) -> Self {
        Self::claim_in(None, name)
    }

    /// As [`claim`](Self::claim), a part of another one.
    pub(crate) fn claim_in(parent: Option<DomainRef>, name: &str) -> Self {
        // Here, at a process's start mostly, and not in its first wait.
        sys::is_free();
        let index = domains().claim();
        let cell = domains().get(index);
        // The claimer owns the cell: nobody else writes to it.
        let live = cell.next.load(Relaxed);
        cell.next.store(live + 2, Relaxed);
        // Ordering: Release, partner of the Acquire fences in `last_name` and `with_ancestors`: who reads what this domain has sees that the last one is gone.
        sys::plain_fence(Release);
        cell.index.store(index, Relaxed);
        cell.parent.set(parent.map(|parent| parent.cell));
        cell.parent_live.store(parent.map_or(0, |parent| parent.live), Relaxed);
        cell.name.set(name);
        // Ordering: Release, partner of the Acquire in `is_over`: nothing but the word itself is published here.
        cell.word.store(live, Release);
        DomainRef { cell, live }
    }

    /// Marks the stop as requested. Only under the domain tree's lock, and before the waiters are looked at.
    pub(crate) fn mark(self) {
        // Ordering: Release, partner of the Acquire in `is_over`: who sees the flag sees the reason too.
        self.cell.word.store(self.live + 1, Release);
    }

    /// Gives the cell back. References that remain find the domain over: the word stays odd until a new generation is written.
    pub(crate) fn release(self) {
        domains().release(self.cell.index.load(Relaxed));
    }

    /// Whether a stop was requested, or the domain is gone. One load.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        // Ordering: Acquire, partner of the Release in `mark`. That a waiter does not miss a flag is the barrier's doing, see `wait::waiter`.
        self.cell.word.load(Acquire) != self.live
    }

    /// This domain and all of which it is a part; itself alone if it is gone.
    fn with_ancestors(self) -> impl Iterator<Item = DomainRef> {
        std::iter::successors(Some(self), |domain| {
            let cell = domain.cell;
            let parent = DomainRef::from_parts(cell.parent.get(), cell.parent_live.load(Relaxed));
            // Ordering: Acquire, partner of the Release fence in `claim_in`.
            sys::plain_fence(Acquire);
            parent.filter(|_| cell.next.load(Relaxed) == domain.live + 2)
        })
    }

    /// Whether this is that domain or a part of it.
    pub(crate) fn is_within(self, other: DomainRef) -> bool {
        self.with_ancestors().any(|domain| domain == other)
    }

    /// As a link and a word, for a waiter's slot.
    #[inline]
    pub(crate) fn parts(self) -> (&'static DomainCell, u64) {
        (self.cell, self.live)
    }

    /// From the two. A torn pair names no living domain: who acts on it is stopped by the count in the word of the slot it came from.
    #[inline]
    pub(crate) fn from_parts(cell: Option<&'static DomainCell>, live: u64) -> Option<Self> {
        cell.map(|cell| DomainRef { cell, live })
    }

    /// Name of the domain, also after its end as long as no other one has its cell.
    pub(crate) fn last_name(self) -> Option<Copied<4>> {
        let name = self.cell.name.copy();
        // Ordering: Acquire, partner of the Release fence in `claim_in`.
        sys::plain_fence(Acquire);
        (self.cell.next.load(Relaxed) == self.live + 2).then_some(name)
    }

    /// As two words, for a slot that has no room for a link.
    pub(crate) fn words(self) -> (u64, u64) {
        (u64::from(self.cell.index.load(Relaxed)), self.live)
    }

    /// From the two words; `None` where they name no cell.
    pub(crate) fn from_words(index: u64, live: u64) -> Option<Self> {
        let cell = domains().find(u32::try_from(index).ok()?)?;
        Some(DomainRef { cell, live })
    }
}

/// What a domain is called in a report.
pub(crate) struct LastName(pub(crate) DomainRef);

impl fmt::Display for LastName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.last_name() {
            Some(name) => write!(f, "{name}"),
            None => f.write_str("a life that has ended"),
        }
    }
}

impl fmt::Debug for DomainRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainRef({})", LastName(*self))
    }
}

impl PartialEq for DomainRef {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.cell, other.cell) && self.live == other.live
    }
}
