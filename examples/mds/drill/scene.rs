//! One stop: a life under load, brought to where its storage does not answer, stopped, and looked over.
//!
//! A stop counts from its request until the domain's last thread and task have ended. It is clean if then
//! - the report says so, or says what the kernel still holds, and the process has just so many threads more than before the life;
//! - nobody but the drill holds the life: every closure and task of it has been dropped;
//! - the MDS lock can be taken by a domain of another life;
//! - the life did not go on: it is in the state in which it was stopped, or in those of an orderly stop;
//! - late answers of the storage hurt nobody.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::runtime::Runtime;
use unwedge::io::Io;
use unwedge::report::Report;
use unwedge::{Stop, Stopped};

use super::load::Load;
use super::numbers;
use crate::decode::tables::SavedSessions;
use crate::fixture::Fixture;
use crate::frozen::{FrozenStore, Ice};
use crate::life::Life;
use crate::serve::{Socket, serve};
use crate::state::State;
use crate::store::FileStore;

/// The whole stop; what has not ended then is named and left.
pub const WITHIN: Duration = Duration::from_secs(1);

/// How much of it storage that does not answer is given for the table of sessions.
const SAVE_WITHIN: Duration = Duration::from_millis(1);

/// How long what hangs in the kernel is waited for. Elsewhere only the answers are held back: what the kernel has begun ends.
const DRAIN: Duration = Duration::from_millis(1);

/// A life that gets this far without being where it should be is a failure of the drill.
const PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The storage freezes when the life enters this state.
    Frozen(State),
    /// Frozen while active, and an operator's request waits for it.
    Admin,
    /// Frozen during replay, and back during the stop.
    Thaw,
    /// One of the journal's objects is a pipe whose writer has stopped.
    Pipe,
}

impl Scenario {
    /// Every scenario, in the order of a life.
    pub const ALL: [Scenario; 10] = [
        Scenario::Frozen(State::Recovery),
        Scenario::Frozen(State::Replay),
        Scenario::Frozen(State::Tables),
        Scenario::Frozen(State::Root),
        Scenario::Frozen(State::Reconnect),
        Scenario::Frozen(State::Rejoin),
        Scenario::Frozen(State::Active),
        Scenario::Admin,
        Scenario::Thaw,
        Scenario::Pipe,
    ];

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Scenario::Frozen(state) => state.name().to_owned(),
            Scenario::Admin => "active, admin request".to_owned(),
            Scenario::Thaw => "replay, storage back".to_owned(),
            Scenario::Pipe => "replay, pipe hangs".to_owned(),
        }
    }

    /// What ceph-mds 16.2.15 did in the like of it, as it was recorded: on another machine, with its storage across a network stack. Its
    /// hangs in up:replay were in the load of the journal's pointer; with the storage gone during the events themselves it did end.
    pub fn in_ceph(self) -> &'static str {
        match self {
            Scenario::Frozen(State::Recovery) => "hung, over 180 s, 6 of 6",
            Scenario::Frozen(State::Replay) => "4.1 s, 2 runs",
            Scenario::Frozen(State::Active) => "6.3 to 8.1 s, 4 runs",
            Scenario::Frozen(_) | Scenario::Pipe => "not recorded",
            Scenario::Admin => "hung, over 120 s, 3 of 3",
            Scenario::Thaw => "the stop was lost, 2 of 2",
        }
    }

    /// The state in which the life is stopped.
    fn state(self) -> State {
        match self {
            Scenario::Frozen(state) => state,
            Scenario::Admin => State::Active,
            Scenario::Thaw | Scenario::Pipe => State::Replay,
        }
    }
}

/// Where the stops take place.
pub struct Stage<'a> {
    /// The drill's own domain: its stop ends the drill.
    pub drill: &'a Stop,
    /// What clients and servers run on.
    pub runtime: &'a Runtime,
    /// The captured pools.
    pub fixture: &'a Fixture,
}

/// How a stop was.
#[derive(Debug)]
pub struct Outcome {
    /// How long it took.
    pub time: Duration,
    /// What was not clean about it.
    pub blemish: Option<String>,
}

