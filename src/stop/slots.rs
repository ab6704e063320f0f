//! Things by their places, close together: thousands of them come and go.
//!
//! A place serves one after the other. Who asks for what is there looks whether that is what it means.

/// See the head of this file. Places that are not taken are a list of their own, in the places themselves: thousands are given back one after the other, and
/// nothing is allocated then.
pub(super) struct Slots<T> {
    slots: Vec<Place<T>>,
    /// The first place that is not taken, if it is one of `slots`.
    free: u32,
    taken: usize,
}

enum Place<T> {
    Taken(T),
    /// The next one that is not taken.
    Free(u32),
}

/// None is free.
const NONE: u32 = u32::MAX;

impl<T> Place<T> {
    fn get(&self) -> Option<&T> {
        match self {
            Place::Taken(it) => Some(it),
            Place::Free(_) => None,
        }
    }

    fn get_mut(&mut self) -> Option<&mut T> {
        match self {
            Place::Taken(it) => Some(it),
            Place::Free(_) => None,
        }
    }
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Slots { slots: Vec::new(), free: NONE, taken: 0 }
    }

    /// Puts it in, and gives its place.
    pub(super) fn insert(&mut self, it: T) -> u32 {
        self.taken += 1;
        let place = self.free;
        if let Some(slot) = self.slots.get_mut(place as usize) {
            if let Place::Free(next) = std::mem::replace(slot, Place::Taken(it)) {
                self.free = next;
            }
            return place;
        }
        self.slots.push(Place::Taken(it));
        self.slots.len() as u32 - 1
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.slots.get_mut(place as usize)?.get_mut()
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let slot = self.slots.get_mut(place as usize)?;
        slot.get()?;
        let Place::Taken(it) = std::mem::replace(slot, Place::Free(self.free)) else { return None };
        self.free = place;
        self.taken -= 1;
        Some(it)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(Place::get)
    }

    /// Each with its place.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(place, slot)| Some((place as u32, slot.get_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_place_is_of_one_thing_at_a_time() {
        let mut slots = Slots::new();
        let [a, b, c] = ["a", "b", "c"].map(|it| slots.insert(it));
        assert_eq!((slots.remove(b), slots.remove(b), slots.get_mut(b).copied()), (Some("b"), None, None));
        assert!(!slots.is_empty());
        let d = slots.insert("d");
        assert_eq!((d, slots.get_mut(d).copied()), (b, Some("d")));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&"a", &"d", &"c"]);
        assert_eq!(slots.iter_mut().map(|(place, _)| place).collect::<Vec<_>>(), [a, d, c]);
        assert_eq!([a, c, d].map(|place| slots.remove(place)), [Some("a"), Some("c"), Some("d")]);
        assert_eq!((slots.iter().count(), slots.get_mut(7).copied(), slots.is_empty()), (0, None, true));
        let again = ["e", "f", "g", "h"].map(|it| slots.insert(it));
        assert_eq!(slots.iter().count(), 4);
        assert_eq!(again.map(|place| slots.remove(place)), ["e", "f", "g", "h"].map(Some));
    }
}
