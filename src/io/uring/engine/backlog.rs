//! The operations that the kernel was not given yet, in their order, but for what a dead device must not get.
//!
//! # Algorithm
//!
//! One queue. A device has `most` permits. When they are given out, what comes for it is set aside, and comes back to the head of the queue, one for each
//! that ends. Which device an operation may get stuck on is a number to this file; 0 is one too.
//!
//! # Invariants
//!
//! - **Bounded**: of one device never more than `most` are begun.
//! - **Nothing lost**: an operation is set aside only while its device has some begun, and each that ends brings one back.

use std::collections::VecDeque;

pub(super) struct Backlog<O> {
    /// Each with its device.
    ready: VecDeque<(u64, O)>,
    /// Those with operations begun or set aside: few.
    devices: Vec<Device<O>>,
    most: usize,
    aside: usize,
}

struct Device<O> {
    id: u64,
    begun: usize,
    aside: VecDeque<O>,
}

impl<O> Backlog<O> {
    pub(super) fn new(most: usize) -> Self {
        Backlog { ready: VecDeque::new(), devices: Vec::new(), most, aside: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.aside
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, device: u64, op: O) {
        self.ready.push_back((device, op));
    }

    /// Takes the first operation that may be begun, and counts it as begun.
    pub(super) fn next(&mut self) -> Option<(u64, O)> {
        while let Some((id, op)) = self.ready.pop_front() {
            let most = self.most;
            let device = self.device(id);
            if device.begun < most {
                device.begun += 1;
                return Some((id, op));
            }
            device.aside.push_back(op);
            self.aside += 1;
        }
        None
    }

    /// One of this device that was begun has ended.
    pub(super) fn ended(&mut self, id: u64) {
        let Some(at) = self.devices.iter().position(|device| device.id == id) else { return };
        let device = &mut self.devices[at];
        device.begun -= 1;
        if let Some(op) = device.aside.pop_front() {
            self.aside -= 1;
            self.ready.push_front((id, op));
        } else if device.begun == 0 {
            self.devices.swap_remove(at);
        }
    }

    /// The device for which most is set aside, if any is.
    pub(super) fn fullest(&self) -> Option<u64> {
        let some = self.devices.iter().filter(|device| !device.aside.is_empty());
        some.max_by_key(|device| device.aside.len()).map(|device| device.id)
    }

    /// Everything, with its device.
    pub(super) fn take(&mut self) -> Vec<(u64, O)> {
        let mut all: Vec<_> = self.ready.drain(..).collect();
        for device in &mut self.devices {
            all.extend(device.aside.drain(..).map(|op| (device.id, op)));
        }
        self.aside = 0;
        all
    }

    fn device(&mut self, id: u64) -> &mut Device<O> {
        let at = self.devices.iter().position(|device| device.id == id).unwrap_or_else(|| {
            self.devices.push(Device { id, begun: 0, aside: VecDeque::new() });
            self.devices.len() - 1
        });
        &mut self.devices[at]
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
        assert!(backlog.devices.is_empty() && backlog.is_empty());
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
