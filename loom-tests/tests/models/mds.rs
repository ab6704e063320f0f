//! The stop and restart of the example's metadata server, from the example's own source.
//!
//! The life cycle, its states, the server's data and the decoders are the files that the example is built of; only the lock, the clock and
//! the store are the model's. The store holds a whole pool of a few hundred bytes: a journal of two events, the tables, the root and the
//! rank's own directory. It answers at once, except for one object: that one it answers never, or late.
//!
//! loom knows five threads at most, so a model has the threads of a life that its question needs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unwedge::model::{self, thread};
use unwedge::{Abandoned, Completion, Plan, Stop};

use crate::common::{Failure, explore, fails};

#[expect(dead_code, reason = "the model decodes less than the example")]
#[path = "../../../examples/mds/decode/mod.rs"]
pub mod decode;
/// The example's own, of which `build.rs` has made some lines breakable: see [`mutants`](crate::mutants).
#[expect(dead_code, reason = "the model has no clients' requests")]
pub mod life {
    include!(concat!(env!("OUT_DIR"), "/life.rs"));
}
#[expect(dead_code, reason = "the model has no clients' requests")]
#[path = "../../../examples/mds/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "the model has no clients' requests")]
#[path = "../../../examples/mds/rank.rs"]
mod rank;
#[path = "../../../examples/mds/state.rs"]
pub mod state;

/// What the example's files take from outside `unwedge`.
mod world {
    pub use std::sync::Arc;
    pub use std::time::Instant;
    pub use unwedge::model::{Mutex, now};
}

use decode::{Damage, Omap};
use life::{Fault, Life, Role, Store};
use state::State;

/// The pool's journal begins in its second object, at this position.
const START: u64 = 4096;

/// A little-endian writer, enough for the pool.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u32(self, n: u32) -> Self {
        self.put(&n.to_le_bytes())
    }

    fn u64(self, n: u64) -> Self {
        self.put(&n.to_le_bytes())
    }

    fn envelope(self, version: u8, body: Bytes) -> Self {
        self.put(&[version, version]).u32(body.0.len() as u32).put(&body.0)
    }

    fn zeros(self, n: usize) -> Self {
        self.put(&vec![0; n])
    }
}

fn base_inode(ino: u64) -> Vec<u8> {
    let mark = decode::journal::MAGIC;
    let dirstat = || Bytes::default().zeros(40);
    let inode = Bytes::default().u64(ino).zeros(12).u32(0o40755).zeros(8).u32(1).zeros(9);
    let inode = inode.envelope(2, Bytes::default()).zeros(8 + 4 + 8 + 8 + 4 + 8 + 8 + 4).u32(0);
    let inode = inode.envelope(3, dirstat()).envelope(3, dirstat());
    let store = Bytes::default().envelope(17, inode).u32(0);
    Bytes::default().u32(mark.len() as u32).put(mark).envelope(6, store).0
}

fn object(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "400.00000000" => Bytes::default().envelope(1, Bytes::default().u64(0x200).u64(0)).0,
        "200.00000000" => {
            let mark = decode::journal::MAGIC;
            let header = Bytes::default().u32(mark.len() as u32).put(mark).u64(START).u64(START).u64(0).u64(START);
            let header = header.u32(4096).u32(1).u32(4096).zeros(16).put(&[1]);
            Bytes::default().envelope(2, header).0
        }
        // Two NOOPs, both past where the header says that the journal ends.
        "200.00000001" => {
            let event = Bytes::default().u32(0).envelope(1, Bytes::default().u32(51)).0;
            let entry =
                |at: u64| Bytes::default().u64(0x3141_5926_5358_9793).u32(event.len() as u32).put(&event).u64(at).0;
            let first = entry(START);
            let second = entry(START + first.len() as u64);
            [first, second].concat()
        }
        "mds0_inotable" => Bytes::default().u64(1).envelope(2, Bytes::default().u32(0)).0,
        "1.00000000.inode" => base_inode(1),
        "100.00000000.inode" => base_inode(0x100),
        _ => return None,
    })
}

fn omap(name: &str) -> Omap {
    let header = match name {
        "mds0_sessionmap" => Bytes::default().envelope(1, Bytes::default().u64(1)),
        _ => Bytes::default().envelope(4, Bytes::default().zeros(16).envelope(3, Bytes::default().zeros(40))),
    };
    Omap { header: header.0, entries: Vec::new() }
}

/// Why the model's store has no answer.
pub struct Missing;

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("missing")
    }
}

impl From<Abandoned> for Missing {
    fn from(_: Abandoned) -> Missing {
        Missing
    }
}

impl Fault for Missing {
    fn is_missing(&self) -> bool {
        true
    }
}

type Answer = Box<dyn FnOnce() + Send>;

