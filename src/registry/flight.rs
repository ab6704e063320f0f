//! The operations of storage that have begun and not ended: what each does to what, since when, and of which domain, whoever waits for it.
//!
//! # The word
//! Odd while an operation is in flight; it counts on with each begin and each end. Only who holds the [`Flight`] changes it.

use crate::sys::{self, Acquire, PlainU64, Relaxed, Release};

use super::arena::arena;
use super::domain::{DomainCell, DomainRef};
use super::link::Link;
use super::text::{Copied, Text};

/// The slot of an operation.
pub(crate) struct FlightCell {
    word: PlainU64,
    /// Coarse milliseconds.
    begun: PlainU64,
    domain: Link<DomainCell>,
    domain_live: PlainU64,
    offset: PlainU64,
    length: PlainU64,
    operation: Text<2>,
    object: Text<6>,
}

arena!(
    /// All operations of the process.
    flights: FlightCell = || FlightCell {
        word: PlainU64::new(0),
        begun: PlainU64::new(0),
        domain: Link::new(),
        domain_live: PlainU64::new(0),
        offset: PlainU64::new(0),
        length: PlainU64::new(0),
        operation: Text::new(),
        object: Text::new(),
    }
);

/// A slot for as long as this lives: an operation in flight.
pub(crate) struct Flight(u32);

/// An operation in flight as a reader saw it.
#[derive(Clone, Copy)]
pub(crate) struct SeenFlight {
    pub(crate) operation: Copied<2>,
    pub(crate) object: Copied<6>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) age_ms: u64,
    pub(crate) domain: DomainRef,
    /// See [`said`].
    pub(crate) said: u64,
}

/// A number that stands for what is done, to what, where and how much.
pub(crate) fn said(operation: &Copied<2>, object: &Copied<6>, offset: u64, length: u64) -> u64 {
    let place = offset.rotate_left(31) ^ length.rotate_left(7);
    let mixed = (operation.mixed() ^ object.mixed().rotate_left(17) ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// Room for so many holds them all, but for those that come.
pub(crate) fn most() -> usize {
    flights().count()
}

#[cfg_attr(unwedge_loom, expect(dead_code, reason = "`io`, which begins them, is not modelled"))]
impl Flight {
    /// An operation begins.
    pub(crate) fn begin(operation: &str, object: &str, offset: u64, length: u64, domain: DomainRef) -> Self {
        let index = flights().claim();
        let cell = flights().get(index);
        // Ordering: Release, partner of the Acquire fence in `look`: who sees a field of this operation sees that the last one is gone.
        sys::plain_fence(Release);
        cell.begun.store(sys::coarse_millis(), Relaxed);
        let (link, live) = domain.parts();
        cell.domain.set(Some(link));
        cell.domain_live.store(live, Relaxed);
        cell.offset.store(offset, Relaxed);
        cell.length.store(length, Relaxed);
        cell.operation.set(operation);
        cell.object.set(object);
        // Ordering: Release, partner of the Acquire in `look`: its fields are seen.
        cell.word.store(cell.word.load(Relaxed) + 1, Release);
        Flight(index)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let word = &flights().get(self.0).word;
        // Ordering: Release, as in `begin`.
        word.store(word.load(Relaxed) + 1, Release);
        flights().release(self.0);
    }
}

/// Every operation in flight of the domains that are wanted. Takes no lock and allocates nothing.
pub(crate) fn look_in(mut is_wanted: impl FnMut(DomainRef) -> bool) -> impl Iterator<Item = SeenFlight> {
    let now = sys::coarse_millis();
    flights().look().filter_map(move |(_, cell)| cell.look(now, &mut is_wanted))
}

impl FlightCell {
    fn look(&self, now: u64, is_wanted: &mut impl FnMut(DomainRef) -> bool) -> Option<SeenFlight> {
        // Ordering: Acquire, partner of the Release in `Flight::begin`.
        let word = self.word.load(Acquire);
        if word % 2 == 0 {
            return None;
        }
        let domain = DomainRef::from_parts(self.domain.get(), self.domain_live.load(Relaxed))?;
        if !is_wanted(domain) {
            return None;
        }
        let (operation, object) = (self.operation.copy(), self.object.copy());
        let (offset, length) = (self.offset.load(Relaxed), self.length.load(Relaxed));
        let seen = SeenFlight {
            said: said(&operation, &object, offset, length),
            operation,
            object,
            offset,
            length,
            age_ms: now.saturating_sub(self.begun.load(Relaxed)),
            domain,
        };
        // The slot may have changed hands meanwhile: then this is a mixture, and is not shown. (Ordering: the fence, partner of the one in `begin`.)
        sys::plain_fence(Acquire);
        (self.word.load(Relaxed) == word).then_some(seen)
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::{Flight, look_in};
    use crate::registry::domain::DomainRef;

    #[test]
    fn an_operation_is_seen_from_its_begin_to_its_end() {
        let domain = DomainRef::claim("seen flights");
        let mine = || -> Vec<_> {
            let mine = look_in(|of| of == domain);
            let mut mine: Vec<_> =
                mine.map(|it| (it.operation.to_string(), it.object.to_string(), it.offset)).collect();
            mine.sort();
            mine
        };
        let of = |operation: &str, object: &str, offset| (operation.to_owned(), object.to_owned(), offset);
        let first = Flight::begin("read", "200.00000001", 7, 4096, domain);
        let second = Flight::begin("fsync", "", 0, 0, domain);
        assert_eq!(mine(), [of("fsync", "", 0), of("read", "200.00000001", 7)]);
        assert!(look_in(|of| of == domain).all(|it| it.age_ms < 600_000));
        drop(first);
        assert_eq!(mine(), [of("fsync", "", 0)]);
        let third = Flight::begin("open", "journal", 0, 0, domain);
        assert_eq!(mine(), [of("fsync", "", 0), of("open", "journal", 0)]);
        drop((second, third));
        assert_eq!(mine(), []);
        domain.release();
    }
}
