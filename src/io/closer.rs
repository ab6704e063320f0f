//! Closes descriptors whose backend is closed already: files that a daemon drops after its shutdown.
//!
//! A `close` may block (a file system that hangs wants to be told), so even then it must not run on who drops the file, which may
//! be the start of the next life. One thread for the process, started when there is something to close and ended when
//! there is not. A close that hangs keeps those behind it open: they are open files of a dead mount, or wait for it.
//!
//! In the child of a `fork` that thread is missing, and so may be the one that had the lock: who does not get the lock does without. What is queued there is
//! left alone: another thread of the parent may have put it in when the child's descriptors were copied already, so that the number is not its.

use std::{collections::VecDeque, mem::ManuallyDrop, os::fd::OwnedFd};

use super::fork::{Birth, lock_if_free};
use crate::sys::{Mutex, spawn_service};

struct Closer {
    queue: VecDeque<OwnedFd>,
    /// Whose queue it is.
    process: Option<Birth>,
    /// Whether there is a thread that will look at the queue again before it ends.
    running: bool,
}

static CLOSER: Mutex<Closer> = Mutex::new(Closer { queue: VecDeque::new(), process: None, running: false });

/// Closes `fd` on another thread. If no thread can be made, with the next descriptor that comes.
pub(super) fn close(fd: OwnedFd) {
    let Some(mut closer) = lock_if_free(&CLOSER) else {
        // Kept open if no thread can be made: what drops it here might hang.
        let fd = ManuallyDrop::new(fd);
        drop(spawn_service("uw-close", move || drop(ManuallyDrop::into_inner(fd))));
        return;
    };
    if !closer.process.is_some_and(Birth::is_here) {
        let _the_parents = ManuallyDrop::new(std::mem::take(&mut closer.queue));
        closer.process = Some(Birth::now());
        closer.running = false;
    }
    closer.queue.push_back(fd);
    let start = !std::mem::replace(&mut closer.running, true);
    drop(closer);
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
