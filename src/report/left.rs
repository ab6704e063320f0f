//! Those of some domains that have not ended: taken from the snapshot, in the order of a report.
//!
//! There may be thousands, most of which share a name with others. So they are counted by name and then put into their places, without a comparison of any
//! two of them.

use std::hash::{Hash, Hasher};

use crate::registry::domain::DomainRef;
use crate::registry::member::SeenMember;
use crate::registry::text::Copied;

use super::quick::QuickMap;
use super::snapshot::Snapshot;

/// Some domains, of which it is asked thousands of times whether one is among them.
pub(super) struct Domains<'a> {
    all: &'a [DomainRef],
    /// The one that was found last: mostly it is that one again.
    last: usize,
}

impl<'a> Domains<'a> {
    pub(super) fn new(all: &'a [DomainRef]) -> Self {
        Domains { all, last: 0 }
    }

    pub(super) fn have(&mut self, domain: DomainRef) -> bool {
        if self.all.get(self.last).is_some_and(|last| *last == domain) {
            return true;
        }
        match self.all.iter().position(|one| *one == domain) {
            Some(at) => self.last = at,
            None => return false,
        }
        true
    }
}

/// A name as a key.
#[derive(PartialEq, Eq)]
struct Name(Copied<4>);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.mixed());
    }
}

/// Those with one name.
struct Group {
    name: Copied<4>,
    count: usize,
    /// Where its next one goes.
    next: usize,
}

/// Groups by name.
struct Groups {
    all: Vec<Group>,
    known: QuickMap<Name, u32>,
    /// By some bits of what stands for a name, which group had it last.
    recent: [u32; RECENT],
}

/// How many groups are found without a look into the map.
const RECENT: usize = 16;

impl Groups {
    fn of(&mut self, name: &Copied<4>) -> u32 {
        let recent = &mut self.recent[name.mixed() as usize % RECENT];
        if self.all.get(*recent as usize).is_none_or(|group| group.name != *name) {
            *recent = *self.known.entry(Name(*name)).or_insert_with(|| {
                self.all.push(Group { name: *name, count: 0, next: 0 });
                self.all.len() as u32 - 1
            });
        }
        *recent
    }
}

/// The places of those that have not ended, but for those that shut their domain down themselves: by name, then by place.
pub(super) fn left(snapshot: &Snapshot, domains: &[DomainRef]) -> Vec<u32> {
    let mut domains = Domains::new(domains);
    let mut is_left = |seen: &SeenMember| !seen.shuts_down && seen.domain.is_some_and(|domain| domains.have(domain));
    let mut groups = Groups { all: Vec::new(), known: QuickMap::default(), recent: [0; RECENT] };
    let mut found: Vec<(u32, u32)> = Vec::with_capacity(snapshot.members.len());
    for (place, seen) in (0..).zip(&snapshot.members) {
        if is_left(seen) {
            let group = groups.of(&seen.name);
            groups.all[group as usize].count += 1;
            found.push((group, place));
        }
    }
    let mut by_name: Vec<&mut Group> = groups.all.iter_mut().collect();
    by_name.sort_unstable_by_key(|group| group.name.bytes());
    let mut begin = 0;
    for group in by_name {
        group.next = begin;
        begin += group.count;
    }
    let mut left = vec![0; found.len()];
    for (group, place) in found {
        let next = &mut groups.all[group as usize].next;
        left[*next] = place;
        *next += 1;
    }
    left
}
