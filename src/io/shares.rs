//! How many operations each device may have begun at a time, and which are set aside until one of theirs has ended: so that a dead file system, on which they
//! get stuck, keeps none of the others waiting.
//!
//! Which device an operation may get stuck on is a number to this file; 0 is one too.
//!
//! # Invariants
//!
//! - **Bounded**: of one device never more than `most` are begun.
//! - **Nothing lost**: an operation is set aside only while its device has some begun, and each that ends brings one back.

use std::collections::VecDeque;

pub(crate) struct Shares<O> {
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

impl<O> Shares<O> {
    pub(crate) fn new(most: usize) -> Self {
        Shares { devices: Vec::new(), most, aside: 0 }
    }

    /// Begins one for a device: [`ended`](Self::ended) has to be told when it is done. `None`: it was set aside.
    pub(crate) fn begin(&mut self, id: u64, op: O) -> Option<O> {
        let most = self.most;
        let device = self.device(id);
        if device.begun < most {
            device.begun += 1;
            return Some(op);
        }
        device.aside.push_back(op);
        self.aside += 1;
        None
    }

    /// One of this device that was begun is done. The one that is no longer set aside for it: the next to be begun.
    pub(crate) fn ended(&mut self, id: u64) -> Option<O> {
        let at = self.devices.iter().position(|device| device.id == id)?;
        let device = &mut self.devices[at];
        device.begun -= 1;
        let next = device.aside.pop_front();
        self.aside -= usize::from(next.is_some());
        if next.is_none() && device.begun == 0 {
            self.devices.swap_remove(at);
        }
        next
    }

    /// Everything that is set aside, with its device.
    pub(crate) fn take(&mut self) -> Vec<(u64, O)> {
        self.aside = 0;
        self.devices.iter_mut().flat_map(|device| device.aside.drain(..).map(|op| (device.id, op))).collect()
    }

    fn device(&mut self, id: u64) -> &mut Device<O> {
        let at = self.devices.iter().position(|device| device.id == id).unwrap_or_else(|| {
            self.devices.push(Device { id, begun: 0, aside: VecDeque::new() });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }
}

/// What the ring asks besides, which cannot set aside without end.
#[cfg(any(feature = "uring", unwedge_loom, test))]
impl<O> Shares<O> {
    /// The device for which most is set aside, if any is.
    pub(crate) fn fullest(&self) -> Option<u64> {
        let some = self.devices.iter().filter(|device| !device.aside.is_empty());
        some.max_by_key(|device| device.aside.len()).map(|device| device.id)
    }
}

impl<O> Shares<O> {
    /// How many are set aside.
    pub(crate) fn aside(&self) -> usize {
        self.aside
    }

    /// Takes out of what is set aside what is no longer wanted.
    pub(crate) fn sweep(&mut self, mut is_unwanted: impl FnMut(&O) -> bool) -> Vec<O> {
        let mut unwanted = Vec::new();
        for device in &mut self.devices {
            let (gone, kept): (VecDeque<_>, _) = device.aside.drain(..).partition(&mut is_unwanted);
            device.aside = kept;
            unwanted.extend(gone);
        }
        self.aside -= unwanted.len();
        unwanted
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::Shares;

    #[test]
    fn a_device_has_no_more_than_its_share() {
        let mut shares = Shares::new(2);
        let begun = [(7, 'a'), (7, 'b'), (7, 'c'), (7, 'd'), (9, 'e')].map(|(id, op)| shares.begin(id, op));
        assert_eq!(begun, [Some('a'), Some('b'), None, None, Some('e')]);
        assert_eq!((shares.aside(), shares.fullest()), (2, Some(7)));
        assert_eq!((shares.ended(9), shares.ended(9)), (None, None));
        let next = shares.ended(7);
        assert_eq!(next, Some('c'));
        assert_eq!((shares.begin(7, 'c'), shares.begin(7, 'f')), (Some('c'), None));
        assert_eq!((shares.ended(7), shares.aside()), (Some('d'), 1));
    }

    #[test]
    fn a_device_of_which_all_is_done_is_forgotten() {
        let mut shares = Shares::new(1);
        for id in 0..3 {
            assert_eq!(shares.begin(id, ()), Some(()));
            assert_eq!(shares.ended(id), None);
        }
        assert!(shares.devices.is_empty());
    }

    #[test]
    fn what_was_set_aside_is_taken() {
        let mut shares = Shares::new(1);
        assert_eq!([1, 2, 3].map(|op| shares.begin(7, op)), [Some(1), None, None]);
        assert_eq!((shares.take(), shares.aside()), (vec![(7, 2), (7, 3)], 0));
        assert_eq!(shares.ended(7), None);
    }

    #[test]
    fn what_is_not_wanted_any_more_is_swept_out() {
        let mut shares = Shares::new(1);
        assert_eq!([1, 2, 3, 4].map(|op| shares.begin(7, op)), [Some(1), None, None, None]);
        assert_eq!((shares.sweep(|op| op % 2 == 0), shares.aside()), (vec![2, 4], 1));
        assert_eq!((shares.ended(7), shares.aside()), (Some(3), 0));
    }
}
