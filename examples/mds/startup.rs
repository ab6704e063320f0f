//! A stop during start-up is not undone by storage that comes back: tests of whole lives, each stopped in one state of its boot, while the storage that it
//! waits for comes back right after the stop, right before it, or at the same moment.
//!
//! It must end with nothing left, in the state in which it was stopped or in the last one, and answer nobody from then on. (On record of Ceph's server: the
//! stop was lost when the storage came back, and the process began again.)

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use unwedge::Stop;
use unwedge::io::Io;
use unwedge::report::{Outcome, Report};

use crate::decode::tables::SavedSessions;
use crate::fixture::Fixture;
use crate::frozen::{FrozenStore, Ice};
use crate::life::{Life, RECONNECT_WINDOW};
use crate::serve::{Socket, serve};
use crate::state::State;
use crate::store::FileStore;

/// Against a hang, and no measure.
const GUARD: Duration = Duration::from_secs(60);

/// How often each is tried.
const ROUNDS: usize = 4;

/// When the storage comes back, seen from the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    After,
    Before,
    Together,
}

/// Stops the life and thaws its storage, in this order.
fn stop_and_thaw(stop: &Stop, ice: &Ice, back: Back) {
    match back {
        Back::After => {
            stop.request("SIGTERM");
            ice.thaw();
        }
        Back::Before => {
            ice.thaw();
            stop.request("SIGTERM");
        }
        Back::Together => {
            let both = Arc::new(Barrier::new(2));
            let (own, ice) = (both.clone(), ice.clone());
            let thaw = std::thread::spawn(move || {
                own.wait();
                ice.thaw();
            });
            both.wait();
            stop.request("SIGTERM");
            thaw.join().expect("no panic");
        }
    }
}

/// Waits until the life is in this state and held up there. (Of `Boot`: not at all.)
fn reach(life: &Life<FrozenStore<FileStore>>, state: State, ice: &Ice) {
    let until = Instant::now() + GUARD;
    loop {
        let at = life.mds().lock().expect("no stop").state();
        let is_held = match state {
            State::Boot => return,
            // Clients are waited for here, and not the storage.
            State::Reconnect => true,
            _ => ice.held() > 0,
        };
        if at == state && is_held {
            return;
        }
        assert!(Instant::now() < until, "the server is in state {at} and not in {state}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One life. What it came to: its report, the states that it entered, and what its client was answered.
fn live(fixture: &Fixture, state: State, back: Back) -> (Report, Vec<State>, String) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let stop = Stop::new("mds");
    let io = Io::new(&stop).expect("I/O");
    // Of `Boot`, in which nothing is read: before the first read is answered.
    let ice = Ice::new(Some(state.max(State::Pointer)));
    let store = FrozenStore::new(FileStore::open(&io, &stop, &fixture.dirty()).expect("a pool"), &stop, &ice);
    drop(io);
    let life = Life::start(&stop, store).expect("threads");
    let path = fixture.folder().join("mds.sock");
    {
        let _entered = runtime.enter();
        serve(&life, Socket::bind(&path).expect("a socket")).expect("served");
    }
    let mut client = UnixStream::connect(&path).expect("the server listens");
    client.set_read_timeout(Some(GUARD)).expect("a socket");
    client.write_all(b"{\"op\":\"getattr\",\"ino\":1}\n").expect("it is there");
    reach(&life, state, &ice);

    stop_and_thaw(&stop, &ice, back);
    let report = stop.shutdown(life.plan(GUARD, GUARD));
    // Once more: there is nobody left for whom it would matter.
    ice.thaw();
    let mut answers = String::new();
    // A connection that was closed with a request unread says so.
    if let Err(error) = client.read_to_string(&mut answers) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    assert!(UnixStream::connect(&path).is_err(), "nobody listens any more");
    assert!(stop.is_requested() && life.mds().lock().is_err(), "the stop holds");
    let entered = life.mds().lock_in(&Stop::new("afterwards")).expect("the lock is free").entered().to_vec();
    (report, entered.into_iter().map(|(state, _)| state).collect(), answers)
}

#[test]
fn a_stop_in_any_state_of_a_boot_holds_when_the_storage_comes_back() {
    let fixture = Fixture::unpack(|| false).expect("the pool");
    let sessions = fixture.dirty().join("objects").join(SavedSessions::object(0));
    for state in State::BOOT.into_iter().filter(|state| *state != State::Active) {
        // In reconnect it stays only where there is a client of a life before, which does not come back.
        if state == State::Reconnect {
            fs::write(&sessions, SavedSessions { clients: vec![4123] }.encode()).expect("written");
        }
        for back in [Back::After, Back::Before, Back::Together] {
            for round in 0..ROUNDS {
                let (report, entered, answers) = live(&fixture, state, back);
                let told = format!("{state}, storage back {back:?}, round {round}: {entered:?}, {report}");
                assert!(report.is_clean() && report.reason() == Some("SIGTERM"), "{told}");
                assert!(report.panicked().is_empty() && report.phases()[0].outcome == Outcome::Done, "{told}");
                let last = *entered.last().expect("it began");
                let has_served = entered.contains(&State::Active);
                // It serves to its end only if it had come that far before the stop; then it is stopped in order.
                assert!(if has_served { last == State::Stopped } else { last < State::Active }, "{told}");
                if back == Back::After {
                    let furthest = state.max(State::Pointer);
                    assert!(last <= furthest && (state == State::Boot || last == state), "{told}");
                    assert_eq!(answers, "", "{told}");
                }
                assert!(answers.is_empty() || has_served && answers.lines().count() == 1, "{answers}: {told}");
            }
        }
        if state == State::Reconnect {
            fs::remove_file(&sessions).expect("removed");
        }
    }
}

/// Boots from a table of these clients, of which some come back. How long they were waited for, and whose session there is then.
fn reconnect(fixture: &Fixture, known: &[u64], back: &[u64]) -> (Duration, Vec<u64>) {
    let sessions = fixture.dirty().join("objects").join(SavedSessions::object(0));
    fs::write(sessions, SavedSessions { clients: known.to_vec() }.encode()).expect("written");
    let stop = Stop::new("mds");
    let io = Io::new(&stop).expect("I/O");
    let store = FileStore::open(&io, &stop, &fixture.dirty()).expect("a pool");
    let life = Life::start(&stop, store).expect("threads");
    for client in back {
        life.mds().when(|mds| mds.open_session(*client)).expect("no stop").expect("no trouble");
        life.notify();
    }
    life.wait_open().expect("no stop").expect("no trouble");
    let (entered, found) =
        life.mds().when(|mds| Some((mds.entered().to_vec(), mds.session_table().clients))).expect("no stop");
    let at = |state| entered.iter().find(|(entered, _)| *entered == state).expect("it was entered").1;
    assert!(life.shut_down("the test is over", GUARD, GUARD, GUARD).is_clean());
    (at(State::Rejoin).duration_since(at(State::Reconnect)), found)
}

#[test]
fn clients_of_the_last_life_are_waited_for_until_all_are_back_or_the_window_is_over() {
    let fixture = Fixture::unpack(|| false).expect("the pool");
    assert_eq!(RECONNECT_WINDOW, Duration::from_secs(3));
    let (waited, found) = reconnect(&fixture, &[7, 9], &[9]);
    assert!(waited >= RECONNECT_WINDOW, "{waited:?}");
    assert_eq!(found, [9], "who has not come back has lost its session");
    let (waited, found) = reconnect(&fixture, &[7, 9], &[9, 7]);
    assert!(waited < RECONNECT_WINDOW, "{waited:?}");
    assert_eq!(found, [7, 9]);
}
