//! One-shot results: taken when they are there already, awaited by a task, waited for by a thread.
//!
//! Where two sides meet, each message carries what its receiver answers with: a request carries the sender of its reply, the reply the
//! sender of the next request. So every result is waited for by one and completed by the other, each on a pair made for it alone, and
//! nothing else goes between the two.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot as tokio_oneshot;
use unwedge::{Completer, Completion, Stop};

use super::{Contest, Side};
use crate::machine::Pinned;
use crate::measure::{Measured, Stopwatch, repeat};

/// Replies that are taken before the measurement begins.
const WARM_UP: u64 = 16;

/// A one-shot channel.
trait Pairs: Clone + Send + Sync + 'static {
    type Sender<T: Send + 'static>: Send + 'static;
    type Receiver<T: Send + 'static>: Send + 'static;
    fn new() -> Self;
    fn pair<T: Send + 'static>(&self) -> (Self::Sender<T>, Self::Receiver<T>);
    /// Whether anybody took it.
    fn send<T: Send + 'static>(sender: Self::Sender<T>, value: T) -> bool;
}

/// One whose receiving end blocks.
trait OneShot: Pairs {
    /// Waits; `None` if the sender was dropped.
    fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T>;
    /// As [`wait`](OneShot::wait), for a value that is there already; tokio's has a shorter way.
    #[inline]
    fn take<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        Self::wait(receiver)
    }
}

/// One whose receiving end is awaited.
trait TaskOneShot: Pairs {
    /// Waits; `None` if the sender was dropped.
    fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> impl Future<Output = Option<T>> + Send;
}

#[derive(Clone)]
struct Ours(Stop);

impl Pairs for Ours {
    type Sender<T: Send + 'static> = Completer<T>;
    type Receiver<T: Send + 'static> = Completion<T>;

    fn new() -> Self {
        Ours(Stop::new("bench"))
    }

    #[inline]
    fn pair<T: Send + 'static>(&self) -> (Completer<T>, Completion<T>) {
        Completion::new("bench", &self.0)
    }

    #[inline]
    fn send<T: Send + 'static>(sender: Completer<T>, value: T) -> bool {
        sender.complete(value).is_ok()
    }
}

impl OneShot for Ours {
    #[inline]
    fn wait<T: Send + 'static>(mut receiver: Completion<T>) -> Option<T> {
        receiver.wait().expect(super::UNSTOPPED).ok()
    }
}

impl TaskOneShot for Ours {
    #[inline]
    async fn wait<T: Send + 'static>(receiver: Completion<T>) -> Option<T> {
        receiver.await.expect(super::UNSTOPPED).ok()
    }
}

/// A peer without a state of its own.
macro_rules! peer {
    ($(#[$doc:meta])* $name:ident, $sender:ident, $receiver:ident of $channel:ident, $make:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        struct $name;

        impl Pairs for $name {
            type Sender<T: Send + 'static> = $channel::$sender<T>;
            type Receiver<T: Send + 'static> = $channel::$receiver<T>;

            fn new() -> Self {
                $name
            }

            #[inline]
            fn pair<T: Send + 'static>(&self) -> (Self::Sender<T>, Self::Receiver<T>) {
                $make
            }

            #[inline]
            fn send<T: Send + 'static>(sender: Self::Sender<T>, value: T) -> bool {
                sender.send(value).is_ok()
            }
        }
    };
}

peer!(Tokio, Sender, Receiver of tokio_oneshot, tokio_oneshot::channel());
peer!(OneShotCrate, Sender, Receiver of oneshot, oneshot::channel());
peer!(
    /// Its receiving ends for threads and for tasks are two types.
    OneShotCrateForTasks, Sender, AsyncReceiver of oneshot, oneshot::async_channel()
);
peer!(Mpsc, SyncSender, Receiver of mpsc, mpsc::sync_channel(1));

impl OneShot for Tokio {
    #[inline]
    fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        receiver.blocking_recv().ok()
    }

    #[inline]
    fn take<T: Send + 'static>(mut receiver: Self::Receiver<T>) -> Option<T> {
        receiver.try_recv().ok()
    }
}

impl TaskOneShot for Tokio {
    #[inline]
    async fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        receiver.await.ok()
    }
}

impl OneShot for OneShotCrate {
    #[inline]
    fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        receiver.recv().ok()
    }
}

impl TaskOneShot for OneShotCrateForTasks {
    #[inline]
    async fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        receiver.await.ok()
    }
}

impl OneShot for Mpsc {
    #[inline]
    fn wait<T: Send + 'static>(receiver: Self::Receiver<T>) -> Option<T> {
        receiver.recv().ok()
    }
}

/// One operation is a whole life of a pair.
fn at_once<O: OneShot>(n: u64) -> Measured {
    let one_shot = O::new();
    let (mut taken, mut next) = (0, 0);
    let measured = repeat(n, || {
        let (sender, receiver) = black_box(&one_shot).pair::<u64>();
        next += 1;
        assert!(O::send(sender, black_box(next)));
        taken += u64::from(O::take(receiver) == Some(next));
    });
    assert_eq!(taken, n);
    measured
}

