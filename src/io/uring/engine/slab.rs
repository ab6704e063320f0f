//! The operations that the kernel has, by the number that it gives back with each completion.
//!
//! A number is an index and a generation: a slot that is used again gives another number, so a completion that came twice,
//! or for an operation long gone, is told from the one that is meant. The capacity is fixed: it is the number of permits, and the completion
//! queue was made to hold as many (see `setup`).

/// What goes into `user_data`: the generation in the upper half, the index in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// The head of the list of vacant slots.
    vacant: Option<u32>,
    len: usize,
    capacity: usize,
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

enum Content<T> {
    Occupied(T),
    Vacant { next: Option<u32> },
}

impl Key {
    fn new(generation: u32, index: u32) -> Self {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl<T> Slab<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Slab { slots: Vec::with_capacity(capacity), vacant: None, len: 0, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Puts an entry in. There must be room.
    pub(super) fn insert(&mut self, entry: T) -> Key {
        assert!(!self.is_full(), "more operations than permits");
        self.len += 1;
        if let Some(index) = self.vacant {
            let slot = &mut self.slots[index as usize];
            let Content::Vacant { next } = slot.content else {
                unreachable!("the list of vacant slots has vacant slots")
            };
            self.vacant = next;
            slot.content = Content::Occupied(entry);
            Key::new(slot.generation, index)
        } else {
            let index = self.slots.len() as u32;
            self.slots.push(Slot { generation: 0, content: Content::Occupied(entry) });
            Key::new(0, index)
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index()) {
            Some(Slot { generation, content: Content::Occupied(entry) }) if *generation == key.generation() => {
                Some(entry)
            }
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let slot = &mut self.slots[key.index()];
        slot.generation = slot.generation.wrapping_add(1);
        let content = std::mem::replace(&mut slot.content, Content::Vacant { next: self.vacant });
        self.vacant = Some(key.index() as u32);
        self.len -= 1;
        match content {
            Content::Occupied(entry) => Some(entry),
            Content::Vacant { .. } => unreachable!("the slot was looked at above"),
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| match &mut slot.content {
            Content::Occupied(entry) => Some((Key::new(slot.generation, index as u32), entry)),
            Content::Vacant { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_one_entry() {
        let mut slab = Slab::with_capacity(2);
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert!(slab.is_full());
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c');
        assert_eq!(a.index(), c.index());
        assert_ne!(a, c);
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(slab.get_mut(c).copied(), Some('c'));
        assert_eq!(slab.iter_mut().map(|(key, entry)| (key, *entry)).collect::<Vec<_>>(), [(c, 'c'), (b, 'b')]);
        assert_eq!((slab.remove(b), slab.remove(c), slab.len()), (Some('b'), Some('c'), 0));
    }

    #[test]
    fn generations_wrap() {
        let mut slab = Slab::with_capacity(1);
        let key = slab.insert(0);
        slab.remove(key);
        slab.slots[0].generation = u32::MAX;
        let last = slab.insert(1);
        assert_eq!(slab.remove(last), Some(1));
        assert_eq!(slab.insert(2), key);
    }

    #[test]
    #[should_panic(expected = "more operations than permits")]
    fn the_permits_are_the_limit() {
        let mut slab = Slab::with_capacity(1);
        slab.insert(());
        slab.insert(());
    }
}
