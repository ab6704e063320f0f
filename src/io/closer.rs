//! Closes descriptors whose backend is closed already: files that a daemon drops after its shutdown.
//!
//! A `close` may block (a file system that hangs wants to be told), so even then it must not run on who drops the file, which may
//! be the start of the next life. One thread for the process, started when there is something to close and ended when
//! there is not. A close that hangs keeps those behind it open: they are open files of a dead mount, or wait for it.

use std::{collections::VecDeque, os::fd::OwnedFd};

use crate::sys::{Mutex, spawn_service};

struct Closer {
    queue: VecDeque<OwnedFd>,
    /// Whether there is a thread that will look at the queue again before it ends.
    running: bool,
}

static CLOSER: Mutex<Closer> = Mutex::new(Closer { queue: VecDeque::new(), running: false });

/// Closes `fd` on another thread. If no thread can be made, with the next descriptor that comes.
pub(super) fn close(fd: OwnedFd) {
    let start = {
        let mut closer = CLOSER.lock();
        closer.queue.push_back(fd);
        !std::mem::replace(&mut closer.running, true)
    };
    if start && spawn_service("uw-close", run).is_err() {
        CLOSER.lock().running = false;
    }
}

fn run() {
    loop {
        let fd = {
            let mut closer = CLOSER.lock();
            let fd = closer.queue.pop_front();
            closer.running = fd.is_some();
            fd
        };
        match fd {
            Some(fd) => drop(fd),
            None => return,
        }
    }
}
