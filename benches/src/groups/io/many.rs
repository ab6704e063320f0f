//! Many submitters: 8 blocking threads and 1,000 tasks, each with one read in flight, on one service.
//!
//! All sides have the same threads and the same runtime of two workers; what differs is who does the read, and how its result comes back.

use std::collections::VecDeque;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, oneshot};
use unwedge::io::{File, Io};

use super::lane::{Lane, finish, lanes};
use super::ours::Ours;
use super::page::Page;
use super::peers::{blocking_read, tokio_fs_lane};
use super::scene;
use crate::groups::UNSTOPPED;
use crate::measure::{Measured, Stopwatch};

const THREADS: usize = 8;
const TASKS: usize = 1000;
/// Threads of the pool, and of tokio's for blocking calls: with its default of 512 it is slower.
const POOL: usize = 32;

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(POOL)
        .enable_all()
        .build()
        .expect("a runtime of two workers")
}

/// A service that reads for threads and tasks.
trait Service: Clone + Send + Sync + 'static {
    /// One lane of a task.
    fn task(self, lane: Lane<false>) -> impl Future<Output = Lane<false>> + Send;
    /// One lane of a thread.
    fn thread(self, runtime: &Runtime, lane: Lane<false>) -> Lane<false>;
}

/// Begins all lanes at once and waits for them.
fn submit<S: Service>(n: u64, direct: bool, runtime: &Runtime, service: &S) -> Measured {
    let mut all = lanes::<false>(THREADS + TASKS, n, scene::pages_of(direct));
    let begin = Arc::new(Barrier::new(THREADS + TASKS + 1));
    let tasks: Vec<_> = all
        .drain(THREADS..)
        .map(|lane| {
            let (begin, service) = (begin.clone(), service.clone());
            runtime.spawn(async move {
                begin.wait().await;
                service.task(lane).await
            })
        })
        .collect();
    thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|lane| {
                let (begin, service) = (begin.clone(), service.clone());
                scope.spawn(move || {
                    runtime.block_on(begin.wait());
                    service.thread(runtime, lane)
                })
            })
            .collect();
        runtime.block_on(async {
            begin.wait().await;
            let watch = Stopwatch::start();
            let mut ended = Vec::new();
            for task in tasks {
                ended.push(task.await.expect("no task panicked"));
            }
            ended.extend(threads.into_iter().map(|thread| thread.join().expect("no thread panicked")));
            finish(watch, ended)
        })
    })
}

/// Ours.
#[must_use]
pub fn ours<const USE_POOL: bool, const DIRECT: bool>(n: u64) -> Measured {
    let ours = Ours::new(USE_POOL, 256);
    let service = (ours.io.clone(), ours.open(DIRECT));
    submit(n, DIRECT, &runtime(), &service)
}

impl Service for (Io, File) {
    async fn task(self, mut lane: Lane<false>) -> Lane<false> {
        let (io, file) = self;
        let mut page = Page::new();
        while let Some(offset) = lane.next() {
            page = io.read_at(&file, page, offset).await.expect(UNSTOPPED).expect("a read failed");
            lane.check(&page);
        }
        lane
    }

    fn thread(self, _: &Runtime, mut lane: Lane<false>) -> Lane<false> {
        let (io, file) = self;
        let mut page = Page::new();
        while let Some(offset) = lane.next() {
            page = io.read_at(&file, page, offset).wait().expect(UNSTOPPED).expect("a read failed");
            lane.check(&page);
        }
        lane
    }
}

/// `pread` under tokio's `spawn_blocking`.
#[must_use]
pub fn spawn_blocking<const DIRECT: bool>(n: u64) -> Measured {
    submit(n, DIRECT, &runtime(), &Arc::new(scene::open(DIRECT)))
}

impl Service for Arc<std::fs::File> {
    async fn task(self, mut lane: Lane<false>) -> Lane<false> {
        let mut page = Page::new();
        while let Some(offset) = lane.next() {
            page = blocking_read(&self, page, offset).await;
            lane.check(&page);
        }
        lane
    }

    fn thread(self, runtime: &Runtime, lane: Lane<false>) -> Lane<false> {
        runtime.block_on(self.task(lane))
    }
}

/// `tokio::fs`, a file for each lane; through the page cache only.
#[must_use]
pub fn tokio_fs(n: u64) -> Measured {
    submit(n, false, &runtime(), &TokioFs)
}

#[derive(Clone)]
struct TokioFs;

impl Service for TokioFs {
    async fn task(self, lane: Lane<false>) -> Lane<false> {
        let path = scene::path("hits");
        let file = tokio::fs::File::open(path).await.expect("the file was made");
        tokio_fs_lane(lane, file).await
    }

    fn thread(self, runtime: &Runtime, lane: Lane<false>) -> Lane<false> {
        runtime.block_on(self.task(lane))
    }
}

/// A plain pool of threads: one queue, `pread`, a oneshot back.
#[must_use]
pub fn pool<const DIRECT: bool>(n: u64) -> Measured {
    let shared = Arc::new(Shared::default());
    let file = scene::open(DIRECT);
    thread::scope(|scope| {
        for _ in 0..POOL {
            scope.spawn(|| shared.serve(&file));
        }
        let measured = submit(n, DIRECT, &runtime(), &shared);
        shared.queue.lock().ended = true;
        shared.work.notify_all();
        measured
    })
}

struct Job {
    page: Page,
    offset: u64,
    reply: oneshot::Sender<Page>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

impl Shared {
    fn serve(&self, file: &std::fs::File) {
        let mut queue = self.queue.lock();
        while !queue.ended {
            let Some(Job { mut page, offset, reply }) = queue.jobs.pop_front() else {
                self.work.wait(&mut queue);
                continue;
            };
            drop(queue);
            file.read_exact_at(page.bytes_mut(), offset).expect("a read failed");
            // Who asked waits for it.
            drop(reply.send(page));
            queue = self.queue.lock();
        }
    }

    fn submit(&self, page: Page, offset: u64) -> oneshot::Receiver<Page> {
        let (reply, answer) = oneshot::channel();
        self.queue.lock().jobs.push_back(Job { page, offset, reply });
        self.work.notify_one();
        answer
    }
}

impl Service for Arc<Shared> {
    async fn task(self, mut lane: Lane<false>) -> Lane<false> {
        let mut page = Page::new();
        while let Some(offset) = lane.next() {
            page = self.submit(page, offset).await.expect("the pool answers");
            lane.check(&page);
        }
        lane
    }

    fn thread(self, _: &Runtime, mut lane: Lane<false>) -> Lane<false> {
        let mut page = Page::new();
        while let Some(offset) = lane.next() {
            page = self.submit(page, offset).blocking_recv().expect("the pool answers");
            lane.check(&page);
        }
        lane
    }
}
