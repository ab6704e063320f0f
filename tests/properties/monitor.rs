//! Monitors, condition variables and `when`: who has the lock, whom a notification reaches, who is woken, and that nobody sleeps on at the end.
//!
//! The model: for each monitor its data and who holds it; for each condition variable who waits, in order; for each task what it wants next. It does not say
//! which of those in line a wake-up is for. It says that who was woken and finds the lock free has it, that nobody is let in while it is held, and that at the
//! end, when only those are polled that were woken, everybody has had the lock who wanted it.
//!
//! Two monitors share two condition variables, so that a queue has waiters for two locks; and there are three domains: one, its child, and another one.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use proptest::collection::vec;
use proptest::prelude::*;
use unwedge::{Condvar, Monitor, MonitorGuard, Stop, Stopped, report};

use crate::common::guarded;
use crate::config;
use crate::flag::Flag;

const SLOTS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A task begins to take a monitor, in a domain.
    Lock(usize, usize, usize),
    TryLock(usize, usize),
    Poll(usize),
    /// A future or a guard is dropped.
    Drop(usize),
    /// Who holds a monitor changes what is in it.
    Set(usize, u8),
    Wait(usize, usize),
    /// A task waits until a monitor has this in it.
    When(usize, usize, u8),
    One(usize),
    All(usize),
    Request(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..SLOTS;
    prop_oneof![
        5 => (slot.clone(), 0..2usize, 0..3usize).prop_map(|(slot, monitor, domain)| Op::Lock(slot, monitor, domain)),
        1 => (slot.clone(), 0..2usize).prop_map(|(slot, monitor)| Op::TryLock(slot, monitor)),
        12 => slot.clone().prop_map(Op::Poll),
        4 => slot.clone().prop_map(Op::Drop),
        2 => (slot.clone(), 0..3u8).prop_map(|(slot, n)| Op::Set(slot, n)),
        5 => (slot.clone(), 0..2usize).prop_map(|(slot, condvar)| Op::Wait(slot, condvar)),
        2 => (slot, 0..2usize, 0..3u8).prop_map(|(slot, monitor, n)| Op::When(slot, monitor, n)),
        4 => (0..2usize).prop_map(Op::One),
        1 => (0..2usize).prop_map(Op::All),
        1 => (0..3usize).prop_map(Op::Request),
    ]
}

/// What a task of the specification wants next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wants {
    Nothing,
    /// It holds the monitor; whether it has changed what is in it.
    Holds {
        changed: bool,
    },
    /// The lock, for itself (`None`) or to look whether this is in the monitor.
    Lock {
        when: Option<u8>,
    },
    /// A notification of this condition variable.
    Notified {
        condvar: usize,
    },
    /// It had one, and now wants the lock; to whose waiters it goes on if it is not used.
    Relock {
        passing: Option<usize>,
    },
    /// That something else is in the monitor.
    Change {
        when: u8,
    },
}

#[derive(Clone, Copy, Debug)]
struct Task {
    wants: Wants,
    monitor: usize,
    domain: usize,
    was_polled: bool,
    /// The domain was over when its wait began.
    is_doomed: bool,
}

/// The specification.
struct Model {
    tasks: [Task; SLOTS],
    data: [u8; 2],
    holder: [Option<usize>; 2],
    queues: [VecDeque<usize>; 2],
    requested: [bool; 3],
}

impl Model {
    fn new() -> Model {
        let task = Task { wants: Wants::Nothing, monitor: 0, domain: 0, was_polled: false, is_doomed: false };
        let queues = [VecDeque::new(), VecDeque::new()];
        Model { tasks: [task; SLOTS], data: [0; 2], holder: [None; 2], queues, requested: [false; 3] }
    }

    /// Whether a domain is over: the second is the first one's child.
    fn is_over(&self, domain: usize) -> bool {
        self.requested[domain] || (domain == 1 && self.requested[0])
    }

    fn is_stopped(&self, slot: usize) -> bool {
        self.tasks[slot].is_doomed || self.is_over(self.tasks[slot].domain)
    }

    fn begin(&mut self, slot: usize, wants: Wants, monitor: usize, domain: usize) {
        self.tasks[slot] = Task { wants, monitor, domain, was_polled: false, is_doomed: false };
    }

    fn take(&mut self, slot: usize) {
        self.holder[self.tasks[slot].monitor] = Some(slot);
        self.tasks[slot].wants = Wants::Holds { changed: false };
    }

