//! The operations that the kernel was not given yet, in their order, but for what a dead device must not get: one queue, and the [`Shares`] of the devices. What
//! was set aside comes back to the head of the queue, one for each that ends.

use std::collections::VecDeque;

use super::shares::Shares;

pub(super) struct Backlog<O> {
    /// Each with its device.
    ready: VecDeque<(u64, O)>,
    shares: Shares<O>,
}

impl<O> Backlog<O> {
    pub(super) fn new(most: usize) -> Self {
        Backlog { ready: VecDeque::new(), shares: Shares::new(most) }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.shares.aside()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is any that is not set aside.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn push(&mut self, device: u64, op: O) {
        self.ready.push_back((device, op));
    }

    /// Takes the first operation that may be begun, and counts it as begun.
    pub(super) fn next(&mut self) -> Option<(u64, O)> {
        while let Some((device, op)) = self.ready.pop_front() {
            if let Some(op) = self.shares.begin(device, op) {
                return Some((device, op));
            }
        }
        None
    }

    /// One of this device that was begun has ended.
    pub(super) fn ended(&mut self, device: u64) {
        if let Some(op) = self.shares.ended(device) {
            self.ready.push_front((device, op));
        }
    }

    /// The device for which most is set aside, if any is.
    pub(super) fn fullest(&self) -> Option<u64> {
        self.shares.fullest()
    }

    /// Takes out of what is set aside what is no longer wanted.
    pub(super) fn sweep(&mut self, is_unwanted: impl FnMut(&O) -> bool) -> Vec<O> {
        self.shares.sweep(is_unwanted)
    }

    /// Everything, with its device.
    pub(super) fn take(&mut self) -> Vec<(u64, O)> {
        self.ready.drain(..).chain(self.shares.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_no_more_than_its_permits() {
        let mut backlog = Backlog::new(2);
        for (device, op) in [(7, 'a'), (7, 'b'), (7, 'c'), (7, 'd'), (9, 'e')] {
            backlog.push(device, op);
        }
        assert_eq!([backlog.next(), backlog.next(), backlog.next()], [Some((7, 'a')), Some((7, 'b')), Some((9, 'e'))]);
        assert_eq!((backlog.next(), backlog.len(), backlog.fullest()), (None, 2, Some(7)));
        backlog.ended(9);
        assert_eq!(backlog.next(), None);
        backlog.ended(7);
        assert_eq!((backlog.next(), backlog.next()), (Some((7, 'c')), None));
        backlog.ended(7);
        backlog.ended(7);
        assert_eq!((backlog.next(), backlog.next(), backlog.fullest()), (Some((7, 'd')), None, None));
        backlog.ended(7);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_was_set_aside_is_taken_with_the_rest() {
        let mut backlog = Backlog::new(1);
        for op in 0..3 {
            backlog.push(7, op);
        }
        assert_eq!((backlog.next(), backlog.next()), (Some((7, 0)), None));
        backlog.push(9, 3);
        assert_eq!(backlog.take(), [(9, 3), (7, 1), (7, 2)]);
        backlog.ended(7);
        assert_eq!(backlog.next(), None);
    }
}