/// The store: see the head of this file.
#[derive(Clone)]
pub struct Pool {
    domain: Stop,
    /// The object whose reads are held back.
    slow: Option<&'static str>,
    /// What is held back: a lock that loom sees, because another thread answers.
    held: Arc<model::Mutex<Vec<Answer>>>,
    /// What was saved; looked at when nobody else is left.
    saved: Arc<Mutex<Option<Vec<u8>>>>,
    /// How many of the next answers are held back. Not seen by loom.
    holds: Arc<AtomicUsize>,
    /// Why nothing can be saved.
    full: Option<&'static str>,
}

impl Pool {
    pub fn new(domain: &Stop, slow: Option<&'static str>) -> Pool {
        Pool {
            domain: domain.clone(),
            slow,
            held: Arc::new(model::Mutex::new(Vec::new())),
            saved: Arc::default(),
            holds: Arc::new(AtomicUsize::new(usize::MAX)),
            full: None,
        }
    }

    /// The same, but only the first answer is held back.
    pub fn slow_once(self) -> Pool {
        self.holds.store(1, Ordering::Relaxed);
        self
    }

    /// The same, but nothing can be saved.
    pub fn full(self) -> Pool {
        Pool { full: Some("no space"), ..self }
    }

    /// Whether an answer is held back just now.
    pub fn holds(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// What was saved, once.
    pub fn saved(&self) -> Option<Vec<u8>> {
        self.saved.lock().unwrap().take()
    }

    /// The storage is back: what was held is answered.
    pub fn answer_held(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        held.into_iter().for_each(|answer| answer());
    }

    fn answer<T: Send + 'static, E>(&self, name: &str, result: Result<T, E>) -> Completion<T, E>
    where
        E: From<Abandoned> + Send + 'static,
    {
        if self.slow != Some(name) || self.holds.load(Ordering::Relaxed) == 0 {
            return Completion::ready(result, &self.domain);
        }
        self.holds.fetch_sub(1, Ordering::Relaxed);
        let (completer, completion) = Completion::new("read", &self.domain);
        self.held.lock().push(Box::new(move || drop(completer.finish(result))));
        completion
    }
}

impl Store for Pool {
    type Object = String;
    type OpenError = Missing;
    type ReadError = Missing;

    fn within(&self, domain: &Stop) -> Pool {
        Pool { domain: domain.clone(), ..self.clone() }
    }

    fn open(&self, name: &str) -> Completion<String, Missing> {
        let opened = object(name).map(|_| name.to_owned()).ok_or(Missing);
        Completion::ready(opened, &self.domain)
    }

    fn read_at(&self, name: &String, offset: u64, len: usize) -> Completion<Vec<u8>, Missing> {
        let data = object(name).unwrap_or_default();
        let rest = data.get(offset as usize..).unwrap_or_default();
        self.answer(name, Ok(rest[..rest.len().min(len)].to_vec()))
    }

    fn omap(&self, name: &str) -> Completion<Vec<u8>, Missing> {
        self.answer(name, Ok(Vec::new()))
    }

    fn decode_omap(&self, name: &str, _raw: &[u8]) -> Result<Omap, Damage> {
        Ok(omap(name))
    }

