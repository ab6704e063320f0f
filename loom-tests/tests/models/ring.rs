//! L4, memory outlives the kernel, for the ring: the shipped inbox, slab and owner's rounds (`src/io/uring/engine`) over a kernel that is a thread.
//!
//! The device takes what was submitted, writes into its memory at any later point and posts a completion. A cancel reaches what it has not begun; it is
//! carried out late, in any order with other work (the kernel's own are sooner). A write into memory that was given back is an assertion, one
//! beside another access a causality violation of loom's cell; a wake-up of the owner that is lost, and an operation that is neither
//! refused nor ended, are deadlocks.

#![expect(
    clippy::arc_with_non_send_sync,
    reason = "loom's threads share one thread of the system, and its cells are not Sync"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use unwedge::engine::{Entry, Flight, Inbox, Kernel, Key, Landed, Landing, Left, Operation, Outside, Owner, Sleep};
use unwedge::model::{self, thread};
use unwedge::{Completer, Completion, Stop};

use crate::common::explore;

const CANCELED: i32 = -125;

/// What the device writes to. Whether it was given back is not seen by loom: it adds no order.
pub struct Memory {
    bytes: UnsafeCell<u8>,
    given_back: AtomicBool,
    /// Which device it is to come from.
    device: u64,
}

/// The owner of a [`Memory`]; its drop gives it back.
pub struct Buffer(pub Arc<Memory>);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.bytes.with_mut(|_| ());
        assert!(!self.0.given_back.swap(true, Relaxed), "given back twice");
    }
}

impl Memory {
    pub fn is_given_back(&self) -> bool {
        self.given_back.load(Relaxed)
    }

    fn write(&self) {
        assert!(!self.is_given_back(), "the kernel writes into memory that was given back");
        // SAFETY: a pointer that was just made from a live cell; loom checks that nobody accesses it meanwhile.
        self.bytes.with_mut(|bytes| unsafe { *bytes = 7 });
    }
}

/// How many operations were refused, and how many have ended otherwise.
#[derive(Default)]
pub struct Count {
    refused: AtomicUsize,
    ended: AtomicUsize,
}

/// A read: before the kernel has it and while it has it.
pub struct Read {
    buffer: Buffer,
    completer: Completer<Buffer>,
    count: Arc<Count>,
}

impl Operation for Read {
    fn is_done_in_any_case(&self) -> bool {
        false
    }

    fn is_idle(&self) -> bool {
        !self.completer.is_wanted()
    }

    fn forget(self) {
        self.count.ended.fetch_add(1, Relaxed);
    }

    fn refuse(self) {
        self.count.refused.fetch_add(1, Relaxed);
    }

    fn device(&self) -> u64 {
        self.buffer.0.device
    }
}

impl Flight for Read {
    type Operation = Read;
    type Outcome = i32;

    fn begin(op: Read) -> Option<Self> {
        Some(op)
    }

    fn bytes(&self) -> usize {
        1
    }

    fn may_be_cancelled(&self) -> bool {
        true
    }

    fn is_wanted(&self) -> bool {
        self.completer.is_wanted()
    }

    fn land(&mut self, result: i32, cancelled: bool) -> Landing<i32> {
        assert!(result != CANCELED || cancelled, "another operation was cancelled");
        Landing::Ended(result)
    }

    fn end(self, outcome: i32) {
        self.count.ended.fetch_add(1, Relaxed);
        if outcome != CANCELED {
            drop(self.completer.complete(self.buffer));
        }
    }

    fn cancelled() -> i32 {
        CANCELED
    }
}

/// How the kernel is wrong, in twins.
#[derive(Clone, Copy, Default)]
pub struct Wrong {
    /// A cancel is taken for the end of what it was for, though the device has begun.
    pub cancel_is_the_end: bool,
    /// What a cancel is for is known by its index alone.
    pub no_generations: bool,
}

/// What owner, device and callers share: the queues, the bell, what the owner told.
pub struct Machine {
    state: Mutex<State>,
    changed: Condvar,
    wrong: Wrong,
}

