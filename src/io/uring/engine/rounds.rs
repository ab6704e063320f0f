//! The owner's rounds, one after the other, with a kernel that does what a test says. (With threads: the models in `loom-tests/`.)

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    thread,
};

use super::{Entry, Flight, Inbox, Kernel, Key, Landed, Landing, Left, Operation, Outside, Owner, Sleep};
use crate::sys::now;

const DEVICE: u64 = 7;
const CANCELED: i32 = -125;

/// A read that nobody wants any more once it was begun, or a close.
struct Task {
    is_close: bool,
    ended: Rc<RefCell<Vec<Option<i32>>>>,
}

impl Operation for Task {
    fn is_done_in_any_case(&self) -> bool {
        self.is_close
    }

    fn is_idle(&self) -> bool {
        false
    }

    fn forget(self) {
        unreachable!("nothing here is idle");
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

/// What is around the inbox: whether the owner lingers.
#[derive(Default)]
struct Around {
    lingers: Cell<bool>,
}

impl Outside for Around {
    fn ring(&self) {}

    fn lingers(&self, _: Left) {
        self.lingers.set(true);
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
    /// In the submission queue, which has room for one.
    queued: Option<Push>,
    works: Vec<Key>,
    cancels: Vec<Key>,
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
            Entry::Bell => return true,
        };
        let room = self.given.queued.is_none();
        self.given.queued.get_or_insert(push);
        room
    }

    fn enter(&mut self, sleep: &Sleep) {
        match self.given.queued.take() {
            Some(Push::Work(key)) => self.given.works.push(key),
            Some(Push::Cancel(key)) => self.given.cancels.push(key),
            None => {}
        }
        (self.enter)(&mut self.given, sleep);
        if let (Sleep::Until(at), true) = (sleep, self.given.landed.is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "the kernel's own wait, which nothing ends here")]
            thread::sleep(at.saturating_duration_since(now()));
        }
    }

    fn reap(&mut self) -> Option<Landed> {
        self.given.landed.pop_front()
    }
}

/// Serves these tasks, with so many permits, and says how they ended.
fn serve(
    tasks: &[bool],
    each: usize,
    closed: bool,
    mut enter: impl FnMut(&mut Given, &Sleep, &Around),
) -> Vec<Option<i32>> {
    let ended = Rc::default();
    #[expect(clippy::arc_with_non_send_sync, reason = "one thread plays all parts")]
    let inbox = Arc::new(Inbox::new(Around::default()));
    for &is_close in tasks {
        assert!(inbox.put(Task { is_close, ended: Rc::clone(&ended) }).is_ok(), "the inbox is open");
    }
    if !closed {
        inbox.retire();
    }
    let owners = Arc::clone(&inbox);
    let mut entries = 0;
    let enter = move |given: &mut Given, sleep: &Sleep| {
        entries += 1;
        assert!(entries < 1000, "the owner goes round and round");
        if closed && entries == 2 {
            owners.close(now());
        }
        enter(given, sleep, &owners.outside);
    };
    Owner::new(Script { given: Given::default(), enter }, inbox, each, 4 * each).serve();
    ended.take()
}

/// A close waits for a device that is dead. The owner has nothing to look for, and sleeps until the device answers.
#[test]
fn an_owner_that_lingers_sleeps() {
    let ended = serve(&[false, true], 1, true, |given, sleep, around| {
        if around.lingers.get() {
            assert!(!matches!(sleep, Sleep::Until(_)), "it wakes for nothing");
            if *sleep == Sleep::Long {
                // What is there answers.
                given.works.clone().into_iter().for_each(|key| given.end(key, 0));
            }
        }
    });
    assert_eq!(ended, [Some(0), Some(0)]);
}

/// Cancels for what nobody wants fill the submission queue, and while they are handed on the first permits come back: what waits for one is begun before the
/// owner sleeps.
#[test]
fn what_may_be_begun_is_begun_before_the_owner_sleeps() {
    let (mut ended_so_far, all, each) = (0, 8, 2);
    let ended = serve(&[false; 8], each, false, |given, sleep, _| {
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