    fn save(&self, name: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        if let Some(why) = self.full {
            return self.answer(name, Ok(Err(why.to_owned())));
        }
        *self.saved.lock().unwrap() = Some(bytes);
        self.answer(name, Ok(Ok(())))
    }
}

/// A limit that never comes, because the model's clock stands still.
pub const NEVER: Duration = Duration::from_secs(3600);

/// A life with some of its threads.
pub fn begin(slow: Option<&'static str>, roles: &[Role]) -> (Stop, Pool, Arc<Life<Pool>>) {
    begin_over(|stop| Pool::new(stop, slow), roles)
}

/// A life over a pool of some kind.
pub fn begin_over(pool: impl FnOnce(&Stop) -> Pool, roles: &[Role]) -> (Stop, Pool, Arc<Life<Pool>>) {
    let stop = Stop::new("mds");
    let pool = pool(&stop);
    let life = Life::new(&stop, pool.clone());
    for role in roles {
        life.play(*role).unwrap();
    }
    (stop, pool, life)
}

/// The life has ended: nobody else holds it, and its lock can be taken in another domain.
pub fn is_over(life: &Arc<Life<Pool>>) -> State {
    assert_eq!(Arc::strong_count(life), 1);
    let next = Stop::new("next");
    life.mds().lock_in(&next).unwrap().state()
}

/// L1, L2: whatever read never completes, a stopper that holds the MDS lock joins the life's threads. Returns the state it stopped in.
pub fn stopped_with_the_lock_held(slow: &'static str, roles: &[Role]) -> State {
    let (stop, pool, life) = begin(Some(slow), roles);
    if let Ok(guard) = life.mds().lock() {
        let report = stop.shutdown_holding(guard, Plan::within(NEVER));
        assert!(report.is_clean(), "{report}");
    }
    let state = is_over(&life);
    // Late answers find nobody, and hurt nobody.
    pool.answer_held();
    state
}

/// Counts the executions in which the life was stopped in a state: a model that never gets there shows nothing. Not seen by loom.
static THERE: AtomicUsize = AtomicUsize::new(0);
static THERE_TOO: AtomicUsize = AtomicUsize::new(0);

#[test]
fn mds_stopped_while_the_pointer_is_read() {
    explore("L1 L2", Some(2), || {
        let state = stopped_with_the_lock_held("400.00000000", &[Role::Recovery, Role::Replay]);
        assert!(state <= State::Pointer);
        THERE.fetch_add(usize::from(state == State::Pointer), Ordering::Relaxed);
    });
    assert!(THERE.load(Ordering::Relaxed) > 100);
}

#[test]
fn mds_stopped_while_the_end_is_looked_for() {
    explore("L1 L2", Some(2), || {
        let state = stopped_with_the_lock_held("200.00000001", &[Role::Recovery, Role::Replay]);
        assert!(state <= State::Recovery);
        THERE_TOO.fetch_add(usize::from(state == State::Recovery), Ordering::Relaxed);
    });
    assert!(THERE_TOO.load(Ordering::Relaxed) > 100);
}

#[test]
fn mds_stopped_while_the_storage_comes_back() {
    explore("L1 L3 L5", Some(1), || {
        let (stop, pool, life) = begin(Some("400.00000000"), &[Role::Recovery, Role::Replay]);
        let back = thread::spawn(move || pool.answer_held());
        let report = stop.shutdown(Plan::within(NEVER));
        assert!(report.is_clean(), "{report}");
        is_over(&life);
        back.join().unwrap();
        assert!(stop.is_requested(), "the stop is not lost");
    });
}

#[test]
fn mds_started_again() {
    explore("L1 L2", Some(1), || {
        stopped_with_the_lock_held("400.00000000", &[Role::Recovery]);
        let (stop, _, life) = begin(None, &[Role::Recovery, Role::Replay]);
        let events = life.mds().when(|mds| mds.replayed.is_done.then_some(mds.replayed.events));
        assert_eq!(events, Ok(2), "nothing of the old life reaches the new one");
        assert!(stop.shutdown(Plan::within(NEVER)).is_clean());
        is_over(&life);
    });
}

#[test]
fn mds_saves_its_sessions_after_the_request() {
    explore("L1", Some(0), || {
        let (stop, pool, life) = begin(None, &[Role::Recovery, Role::Replay, Role::Boot]);
        assert_eq!(life.wait_open(), Ok(Ok(())));
        life.mds().when(|mds| mds.open_session(7)).unwrap().unwrap();
        let report = stop.shutdown(life.plan(NEVER, NEVER / 2));
        assert!(report.is_clean(), "{report}");
        assert_eq!(is_over(&life), State::Stopped);
        let saved = pool.saved().unwrap();
        assert_eq!(decode::tables::SavedSessions::decode("s", &saved).unwrap().clients, [7]);
    });
}

/// The twin: the same read, waited for in a domain that the stop does not reach, as with a synchronous call of a storage library.
#[test]
fn mds_twin_waits_where_the_stop_does_not_reach() {
    fails(Failure::Deadlock, Some(2), || {
        let (stop, pool, life) = begin(Some("400.00000000"), &[]);
        let library = Stop::new("library");
        let reader = life.clone();
        let (reading, own) = (pool.within(&library), library.clone());
        stop.spawn("recovery", move || {
            let mut read = reading.read_at(&"400.00000000".to_owned(), 0, 22);
            drop(reader.mds().lock());
            drop(read.wait_in(&own));
        })
        .unwrap();
        let guard = life.mds().lock().unwrap();
        stop.shutdown_holding(guard, Plan::within(NEVER));
    });
}

/// The twin: who was waiting takes the lock again after the stop, with a plain lock, and the stopper holds it.
#[test]
fn mds_twin_takes_the_lock_again() {
    fails(Failure::Deadlock, Some(2), || {
        let stop = Stop::new("mds");
        let plain = Arc::new(model::Mutex::new(()));
        let pool = Pool::new(&stop, Some("400.00000000"));
        let (lock, reading) = (plain.clone(), pool.clone());
        stop.spawn("recovery", move || {
            drop(reading.read_at(&"400.00000000".to_owned(), 0, 22).wait());
            drop(lock.lock());
        })
        .unwrap();
        let _held = plain.lock();
        stop.shutdown(Plan::within(NEVER));
    });
}
