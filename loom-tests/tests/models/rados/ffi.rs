//! A librados of a model's own.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

use loom::sync::{Condvar, Mutex};

use super::Memory;

pub(super) type Aio = *mut c_void;
pub(super) type IoCtx = *mut c_void;
type Callback = unsafe extern "C" fn(Aio, *mut c_void);

/// A completion. Never freed before the model's end, so that its use after the release can be seen; none of it is seen by loom.
struct Completion {
    share: *mut c_void,
    callback: Callback,
    answer: AtomicI32,
    released: AtomicBool,
}

fn completion<'a>(aio: Aio) -> &'a Completion {
    // SAFETY: A box of `rados_aio_create_completion2` lies there, which is never freed.
    let completion = unsafe { &*aio.cast::<Completion>() };
    assert!(!completion.released.load(Relaxed), "a completion is used after its release");
    completion
}

pub(super) unsafe fn rados_aio_create_completion2(share: *mut c_void, callback: Callback, into: *mut Aio) -> c_int {
    let completion = Completion { share, callback, answer: AtomicI32::new(0), released: AtomicBool::new(false) };
    // SAFETY: There is room for it, as the caller says.
    unsafe { *into = Box::into_raw(Box::new(completion)).cast() };
    0
}

pub(super) unsafe fn rados_aio_release(aio: Aio) {
    completion(aio).released.store(true, Relaxed);
}

pub(super) unsafe fn rados_aio_get_return_value(aio: Aio) -> c_int {
    completion(aio).answer.load(Relaxed)
}

pub(super) unsafe fn rados_aio_cancel(io: IoCtx, aio: Aio) -> c_int {
    // SAFETY: A librados lies there, which outlives the model's threads.
    let librados = unsafe { &*io.cast::<Librados>() };
    let mut state = librados.state.lock().unwrap();
    assert!(!state.closed, "a call after the handle was closed");
    completion(aio);
    let Some(at) = state.in_flight.iter().position(|(known, _)| *known == aio) else { return -2 };
    let (aio, memory) = state.in_flight.remove(at).unwrap();
    state.ended.push_back((aio, memory, -125));
    drop(state);
    librados.changed.notify_one();
    0
}

type Sent = (Aio, Arc<Memory>);

#[derive(Default)]
struct State {
    in_flight: VecDeque<Sent>,
    ended: VecDeque<(Aio, Arc<Memory>, c_int)>,
    sent: Vec<usize>,
    closed: bool,
    over: bool,
}

/// See the head of the file.
pub(super) struct Librados {
    state: Mutex<State>,
    changed: Condvar,
    frozen: bool,
}

impl Librados {
    pub(super) fn new(frozen: bool) -> Librados {
        Librados { state: Mutex::new(State::default()), changed: Condvar::new(), frozen }
    }

    pub(super) fn submit(&self, aio: Aio, memory: Arc<Memory>, name: usize) {
        completion(aio);
        let mut state = self.state.lock().unwrap();
        assert!(!state.closed, "a call after the handle was closed");
        state.sent.push(name);
        state.in_flight.push_back((aio, memory));
        drop(state);
        self.changed.notify_one();
    }

    /// What it was given, in that order.
    pub(super) fn sent(&self) -> Vec<usize> {
        self.state.lock().unwrap().sent.clone()
    }

    /// What is in flight would be forgotten.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap();
        assert!(state.in_flight.is_empty(), "the handle is closed over an operation");
        state.closed = true;
    }

    /// No more will come: its thread ends.
    pub(super) fn end(&self) {
        self.state.lock().unwrap().over = true;
        self.changed.notify_one();
    }

    /// Its thread: answers, and runs callbacks with no lock held.
    pub(super) fn run(&self) {
        let mut state = self.state.lock().unwrap();
        loop {
            let next = state.ended.pop_front().or_else(|| {
                let (aio, memory) = if self.frozen { None } else { state.in_flight.pop_front() }?;
                Some((aio, memory, 1))
            });
            let Some((aio, memory, answer)) = next else {
                if state.over {
                    return;
                }
                state = self.changed.wait(state).unwrap();
                continue;
            };
            drop(state);
            memory.write();
            let own = completion(aio);
            own.answer.store(answer, Relaxed);
            // SAFETY: It is called once, with what was given for it.
            unsafe { (own.callback)(aio, own.share) };
            state = self.state.lock().unwrap();
        }
    }
}