#[derive(Default)]
struct State {
    submitted: VecDeque<(Key, Arc<Memory>)>,
    cancels: VecDeque<Key>,
    landed: VecDeque<Landed>,
    /// The device has these.
    begun: Vec<Key>,
    rung: bool,
    /// The ring was closed. What the device has begun it goes on with.
    closed: bool,
    /// The device does not answer.
    frozen: bool,
    /// What is for this one of its parts is not begun.
    dead: Option<u64>,
    lingers: Option<Left>,
    ended: bool,
}

impl Machine {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(value) = ready(&mut state) {
                return value;
            }
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// The [`Outside`] of the inbox.
pub struct Around(Arc<Machine>);

impl Outside for Around {
    fn ring(&self) {
        self.0.change(|state| state.rung = true);
    }

    fn lingers(&self, left: Left) {
        self.0.change(|state| state.lingers = Some(left));
    }

    fn ended(&self) {
        self.0.change(|state| state.ended = true);
    }
}

/// The owner's side of the machine.
struct Ring {
    machine: Arc<Machine>,
    queue: Vec<(Key, Arc<Memory>)>,
    cancels: Vec<Key>,
    reaped: VecDeque<Landed>,
    /// A limited wait has timed out. Only the first does, so that an owner that waits again and again does not keep the others from running.
    timed_out: bool,
}

impl Kernel for Ring {
    type Flight = Read;

    unsafe fn push(&mut self, entry: &Entry<'_, Read>) -> bool {
        match entry {
            // So that a queue is full at some time.
            Entry::Work(..) if !self.queue.is_empty() => return false,
            Entry::Work(key, flight) => self.queue.push((*key, flight.buffer.0.clone())),
            Entry::Cancel(key) => self.cancels.push(*key),
            Entry::Bell => {}
        }
        true
    }

    fn enter(&mut self, sleep: &Sleep) -> bool {
        let (queue, cancels) = (&mut self.queue, &mut self.cancels);
        if !queue.is_empty() || !cancels.is_empty() {
            self.machine.change(|state| {
                state.submitted.extend(queue.drain(..));
                state.cancels.extend(cancels.drain(..));
            });
        }
        let news = |state: &mut State| {
            let mut landed = std::mem::take(&mut state.landed);
            landed.extend(std::mem::take(&mut state.rung).then_some(Landed::Bell(true)));
            landed
        };
        // What the owner has not reaped stays.
        let news = match sleep {
            _ if !self.reaped.is_empty() => news(&mut self.machine.state.lock().unwrap()),
            Sleep::No => news(&mut self.machine.state.lock().unwrap()),
            Sleep::Until(_) if !self.timed_out => {
                let landed = news(&mut self.machine.state.lock().unwrap());
                self.timed_out = landed.is_empty();
                if self.timed_out {
                    model::advance(Duration::from_secs(1));
                }
                landed
            }
            _ => self.machine.until(|state| Some(news(state)).filter(|landed| !landed.is_empty())),
        };
        self.reaped.extend(news);
        true
    }

