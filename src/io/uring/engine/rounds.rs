//! The owner's rounds, one after the other, with a kernel that does what a test says. (With threads: the models in `loom-tests/`.)

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use super::{Entry, Flight, Inbox, Kernel, Key, Landed, Landing, Left, Operation, Outside, Owner, Sleep};
use crate::sys::now;

const DEVICE: u64 = 7;
const CANCELED: i32 = -125;
const FORGOTTEN: i32 = -1;

/// A read that nobody wants any more once it was begun, or a close.
struct Task {
    is_close: bool,
    /// Nobody wants it, begun or not.
    idle: Rc<Cell<bool>>,
    ended: Rc<RefCell<Vec<Option<i32>>>>,
}

impl Operation for Task {
    fn is_done_in_any_case(&self) -> bool {
        self.is_close
    }

    fn is_idle(&self) -> bool {
        self.idle.get()
    }

    fn forget(self) {
        self.ended.borrow_mut().push(Some(FORGOTTEN));
    }

    fn refuse(self) {
        self.ended.borrow_mut().push(None);
    }

    fn device(&self) -> u64 {
        DEVICE
    }
}

impl Flight for Task {
    type Operation = Task;
    type Outcome = i32;

    fn begin(op: Task) -> Option<Self> {
        Some(op)
    }

    fn bytes(&self) -> usize {
        1
    }

    fn may_be_cancelled(&self) -> bool {
        !self.is_close
    }

    fn is_wanted(&self) -> bool {
        false
    }

    fn land(&mut self, result: i32, _: bool) -> Landing<i32> {
        Landing::Ended(result)
    }

    fn end(self, outcome: i32) {
        self.ended.borrow_mut().push(Some(outcome));
    }

    fn cancelled() -> i32 {
        CANCELED
    }
}

/// What is around the inbox: with what the owner lingers, and whether its tasks are idle.
#[derive(Default)]
struct Around {
    lingers: Cell<Option<Left>>,
    idle: Rc<Cell<bool>>,
}

impl Outside for Around {
    fn ring(&self) {}

    fn lingers(&self, left: Left) {
        self.lingers.set(Some(left));
    }

    fn ended(&self) {}
}

/// The kernel: what it was given, and what it says to each entry.
struct Script<F: FnMut(&mut Given, &Sleep)> {
    given: Given,
    enter: F,
}

#[derive(Default)]
struct Given {
    /// In the submission queue, which has room for one and so many more.
    queued: Vec<Push>,
    more_room: usize,
    /// Short of memory, so that it takes nothing out of the submission queue.
    is_short: bool,
    works: Vec<Key>,
    cancels: Vec<Key>,
    /// How often the wait for the bell was begun.
    bells: usize,
    landed: VecDeque<Landed>,
}

enum Push {
    Work(Key),
    Cancel(Key),
}

impl Given {
    fn end(&mut self, key: Key, result: i32) {
        self.works.retain(|work| *work != key);
        self.landed.push_back(Landed::Work(key, result));
    }
}

impl<F: FnMut(&mut Given, &Sleep)> Kernel for Script<F> {
    type Flight = Task;

    unsafe fn push(&mut self, entry: &Entry<'_, Task>) -> bool {
        let push = match entry {
            Entry::Work(key, _) => Push::Work(*key),
            Entry::Cancel(key) => Push::Cancel(*key),
            Entry::Bell => {
                self.given.bells += 1;
                return true;
            }
        };
        let has_room = self.given.queued.len() <= self.given.more_room;
        if has_room {
            self.given.queued.push(push);
        }
        has_room
    }

    fn enter(&mut self, sleep: &Sleep) -> bool {
        let takes = !self.given.is_short;
        if takes {
            for push in self.given.queued.drain(..) {
                match push {
                    Push::Work(key) => self.given.works.push(key),
                    Push::Cancel(key) => self.given.cancels.push(key),
                }
            }
        }
        (self.enter)(&mut self.given, sleep);
        if let (Sleep::Until(at), true) = (sleep, self.given.landed.is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "the kernel's own wait, which nothing ends here")]
            thread::sleep(at.saturating_duration_since(now()));
        }
        takes
    }

    fn reap(&mut self) -> Option<Landed> {
        self.given.landed.pop_front()
    }
}

