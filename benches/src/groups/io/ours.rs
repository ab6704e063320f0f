//! Ours: a blocking thread that keeps its reads in flight, or tasks on one thread's runtime.

use std::collections::VecDeque;
use std::time::Duration;

use unwedge::io::{Backend, File, Io};
use unwedge::{Plan, Stop};

use super::lane::{finish, lanes};
use super::page::Page;
use super::peers::tokio_runtime;
use super::scene;
use crate::groups::UNSTOPPED;
use crate::measure::{Measured, Stopwatch};

/// Ours with its domain, shut down when it is dropped.
pub(super) struct Ours {
    pub(super) stop: Stop,
    pub(super) io: Io,
}

impl Ours {
    pub(super) fn new(pool: bool, depth: u32) -> Ours {
        let stop = Stop::new("bench");
        let backend = if pool { Backend::Pool } else { Backend::Uring };
        let io = Io::builder(&stop).backend(backend).depth(depth).build().expect("the backend works here");
        Ours { stop, io }
    }

    pub(super) fn open(&self, direct: bool) -> File {
        self.io.attach(scene::open(direct), if direct { "direct" } else { "hits" }).expect("an open file")
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.stop.shutdown(Plan::within(Duration::from_secs(10))));
    }
}

/// One thread, `DEPTH` reads in flight, waited for in the order in which they were begun.
#[must_use]
pub fn thread<const POOL: bool, const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let ours = Ours::new(POOL, 256);
    let file = ours.open(DIRECT);
    let mut in_flight = VecDeque::with_capacity(DEPTH);
    let mut ended = Vec::with_capacity(DEPTH);
    let lanes = lanes::<TIMED>(DEPTH, n, scene::pages_of(DIRECT));
    let mut pages: Vec<Page> = (0..DEPTH).map(|_| Page::new()).collect();
    let watch = Stopwatch::start();
    for mut lane in lanes {
        match lane.next().zip(pages.pop()) {
            Some((offset, page)) => in_flight.push_back((lane, ours.io.read_at(&file, page, offset))),
            None => ended.push(lane),
        }
    }
    while let Some((mut lane, mut read)) = in_flight.pop_front() {
        let page = read.wait().expect(UNSTOPPED).expect("a read failed");
        lane.check(&page);
        match lane.next() {
            Some(offset) => in_flight.push_back((lane, ours.io.read_at(&file, page, offset))),
            None => ended.push(lane),
        }
    }
    finish(watch, ended)
}

/// `DEPTH` tasks on one thread's runtime, each with one read in flight.
#[must_use]
pub fn tasks<const POOL: bool, const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let ours = Ours::new(POOL, 256);
    let file = ours.open(DIRECT);
    let lanes = lanes::<TIMED>(DEPTH, n, scene::pages_of(DIRECT));
    tokio_runtime().block_on(async {
        let watch = Stopwatch::start();
        let tasks: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let (io, file) = (ours.io.clone(), file.clone());
                tokio::spawn(async move {
                    let mut page = Page::new();
                    while let Some(offset) = lane.next() {
                        page = io.read_at(&file, page, offset).await.expect(UNSTOPPED).expect("a read failed");
                        lane.check(&page);
                    }
                    lane
                })
            })
            .collect();
        let mut ended = Vec::new();
        for task in tasks {
            ended.push(task.await.expect("no task panicked"));
        }
        finish(watch, ended)
    })
}
