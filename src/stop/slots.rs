//! Things by a number that is never used again, close together: thousands of them come and go, each once.
//!
//! A number is a place and how often that place was taken before: `times << 32 | place`. (A place that was taken four thousand million times begins anew.)

/// See the head of this file. Places that are not taken are a list of their own, in the places themselves: thousands are given back one after the other, and
/// nothing is allocated then.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The first place that is not taken, if it is one of `slots`.
    free: u32,
    taken: usize,
}

struct Slot<T> {
    times: u32,
    place: Place<T>,
}

enum Place<T> {
    Taken(T),
    /// The next one that is not taken.
    Free(u32),
}

/// None is free.
const NONE: u32 = u32::MAX;

impl<T> Slot<T> {
    fn get(&self) -> Option<&T> {
        match &self.place {
            Place::Taken(it) => Some(it),
            Place::Free(_) => None,
        }
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        match &mut self.place {
            Place::Taken(it) => Some(it),
            Place::Free(_) => None,
        }
    }
}

fn number(times: u32, place: usize) -> u64 {
    u64::from(times) << 32 | place as u64
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Slots { slots: Vec::new(), free: NONE, taken: 0 }
    }

    /// Puts it in, and gives its number.
    pub(super) fn insert(&mut self, it: T) -> u64 {
        self.taken += 1;
        let place = self.free as usize;
        if let Some(slot) = self.slots.get_mut(place) {
            if let Place::Free(next) = std::mem::replace(&mut slot.place, Place::Taken(it)) {
                self.free = next;
            }
            return number(slot.times, place);
        }
        self.slots.push(Slot { times: 0, place: Place::Taken(it) });
        number(0, self.slots.len() - 1)
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot<T>> {
        self.slots.get_mut(number as u32 as usize).filter(|slot| slot.times == (number >> 32) as u32)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.slot(number)?.get_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let free = self.free;
        let slot = self.slot(number)?;
        slot.get()?;
        slot.times = slot.times.wrapping_add(1);
        let Place::Taken(it) = std::mem::replace(&mut slot.place, Place::Free(free)) else { return None };
        self.free = number as u32;
        self.taken -= 1;
        Some(it)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(Slot::get)
    }

    /// Each with its number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(place, slot)| Some((number(slot.times, place), slot.get_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_number_is_of_one_thing_only() {
        let mut slots = Slots::new();
        let [a, b, c] = ["a", "b", "c"].map(|it| slots.insert(it));
        assert_eq!((slots.remove(b), slots.remove(b), slots.get_mut(b).copied()), (Some("b"), None, None));
        assert!(!slots.is_empty());
        let d = slots.insert("d");
        assert_eq!((slots.get_mut(b).copied(), slots.get_mut(d).copied()), (None, Some("d")));
        assert!(![a, b, c].contains(&d));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&"a", &"d", &"c"]);
        assert_eq!(slots.iter_mut().map(|(number, _)| number).collect::<Vec<_>>(), [a, d, c]);
        assert_eq!([a, c, d].map(|number| slots.remove(number)), [Some("a"), Some("c"), Some("d")]);
        assert_eq!((slots.iter().count(), slots.get_mut(7).copied(), slots.is_empty()), (0, None, true));
        let again = ["e", "f", "g", "h"].map(|it| slots.insert(it));
        assert_eq!(slots.iter().count(), 4);
        assert!(again.iter().all(|number| ![a, b, c, d].contains(number)));
        assert_eq!(again.map(|number| slots.remove(number)), ["e", "f", "g", "h"].map(Some));
    }
}
