//! One life of the soak: started, loaded, frozen, stopped, and looked over.
//!
//! What has to hold afterwards, however it was stopped and whatever went wrong:
//! - the shutdown came back before its plan's deadline, and every thread and task has ended (of a hurried one: ends now that nobody waits for it);
//! - what is left, the report has counted; and it goes when the storage is back;
//! - nobody holds the life, and the MDS lock can be taken by another one;
//! - the life did not go on after its end;
//! - the table of sessions on the disk is a whole one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use unwedge::Stop;
use unwedge::io::Io;
use unwedge::report::{Outcome, Report};

use crate::decode::tables::SavedSessions;
use crate::drill::numbers;
use crate::drill::scene::{Pool, Scenario, Stage};
use crate::frozen::{FrozenStore, Ice};
use crate::life::Life;
use crate::serve::{Socket, serve};
use crate::state::State;
use crate::store::FileStore;

use super::choices::{Choices, Freeze, How};
use super::faulty::{Faults, FaultyStore};
use super::guests::Guests;

/// The life that is soaked.
type Soaked = Life<FaultyStore<FrozenStore<FileStore>>>;

/// A guard against a soak that hangs: for what takes microseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a life is waited for that may not get where it should.
const LONG: Duration = Duration::from_millis(50);

/// How long after its start a life's clients come back, those that have not by then.
const COME_BACK: Duration = Duration::from_millis(20);

/// How one life was.
#[derive(Debug, Default)]
pub struct Lived {
    /// How long its shutdown took.
    pub stop: Duration,
    /// The state in which it was stopped.
    pub state: &'static str,
    /// Operations, bytes and threads that its report says are left in the kernel.
    pub left: [usize; 3],
    /// Threads of phases that its report says have not come back in time: on a machine that is busy with something else.
    pub late_phases: usize,
    /// How often what went wrong with the storage's answers.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many answers clients got.
    pub answers: u64,
}

/// Has a life. An error is what was not as it should be. (After a stop of the soak itself, which ends the life too, that is only worth something if the life
/// had begun.)
pub fn live(stage: &Stage<'_>, choices: &Choices, within: Duration) -> anyhow::Result<Lived> {
    let before = (numbers::threads(), numbers::descriptors());
    let pipe = (choices.freeze == Freeze::Pipe).then(|| Pool::prepare(stage.fixture, Scenario::Pipe)).transpose()?;
    let folder = match &pipe {
        Some(pool) => pool.folder.clone(),
        None if choices.is_flushed => stage.fixture.flushed(),
        None => stage.fixture.dirty(),
    };
    let stop = stage.drill.child("mds");
    let io = Io::builder(&stop).backend(choices.backend).build().context("cannot start I/O")?;
    let ice = Ice::new(match choices.freeze {
        Freeze::At(state) => Some(state),
        _ => None,
    });
    let after = match choices.freeze {
        Freeze::After(questions) => Some(questions),
        _ => None,
    };
    let faults = Faults::new(choices.seed, choices.faults, after, &ice, stage.runtime.handle());
    let files = FileStore::open(&io, &stop, &folder)?;
    drop(io);
    let store = FaultyStore::new(FrozenStore::new(files, &stop, &ice), &stop, &faults);
    let life = Life::start(&stop, store).context("cannot start the server's threads")?;
    let path = stage.fixture.folder().join("soak.sock");
    {
        let _entered = stage.runtime.enter();
        serve(&life, Socket::bind(&path)?).context("cannot use the socket")?;
    }
    let guests = Guests::start(stage.runtime, &path, choices.clients, choices.seed);
    let reached = reach(&life, choices, &ice);

    let mut lived = Lived::default();
    let begun = Instant::now();
    let (state, reports) = end(stage, &life, choices, within, &ice);
    lived.stop = begun.elapsed();
    let ended = Instant::now();
    lived.state = state.name();
    reached?;
    ensure!(lived.stop <= within, "late: {:?} of {within:?}", lived.stop);
    for report in &reports {
        check(report, choices).map_err(|wrong| anyhow!("{wrong}; {report}"))?;
        lived.late_phases += report.phases().iter().filter(|phase| phase.outcome == Outcome::Left).count();
        let left = [report.leaked_operations(), report.leaked_bytes(), report.leaked_threads()];
        lived.left.iter_mut().zip(left).for_each(|(sum, more)| *sum += more);
    }
    if matches!(choices.how, How::Hurried | How::Twice) {
        gone(&stop)?;
    }

    ice.thaw();
    faults.forget();
    lived.faults = faults.counts();
    look_over(stage, &life, ended)?;
    drop((life, stop, reports));
    lived.answers = guests.finish(stage.runtime)?;
    numbers::settled(&before.0, lived.left[2] + lived.late_phases, None)?;
    // The pipe's writer goes, and with it whoever hung in the kernel.
    drop(pipe);
    numbers::settled(&before.0, 0, Some(before.1)).context("after the storage came back")?;
    whole_sessions(&folder)?;
    Ok(lived)
}

