//! Operations on RADOS: the shipped flight and gate of `unwedge-rados` (`rados/src/flight.rs`, `rados/src/gate.rs`) over a librados that is a thread.
//!
//! That thread answers what was submitted, in any order with other work, writes into the operation's memory, and calls back; a cancel has it answer
//! what an OSD that is frozen never will. A completion that is used after its release, or released twice; memory that librados writes to after it was given
//! back; a call of librados after its handle was closed: each is an assertion. An operation that never ends is a deadlock, or is seen at the end.

#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads share one thread of the system")]

#[path = "rados/cluster.rs"]
mod cluster;
#[path = "../../../rados/src/error.rs"]
#[expect(dead_code, reason = "the crate's users have more of it")]
mod error;
#[path = "rados/ffi.rs"]
mod ffi;
#[path = "../../../rados/src/flight.rs"]
mod flight;
#[path = "../../../rados/src/gate.rs"]
#[expect(dead_code, reason = "the cluster has more of it")]
mod gate;
#[path = "rados/sys.rs"]
mod sys;

use std::ffi::{CStr, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use unwedge::model::{choose, thread};

use self::cluster::{IoHandle, Shared};
use self::error::RadosError;
use self::flight::{Operation, Step, begin};
use self::gate::{Gate, Limits};
use self::sys::{Answer, Domain, ExternalCompletion, Io};
use crate::common::{Failure, explore, fails};

/// What librados writes to. Not seen by loom: it adds no order.
#[derive(Default)]
struct Memory {
    given_back: AtomicBool,
}

impl Memory {
    fn write(&self) {
        assert!(!self.given_back.load(Relaxed), "librados writes into memory that was given back");
    }
}

/// An operation of so many steps.
struct Write {
    name: usize,
    memory: Arc<Memory>,
    steps: usize,
}

impl Drop for Write {
    fn drop(&mut self) {
        assert!(!self.memory.given_back.swap(true, Relaxed), "given back twice");
    }
}

impl Operation for Write {
    type Output = ();
    const NAME: &'static str = "write";
    const WRITES: bool = true;

    fn submit(&mut self, io: ffi::IoCtx, _object: &CStr, aio: ffi::Aio) -> c_int {
        // SAFETY: A librados lies there, which outlives the model's threads.
        unsafe { &*io.cast::<ffi::Librados>() }.submit(aio, Arc::clone(&self.memory), self.name);
        0
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<()> {
        self.steps -= 1;
        match answer {
            Ok(_) if self.steps > 0 => Step::Again,
            answer => Step::Done(answer.map(drop).map_err(error::Cause::Failed)),
        }
    }
}

/// A librados, and a cluster of it with room for one operation.
struct World {
    librados: Arc<ffi::Librados>,
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl World {
    fn new(frozen: bool, with_gate: bool) -> World {
        let gate = Gate::new(Limits { operations: 1, bytes: 1 << 20 });
        let (librados, shared) = (Arc::new(ffi::Librados::new(frozen)), Arc::new(Shared::new(gate)));
        let (own, gate) = (Arc::clone(&librados), Arc::clone(&shared.gate));
        let mut threads = vec![thread::spawn(move || own.run())];
        if with_gate {
            threads.push(thread::spawn(move || gate.run()));
        }
        World { librados, shared, threads }
    }

    fn write(&self, name: usize, steps: usize) -> ExternalCompletion<(), RadosError> {
        write(&self.librados, &self.shared, name, steps)
    }

    /// Waits until the operations have ended, then for the threads: how they have.
    fn end<const N: usize>(self, completions: [ExternalCompletion<(), RadosError>; N]) -> [End; N] {
        let ends = completions.map(|completion| match completion.end() {
            Answer::Ended(Ok(())) => End::Done,
            Answer::Cancelled(Some(Ok(()))) => End::DoneUnheard,
            Answer::Ended(Err(error)) | Answer::Cancelled(Some(Err(error))) => match error {
                error if error.is_undecided() => End::Undecided,
                error if error.is_cancelled() => End::Cancelled,
                error if error.is_closed() => End::Closed,
                error => panic!("{error}"),
            },
            Answer::Open(_) | Answer::Cancelled(None) => unreachable!("it has ended"),
        });
        self.librados.end();
        self.shared.gate.close();
        for thread in self.threads {
            thread.join().unwrap();
        }
        assert_eq!(self.shared.gate.counts(), (0, 0), "room that is never given back");
        let undecided = ends.iter().filter(|end| **end == End::Undecided).count();
        assert_eq!(self.shared.undecided.load(Relaxed), undecided);
        ends
    }
}

fn write(
    librados: &Arc<ffi::Librados>,
    shared: &Arc<Shared>,
    name: usize,
    steps: usize,
) -> ExternalCompletion<(), RadosError> {
    let io = IoHandle(Arc::as_ptr(librados).cast_mut().cast());
    begin(&Io::default(), (shared, io, &Domain), "o", Write { name, memory: Arc::default(), steps })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It was done, and somebody heard of it.
    Done,
    /// It was done when nobody waited any more.
    DoneUnheard,
    Undecided,
    Cancelled,
    Closed,
}

/// Which ends were seen, over all executions. Not seen by loom.
#[derive(Default)]
struct Ends([AtomicUsize; 5]);

impl Ends {
    const fn new() -> Ends {
        Ends([const { AtomicUsize::new(0) }; 5])
    }

    fn saw(&self, end: End) {
        self.0[end as usize].fetch_add(1, Relaxed);
    }

    fn were(&self, ends: &[End]) {
        let seen = [End::Done, End::DoneUnheard, End::Undecided, End::Cancelled, End::Closed]
            .into_iter()
            .filter(|end| self.0[*end as usize].load(Relaxed) > 0);
        assert_eq!(seen.collect::<Vec<_>>(), ends);
    }
}

#[test]
fn rados_cancel_beside_the_answer() {
    static ENDS: Ends = Ends::new();
    explore("L1 L4", Some(3), || {
        let frozen = choose("the OSD is frozen", 2) == 1;
        let world = World::new(frozen, false);
        let write = world.write(0, 1);
        let own = write.share();
        let cancels = thread::spawn(move || own.cancel());
        let [end] = world.end([write]);
        cancels.join().unwrap();
        assert!(!frozen || end == End::Undecided, "{end:?}");
        ENDS.saw(end);
    });
    ENDS.were(&[End::Done, End::DoneUnheard, End::Undecided]);
}

#[test]
fn rados_waits_for_room_or_is_given_up() {
    static ENDS: Ends = Ends::new();
    explore("L1 L3", Some(2), || {
        let world = World::new(false, true);
        let (first, second) = (world.write(1, 1), world.write(2, 1));
        let own = second.share();
        let cancels = thread::spawn(move || own.cancel());
        let librados = Arc::clone(&world.librados);
        let [first, second] = world.end([first, second]);
        cancels.join().unwrap();
        assert_eq!(first, End::Done);
        assert_eq!(librados.sent().len(), if second == End::Cancelled { 1 } else { 2 });
        ENDS.saw(second);
    });
    ENDS.were(&[End::Done, End::DoneUnheard, End::Undecided, End::Cancelled]);
}

#[test]
fn rados_lets_in_in_order() {
    explore("L3", Some(2), || {
        let world = World::new(false, true);
        let (first, second) = (world.write(1, 1), world.write(2, 1));
        let (librados, shared) = (Arc::clone(&world.librados), Arc::clone(&world.shared));
        let late = thread::spawn(move || write(&librados, &shared, 3, 1));
        let second_ended = second.end();
        assert!(
            matches!(second_ended, Answer::Ended(Ok(()))),
            "without a cancel, or another operation, it gets the room"
        );
        let librados = Arc::clone(&world.librados);
        let third = late.join().unwrap();
        assert_eq!(world.end([first, third]), [End::Done; 2]);
        assert_eq!(librados.sent(), [1, 2, 3]);
    });
}

#[test]
fn rados_gives_up_what_waits_for_a_frozen_osd() {
    explore("L1", Some(2), || {
        let world = World::new(true, true);
        let (first, second) = (world.write(1, 1), world.write(2, 1));
        let own = second.share();
        let cancels = thread::spawn(move || own.cancel());
        // Nothing else happens.
        assert!(matches!(second.end(), Answer::Cancelled(Some(Err(error))) if error.is_cancelled()));
        first.cancel();
        assert_eq!(world.end([first]), [End::Undecided]);
        cancels.join().unwrap();
    });
}

/// The stop may come between the hook and the gate: what is queued then is given up already.
#[test]
fn rados_gives_up_what_is_queued_after_the_stop() {
    static ENDS: Ends = Ends::new();
    explore("L1", Some(2), || {
        let world = World::new(true, true);
        let first = world.write(1, 1);
        let io = Io::of_a_domain();
        let own = io.clone();
        let stops = thread::spawn(move || own.stop());
        let handle = IoHandle(Arc::as_ptr(&world.librados).cast_mut().cast());
        let write = Write { name: 2, memory: Arc::default(), steps: 1 };
        let second = begin(&io, (&world.shared, handle, &Domain), "o", write);
        let stopped = stops.join().unwrap() || io.stop();
        assert!(stopped, "it is stopped once");
        // Nothing else happens: the room stays taken.
        assert!(matches!(second.end(), Answer::Cancelled(Some(Err(error))) if error.is_cancelled()));
        first.cancel();
        let [end] = world.end([first]);
        ENDS.saw(end);
    });
    ENDS.were(&[End::Undecided]);
}

/// The shutdown comes while an operation is between its steps: nobody submits the next.
#[test]
fn rados_closed_beside_one_that_goes_on() {
    static ENDS: Ends = Ends::new();
    explore("L1 L4", Some(2), || {
        let world = World::new(false, true);
        let write = world.write(0, 2);
        let (shared, librados) = (Arc::clone(&world.shared), Arc::clone(&world.librados));
        let closes = thread::spawn(move || shared.close(|| librados.close()));
        let [end] = world.end([write]);
        closes.join().unwrap();
        ENDS.saw(end);
    });
    ENDS.were(&[End::Done, End::Closed]);
}

#[test]
fn rados_goes_on_beside_a_cancel() {
    static ENDS: Ends = Ends::new();
    explore("L1 L4", Some(2), || {
        let world = World::new(false, true);
        let write = world.write(0, 2);
        let own = write.share();
        let cancels = thread::spawn(move || own.cancel());
        let [end] = world.end([write]);
        cancels.join().unwrap();
        ENDS.saw(end);
    });
    // Between its steps it is not librados's.
    ENDS.were(&[End::Done, End::DoneUnheard, End::Undecided, End::Cancelled]);
}

#[test]
fn rados_closed_beside_an_operation() {
    static ENDS: Ends = Ends::new();
    explore("L1 L4", Some(2), || {
        let world = World::new(false, true);
        let (shared, librados) = (Arc::clone(&world.shared), Arc::clone(&world.librados));
        let closes = thread::spawn(move || shared.close(|| librados.close()));
        let write = world.write(0, 1);
        write.cancel();
        let [end] = world.end([write]);
        closes.join().unwrap();
        ENDS.saw(end);
    });
    ENDS.were(&[End::Done, End::DoneUnheard, End::Undecided, End::Closed]);
}

/// Who cancels reads which completion it is, and cancels it when it has let the lock go.
#[test]
fn rados_twin_cancels_without_the_lock() {
    struct Naive(loom::sync::Mutex<Option<ffi::Aio>>);

    unsafe extern "C" fn landed(aio: ffi::Aio, share: *mut std::ffi::c_void) {
        // SAFETY: The model's thread keeps it until librados's has ended.
        *unsafe { &*share.cast::<Naive>() }.0.lock().unwrap() = None;
        // SAFETY: It is this callback's.
        unsafe { ffi::rados_aio_release(aio) };
    }

    fails(Failure::Panic("a completion is used after its release"), Some(2), || {
        let librados = Arc::new(ffi::Librados::new(false));
        let naive = Arc::new(Naive(loom::sync::Mutex::new(None)));
        let mut aio = std::ptr::null_mut();
        // SAFETY: `aio` outlives the call.
        unsafe { ffi::rados_aio_create_completion2(Arc::as_ptr(&naive).cast_mut().cast(), landed, &raw mut aio) };
        *naive.0.lock().unwrap() = Some(aio);
        librados.submit(aio, Arc::default(), 0);
        let own = Arc::clone(&librados);
        let runs = thread::spawn(move || own.run());
        let aio = *naive.0.lock().unwrap();
        if let Some(aio) = aio {
            // SAFETY: None: this is the mistake.
            unsafe { ffi::rados_aio_cancel(Arc::as_ptr(&librados).cast_mut().cast(), aio) };
        }
        librados.end();
        runs.join().unwrap();
    });
}
