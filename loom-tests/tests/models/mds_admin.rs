//! The example's metadata server beside an operator, and over a store that answers only when it has the answer: what hangs in Ceph's own
//! server (the catalogue's 22, and `flush journal`).

use std::sync::Arc;

use unwedge::report::Outcome;
use unwedge::{Completion, Stop, model};

use crate::common::{Failure, explore, explore_as, fails};
use crate::mds::decode::tables::SavedSessions;
use crate::mds::decode::{Damage, Omap};
use crate::mds::life::{Life, Role, Store};
use crate::mds::state::State;
use crate::mds::{Missing, NEVER, Pool, begin, begin_over, is_over};
use crate::world::plan;

/// The table of sessions, as the server writes it.
const SESSIONS: &str = "unwedge_mds0_sessions";

/// The clients of a table that was saved.
fn clients(saved: &[u8]) -> Vec<u64> {
    SavedSessions::decode("s", saved).unwrap().clients
}

/// Makes a server that serves one client, whose session is not saved.
fn serve(life: &Arc<Life<Pool>>) {
    let mut mds = life.mds().lock().unwrap();
    for state in State::BOOT.into_iter().skip(1) {
        mds.go(state).unwrap();
    }
    mds.sessions.insert(7);
    mds.unsaved = Some(true);
}

/// An operator's request waits for the storage, with the stopper holding the lock: the stop waits for neither.
pub fn stopped_beside_an_operator_s_request() {
    let (stop, pool, life) = begin(Some(SESSIONS), &[]);
    serve(&life);
    let flushing = life.clone();
    let admin = stop.spawn("admin", move || flushing.flush().is_err()).unwrap();
    let held = life.mds().lock().unwrap();
    let report = stop.shutdown_holding(held, plan());
    assert!(report.is_clean(), "{report}");
    assert!(admin.is_finished());
    assert_eq!(is_over(&life), State::Active);
    pool.answer_held();
}

#[test]
fn mds_stopped_beside_an_operator_s_request() {
    explore_as("mds_stopped_beside_an_operator_s_request", "L1, L2", Some(2), stopped_beside_an_operator_s_request);
}

/// A client that closes its session while the server stops: what is saved is what was true when nobody was left.
pub fn saves_what_is_true_at_the_end() {
    let (stop, pool, life) = begin(None, &[]);
    serve(&life);
    let closing = life.clone();
    let client = stop.spawn("client", move || closing.mds().lock().map(|mut mds| mds.close_session(7)).is_ok());
    let report = stop.shutdown(life.plan(NEVER, NEVER / 2));
    assert!(report.is_clean(), "{report}");
    let saved = clients(&pool.saved().expect("the sessions are saved"));
    assert_eq!(is_over(&life), State::Stopped);
    // The client's thread has ended: it closed its session before the save, or not at all.
    let after = Stop::new("after");
    assert_eq!(saved, life.mds().lock_in(&after).unwrap().session_table().clients);
    drop(client);
}

#[test]
fn mds_saves_what_is_true_at_the_end() {
    explore_as("mds_saves_what_is_true_at_the_end", "L2, L8", Some(2), saves_what_is_true_at_the_end);
}

/// A client that goes while an operator has the sessions written: the stop writes them again.
pub fn saves_again_what_changed_during_a_save() {
    let (stop, pool, life) = begin_over(|stop| Pool::new(stop, Some(SESSIONS)).slow_once(), &[]);
    serve(&life);
    let (closing, storage) = (life.clone(), pool.clone());
    let client = model::thread::spawn(move || {
        while !storage.holds() {
            model::thread::yield_now();
        }
        closing.mds().lock().unwrap().close_session(7);
        storage.answer_held();
    });
    life.flush().unwrap();
    client.join().unwrap();
    let report = stop.shutdown(life.plan(NEVER, NEVER / 2));
    assert!(report.is_clean(), "{report}");
    assert!(clients(&pool.saved().unwrap()).is_empty(), "the next life waits for a client that has gone");
    assert_eq!(is_over(&life), State::Stopped);
}