/// Waits until the life is where it is to be stopped, or cannot get there, or has been stopped with the soak.
fn reach(life: &Soaked, choices: &Choices, ice: &Ice) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let begun = Instant::now();
    loop {
        let found = life.mds().when(|mds| Some((mds.state(), mds.replayed.bytes, mds.trouble.is_some())));
        let Ok((state, replayed, is_damaged)) = found else { return Ok(()) };
        let is_there = match choices.freeze {
            Freeze::At(at) => state >= at,
            // The boot may be over before; clients go on asking, or there are none.
            Freeze::After(_) => ice.held() > 0 || state >= State::Active,
            Freeze::In(time) => begun.elapsed() >= time,
            // Of the reads that are ahead, another than the first may have had what is in the pipe: then nothing is replayed.
            Freeze::Pipe => replayed > 0 || (state >= State::Replay && begun.elapsed() > LONG),
            Freeze::Never => state >= State::Active || begun.elapsed() > LONG,
        };
        // With faults an answer may be lost, and the life stay where it is.
        let waits = choices.faults > 0 && begun.elapsed() > LONG;
        if is_there || is_damaged || waits {
            break;
        }
        ensure!(Instant::now() < until, "the server is in state {state}");
        if state == State::Reconnect && begun.elapsed() > COME_BACK {
            come_back(life)?;
        }
        life.domain().wait_timeout(Duration::from_micros(100));
    }
    if matches!(choices.freeze, Freeze::In(_)) {
        ice.freeze();
    }
    life.domain().wait_timeout(choices.run);
    Ok(())
}

/// Has the clients of the last life come back, so that nobody has to wait for them for seconds.
fn come_back(life: &Soaked) -> anyhow::Result<()> {
    let came = life.mds().when(|mds| {
        let expected = mds.expected.clone();
        Some(expected.into_iter().filter_map(|client| mds.open_session(client)).collect::<Result<Vec<()>, _>>())
    });
    life.notify();
    // After a stop of the soak they do not come.
    came.map_or(Ok(()), |came| came.map(drop).context("a client of the last life is refused"))
}

/// Ends the life: the state in which it was, and the report of each shutdown.
fn end(stage: &Stage<'_>, life: &Arc<Soaked>, choices: &Choices, within: Duration, ice: &Ice) -> (State, Vec<Report>) {
    let stop = life.domain();
    let plan = || life.plan(within, choices.save_within).drain(choices.drain);
    // Where the soak has been stopped, nobody can look.
    let state = life.mds().when(|mds| Some(mds.state())).unwrap_or(State::Stopping);
    let reports = match choices.how {
        How::Plain => {
            stop.request("the soak");
            vec![stop.shutdown(plan())]
        }
        How::Unasked => vec![stop.shutdown(plan())],
        How::Holding => match life.mds().lock() {
            Ok(guard) => vec![stop.shutdown_holding(guard, plan())],
            Err(_) => vec![stop.shutdown(plan())],
        },
        How::Twice => thread::scope(|scope| {
            let other = scope.spawn(|| stop.shutdown(plan()));
            let own = stop.shutdown(plan());
            // A panic of the other goes on here.
            vec![own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        }),
        How::Hurried => thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(choices.save_within / 2);
                stop.hurry("the soak");
            });
            vec![stop.shutdown(plan())]
        }),
        How::Thawed => thread::scope(|scope| {
            stop.request("the soak");
            scope.spawn(|| ice.thaw());
            vec![stop.shutdown(plan())]
        }),
        How::Within => {
            let own = stop.clone();
            // Where the soak has been stopped the thread does not begin; and there is the shutdown's own request.
            drop(stop.spawn("operator", move || own.request("the operator")));
            vec![stop.shutdown(plan())]
        }
        How::Async => vec![stage.runtime.block_on(stop.shutdown_async(plan()))],
    };
    (state, reports)
}

/// Whether a report says what it should.
fn check(report: &Report, choices: &Choices) -> anyhow::Result<()> {
    ensure!(report.panicked().is_empty(), "something panicked");
    // Of two shutdowns, each names what the other one has not closed or ended when it comes back itself: a phase's thread of that one. Whether all of it ends is
    // looked at when both are back.
    if !matches!(choices.how, How::Hurried | How::Twice) {
        ensure!(report.members().is_empty(), "late: not everything has ended");
        ensure!(report.closing() == 0, "late: another shutdown is not done");
    }
    Ok(())
}

/// Waits until a domain that a shutdown has left early has no members any more.
fn gone(stop: &Stop) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let report = stop.report();
        if report.members().is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "some do not end after the stop: {report}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Whether a life that has ended is as it should be.
fn look_over(stage: &Stage<'_>, life: &Arc<Soaked>, ended: Instant) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while Arc::strong_count(life) > 1 {
        // A hurried stop did not wait for who drops it.
        ensure!(Instant::now() < until, "{} others hold the life", Arc::strong_count(life) - 1);
        thread::sleep(Duration::from_micros(100));
    }
    let next = Stop::new("the next life");
    let taken = stage.runtime.block_on(async {
        let lock = async {
            life.mds().lock_async_in(&next).await.map(|guard| (guard.state(), guard.entered().last().copied()))
        };
        tokio::time::timeout(PATIENCE, lock).await
    });
    let Ok((state, entered)) = taken.context("the MDS lock is not free")? else { bail!("nobody stops the next life") };
    let went_on = entered.is_some_and(|(_, at)| at > ended);
    ensure!(!went_on, "the life went on to {state} after its end");
    Ok(())
}

/// Whether the table of sessions that is on the disk, if there is one, is a whole one.
fn whole_sessions(folder: &Path) -> anyhow::Result<()> {
    let object = SavedSessions::object(0);
    match fs::read(folder.join("objects").join(&object)) {
        Ok(bytes) => SavedSessions::decode(&object, &bytes).map(drop).context("the table of sessions is torn"),
        Err(_) => Ok(()),
    }
}