impl Stage<'_> {
    /// One stop. Errors are failures of the drill itself, and the drill's own stop.
    pub fn stop_once(&self, scenario: Scenario, run: u32) -> anyhow::Result<Outcome> {
        let before = numbers::threads();
        let pool = Pool::prepare(self.fixture, scenario)?;
        let stop = self.drill.child("mds");
        let io = Io::new(&stop).context("cannot start I/O")?;
        let ice = Ice::new((scenario != Scenario::Pipe).then_some(scenario.state()));
        let store = FrozenStore::new(FileStore::open(&io, &stop, &pool.folder)?, &stop, &ice);
        drop(io);
        let life = Life::start(&stop, store).context("cannot start the server's threads")?;
        let path = self.fixture.folder().join("mds.sock");
        {
            let _entered = self.runtime.enter();
            serve(&life, Socket::bind(&path)?).context("cannot use the socket")?;
        }
        let load = Load::start(self.runtime, &path);
        let mut admin = UnixStream::connect(&path).context("cannot reach the server")?;
        if scenario == Scenario::Admin {
            admin.write_all(b"{\"op\":\"flush\"}\n").context("cannot ask the server")?;
        }
        self.reach(&life, scenario, &ice)?;

        // Every other time who stops holds the MDS lock all the while.
        let drain = if scenario == Scenario::Pipe { DRAIN } else { WITHIN };
        // Only a life that is active has something to save.
        let save = if scenario.state() == State::Active { SAVE_WITHIN } else { WITHIN };
        let plan = life.plan(WITHIN, save).drain(drain);
        let request = || {
            let begun = Instant::now();
            stop.request("the drill");
            let thaw = (scenario == Scenario::Thaw).then(|| {
                let ice = ice.clone();
                std::thread::Builder::new().name("thaw".to_owned()).spawn(move || ice.thaw())
            });
            (begun, thaw)
        };
        let (begun, thaw, report);
        if run % 2 == 1 {
            let guard = life.mds().lock()?;
            (begun, thaw) = request();
            report = stop.shutdown_holding(guard, plan);
        } else {
            (begun, thaw) = request();
            report = stop.shutdown(plan);
        }
        let time = begun.elapsed();

        if let Some(thaw) = thaw {
            drop(thaw.context("cannot start a thread")?.join());
        }
        ice.thaw();
        let mut blemish = self.look_over(&life, scenario, &report).err();
        drop((life, stop));
        if let Err(wrong) = load.finish(self.runtime) {
            blemish = blemish.or(Some(wrong));
        }
        if let Err(extra) = numbers::settled(&before, report.leaked_threads(), None) {
            blemish = blemish.or(Some(extra));
        }
        // The pipe's writer goes, and with it whoever hung in the kernel.
        drop(pool);
        numbers::settled(&before, 0, None).context("after the storage came back")?;
        Ok(Outcome { time, blemish: blemish.map(|blemish| format!("{blemish:#}; {report}")) })
    }

    /// Waits until the life is where it is to be stopped.
    fn reach(&self, life: &Life<FrozenStore<FileStore>>, scenario: Scenario, ice: &Ice) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let state = scenario.state();
        loop {
            let (at, replayed) = life.mds().when(|mds| Some((mds.state(), mds.replayed)))?;
            let is_there = match scenario {
                // Or reads ahead have taken what there is, and the first one hangs: in a replay all of them are of the pipe.
                Scenario::Pipe => replayed.bytes > 0 || hangs(&life.domain().report()),
                // Of the clients that wait, the operator is the one that has a thread of the server's wait with it.
                Scenario::Admin => life
                    .domain()
                    .report()
                    .members()
                    .iter()
                    .any(|member| member.name == "admin" && !member.waits.is_empty()),
                Scenario::Frozen(State::Reconnect) => true,
                Scenario::Frozen(_) | Scenario::Thaw => ice.held() > 0,
            };
            if at == state && is_there {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the server is in state {at} and not in {state}");
            if self.drill.wait_timeout(Duration::from_micros(200)) {
                bail!("interrupted");
            }
        }
    }

    /// Whether a stopped life is as it should be.
    fn look_over(
        &self,
        life: &Arc<Life<FrozenStore<FileStore>>>,
        scenario: Scenario,
        report: &Report,
    ) -> anyhow::Result<()> {
        let in_kernel = scenario == Scenario::Pipe && report.members().is_empty() && report.leaked_threads() > 0;
        ensure!(report.is_clean() || in_kernel, "not everything has ended");
        ensure!(report.panicked().is_empty(), "something panicked");
        let holders = Arc::strong_count(life);
        ensure!(holders == 1, "{} others hold the life", holders - 1);
        let next = self.drill.child("the next life");
        let taken = self.runtime.block_on(async {
            let lock = async { life.mds().lock_async_in(&next).await.map(|guard| guard.state()) };
            tokio::time::timeout(PATIENCE, lock).await
        });
        let state =
            taken.context("the MDS lock is not free")?.map_err(|Stopped { .. }| anyhow::anyhow!("interrupted"))?;
        let expected = match scenario.state() {
            // How far the save came in its time does not matter.
            State::Active => [State::Active, State::Stopping, State::Stopped].contains(&state),
            stopped_in => state == stopped_in,
        };
        ensure!(expected, "the life went on to {state}");
        Ok(())
    }
}