/// Serves these tasks, with so many permits for a device, and says how they ended. Either nobody comes any more, or `enter` closes the inbox.
fn serve(
    tasks: &[bool],
    each: usize,
    retired: bool,
    mut enter: impl FnMut(&mut Given, &Sleep, &Inbox<Task, Around>),
) -> Vec<Option<i32>> {
    let ended = Rc::default();
    #[expect(clippy::arc_with_non_send_sync, reason = "one thread plays all parts")]
    let inbox = Arc::new(Inbox::new(Around::default()));
    for &is_close in tasks {
        let task = Task { is_close, idle: Rc::clone(&inbox.outside.idle), ended: Rc::clone(&ended) };
        assert!(inbox.put(task).is_ok(), "the inbox is open");
    }
    if retired {
        inbox.retire();
    }
    let owners = Arc::clone(&inbox);
    let mut entries = 0;
    let enter = move |given: &mut Given, sleep: &Sleep| {
        entries += 1;
        assert!(entries < 1000, "the owner goes round and round");
        enter(given, sleep, &owners);
    };
    Owner::new(Script { given: Given::default(), enter }, inbox, each, 4 * each).serve();
    ended.take()
}

/// A close and a read wait for a device that is dead. The read is refused at the shutdown; the owner looks at the clock once more, at the deadline, and then sleeps
/// until the device answers.
#[test]
fn an_owner_that_lingers_sleeps() {
    let (mut entries, mut left, mut told) = (0, Vec::new(), None);
    let ended = serve(&[false, false, true], 1, false, |given, sleep, inbox| {
        entries += 1;
        if entries == 2 {
            inbox.close(now());
        } else if entries > 2 && inbox.outside.lingers.get().is_none() {
            assert_ne!(*sleep, Sleep::Long, "it sleeps past the deadline");
        } else if inbox.outside.lingers.get().is_some() {
            assert!(!matches!(sleep, Sleep::Until(_)), "it wakes for nothing");
            if *sleep == Sleep::Long {
                left.push(inbox.left());
                told = inbox.outside.lingers.get();
                // What is there answers.
                given.works.clone().into_iter().for_each(|key| given.end(key, 0));
            }
        }
    });
    assert_eq!(ended, [None, Some(0), Some(0)]);
    let left_by = |operations| Left { operations, bytes: 1 };
    assert_eq!(left, [left_by(2), left_by(1)], "the read with the close that waits, and then the close");
    assert_eq!(told, Some(Left { operations: 2, bytes: 1 }), "both");
}

/// A shutdown that is hurried gives up then, but leaves the cancels the time that they always have.
#[test]
fn a_hurry_is_heard() {
    let (mut entries, mut hurried, far) = (0, now(), now() + Duration::from_secs(3600));
    let ended = serve(&[false], 1, false, |given, sleep, inbox| {
        entries += 1;
        if entries < 3 {
            // Nobody sleeps an hour here.
            given.landed.push_back(Landed::Bell(true));
        }
        match entries {
            1 => inbox.close(far),
            2 => {
                assert_eq!(*sleep, Sleep::Until(far));
                hurried = now();
                inbox.close(hurried);
            }
            _ if inbox.outside.lingers.get().is_some() => {
                given.works.clone().into_iter().for_each(|key| given.end(key, 0))
            }
            _ => assert!(matches!(sleep, Sleep::Until(at) if *at > hurried && *at < far), "{sleep:?}"),
        }
    });
    assert_eq!(ended, [Some(0)]);
}

/// A queue with room for all has them submitted in parts.
#[test]
fn the_device_has_the_first_before_the_last_is_prepared() {
    let mut submitted = Vec::new();
    let ended = serve(&[true; 10], 16, true, |given, _, inbox| {
        given.more_room = 15;
        submitted.push(given.works.len());
        // An owner that gets stuck here is not asked.
        assert_eq!(inbox.left().operations, 10, "all are out, given to the kernel or not");
        if given.works.len() == 10 {
            given.works.clone().into_iter().for_each(|key| given.end(key, 0));
        }
    });
    // The first when the queue still had room for one, which the second found full.
    assert_eq!(submitted, [1, 4, 8, 10]);
    assert_eq!(ended, [Some(0); 10]);
}

