//! Runtimes on io_uring that a thread has for itself, and what tokio offers: reads on its pool for blocking calls.
//!
//! A lane is a task on the runtime's one thread.

use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use compio::io::AsyncReadAt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::lane::{Lane, finish, lanes};
use super::page::{PAGE, Page};
use super::scene;
use crate::measure::{Measured, Stopwatch};

/// Why a task of a runtime came back.
const DONE: &str = "no task panicked";
/// Why a file can be opened.
const MADE: &str = "the file was made";

fn prepared<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Vec<Lane<TIMED>> {
    lanes(DEPTH, n, scene::pages_of(DIRECT))
}

/// On tokio-uring.
#[must_use]
pub fn tokio_uring<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let lanes = prepared::<DIRECT, DEPTH, TIMED>(n);
    let mut builder = tokio_uring::builder();
    builder.entries((2 * DEPTH as u32).next_power_of_two().max(8));
    builder.start(async {
        let file = std::rc::Rc::new(tokio_uring::fs::File::from_std(scene::open(DIRECT)));
        let watch = Stopwatch::start();
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let file = file.clone();
                tokio_uring::spawn(async move {
                    let mut page = Page::new();
                    while let Some(offset) = lane.next() {
                        let read;
                        (read, page) = file.read_at(page, offset).await;
                        assert_eq!(read.expect("a read failed"), PAGE);
                        lane.check(&page);
                    }
                    lane
                })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.expect(DONE));
        }
        finish(watch, ended)
    })
}

/// On monoio.
#[must_use]
pub fn monoio<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let lanes = prepared::<DIRECT, DEPTH, TIMED>(n);
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
    // Its least number of entries is 256.
    let mut runtime = builder.with_entries(256).build().expect("io_uring works here");
    runtime.block_on(async {
        let file = std::rc::Rc::new(monoio::fs::File::from_std(scene::open(DIRECT)).expect(MADE));
        let watch = Stopwatch::start();
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let file = file.clone();
                monoio::spawn(async move {
                    let mut page = Page::new();
                    while let Some(offset) = lane.next() {
                        let read;
                        (read, page) = file.read_at(page, offset).await;
                        assert_eq!(read.expect("a read failed"), PAGE);
                        lane.check(&page);
                    }
                    lane
                })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await);
        }
        finish(watch, ended)
    })
}

/// On compio.
#[must_use]
pub fn compio<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let lanes = prepared::<DIRECT, DEPTH, TIMED>(n);
    let runtime = compio::runtime::Runtime::new().expect("io_uring works here");
    runtime.block_on(async {
        let path = scene::path(if DIRECT { "direct" } else { "hits" });
        drop(scene::open(DIRECT));
        let mut options = compio::fs::OpenOptions::new();
        options.read(true).custom_flags(if DIRECT { libc::O_DIRECT } else { 0 });
        let file = options.open(path).await.expect(MADE);
        let watch = Stopwatch::start();
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let file = file.clone();
                compio::runtime::spawn(async move {
                    let mut page = Page::new();
                    while let Some(offset) = lane.next() {
                        let compio::BufResult(read, back) = file.read_at(page, offset).await;
                        page = back;
                        assert_eq!(read.expect("a read failed"), PAGE);
                        lane.check(&page);
                    }
                    lane
                })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.expect(DONE));
        }
        finish(watch, ended)
    })
}

pub(super) fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread")
}

/// `pread` under tokio's `spawn_blocking`.
#[must_use]
pub fn spawn_blocking<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let lanes = prepared::<DIRECT, DEPTH, TIMED>(n);
    let file = Arc::new(scene::open(DIRECT));
    tokio_runtime().block_on(async {
        let watch = Stopwatch::start();
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let file = file.clone();
                tokio::spawn(async move {
                    let mut page = Page::new();
                    while let Some(offset) = lane.next() {
                        page = blocking_read(&file, page, offset).await;
                        lane.check(&page);
                    }
                    lane
                })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.expect(DONE));
        }
        finish(watch, ended)
    })
}

/// One read on tokio's pool.
pub(super) async fn blocking_read(file: &Arc<std::fs::File>, mut page: Page, offset: u64) -> Page {
    let file = file.clone();
    let job = move || {
        file.read_exact_at(page.bytes_mut(), offset).expect("a read failed");
        page
    };
    tokio::task::spawn_blocking(job).await.expect(DONE)
}

/// `tokio::fs`: seek, then read; each lane has a file of its own. It reads through a buffer that is not aligned, so never past the page cache.
#[must_use]
pub fn tokio_fs<const DEPTH: usize>(n: u64) -> Measured {
    let lanes = prepared::<false, DEPTH, false>(n);
    tokio_runtime().block_on(async {
        let files: Vec<_> = lanes.iter().map(|_| tokio::fs::File::from_std(scene::open(false))).collect();
        let watch = Stopwatch::start();
        let tasks: Vec<_> =
            lanes.into_iter().zip(files).map(|(lane, file)| tokio::spawn(tokio_fs_lane(lane, file))).collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.expect(DONE));
        }
        finish(watch, ended)
    })
}

/// What a lane on `tokio::fs` does.
pub(super) async fn tokio_fs_lane(mut lane: Lane<false>, mut file: tokio::fs::File) -> Lane<false> {
    let mut page = Page::new();
    while let Some(offset) = lane.next() {
        file.seek(SeekFrom::Start(offset)).await.expect("a seek failed");
        file.read_exact(page.bytes_mut()).await.expect("a read failed");
        lane.check(&page);
    }
    lane
}