    /// The holder lets go.
    fn release(&mut self, slot: usize) {
        let Task { wants: Wants::Holds { changed }, monitor, .. } = self.tasks[slot] else { return };
        self.holder[monitor] = None;
        self.tasks[slot].wants = Wants::Nothing;
        if changed {
            self.changed(monitor);
        }
    }

    /// Whoever waits for a change looks again.
    fn changed(&mut self, monitor: usize) {
        for task in self.tasks.iter_mut().filter(|task| task.monitor == monitor) {
            if let Wants::Change { when } = task.wants {
                task.wants = Wants::Lock { when: Some(when) };
            }
        }
    }

    /// The notification goes to who has waited longest. Whether there was one.
    fn notify(&mut self, condvar: usize, one: bool) -> bool {
        let Some(first) = self.queues[condvar].pop_front() else { return false };
        self.tasks[first].wants = Wants::Relock { passing: one.then_some(condvar) };
        true
    }

    /// A task's wait is over without the lock: what it had goes on.
    fn leave(&mut self, slot: usize) {
        match std::mem::replace(&mut self.tasks[slot].wants, Wants::Nothing) {
            Wants::Notified { condvar } => self.queues[condvar].retain(|waiting| *waiting != slot),
            // One that a stop has ended has passed it on then.
            Wants::Relock { passing: Some(condvar) } if !self.is_stopped(slot) => {
                self.notify(condvar, true);
            }
            _ => {}
        }
    }

    /// A stop: it ends the waits of its domain, and what they had had goes on to those of others.
    fn request(&mut self, domain: usize) {
        let before: Vec<bool> = (0..SLOTS).map(|slot| self.is_stopped(slot)).collect();
        self.requested[domain] = true;
        let mut passed = Vec::new();
        for slot in (0..SLOTS).filter(|slot| !before[*slot]) {
            if self.is_stopped(slot) {
                match self.tasks[slot].wants {
                    Wants::Notified { condvar } => self.queues[condvar].retain(|waiting| *waiting != slot),
                    Wants::Relock { passing } => passed.extend(passing),
                    _ => {}
                }
            }
        }
        for condvar in passed {
            self.notify(condvar, true);
        }
    }
}

type Lock = Monitor<Mutex<u8>>;
type Guard<'a> = MonitorGuard<'a, Mutex<u8>>;