/// Whether somebody waits for a read for longer than one that is answered takes. (One that is answered all the same ends the look a little early.)
fn hangs(report: &Report) -> bool {
    let waited = report.operations().iter().filter(|operation| operation.waiter.is_some());
    waited.filter(|operation| operation.operation == "read").any(|read| read.age >= Duration::from_millis(100))
}

/// The pool of a scenario.
pub struct Pool {
    /// Where it is.
    pub folder: PathBuf,
    /// Holds the pipe's other end, so that a reader hangs and does not see the end.
    pipe: Option<File>,
    /// What was made for the scenario and goes with it.
    made: Option<PathBuf>,
}

impl Pool {
    /// Makes it.
    pub fn prepare(fixture: &Fixture, scenario: Scenario) -> anyhow::Result<Pool> {
        let (dirty, flushed) = (fixture.dirty(), fixture.flushed());
        Ok(match scenario {
            Scenario::Pipe => Pool::with_pipe(&dirty, &fixture.folder().join("pipe"))?,
            Scenario::Frozen(State::Active) | Scenario::Admin => Pool { folder: flushed, pipe: None, made: None },
            Scenario::Frozen(State::Reconnect) => {
                // A client of a life before, which does not come back.
                let table = dirty.join("objects").join(SavedSessions::object(0));
                fs::write(&table, SavedSessions { clients: vec![4123] }.encode())
                    .context("cannot write a table of sessions")?;
                Pool { folder: dirty, pipe: None, made: Some(table) }
            }
            _ => Pool { folder: dirty, pipe: None, made: None },
        })
    }

    /// The same pool, but the journal's first object is a pipe, in which there is a part of that object and no more to come.
    fn with_pipe(pool: &Path, folder: &Path) -> anyhow::Result<Pool> {
        let mut made = Pool { folder: folder.to_owned(), pipe: None, made: Some(folder.to_owned()) };
        let (objects, journal) = (folder.join("objects"), "200.00000001");
        let linked = || -> std::io::Result<File> {
            fs::create_dir_all(&objects)?;
            fs::hard_link(pool.join(crate::omap::FILE), folder.join(crate::omap::FILE))?;
            for object in fs::read_dir(pool.join("objects"))? {
                let object = object?;
                if object.file_name() != journal {
                    fs::hard_link(object.path(), objects.join(object.file_name()))?;
                }
            }
            let pipe = objects.join(journal);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &pipe,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )?;
            // For both, so that opening it does not wait for a reader.
            let mut pipe = File::options().read(true).write(true).open(&pipe)?;
            // Less than a pipe holds, so that writing it does not wait either.
            pipe.write_all(&fs::read(pool.join("objects").join(journal))?[..48 << 10])?;
            Ok(pipe)
        };
        made.pipe = Some(linked().with_context(|| format!("cannot make a pool with a pipe in {}", folder.display()))?);
        Ok(made)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Some(made) = self.made.take() {
            // What cannot be removed goes with the fixture's folder.
            drop(if made.is_dir() { fs::remove_dir_all(&made) } else { fs::remove_file(&made) });
        }
    }
}