#[test]
fn mds_saves_again_what_changed_during_a_save() {
    explore_as("mds_saves_again_what_changed_during_a_save", "L2, L8", Some(2), saves_again_what_changed_during_a_save);
}

/// A table that cannot be written: the phase says so, and the life does not call itself stopped in order.
pub fn says_what_could_not_be_saved() {
    let (stop, pool, life) = begin_over(|stop| Pool::new(stop, None).full(), &[]);
    serve(&life);
    let report = stop.shutdown(life.plan(NEVER, NEVER / 2));
    assert!(report.is_clean(), "{report}");
    assert!(pool.saved().is_none());
    let outcome = &report.phases()[0].outcome;
    assert!(matches!(outcome, Outcome::Failed(_)), "what could not be saved is called {outcome:?}");
    assert_eq!(is_over(&life), State::Stopping);
}

#[test]
fn mds_says_what_could_not_be_saved() {
    explore_as("mds_says_what_could_not_be_saved", "L8", Some(2), says_what_could_not_be_saved);
}

/// A stop before it serves: there is nothing to be saved, and the phase has nothing to say.
pub fn saves_nothing_before_it_serves() {
    let (stop, pool, life) = begin(Some("400.00000000"), &[Role::Recovery]);
    let report = stop.shutdown(life.plan(NEVER, NEVER / 2));
    assert!(report.is_clean(), "{report}");
    let outcome = &report.phases()[0].outcome;
    assert_eq!(*outcome, Outcome::Done, "a stop before it serves has something to save");
    assert!(pool.saved().is_none());
    assert!(is_over(&life) <= State::Pointer);
}

#[test]
fn mds_saves_nothing_before_it_serves() {
    explore_as("mds_saves_nothing_before_it_serves", "L8", Some(2), saves_nothing_before_it_serves);
}

/// All three threads of a boot, the tables frozen, and the lock held by who stops.
#[test]
fn mds_stopped_while_the_tables_are_read() {
    explore("L1, L2", Some(1), || {
        let (stop, pool, life) = begin(Some("mds0_inotable"), &[Role::Recovery, Role::Replay, Role::Boot]);
        let held = life.mds().lock().unwrap();
        let report = stop.shutdown_holding(held, plan());
        assert!(report.is_clean(), "{report}");
        assert!(is_over(&life) <= State::Tables);
        pool.answer_held();
    });
}

/// A store whose calls return when the storage has answered, whatever the caller holds, as Ceph's `JournalPointer::load`.
#[derive(Clone)]
struct Synchronous(Pool);

impl Store for Synchronous {
    type Object = String;
    type OpenError = Missing;
    type ReadError = Missing;

    fn within(&self, domain: &Stop) -> Self {
        Synchronous(self.0.within(domain))
    }

    fn open(&self, name: &str) -> Completion<String, Missing> {
        self.0.open(name)
    }

    fn read_at(&self, name: &String, offset: u64, len: usize) -> Completion<Vec<u8>, Missing> {
        let library = Stop::new("library");
        let mut read = self.0.within(&library).read_at(name, offset, len);
        Completion::ready(read.wait().unwrap_or(Err(Missing)), &library)
    }

    fn omap(&self, name: &str) -> Completion<Vec<u8>, Missing> {
        self.0.omap(name)
    }

    fn decode_omap(&self, name: &str, raw: &[u8]) -> Result<Omap, Damage> {
        self.0.decode_omap(name, raw)
    }

    fn save(&self, name: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        self.0.save(name, bytes)
    }
}

/// The same server over such a store: it waits with the MDS lock held, and where no stop reaches it.
#[test]
fn mds_twin_over_a_synchronous_store() {
    fails(Failure::Deadlock, Some(2), || {
        let stop = Stop::new("mds");
        let life = Life::new(&stop, Synchronous(Pool::new(&stop, Some("400.00000000"))));
        life.play(Role::Recovery).unwrap();
        stop.shutdown(life.plan(NEVER, NEVER / 2));
    });
}
