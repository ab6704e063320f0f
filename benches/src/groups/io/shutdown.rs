//! A shutdown with 1,024 reads that never complete: until the last waiter was let go.
//!
//! The reads are of a pipe to which nobody writes. The waiters are threads, or tasks of a runtime with two workers. For comparison the same waiters
//! wait for tokio's oneshots, whose senders are dropped: what it costs to wake so many; and threads on one word, which one call wakes: what the kernel alone
//! takes for it.
//!
//! A waiter that was let go notes the time and, if it is a thread, goes to sleep on a word: a lock that 1,024 threads want at once would be a part
//! of what is measured, and so would their ends in the kernel.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::futex;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use unwedge::Plan;

use super::ours::Ours;
use super::page::Page;
use crate::measure::{Measured, Stopwatch};

const READS: usize = 1024;

/// When the last waiter was let go, and how many were.
#[derive(Clone)]
struct Last(Arc<Released>);

struct Released {
    /// What `latest` counts from.
    since: Instant,
    /// When the last one was let go so far, nanoseconds. Before `count` is added to.
    latest: AtomicU64,
    /// How many were. The main thread sleeps on it.
    count: AtomicU32,
    /// 1 when all have been: what a thread that was let go sleeps on until then.
    all: AtomicU32,
}

impl Last {
    fn new() -> Last {
        let (latest, count, all) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0));
        Last(Arc::new(Released { since: Instant::now(), latest, count, all }))
    }

    fn released(&self) {
        let Released { since, latest, count, .. } = &*self.0;
        latest.fetch_max(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        // Ordering: Release, partner of the Acquire in `wait`: the time is seen with the count.
        if count.fetch_add(1, Ordering::Release) + 1 == READS as u32 {
            let _ = futex::wake(count, futex::Flags::PRIVATE, 1);
        }
    }

    /// Sleeps until the others were let go, too, so that no thread's end in the kernel is part of what is measured.
    fn wait_for_the_others(&self) {
        let all = &self.0.all;
        while all.load(Ordering::Relaxed) == 0 {
            let _ = futex::wait(all, futex::Flags::PRIVATE, 0, None);
        }
    }

    /// Waits until all were let go. When the last one was.
    fn wait(&self) -> Instant {
        let Released { since, latest, count, .. } = &*self.0;
        loop {
            let seen = count.load(Ordering::Acquire);
            if seen == READS as u32 {
                break;
            }
            let _ = futex::wait(count, futex::Flags::PRIVATE, seen, None);
        }
        *since + Duration::from_nanos(latest.load(Ordering::Relaxed))
    }

    /// Lets the threads that were let go end.
    fn dismiss(&self) {
        let all = &self.0.all;
        all.store(1, Ordering::Relaxed);
        let _ = futex::wake(all, futex::Flags::PRIVATE, READS as u32);
    }
}

/// `n` times: `wait` gives what waits and what ends the waits; the waiters are tasks or threads.
fn releases<W, E>(n: u64, wait: fn(Vec<W>, Last) -> Waiters, setup: fn() -> (Vec<W>, E), end: fn(E)) -> Measured {
    let mut measured = Measured::nothing();
    for _ in 0..n {
        let (waits, ender) = setup();
        let last = Last::new();
        let waiters = wait(waits, last.clone());
        let (watch, began) = (Stopwatch::start(), Instant::now());
        end(ender);
        let released = last.wait();
        let mut one = watch.stop(1);
        one.wall = released.saturating_duration_since(began);
        measured += one;
        last.dismiss();
        waiters();
    }
    measured
}

/// Waits until all waiters have ended.
type Waiters = Box<dyn FnOnce()>;

/// A thread's wait that only a stop, a drop or a wake-up ends.
trait Blocks: Send + 'static {
    fn block(self);
}

/// A task's wait that only a stop or a drop ends.
trait Polls: Send + 'static {
    fn poll(self) -> impl Future<Output = ()> + Send;
}

impl<T: Send + 'static> Blocks for oneshot::Receiver<T> {
    fn block(self) {
        assert!(self.blocking_recv().is_err(), "nobody sends");
    }
}

