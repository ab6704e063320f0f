//! The work of the pool, in its order, but for what a dead file system must not get.
//!
//! One queue, and the [`Shares`] of the file systems: each work is begun for the one on which it may get stuck, and what was set aside comes back to the head of
//! the queue, one for each that ends. Work of which no device is known (the user's jobs) shares one, number 0: it cannot take all threads either.

use std::{collections::VecDeque, os::fd::AsFd, path::Path, sync::Arc};

use crate::io::{
    backend::guarded,
    closer,
    file::{Opened, device_of},
    mounts,
    op::Op,
    shares::Shares,
};

use super::call;

/// What [`Io::run_blocking`](crate::io::Io::run_blocking) and the like run. Dropping it unrun tells its waiter.
pub(in crate::io) trait Job: Send {
    fn run(self: Box<Self>);

    /// Whether it is to be run: somebody waits for what comes of it, or it is to be done in any case. One that is not never is again. Runs no code of the user's.
    fn is_wanted(&self) -> bool;
}

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
    Job(Place, Box<dyn Job>),
    /// What is not done any more, because nobody wants it or the service is closed: to be refused, which may run the user's code.
    Refused(Vec<Work>),
}

/// Refusing has a share of its own.
const REFUSED: u64 = u64::MAX;

pub(super) struct Queue {
    /// With the device, where it is known.
    ready: VecDeque<(Option<u64>, Work)>,
    shares: Shares<Work>,
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
        Queue { ready: VecDeque::new(), shares: Shares::new(most) }
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
        self.shares.begin(id, work)
    }

    /// A work of this device is done.
    pub(super) fn ended(&mut self, id: u64) {
        if let Some(work) = self.shares.ended(id) {
            self.ready.push_front((Some(id), work));
        }
    }

    /// Whether anything is set aside.
    pub(super) fn has_aside(&self) -> bool {
        self.shares.aside() != 0
    }

    /// Has works refused, before anything else is done. Whether there are any.
    pub(super) fn refuse(&mut self, works: Vec<Work>) -> bool {
        let any = !works.is_empty();
        if any {
            self.ready.push_front((Some(REFUSED), Work::Refused(works)));
        }
        any
    }

    /// Has refused what nobody wants any more of what is set aside. Whether there was any.
    pub(super) fn sweep(&mut self) -> bool {
        let unwanted = self.shares.sweep(Work::is_unwanted);
        self.refuse(unwanted)
    }

    /// Everything that was not begun, those set aside included.
    pub(super) fn take(&mut self) -> Vec<Work> {
        let aside = self.shares.take().into_iter().map(|(_, work)| work);
        self.ready.drain(..).map(|(_, work)| work).chain(aside).collect()
    }
}

impl Work {
    /// The device, if no question has to be asked for it.
    pub(super) fn device(&self) -> Option<u64> {
        match self {
            Work::Op(Op::Read { file, .. } | Op::Write { file, .. } | Op::Sync { file, .. }) => file.device(),
            Work::Op(Op::Open(open)) => open.dir.as_ref().and_then(|dir| dir.device()),
            Work::Op(Op::Close(_, device)) => Some(*device).filter(|device| *device != 0),
            Work::Job(Place::At(_), _) => None,
            Work::Job(Place::On(file), _) => file.device(),
            Work::Job(Place::Anywhere, _) => Some(0),
            Work::Job(Place::Device(id), _) => Some(*id),
            Work::Refused(_) => Some(REFUSED),
        }
    }

    /// Finds the device out; 0 if there is none. The kernel answers from memory, but for the file systems that the documentation of `io` names.
    pub(super) fn find_device(&self) -> u64 {
        match self {
            Work::Op(Op::Close(fd, _)) => device_of(fd.as_fd()),
            Work::Op(op) => op.device(),
            Work::Job(Place::At(path), _) => mounts::device_at(path),
            Work::Job(Place::On(file), _) => file.find_device(),
            Work::Job(Place::Anywhere, _) => 0,
            Work::Job(Place::Device(id), _) => *id,
            Work::Refused(_) => REFUSED,
        }
    }

