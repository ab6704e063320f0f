//! Complete, wait, poll, cancel, drop and stop of one completion, at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use unwedge::{Abandoned, Completion, Stop, WaitError};

use crate::checker::{Jitter, Part, Recorder, Spec, together};
use crate::common::{GUARD, guarded};
use crate::rounds;

/// What came of a wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Came {
    Value(u8),
    Abandoned,
    Stopped,
    /// A poll that goes on.
    Nothing,
}

#[derive(Clone, Debug)]
enum Effect {
    /// The completer gave a value; whether it was taken.
    Finish(u8, bool),
    /// The completer was dropped.
    Abandon,
    /// A wait or poll begins.
    Begin,
    /// And ends, with this. A poll that gave nothing has begun a wait that the next poll goes on with.
    End(Came),
    /// The completion is gone; what it gave back.
    Cancel(Option<Came>),
    /// It was dropped.
    Forget,
    /// The stop's flag is seen.
    Flag,
    /// The wait, if there is one, is ended by the stop.
    Sweep,
}

/// How far the wait is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wait {
    None,
    /// A call that has begun before the stop, and is not over.
    Begun,
    /// A call that has begun after it.
    Doomed,
    /// A poll has left it behind.
    Sleeps,
    Notified,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Model {
    value: Option<Came>,
    is_gone: bool,
    is_flagged: bool,
    wait: Wait,
}

impl Model {
    fn finish(&mut self, came: Came) {
        if !self.is_gone {
            self.value = Some(came);
        }
        if self.wait == Wait::Sleeps {
            self.wait = Wait::Notified;
        }
    }
}

impl Spec for Model {
    type Effect = Effect;

    fn after(&self, effect: &Effect) -> Option<Model> {
        let mut next = self.clone();
        match effect {
            Effect::Finish(value, was_taken) => {
                if self.is_gone == *was_taken {
                    return None;
                }
                next.finish(Came::Value(*value));
            }
            Effect::Abandon => next.finish(Came::Abandoned),
            Effect::Begin => {
                if self.wait == Wait::None {
                    next.wait = if self.is_flagged { Wait::Doomed } else { Wait::Begun };
                }
            }
            Effect::End(came) => {
                next.wait = Wait::None;
                match (self.wait, came) {
                    // It is seen also by a wait that has registered: the later of the two finds the other.
                    (Wait::Begun | Wait::Doomed, Came::Stopped) if self.is_flagged => {}
                    (Wait::Begun, Came::Nothing) if self.value.is_none() => next.wait = Wait::Sleeps,
                    (Wait::Begun, Came::Value(_) | Came::Abandoned) if self.value.as_ref() == Some(came) => {}
                    (Wait::Sleeps, Came::Nothing) => next.wait = Wait::Sleeps,
                    (Wait::Notified, Came::Value(_) | Came::Abandoned) if self.value.as_ref() == Some(came) => {}
                    (Wait::Stopped, Came::Stopped) => {}
                    _ => return None,
                }
            }
            Effect::Cancel(found) => {
                if *found != self.value {
                    return None;
                }
                (next.is_gone, next.wait) = (true, Wait::None);
            }
            Effect::Forget => (next.is_gone, next.wait) = (true, Wait::None),
            Effect::Flag => next.is_flagged = true,
            Effect::Sweep => {
                if !self.is_flagged {
                    return None;
                }
                if self.wait == Wait::Sleeps {
                    next.wait = Wait::Stopped;
                }
            }
        }
        Some(next)
    }
}

fn came(result: Result<Result<u8, unwedge::Abandoned>, unwedge::Stopped>) -> Came {
    match result {
        Ok(Ok(value)) => Came::Value(value),
        Ok(Err(_)) => Came::Abandoned,
        Err(_) => Came::Stopped,
    }
}

/// What the completion's side does.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// Blocks. In every round either the completer or the stop lets it go.
    Wait,
    /// Polls three times, then cancels.
    Poll,
    Cancel,
    Drop,
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(self: Arc<Self>) {}
}

/// The completion's side of a round.
fn play(note: &Recorder<Effect>, side: Side, mut own: Completion<u8>, jitter: &mut Jitter) {
    let ended = |came: &Came| vec![Effect::Begin, Effect::End(came.clone())];
    let cancelled = |back: &Option<Result<u8, Abandoned>>| vec![Effect::Cancel(back.map(|value| came(Ok(value))))];
    match side {
        Side::Wait => {
            let until = Instant::now() + GUARD;
            let wait = || match own.wait_until(until) {
                Err(WaitError::TimedOut) => panic!("neither completed nor stopped"),
                Err(WaitError::Stopped) => Came::Stopped,
                Ok(result) => came(Ok(result)),
            };
            note.call(1, wait, ended);
        }
        Side::Poll => {
            let waker = Waker::from(Arc::new(NoWaker));
            for _ in 0..3 {
                let poll = || match Pin::new(&mut own).poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(result) => came(result),
                    Poll::Pending => Came::Nothing,
                };
                if note.call(1, poll, ended) != Came::Nothing {
                    break;
                }
                jitter.pause();
            }
        }
        Side::Cancel => {
            note.call(1, || own.cancel(), cancelled);
            return;
        }
        Side::Drop => {}
    }
    note.call(1, || drop(own), |()| vec![Effect::Forget]);
}

fn round(round: u64, side: Side, is_abandoned: bool) {
    let recorder = Recorder::new();
    let stop = Stop::new("life");
    let (completer, completion) = Completion::<u8>::new("read", &stop);
    let (note, domain) = (&recorder, &stop);
    let complete = move |_: &mut Jitter| {
        if is_abandoned {
            note.call(0, || drop(completer), |()| vec![Effect::Abandon]);
            return;
        }
        let given = note.call(0, || completer.complete(7), |given| vec![Effect::Finish(7, given.is_ok())]);
        assert!(given.is_ok() || given == Err(7), "the value comes back");
    };
    let request = move |_: &mut Jitter| {
        note.call(2, || domain.request("test"), |_| vec![Effect::Flag, Effect::Sweep]);
    };
    let parts: Vec<Part<'_>> =
        vec![Box::new(complete), Box::new(move |jitter| play(note, side, completion, jitter)), Box::new(request)];
    together(round, parts);
    recorder.check(&Model { value: None, is_gone: false, is_flagged: false, wait: Wait::None }, round);
}

#[test]
fn complete_wait_poll_cancel_drop_and_stop() {
    guarded(|| {
        for number in 0..rounds() {
            for side in [Side::Wait, Side::Poll, Side::Cancel, Side::Drop] {
                round(number, side, number % 3 == 0);
            }
        }
    });
}

#[test]
fn a_value_that_nobody_sent_is_seen() {
    let recorder = Recorder::new();
    recorder.call(0, || (), |()| vec![Effect::Finish(7, true)]);
    recorder.call(1, || (), |()| vec![Effect::Begin, Effect::End(Came::Value(8))]);
    let start = Model { value: None, is_gone: false, is_flagged: false, wait: Wait::None };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recorder.check(&start, 0)));
    assert!(checked.is_err());
}