impl<T: Send + 'static> Polls for oneshot::Receiver<T> {
    async fn poll(self) {
        assert!(self.await.is_err(), "nobody sends");
    }
}

type Read = unwedge::Completion<Page, unwedge::io::IoError<Page>>;

impl Blocks for Read {
    fn block(mut self) {
        assert!(self.wait().is_err(), "the pipe is empty");
    }
}

impl Polls for Read {
    async fn poll(self) {
        assert!(self.await.is_err(), "the pipe is empty");
    }
}

/// A word of which one call wakes all who sleep on it: what the kernel takes to wake so many, with nothing of anybody's around it.
#[derive(Clone)]
struct Word(Arc<AtomicU32>);

impl Blocks for Word {
    fn block(self) {
        while self.0.load(Ordering::Relaxed) == 0 {
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, 0, None);
        }
    }
}

fn in_tasks<W: Polls>(waits: Vec<W>, last: Last) -> Waiters {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime of two workers");
    let tasks: Vec<_> = waits
        .into_iter()
        .map(|wait| {
            let last = last.clone();
            runtime.spawn(async move {
                wait.poll().await;
                last.released();
            })
        })
        .collect();
    settle();
    Box::new(move || {
        runtime.block_on(async {
            for task in tasks {
                task.await.expect("no task panicked");
            }
        });
    })
}

fn in_threads<W: Blocks>(waits: Vec<W>, last: Last) -> Waiters {
    let start = |wait: W| {
        let last = last.clone();
        let body = move || {
            wait.block();
            last.released();
            last.wait_for_the_others();
        };
        thread::Builder::new().stack_size(64 << 10).spawn(body).expect("a thread")
    };
    let threads: Vec<_> = waits.into_iter().map(start).collect();
    settle();
    Box::new(move || threads.into_iter().for_each(|thread| thread.join().expect("no thread panicked")))
}

/// Lets the waiters begin to wait. Not a condition for the result: one that comes late is stopped when it comes.
fn settle() {
    thread::sleep(Duration::from_millis(20));
}

fn pipe_reads<const POOL: bool>() -> (Vec<Read>, (Ours, OwnedFd)) {
    let ours = Ours::new(POOL, READS as u32);
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let file = ours.io.attach(reader, "pipe").expect("an open file");
    let reads = (0..READS).map(|_| ours.io.read_at(&file, Page::new(), 0)).collect();
    (reads, (ours, writer))
}

fn shut_down((ours, writer): (Ours, OwnedFd)) {
    drop(ours.stop.shutdown(Plan::within(Duration::from_millis(100))));
    // Lets the threads of the pool, which sit in reads of it, go.
    drop(writer);
}

type Senders = Vec<oneshot::Sender<()>>;

fn oneshots() -> (Vec<oneshot::Receiver<()>>, Senders) {
    let (senders, receivers) = (0..READS).map(|_| oneshot::channel()).unzip();
    (receivers, senders)
}

fn word() -> (Vec<Word>, Word) {
    let word = Word(Arc::default());
    (vec![word.clone(); READS], word)
}

fn wake_all(word: Word) {
    word.0.store(1, Ordering::Relaxed);
    let _ = futex::wake(&word.0, futex::Flags::PRIVATE, READS as u32);
}

/// Ours, waited for by tasks.
#[must_use]
pub fn tasks<const POOL: bool>(n: u64) -> Measured {
    releases(n, in_tasks, pipe_reads::<POOL>, shut_down)
}

/// Ours, waited for by threads.
#[must_use]
pub fn threads<const POOL: bool>(n: u64) -> Measured {
    releases(n, in_threads, pipe_reads::<POOL>, shut_down)
}

/// Oneshots, waited for by tasks.
#[must_use]
pub fn oneshot_tasks(n: u64) -> Measured {
    releases(n, in_tasks, oneshots, drop)
}

/// Oneshots, waited for by threads.
#[must_use]
pub fn oneshot_threads(n: u64) -> Measured {
    releases(n, in_threads, oneshots, drop)
}

/// One word that all threads sleep on, and one call that wakes them.
#[must_use]
pub fn one_futex(n: u64) -> Measured {
    releases(n, in_threads, word, wake_all)
}