/// Each attempt takes a while: what was not begun is refused after the first.
#[test]
fn an_owner_whose_kernel_is_short_of_memory_hears_of_a_shutdown() {
    let mut entries = 0;
    let ended = serve(&[false; 10], 16, false, |given, _, inbox| {
        given.more_room = 15;
        entries += 1;
        given.is_short = entries < 3;
        if entries == 2 {
            inbox.close(now() + Duration::from_secs(3600));
        }
        if entries > 3 {
            given.works.clone().into_iter().for_each(|key| given.end(key, 0));
        }
    });
    assert_eq!(ended, [vec![None; 6], vec![Some(0); 4]].concat());
}

/// A close is let end, and nothing is cancelled twice.
#[test]
fn what_may_be_cancelled_is_cancelled_once() {
    let mut entries = 0;
    let ended = serve(&[true, false, false, false], 2, false, |given, sleep, inbox| {
        entries += 1;
        // The looks for what nobody wants, then the shutdown.
        if entries == 6 {
            inbox.close(now());
        }
        if inbox.outside.lingers.get().is_some() && *sleep == Sleep::Long {
            assert_eq!((given.works.len(), given.cancels.len()), (2, 1));
            given.works.clone().into_iter().for_each(|key| given.end(key, 0));
        }
    });
    assert_eq!(ended, [None, None, Some(0), Some(0)]);
}

/// Cancels for what nobody wants fill the submission queue, and while they are handed on the first permits come back: what waits for one is begun before the
/// owner sleeps.
#[test]
fn what_may_be_begun_is_begun_before_the_owner_sleeps() {
    let (mut ended_so_far, all, each) = (0, 8, 2);
    let ended = serve(&[false; 8], each, true, |given, sleep, _| {
        if *sleep != Sleep::No {
            assert_eq!(given.works.len(), each.min(all - ended_so_far), "there are permits for more");
            if given.cancels.is_empty() {
                given.works.clone().into_iter().take(1).for_each(|key| {
                    given.end(key, 0);
                    ended_so_far += 1;
                });
            }
        }
        for key in std::mem::take(&mut given.cancels) {
            given.end(key, CANCELED);
            ended_so_far += 1;
        }
    });
    assert_eq!(ended.len(), all);
}

/// What is set aside for a device that does not answer, and nobody wants any more, is forgotten before the device has answered: at a look, of which there is one
/// from time to time.
#[test]
fn what_waits_for_a_dead_device_is_forgotten() {
    let (mut before, mut looks) = (now(), 0);
    let ended = serve(&[false; 3], 1, true, |given, sleep, inbox| {
        if let Sleep::Until(at) = sleep {
            assert!(*at > before, "it does not sleep");
            looks += 1;
            inbox.outside.idle.set(looks == 2);
            assert_eq!(given.cancels.len(), 1, "it is cancelled once");
        }
        if *sleep == Sleep::Long {
            given.works.clone().into_iter().for_each(|key| given.end(key, 0));
        }
        before = now();
    });
    assert_eq!(looks, 3);
    assert_eq!(ended, [Some(FORGOTTEN), Some(FORGOTTEN), Some(0)]);
}

/// The kernel may end the wait for the bell at any ring.
#[test]
fn a_bell_that_has_ended_is_waited_for_again() {
    let mut entries = 0;
    serve(&[false], 1, true, |given, _, _| {
        entries += 1;
        assert_eq!(given.bells, usize::from(entries > 2));
        match entries {
            1 => given.landed.push_back(Landed::Bell(true)),
            2 => given.landed.extend([Landed::Bell(false), Landed::Bell(true)]),
            _ => given.works.clone().into_iter().for_each(|key| given.end(key, 0)),
        }
    });
    assert_eq!(entries, 3);
}

/// For a shutdown whose owner does not answer.
#[test]
fn what_is_left_is_in_the_kernel_or_waits() {
    let inbox = Inbox::new(Around::default());
    assert_eq!(inbox.left(), Left::default());
    inbox.note(Left { operations: 3, bytes: 4096 });
    for _ in 0..2 {
        let task = Task { is_close: false, idle: Rc::default(), ended: Rc::default() };
        assert!(inbox.put(task).is_ok(), "the inbox is open");
    }
    assert_eq!(inbox.left(), Left { operations: 5, bytes: 4096 });
}
