//! Things by a number that is never used again, close together: thousands of them come and go, each once.
//!
//! A number is a place and how often that place was taken before: `times << 32 | place`. (A place that was taken four thousand million times begins anew.)

/// See the head of this file.
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    /// Places that are not taken.
    free: Vec<u32>,
}

fn number(times: u32, place: usize) -> u64 {
    u64::from(times) << 32 | place as u64
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts it in, and gives its number.
    pub(super) fn insert(&mut self, it: T) -> u64 {
        let place = self.free.pop().map_or(self.slots.len(), |place| place as usize);
        match self.slots.get_mut(place) {
            Some(slot) => slot.1 = Some(it),
            None => self.slots.push((0, Some(it))),
        }
        number(self.slots[place].0, place)
    }

    fn slot(&mut self, number: u64) -> Option<&mut (u32, Option<T>)> {
        self.slots.get_mut(number as u32 as usize).filter(|slot| slot.0 == (number >> 32) as u32)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.slot(number)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let slot = self.slot(number)?;
        let it = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(number as u32);
        Some(it)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|(_, it)| it.as_ref())
    }

    /// Each with its number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(place, (times, it))| Some((number(*times, place), it.as_mut()?)))
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
        let d = slots.insert("d");
        assert_eq!((slots.get_mut(b).copied(), slots.get_mut(d).copied()), (None, Some("d")));
        assert!(![a, b, c].contains(&d));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [&"a", &"d", &"c"]);
        assert_eq!(slots.iter_mut().map(|(number, _)| number).collect::<Vec<_>>(), [a, d, c]);
        assert_eq!([a, c, d].map(|number| slots.remove(number)), [Some("a"), Some("c"), Some("d")]);
        assert_eq!((slots.iter().count(), slots.get_mut(7).copied()), (0, None));
    }
}