/// What there is really of a task.
enum Real<'a> {
    Nothing,
    Guard(Guard<'a>),
    /// It becomes a guard.
    Acquires(Pin<Box<dyn Future<Output = Result<Guard<'a>, Stopped>> + 'a>>),
    When(Pin<Box<dyn Future<Output = Result<u8, Stopped>> + 'a>>),
}

/// Where the tasks are.
struct Scene<'a> {
    monitors: &'a [Lock; 2],
    condvars: &'a [Condvar; 2],
    domains: &'a [Stop; 3],
    tasks: [Real<'a>; SLOTS],
    flags: [Arc<Flag>; SLOTS],
    model: Model,
}

/// What came of a poll.
#[derive(Debug, PartialEq)]
enum Polled {
    Pending,
    Stopped,
    Lock,
    Value(u8),
}

impl<'a> Scene<'a> {
    fn begin(&mut self, slot: usize, real: Real<'a>) {
        self.tasks[slot] = real;
        self.flags[slot] = Flag::new();
    }

    fn is_free(&self, slot: usize) -> bool {
        matches!(self.tasks[slot], Real::Nothing)
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Lock(slot, monitor, domain) if self.is_free(slot) => {
                let future = self.monitors[monitor].lock_async_in(&self.domains[domain]);
                self.begin(slot, Real::Acquires(Box::pin(future)));
                self.model.begin(slot, Wants::Lock { when: None }, monitor, domain);
            }
            Op::TryLock(slot, monitor) if self.is_free(slot) => self.try_lock(slot, monitor)?,
            Op::Poll(slot) => self.poll(slot)?,
            Op::Drop(slot) => self.let_go(slot),
            Op::Set(slot, n) => {
                if let (Real::Guard(guard), Wants::Holds { changed }) =
                    (&mut self.tasks[slot], &mut self.model.tasks[slot].wants)
                {
                    (**guard, *changed) = (n, true);
                    self.model.data[self.model.tasks[slot].monitor] = n;
                }
            }
            Op::Wait(slot, condvar) => self.wait(slot, condvar),
            Op::When(slot, monitor, n) if self.is_free(slot) => {
                let future = self.monitors[monitor].when_async(move |data| (*data == n).then_some(n));
                self.begin(slot, Real::When(Box::pin(future)));
                // In the monitor's own domain.
                self.model.begin(slot, Wants::Lock { when: Some(n) }, monitor, monitor);
            }
            Op::One(condvar) => {
                let expected = self.model.notify(condvar, true);
                prop_assert_eq!(self.condvars[condvar].notify_one(), expected, "whether there was one");
            }
            Op::All(condvar) => {
                let mut expected = 0;
                while self.model.notify(condvar, false) {
                    expected += 1;
                }
                prop_assert_eq!(self.condvars[condvar].notify_all(), expected, "how many there were");
            }
            Op::Request(domain) => {
                let is_first = !self.model.is_over(domain);
                self.model.request(domain);
                prop_assert_eq!(self.domains[domain].request("test"), is_first);
            }
            _ => {}
        }
        self.check_wakes()
    }

    fn try_lock(&mut self, slot: usize, monitor: usize) -> Result<(), TestCaseError> {
        let is_over = self.model.is_over(monitor);
        let is_free = self.model.holder[monitor].is_none();
        match self.monitors[monitor].try_lock() {
            Err(Stopped { .. }) => prop_assert!(is_over, "nobody has stopped it"),
            Ok(None) => prop_assert!(!is_over && !is_free, "it is free"),
            Ok(Some(guard)) => {
                prop_assert!(!is_over && is_free, "it is held");
                self.begin(slot, Real::Guard(guard));
                self.model.begin(slot, Wants::Nothing, monitor, monitor);
                self.model.take(slot);
            }
        }
        Ok(())
    }

    fn wait(&mut self, slot: usize, condvar: usize) {
        match std::mem::replace(&mut self.tasks[slot], Real::Nothing) {
            Real::Guard(guard) => {
                self.begin(slot, Real::Acquires(Box::pin(guard.wait_async(&self.condvars[condvar]))));
                let Task { monitor, domain, .. } = self.model.tasks[slot];
                self.model.release(slot);
                self.model.begin(slot, Wants::Notified { condvar }, monitor, domain);
                if self.model.is_over(domain) {
                    self.model.tasks[slot].is_doomed = true;
                } else {
                    self.model.queues[condvar].push_back(slot);
                }
            }
            other => self.tasks[slot] = other,
        }
    }

    fn let_go(&mut self, slot: usize) {
        // The real one first: both know the same of what follows from it.
        self.tasks[slot] = Real::Nothing;
        match self.model.tasks[slot].wants {
            Wants::Holds { .. } => self.model.release(slot),
            _ => self.model.leave(slot),
        }
    }

    fn poll(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let was_woken = self.flags[slot].take();
        let waker = self.flags[slot].waker();
        let mut cx = Context::from_waker(&waker);
        let polled = match &mut self.tasks[slot] {
            Real::Nothing | Real::Guard(_) => return Ok(()),
            Real::Acquires(future) => match future.as_mut().poll(&mut cx) {
                Poll::Pending => Polled::Pending,
                Poll::Ready(Err(Stopped { .. })) => Polled::Stopped,
                Poll::Ready(Ok(guard)) => {
                    let (found, expected) = (*guard, self.model.data[self.model.tasks[slot].monitor]);
                    prop_assert_eq!(found, expected, "what is in the monitor");
                    self.tasks[slot] = Real::Guard(guard);
                    Polled::Lock
                }
            },
            Real::When(future) => match future.as_mut().poll(&mut cx) {
                Poll::Pending => Polled::Pending,
                Poll::Ready(Err(Stopped { .. })) => Polled::Stopped,
                Poll::Ready(Ok(value)) => Polled::Value(value),
            },
        };
        if matches!(polled, Polled::Stopped | Polled::Value(_)) {
            self.tasks[slot] = Real::Nothing;
        }
        self.polled(slot, was_woken, polled)
    }

    /// Whether the model has it that a poll came to this, and what follows.
    fn polled(&mut self, slot: usize, was_woken: bool, polled: Polled) -> Result<(), TestCaseError> {
        let task = self.model.tasks[slot];
        let must_try = was_woken || !task.was_polled;
        self.model.tasks[slot].was_polled = true;
        if self.model.is_stopped(slot) {
            prop_assert_eq!(polled, Polled::Stopped, "its domain is over: {:?}", task);
            self.model.leave(slot);
            return Ok(());
        }
        let is_free = self.model.holder[task.monitor].is_none();
        let data = self.model.data[task.monitor];
        match (task.wants, &polled) {
            (_, Polled::Stopped) => prop_assert!(false, "nobody has stopped {task:?}"),
            (Wants::Notified { .. } | Wants::Change { .. }, _) => {
                prop_assert!(!was_woken, "woken for nothing: {task:?}");
                prop_assert_eq!(polled, Polled::Pending, "nothing has come for {:?}", task);
            }
            (Wants::Lock { when: Some(when) }, Polled::Pending) if is_free && must_try => {
                prop_assert_ne!(when, data, "what it waits for is there: {:?}", task);
                self.model.tasks[slot].wants = Wants::Change { when };
            }
            (_, Polled::Pending) => prop_assert!(!is_free || !must_try, "the lock is free for {task:?}"),
            (Wants::Lock { when: None } | Wants::Relock { .. }, Polled::Lock) => {
                prop_assert!(is_free, "the lock is held, and {task:?} has it");
                self.model.take(slot);
            }
            (Wants::Lock { when: Some(when) }, Polled::Value(value)) => {
                prop_assert!(is_free && when == data && when == *value, "{task:?} has {value}, and there is {data}");
                self.model.tasks[slot].wants = Wants::Nothing;
                self.model.changed(task.monitor);
            }
            (wants, polled) => prop_assert!(false, "{wants:?} came to {polled:?}"),
        }
        Ok(())
    }

    /// Who was polled, sleeps, and has something to do now, was woken.
    fn check_wakes(&self) -> Result<(), TestCaseError> {
        for (slot, task) in self.model.tasks.iter().enumerate() {
            let is_pending = matches!(self.tasks[slot], Real::Acquires(_) | Real::When(_));
            if is_pending && task.was_polled && self.model.is_stopped(slot) {
                prop_assert!(self.flags[slot].is_soon_woken(), "stopped and not woken: {task:?}");
            }
        }
        Ok(())
    }

    /// Everybody lets go; then only those are polled that were woken, or never were polled.
    fn run_out(&mut self) -> Result<(), TestCaseError> {
        let holds = |task: &Real<'_>| matches!(task, Real::Guard(_));
        loop {
            (0..SLOTS)
                .filter(|slot| holds(&self.tasks[*slot]))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|slot| self.let_go(slot));
            let due = (0..SLOTS).find(|slot| {
                let is_pending = matches!(self.tasks[*slot], Real::Acquires(_) | Real::When(_));
                is_pending && (self.flags[*slot].count() > 0 || !self.model.tasks[*slot].was_polled)
            });
            match due {
                Some(slot) => self.poll(slot)?,
                None => break,
            }
        }
        for (slot, task) in self.model.tasks.iter().enumerate() {
            match task.wants {
                Wants::Nothing => {}
                Wants::Notified { condvar } => prop_assert!(self.model.queues[condvar].contains(&slot), "{task:?}"),
                Wants::Change { when } => prop_assert_ne!(when, self.model.data[task.monitor], "{:?}", task),
                _ => prop_assert!(false, "it sleeps for ever: {task:?}"),
            }
        }
        Ok(())
    }
}

fn run(ops: &[Op]) -> Result<(), TestCaseError> {
    let stop = Stop::new("life");
    let domains = [stop.clone(), stop.child("part"), Stop::new("phase")];
    let monitors = [0, 1].map(|which| Monitor::new("data", Mutex::new(0), &domains[which]));
    let condvars = [Condvar::new(), Condvar::new()];
    let mut scene = Scene {
        monitors: &monitors,
        condvars: &condvars,
        domains: &domains,
        tasks: [const { Real::Nothing }; SLOTS],
        flags: std::array::from_fn(|_| Flag::new()),
        model: Model::new(),
    };
    for op in ops {
        scene.step(*op)?;
    }
    scene.run_out()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn monitors_and_their_queues_do_what_their_specification_says(ops in vec(op(), 0..60)) {
        // One thread plays everybody here, and takes the two monitors in any order.
        report::on_inversion(|_| ());
        let trying = ops.clone();
        let outcome = Arc::new(Mutex::new(Ok(())));
        let told = Arc::clone(&outcome);
        guarded(move || {
            let found = run(&trying);
            *told.lock().expect("nobody panics with it") = found;
        });
        let found = outcome.lock().expect("nobody panics with it").clone();
        found?;
    }
}