    fn reap(&mut self) -> Option<Landed> {
        self.reaped.pop_front()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.machine.change(|state| state.closed = true);
    }
}

/// The device: carries out what was submitted and what is to be cancelled, until the ring is closed and nothing is left.
fn device(machine: &Machine) {
    enum Next {
        Write(Key, Arc<Memory>),
        Cancelled,
        Over,
    }
    loop {
        let next = machine.until(|state| {
            if let Some(key) = state.cancels.pop_front() {
                cancel(state, machine.wrong, key);
                return Some(Next::Cancelled);
            }
            let over = state.closed && state.submitted.is_empty();
            let alive = state.submitted.iter().position(|(_, memory)| state.dead != Some(memory.device));
            let next = alive.and_then(|at| state.submitted.remove(at)).map(|(key, memory)| Next::Write(key, memory));
            if let Some(Next::Write(key, _)) = &next {
                state.begun.push(*key);
            }
            next.or(over.then_some(Next::Over))
        });
        match next {
            Next::Write(key, memory) => {
                machine.until(|state| {
                    // What is begun goes on; only a cancel that trusts itself is carried out meanwhile.
                    if let Some(key) = machine.wrong.cancel_is_the_end.then(|| state.cancels.pop_front()).flatten() {
                        cancel(state, machine.wrong, key);
                        machine.changed.notify_all();
                    }
                    (!state.frozen).then_some(())
                });
                memory.write();
                machine.change(|state| {
                    if state.begun.contains(&key) {
                        state.begun.retain(|begun| *begun != key);
                        state.landed.push_back(Landed::Work(key, 1));
                    }
                });
            }
            Next::Cancelled => machine.changed.notify_all(),
            Next::Over => return,
        }
    }
}

fn cancel(state: &mut State, wrong: Wrong, key: Key) {
    let is_meant = |other: &Key| if wrong.no_generations { other.0 as u32 == key.0 as u32 } else { *other == key };
    if let Some(at) = state.submitted.iter().position(|(other, _)| is_meant(other)) {
        let found = state.submitted.remove(at).map(|(key, _)| Landed::Work(key, CANCELED));
        state.landed.extend(found);
    } else if wrong.cancel_is_the_end && state.begun.contains(&key) {
        state.begun.retain(|begun| *begun != key);
        state.landed.push_back(Landed::Work(key, CANCELED));
    }
}

/// A service: its inbox, and the threads of owner and device.
pub struct Service {
    pub inbox: Arc<Inbox<Read, Around>>,
    machine: Arc<Machine>,
    count: Arc<Count>,
    stop: Stop,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Service {
    /// One device may have so many operations begun, all together so many.
    pub fn start(each: usize, all: usize, wrong: Wrong) -> Service {
        let machine = Arc::new(Machine { state: Mutex::default(), changed: Condvar::new(), wrong });
        let inbox = Arc::new(Inbox::new(Around(machine.clone())));
        let (ring, owners) = (machine.clone(), inbox.clone());
        let owner = thread::spawn(move || {
            let (queue, cancels, reaped) = Default::default();
            let ring = Ring { machine: ring, queue, cancels, reaped, timed_out: false };
            Owner::new(ring, owners, each, all).serve();
        });
        let devices = machine.clone();
        let device = thread::spawn(move || device(&devices));
        Service { inbox, machine, count: Arc::default(), stop: Stop::new("life"), threads: vec![owner, device] }
    }

    pub fn read(&self) -> (Read, Completion<Buffer>, Arc<Memory>) {
        self.read_from(0)
    }

    fn read_from(&self, device: u64) -> (Read, Completion<Buffer>, Arc<Memory>) {
        let (completer, completion) = Completion::new("read", &self.stop);
        let memory = Arc::new(Memory { bytes: UnsafeCell::new(0), given_back: AtomicBool::new(false), device });
        (Read { buffer: Buffer(memory.clone()), completer, count: self.count.clone() }, completion, memory)
    }

    pub fn put(&self) -> (Completion<Buffer>, Arc<Memory>) {
        let (read, completion, memory) = self.read();
        assert!(self.inbox.put(read).is_ok(), "it is not closed");
        (completion, memory)
    }

    fn put_for(&self, device: u64) -> Completion<Buffer> {
        let (read, completion, _) = self.read_from(device);
        assert!(self.inbox.put(read).is_ok(), "it is not closed");
        completion
    }

    pub fn freeze(&self) {
        self.machine.change(|state| state.frozen = true);
    }

    /// Has the device answer from the time on at which the owner told what is left, or that it has ended: then `None`.
    pub fn thaw_when_told(&self) -> Option<Left> {
        let left = self.machine.until(|state| {
            let told = state.lingers.map(Some).or(state.ended.then_some(None));
            state.frozen &= told.is_none();
            told
        });
        self.machine.changed.notify_all();
        left
    }

    pub fn close(&self) {
        self.inbox.close(model::now());
    }

    /// Waits for both threads; `ended` operations are not refused ones.
    pub fn join(self) -> (usize, usize) {
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(self.machine.state.lock().unwrap().ended);
        (self.count.refused.load(Relaxed), self.count.ended.load(Relaxed))
    }
}

/// Whoever puts an operation in wakes the owner, which may be about to sleep, asleep or awake; so does a retirement.
#[test]
fn ring_wakes_its_owner() {
    explore("L3, L4", Some(3), || {
        let service = Service::start(1, 1, Wrong::default());
        let (mut read, memory) = service.put();
        let buffer = read.wait().unwrap().unwrap();
        assert!(!memory.is_given_back());
        drop(buffer);
        service.inbox.retire();
        assert_eq!(service.join(), (0, 1));
    });
}

/// An operation that comes beside the shutdown is refused, at the door or by the owner, or ends; none is forgotten.
#[test]
fn ring_refuses_or_takes() {
    explore("L4", Some(3), || {
        let service = Service::start(1, 1, Wrong::default());
        let (read, completion, memory) = service.read();
        let inbox = service.inbox.clone();
        let caller = thread::spawn(move || inbox.put(read).is_ok());
        service.close();
        let taken = caller.join().unwrap();
        let (refused, ended) = service.join();
        assert_eq!(refused + ended, usize::from(taken), "neither refused nor taken");
        drop(completion);
        assert!(memory.is_given_back());
    });
}

/// A completion lands while its waiter goes: the memory is given back once, and not before.
#[test]
fn ring_completes_beside_a_drop() {
    explore("L4, L5", Some(3), || {
        let service = Service::start(1, 1, Wrong::default());
        let (completion, memory) = service.put();
        drop(completion);
        service.inbox.retire();
        assert_eq!(service.join(), (0, 1));
        assert!(memory.is_given_back());
    });
}

/// The same beside a stop of the waiter's domain, and the shutdown that follows.
#[test]
fn ring_completes_beside_a_stop() {
    explore("L4, L5", Some(3), || {
        let service = Service::start(1, 1, Wrong::default());
        let (mut completion, memory) = service.put();
        service.stop.request("SIGTERM");
        assert!(completion.wait().is_err(), "a wait that begins after the request is stopped");
        service.close();
        drop(completion);
        let (refused, ended) = service.join();
        assert_eq!(refused + ended, 1);
        assert!(memory.is_given_back());
    });
}

/// A device that does not answer until the deadline is over: what it has is told, kept, and given back when it answers.
#[test]
fn ring_keeps_what_is_late() {
    explore("L4", Some(3), || {
        let service = Service::start(1, 1, Wrong::default());
        service.freeze();
        let (completion, memory) = service.put();
        service.close();
        if let Some(left) = service.thaw_when_told() {
            assert_eq!(left, Left { operations: 1, bytes: 1 });
        }
        drop(completion);
        service.join();
        assert!(memory.is_given_back());
    });
}

/// One permit and an operation that waits for it: the owner is deaf to a third, and serves it all the same; a retirement it hears.
#[test]
fn ring_serves_who_comes_while_it_is_deaf() {
    explore("L3", Some(1), || {
        let service = Service::start(1, 1, Wrong::default());
        let all = [service.put(), service.put(), service.put()];
        service.inbox.retire();
        for (mut read, _) in all {
            assert!(read.wait().unwrap().is_ok());
        }
        assert_eq!(service.join(), (0, 3));
    });
}

/// A dead device has its permit, and one more operation waits for it: the owner is deaf to that device, and hears what is for another one.
#[test]
fn ring_hears_what_is_for_another_device() {
    explore("L1, L3", Some(1), || {
        let service = Service::start(1, 2, Wrong::default());
        service.machine.change(|state| state.dead = Some(7));
        let stuck = [service.put_for(7), service.put_for(7)];
        assert!(service.put_for(9).wait().unwrap().is_ok(), "the other device answers");
        service.machine.change(|state| state.dead = None);
        service.inbox.retire();
        for mut read in stuck {
            assert!(read.wait().unwrap().is_ok());
        }
        assert_eq!(service.join(), (0, 3));
    });
}

/// One permit, two operations, of which nobody wants the first: its cancel may come when the second has its slot, and does not end that.
#[test]
fn ring_cancels_who_was_meant() {
    explore("L4, L5", Some(2), || two_for_one_permit(Wrong::default()));
}

pub fn two_for_one_permit(wrong: Wrong) {
    let service = Service::start(1, 1, wrong);
    let (unwanted, first) = service.put();
    let (mut wanted, _) = service.put();
    drop(unwanted);
    assert!(wanted.wait().unwrap().is_ok(), "what is wanted is read");
    service.inbox.retire();
    let (refused, ended) = service.join();
    assert_eq!((refused, ended), (0, 2));
    assert!(first.is_given_back());
}