pub(super) fn ready() -> Vec<Contest> {
    vec![Contest::of_all(
        Side::ops("unwedge Completion", at_once::<Ours>),
        [
            Side::ops("tokio oneshot", at_once::<Tokio>),
            Side::ops("oneshot", at_once::<OneShotCrate>),
            Side::ops("std mpsc", at_once::<Mpsc>),
        ],
    )]
}

/// What goes from the asking to the answering side.
struct Request<O: Pairs> {
    reply_to: O::Sender<Reply<O>>,
}

/// What comes back.
struct Reply<O: Pairs> {
    ask_again: O::Sender<Request<O>>,
}

/// Answers requests until the asking side ends; gives how many there were.
fn answer<O: OneShot>(one_shot: &O, mut requests: O::Receiver<Request<O>>) -> u64 {
    let mut answered = 0;
    while let Some(request) = O::wait(requests) {
        let (ask_again, next) = one_shot.pair();
        assert!(O::send(request.reply_to, Reply { ask_again }));
        requests = next;
        answered += 1;
    }
    answered
}

/// Asks `n` times and waits for each reply; gives the sender of the next request.
fn ask<O: OneShot>(one_shot: &O, mut to: O::Sender<Request<O>>, n: u64) -> O::Sender<Request<O>> {
    for _ in 0..n {
        let (reply_to, reply) = one_shot.pair();
        assert!(O::send(to, Request { reply_to }));
        to = O::wait(reply).expect("the answering thread lives").ask_again;
    }
    to
}

/// One operation is one result: a request and its reply are two.
fn two_threads<O: OneShot, const CORES: usize>(n: u64) -> Measured {
    let asked = n.div_ceil(2);
    let one_shot = O::new();
    thread::scope(|scope| {
        let (to, requests) = one_shot.pair();
        let answering = scope.spawn(|| {
            let _pinned = Pinned::to(CORES - 1);
            answer(&one_shot, requests)
        });
        let _pinned = Pinned::to(0);
        let to = ask(&one_shot, to, WARM_UP);
        let watch = Stopwatch::start();
        let to = ask(&one_shot, to, asked);
        let measured = watch.stop(2 * asked);
        drop(to);
        assert_eq!(answering.join().expect("the answering thread panicked"), WARM_UP + asked);
        measured
    })
}

pub(super) fn threads() -> Vec<Contest> {
    vec![
        Contest::of_all(
            Side::ops("unwedge Completion, 1 core", two_threads::<Ours, 1>),
            [
                Side::ops("tokio oneshot, 1 core", two_threads::<Tokio, 1>),
                Side::ops("oneshot, 1 core", two_threads::<OneShotCrate, 1>),
                Side::ops("std mpsc, 1 core", two_threads::<Mpsc, 1>),
            ],
        ),
        Contest::of_all(
            Side::ops("unwedge Completion, 2 cores", two_threads::<Ours, 2>),
            [
                Side::ops("tokio oneshot, 2 cores", two_threads::<Tokio, 2>),
                Side::ops("oneshot, 2 cores", two_threads::<OneShotCrate, 2>),
                Side::ops("std mpsc, 2 cores", two_threads::<Mpsc, 2>),
            ],
        ),
    ]
}

async fn answer_task<O: TaskOneShot>(one_shot: O, mut requests: O::Receiver<Request<O>>) -> u64 {
    let mut answered = 0;
    while let Some(request) = O::wait(requests).await {
        let (ask_again, next) = one_shot.pair();
        assert!(O::send(request.reply_to, Reply { ask_again }));
        requests = next;
        answered += 1;
    }
    answered
}

async fn ask_task<O: TaskOneShot>(one_shot: &O, mut to: O::Sender<Request<O>>, n: u64) -> O::Sender<Request<O>> {
    for _ in 0..n {
        let (reply_to, reply) = one_shot.pair();
        assert!(O::send(to, Request { reply_to }));
        to = O::wait(reply).await.expect("the answering task lives").ask_again;
    }
    to
}

/// One operation is one result: a request and its reply are two.
fn two_tasks<O: TaskOneShot>(n: u64) -> Measured {
    let asked = n.div_ceil(2);
    let runtime = Builder::new_current_thread().build().expect("a runtime without I/O needs nothing");
    runtime.block_on(async {
        let one_shot = O::new();
        let (to, requests) = one_shot.pair();
        let answering = tokio::spawn(answer_task(one_shot.clone(), requests));
        let asking = tokio::spawn(async move {
            let to = ask_task(&one_shot, to, WARM_UP).await;
            let watch = Stopwatch::start();
            let to = ask_task(&one_shot, to, asked).await;
            let measured = watch.stop(2 * asked);
            drop(to);
            measured
        });
        let measured = asking.await.expect("the asking task panicked");
        assert_eq!(answering.await.expect("the answering task panicked"), WARM_UP + asked);
        measured
    })
}

pub(super) fn tasks() -> Vec<Contest> {
    vec![Contest::of_all(
        Side::ops("unwedge Completion", two_tasks::<Ours>),
        [Side::ops("tokio oneshot", two_tasks::<Tokio>), Side::ops("oneshot", two_tasks::<OneShotCrateForTasks>)],
    )]
}
