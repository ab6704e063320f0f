//! A loop on the `io-uring` crate: one thread that submits, waits for one completion and takes all that are there. The measure of what
//! the kernel can do; `raw-vs-fio` compares it with fio.
//!
//! It submits in parts of at most `PART`: a device that brings 32 results at once is given the first of the next 32 before the last is
//! prepared, which is worth 10 % of its throughput (and what makes the loop as fast as fio's).

use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

use super::lane::{finish, lanes};
use super::page::{PAGE, Page};
use super::scene;
use crate::measure::{Measured, Stopwatch};

/// What is submitted at a time.
const PART: usize = 4;

/// `n` random reads, `DEPTH` in flight.
///
/// # Panics
///
/// If io_uring does not work here, or a read brings what was not asked for.
#[must_use]
pub fn run<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(n: u64) -> Measured {
    let file = scene::open(DIRECT);
    let mut ring = IoUring::new((DEPTH as u32).next_power_of_two()).expect("io_uring works here");
    let mut lanes = lanes::<TIMED>(DEPTH, n, scene::pages_of(DIRECT));
    let mut pages: Vec<Page> = (0..DEPTH).map(|_| Page::new()).collect();
    let mut in_flight = 0;
    let push = |ring: &mut IoUring, index: usize, page: &mut Page, offset: u64| {
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), page.bytes_mut().as_mut_ptr(), PAGE as u32)
            .offset(offset)
            .build()
            .user_data(index as u64);
        // SAFETY: the page is in `pages` until the loop below has reaped everything, and nobody touches it before its completion; the file is open until then.
        unsafe { ring.submission().push(&entry) }.expect("the queue has room for all lanes");
        if ring.submission().len() == PART {
            ring.submit().expect("io_uring works here");
        }
    };
    let watch = Stopwatch::start();
    for (index, lane) in lanes.iter_mut().enumerate() {
        if let Some(offset) = lane.next() {
            push(&mut ring, index, &mut pages[index], offset);
            in_flight += 1;
        }
    }
    let mut landed = Vec::with_capacity(DEPTH);
    while in_flight > 0 {
        ring.submit_and_wait(1).expect("io_uring works here");
        landed.extend(ring.completion().map(|entry| (entry.user_data() as usize, entry.result())));
        for (index, result) in landed.drain(..) {
            assert_eq!(result, PAGE as i32, "a read failed");
            lanes[index].check(&pages[index]);
            match lanes[index].next() {
                Some(offset) => push(&mut ring, index, &mut pages[index], offset),
                None => in_flight -= 1,
            }
        }
    }
    finish(watch, lanes)
}