    /// Whether nobody waits for it any more, and it changes nothing.
    fn is_unwanted(&self) -> bool {
        match self {
            Work::Op(op) => op.is_idle_question() && !op.is_wanted(),
            Work::Job(_, job) => !job.is_wanted(),
            Work::Refused(_) => false,
        }
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self, Work::Op(Op::Close(..)))
    }

    pub(super) fn is_job(&self) -> bool {
        matches!(self, Work::Job(..))
    }

    /// What is refused by itself.
    pub(super) fn into_parts(self) -> Vec<Work> {
        match self {
            Work::Refused(works) => works.into_iter().flat_map(Work::into_parts).collect(),
            work => vec![work],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Work::Op(op) => op.bytes(),
            Work::Job(..) | Work::Refused(_) => 0,
        }
    }

    /// Ends it undone, because the service is closed or nobody waits for it.
    pub(super) fn refuse(self) {
        guarded(|| match self {
            Work::Op(op) => {
                if let Some(fd) = op.refuse() {
                    closer::close(fd);
                }
            }
            Work::Job(_, job) => drop(job),
            Work::Refused(works) => works.into_iter().for_each(Work::refuse),
        });
    }

    /// Does it. A panic of a job, or of a method of the user's buffer, ends that work and not the thread.
    pub(super) fn perform(self) {
        guarded(|| match self {
            Work::Op(op) => call::perform(op),
            Work::Job(_, job) => job.run(),
            refused @ Work::Refused(_) => refused.refuse(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Idle {
        is_wanted: bool,
    }

    impl Job for Idle {
        fn run(self: Box<Self>) {}

        fn is_wanted(&self) -> bool {
            self.is_wanted
        }
    }

    fn job() -> Work {
        Work::Job(Place::Anywhere, Box::new(Idle { is_wanted: true }))
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
        assert_eq!((begun(&mut queue), queue.len(), queue.shares.aside()), (None, 0, 2));
        queue.ended(9);
        assert_eq!(begun(&mut queue), None);
        queue.ended(7);
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        queue.ended(7);
        queue.ended(7);
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        queue.ended(7);
        assert_eq!((begun(&mut queue), queue.shares.aside()), (None, 0));
    }

    #[test]
    fn what_is_known_is_not_asked_for() {
        let stop = crate::Stop::new("test");
        let io = crate::io::Io::new(&stop).expect("a backend");
        let null = || std::fs::File::open("/dev/null").expect("there");
        let close = |device| Work::Op(Op::Close(null().into(), device));
        let on = |file: &crate::io::File| Work::Job(Place::On(Arc::clone(&file.0)), Box::new(Idle { is_wanted: true }));
        let file = io.attach(null(), "null").expect("attached");
        assert_eq!(
            (close(0).device(), close(7).device(), job().device(), on(&file).device()),
            (None, Some(7), Some(0), None)
        );
        let device = file.0.find_device();
        assert_eq!(on(&file).device(), Some(device));
        assert_eq!([close(0), on(&file)].map(|work| work.find_device()), [device; 2]);
    }

    #[test]
    fn what_nobody_wants_is_swept_out_of_what_is_set_aside() {
        let mut queue = Queue::new(1);
        for is_wanted in [false, false, true, false] {
            queue.push(Some(7), Work::Job(Place::Anywhere, Box::new(Idle { is_wanted })));
        }
        assert!(!queue.sweep(), "it is to be begun");
        assert_eq!((begun(&mut queue), begun(&mut queue)), (Some(7), None));
        assert_eq!((queue.sweep(), queue.shares.aside()), (true, 1));
        let Next::Begin(REFUSED, Work::Refused(works)) = queue.next() else { panic!("the drop is begun") };
        assert_eq!((works.len(), queue.sweep()), (2, false));
        queue.ended(7);
        assert_eq!((begun(&mut queue), queue.has_aside()), (Some(7), false));
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
