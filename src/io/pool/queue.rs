//! The work of the pool, in its order, but for what a dead file system must not get.
//!
//! # Algorithm
//!
//! One queue. Each work is begun for a device: the file system on which it may get stuck. When a device has as many works begun as it may have, those
//! that come for it are set aside, and come back to the head of the queue, one for each that ends. Work of which no device is known
//! (the user's jobs) shares one, number 0: it cannot take all threads either.
//!
//! # Invariants
//!
//! - **Bounded**: of one device never more than `most` works are begun.
//! - **Nothing lost**: work is set aside only while its device has works begun, and each that ends brings one back.

use std::{collections::VecDeque, path::Path, sync::Arc};

use crate::io::{backend::guarded, closer, file::Opened, mounts, op::Op};

use super::call;

/// What [`Io::run_blocking`](crate::io::Io::run_blocking) and the like run. Dropping it unrun tells its waiter.
pub(in crate::io) type Job = Box<dyn FnOnce() + Send>;

/// On what a job may get stuck.
pub(in crate::io) enum Place {
    /// Nobody knows.
    Anywhere,
    /// On this file system.
    Device(u64),
    /// On what a path leads to.
    At(Arc<Path>),
    /// On an open file.
    On(Arc<Opened>),
}

/// An operation or a job that waits for a thread.
pub(super) enum Work {
    Op(Op),
    Job(Place, Job),
}

#[derive(Default)]
pub(super) struct Queue {
    /// With the device, where it is known.
    ready: VecDeque<(Option<u64>, Work)>,
    /// Those with works begun or set aside: few.
    devices: Vec<Device>,
    /// How many works of one device may be begun at a time.
    most: usize,
    aside: usize,
}

struct Device {
    id: u64,
    begun: usize,
    aside: VecDeque<Work>,
}

/// What to do with the work at the head of the queue.
pub(super) enum Next {
    /// It is begun for this device: [`Queue::ended`] has to be told when it is done.
    Begin(u64, Work),
    /// Its device has to be found out first, without the lock; then [`Queue::begin`].
    Find(Work),
    /// There is none.
    Nothing,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Queue { most, ..Queue::default() }
    }

    /// How much could be begun.
    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(super) fn push(&mut self, device: Option<u64>, work: Work) {
        self.ready.push_back((device, work));
    }

    /// Takes the first work that may be begun.
    pub(super) fn next(&mut self) -> Next {
        while let Some((device, work)) = self.ready.pop_front() {
            match device {
                None => return Next::Find(work),
                Some(id) => {
                    if let Some(work) = self.begin(id, work) {
                        return Next::Begin(id, work);
                    }
                }
            }
        }
        Next::Nothing
    }

    /// Begins a work for a device, or sets it aside.
    pub(super) fn begin(&mut self, id: u64, work: Work) -> Option<Work> {
        let most = self.most;
        let device = self.device(id);
        if device.begun < most {
            device.begun += 1;
            return Some(work);
        }
        device.aside.push_back(work);
        self.aside += 1;
        None
    }

    /// A work of this device is done.
    pub(super) fn ended(&mut self, id: u64) {
        let Some(at) = self.devices.iter().position(|device| device.id == id) else { return };
        let device = &mut self.devices[at];
        device.begun -= 1;
        if let Some(work) = device.aside.pop_front() {
            self.aside -= 1;
            self.ready.push_front((Some(id), work));
        } else if device.begun == 0 {
            self.devices.swap_remove(at);
        }
    }

    /// Everything that was not begun, those set aside included.
    pub(super) fn take(&mut self) -> Vec<Work> {
        let mut works: Vec<_> = self.ready.drain(..).map(|(_, work)| work).collect();
        for device in &mut self.devices {
            works.extend(device.aside.drain(..));
        }
        self.aside = 0;
        self.devices.retain(|device| device.begun > 0);
        works
    }

    fn device(&mut self, id: u64) -> &mut Device {
        let at = self.devices.iter().position(|device| device.id == id).unwrap_or_else(|| {
            self.devices.push(Device { id, begun: 0, aside: VecDeque::new() });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }
}

impl Work {
    /// The device, if no question has to be asked for it.
    pub(super) fn device(&self) -> Option<u64> {
        match self {
            Work::Op(Op::Read { file, .. } | Op::Write { file, .. } | Op::Sync { file, .. }) => file.device(),
            Work::Op(Op::Open(open)) => open.dir.as_ref().and_then(|dir| dir.device()),
            Work::Op(Op::Close(_)) | Work::Job(Place::At(_), _) => None,
            Work::Job(Place::On(file), _) => file.device(),
            Work::Job(Place::Anywhere, _) => Some(0),
            Work::Job(Place::Device(id), _) => Some(*id),
        }
    }

    /// Finds the device out; 0 if there is none. The kernel answers from memory.
    pub(super) fn find_device(&self) -> u64 {
        match self {
            Work::Op(op) => op.device(),
            Work::Job(Place::At(path), _) => mounts::device_at(path),
            Work::Job(Place::On(file), _) => file.find_device(),
            Work::Job(Place::Anywhere, _) => 0,
            Work::Job(Place::Device(id), _) => *id,
        }
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self, Work::Op(Op::Close(_)))
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Work::Op(op) => op.bytes(),
            Work::Job(..) => 0,
        }
    }

    /// Ends it undone, because the service is closed.
    pub(super) fn refuse(self) {
        guarded(|| match self {
            Work::Op(op) => {
                if let Some(fd) = op.refuse() {
                    closer::close(fd);
                }
            }
            Work::Job(_, job) => drop(job),
        });
    }

    /// Does it. A panic of a job, or of a method of the user's buffer, ends that work and not the thread.
    pub(super) fn perform(self) {
        guarded(|| match self {
            Work::Op(op) => call::perform(op),
            Work::Job(_, job) => job(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Work {
        Work::Job(Place::Anywhere, Box::new(|| {}))
    }

    fn begun(queue: &mut Queue) -> Option<u64> {
        match queue.next() {
            Next::Begin(id, _) => Some(id),
            Next::Find(_) => panic!("every device is known here"),
            Next::Nothing => None,
        }
    }

    #[test]
    fn a_device_has_no_more_than_its_share() {
        let mut queue = Queue::new(2);
        for id in [7, 7, 7, 7, 9] {
            queue.push(Some(id), job());
        }
        assert_eq!([begun(&mut queue), begun(&mut queue), begun(&mut queue)], [Some(7), Some(7), Some(9)]);
        assert_eq!((begun(&mut queue), queue.len(), queue.aside), (None, 0, 2));
        queue.ended(9);
        assert_eq!(begun(&mut queue), None);
        queue.ended(7);
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        queue.ended(7);
        queue.ended(7);
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        queue.ended(7);
        assert!(queue.devices.is_empty() && queue.aside == 0);
    }

    #[test]
    fn what_was_set_aside_is_taken_with_the_rest() {
        let mut queue = Queue::new(1);
        for _ in 0..3 {
            queue.push(Some(7), job());
        }
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        queue.push(None, job());
        assert_eq!(queue.take().len(), 3);
        queue.ended(7);
        assert_eq!(begun(&mut queue), None);
    }
}
