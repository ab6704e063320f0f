//! The main job: boots from the captured pool, serves it for a second, stops again and again while the storage does not answer, and is
//! started again a hundred times.
//!
//! Everything takes place under a domain of the drill's own: Ctrl-C requests its stop, which reaches whatever life there is then.

mod load;
pub mod numbers;
pub mod scene;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use unwedge::io::Io;
use unwedge::report::Outcome;
use unwedge::{Plan, Stop};

use crate::cli;
use crate::daemon;
use crate::decode::tables::SavedSessions;
use crate::fixture::Fixture;
use crate::life::Life;
use crate::serve::{Socket, serve};
use crate::state::State;
use crate::store::FileStore;

use load::Load;
use numbers::{Findings, Footprint, Restarts, Served, Stops, ms, percentile};
use scene::{Scenario, Stage};

/// How long clients are served.
const SERVE_FOR: Duration = Duration::from_secs(1);

/// The clients that each of these lives finds, and hands on to the next.
const REGULARS: u64 = 4;

/// A stop that nothing hinders.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How much of it the table of sessions may take.
const SAVE_WITHIN: Duration = Duration::from_secs(10);

/// A server's life, and when it began.
struct Started {
    life: Arc<Life<FileStore>>,
    began: Instant,
    backend: &'static str,
}

/// A boot, as it was.
struct Booted {
    /// Milliseconds in each state, and `total`.
    boot_ms: BTreeMap<String, f64>,
    backend: &'static str,
    /// Events that were replayed.
    events: u64,
    /// Inodes that were read.
    inodes: usize,
    /// Inode numbers that are free.
    free: u64,
}

/// The exit status of what a signal has ended before its work was done, as a shell has it after Ctrl-C. (A server's work is done then.)
pub const INTERRUPTED: u8 = 130;

/// Runs the drill and prints what it finds. Its exit status says whether every stop was clean.
pub fn run(options: &cli::Drill) -> anyhow::Result<ExitCode> {
    let runtime = daemon::runtime()?;
    let drill = Stop::new("drill");
    daemon::stop_on_signals(&runtime, &drill)?;
    let is_interrupted = || drill.reason().is_some_and(|reason| reason.starts_with("SIG"));
    let interrupted = || {
        eprintln!("mds: interrupted");
        Ok(ExitCode::from(INTERRUPTED))
    };
    let fixture = match Fixture::unpack(|| drill.is_requested()) {
        Err(_) if is_interrupted() => return interrupted(),
        unpacked => unpacked?,
    };
    let stage = Stage { drill: &drill, runtime: &runtime, fixture: &fixture };
    let found = stage.run(options);
    // Whatever was interrupted has been stopped with the drill; its threads are on their way out.
    drill.shutdown(Plan::within(STOP_WITHIN));
    let (findings, blemishes) = match found {
        Err(_) if is_interrupted() => return interrupted(),
        found => found?,
    };
    if options.json {
        print(&serde_json::to_string(&findings).context("cannot print the findings")?)?;
    }
    for blemish in &blemishes {
        eprintln!("mds: not clean: {blemish}");
    }
    Ok(if blemishes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a line; a disk that is full or a reader that has gone is an error, and no panic.
pub fn print(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write")
}

impl Stage<'_> {
    fn run(&self, options: &cli::Drill) -> anyhow::Result<(Findings, Vec<String>)> {
        let say = |text: &str| if options.json { Ok(()) } else { print(text) };
        let mut blemishes = Vec::new();
        let Booted { boot_ms, backend, events, inodes, free } = self.boot(options, &mut blemishes)?;
        say(&format!("boot from the captured pool before its journal was flushed: {events} events; I/O by {backend}"))?;
        for state in State::BOOT.into_iter().take_while(|state| *state != State::Active) {
            say(&format!("  {:<12}{:9.3} ms", state.name(), boot_ms[state.name()]))?;
        }
        say(&format!(
            "  {:<12}{:9.3} ms, with {inodes} inodes read and {free} numbers free",
            "to active", boot_ms["total"]
        ))?;

        let served = self.serve(&mut blemishes)?;
        say(&format!(
            "\nserved {} clients for a second: {:.0} operations/s, 99 of 100 within {:.0} µs",
            load::CLIENTS,
            served.ops_per_s,
            served.p99_us
        ))?;

        say(&format!("\nstops under load while the storage does not answer, {} of each, in ms", options.runs))?;
        say(&format!(
            "  {:<24}{:>9}{:>9}{:>9}  {:<7}{}",
            "stopped in", "p50", "p99", "max", "clean", "ceph-mds, for context (*)"
        ))?;
        let mut stops = Vec::new();
        for scenario in Scenario::ALL {
            let found = self.stops(scenario, options.runs, &mut blemishes)?;
            say(&format!(
                "  {:<24}{:9.3}{:9.3}{:9.3}  {:<7}{}",
                found.scenario,
                found.p50_ms,
                found.p99_ms,
                found.max_ms,
                if found.clean { "yes" } else { "NO" },
                scenario.in_ceph()
            ))?;
            stops.push(found);
        }
        say(
            "  (*) 16.2.15, SIGTERM to exit, recorded elsewhere, with its storage behind a network: no comparison of speed",
        )?;

        let restart_ms = self.restarts(options.lives, &mut blemishes)?;
        say(&format!(
            "\nstarted again {} times: from the request of the stop to active in {:.1} ms (half of them), {:.1} ms (the slowest)",
            options.lives, restart_ms.p50, restart_ms.max
        ))?;
        say(if blemishes.is_empty() { "every stop was clean" } else { "NOT every stop was clean" })?;
        Ok((Findings { boot_ms, serve: served, stops, restart_ms, backend: backend.to_owned() }, blemishes))
    }

    /// Begins a life on a pool.
    fn start(&self, pool: &Path) -> anyhow::Result<Started> {
        let began = Instant::now();
        let stop = self.drill.child("mds");
        let io = Io::new(&stop).context("cannot start I/O")?;
        let store = FileStore::open(&io, &stop, pool)?;
        let life = Life::start(&stop, store).context("cannot start the server's threads")?;
        Ok(Started { life, began, backend: io.backend() })
    }

    /// One boot, timed by state.
    fn boot(&self, options: &cli::Drill, blemishes: &mut Vec<String>) -> anyhow::Result<Booted> {
        let Started { life, began, backend } = self.start(&self.fixture.dirty())?;
        let bar = if options.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
        bar.set_style(
            ProgressStyle::with_template("replay {wide_bar} {bytes} of {total_bytes}").context("no such style")?,
        );
        while life.mds().when(|mds| Some(mds.is_open().is_none()))? {
            let replayed = life.mds().when(|mds| Some(mds.replayed))?;
            bar.set_length(replayed.of);
            bar.set_position(replayed.bytes);
            if self.drill.wait_timeout(Duration::from_millis(2)) {
                bail!("interrupted");
            }
        }
        bar.finish_and_clear();
        life.wait_open()??;
        let entered = life.mds().when(|mds| Some(mds.entered().to_vec()))?;
        let mut boot_ms = BTreeMap::new();
        for pair in entered.windows(2) {
            let [(state, at), (_, next)] = pair else { continue };
            let since = if *state == State::Boot { began } else { *at };
            boot_ms.insert(state.name().to_owned(), ms(next.duration_since(since)));
        }
        let active = entered.last().map_or(began, |(_, at)| *at);
        boot_ms.insert("total".to_owned(), ms(active.duration_since(began)));
        let (events, inodes, free) =
            life.mds().when(|mds| Some((mds.replayed.events, mds.namespace.len(), mds.free_inodes().unwrap_or(0))))?;
        end(&life, "boot", blemishes);
        Ok(Booted { boot_ms, backend, events, inodes, free })
    }

    /// Clients for a second, on the pool whose tree is in its directory objects.
    fn serve(&self, blemishes: &mut Vec<String>) -> anyhow::Result<Served> {
        let pool = self.fixture.flushed();
        let Started { life, .. } = self.start(&pool)?;
        let path = self.fixture.folder().join("mds.sock");
        {
            let _entered = self.runtime.enter();
            serve(&life, Socket::bind(&path)?).context("cannot use the socket")?;
        }
        life.wait_open()??;
        let begun = Instant::now();
        let load = Load::start(self.runtime, &path);
        if self.drill.wait_timeout(SERVE_FOR) {
            bail!("interrupted");
        }
        let done = load.finish(self.runtime)?;
        let time = begun.elapsed();
        end(&life, "serve", blemishes);
        forget_sessions(&pool)?;
        let mut latencies: Vec<Duration> = done.into_iter().flat_map(|done| done.latencies).collect();
        latencies.sort_unstable();
        let ops_per_s = (latencies.len() as f64 / time.as_secs_f64()).round();
        Ok(Served { ops_per_s, p99_us: ms(percentile(&latencies, 99)) * 1e3 })
    }

    /// Every stop of a scenario.
    fn stops(&self, scenario: Scenario, runs: u32, blemishes: &mut Vec<String>) -> anyhow::Result<Stops> {
        let mut times = Vec::new();
        let so_far = blemishes.len();
        for run in 0..runs {
            let outcome = self.stop_once(scenario, run).with_context(|| format!("{}, run {run}", scenario.name()))?;
            times.push(outcome.time);
            blemishes.extend(outcome.blemish.map(|blemish| format!("{}, run {run}: {blemish}", scenario.name())));
        }
        Ok(Stops::new(&scenario.name(), times, blemishes.len() == so_far))
    }

    /// Life after life, each with the clients of the one before.
    fn restarts(&self, lives: u32, blemishes: &mut Vec<String>) -> anyhow::Result<Restarts> {
        let pool = self.fixture.dirty();
        let mut times = Vec::new();
        // Compared while no life runs: how many threads one has is its own business, and changes.
        let mut before = Footprint::now();
        let mut life = self.start_with_regulars(&pool)?;
        for restart in 0..lives {
            let begun = Instant::now();
            end(&life, "restart", blemishes);
            // The first lives warm the allocator up.
            if restart == lives / 10 {
                before = before.warmed_up(Footprint::now());
            }
            life = self.start_with_regulars(&pool)?;
            times.push(begun.elapsed());
            let found = life.mds().when(|mds| Some(mds.sessions.len() as u64))?;
            if found != REGULARS {
                blemishes.push(format!("restart {restart}: {found} of {REGULARS} clients have their session again"));
            }
        }
        end(&life, "restart", blemishes);
        drop(life);
        if let Err(grown) = before.is_kept() {
            blemishes.push(format!("{lives} lives: {grown}"));
        }
        forget_sessions(&pool)?;
        times.sort_unstable();
        Ok(Restarts { p50: ms(percentile(&times, 50)), max: ms(percentile(&times, 100)) })
    }

    /// Begins a life with clients that come (again) as soon as they may, and waits until it serves.
    fn start_with_regulars(&self, pool: &Path) -> anyhow::Result<Arc<Life<FileStore>>> {
        let Started { life, .. } = self.start(pool)?;
        let regulars = Arc::clone(&life);
        let come = move || {
            for client in 0..REGULARS {
                if regulars.mds().when(|mds| mds.open_session(client)).is_err() {
                    return;
                }
                regulars.notify();
            }
        };
        let clients = life.domain().spawn("clients", come).context("cannot start a thread")?;
        life.wait_open()??;
        if let Err(error) = clients.join() {
            bail!("the clients did not come: {error}");
        }
        Ok(life)
    }
}

/// Ends a life that nothing hinders.
fn end(life: &Arc<Life<FileStore>>, which: &str, blemishes: &mut Vec<String>) {
    let report = life.shut_down("the drill", STOP_WITHIN, SAVE_WITHIN, STOP_WITHIN);
    let is_saved = report.phases().iter().all(|phase| phase.outcome == Outcome::Done);
    if !report.is_clean() || !is_saved || !report.panicked().is_empty() {
        blemishes.push(format!("{which}: {report}"));
    }
}

/// Removes the table of sessions that a life has saved in a captured pool.
fn forget_sessions(pool: &Path) -> anyhow::Result<()> {
    let table = pool.join("objects").join(SavedSessions::object(0));
    if table.exists() {
        std::fs::remove_file(&table).with_context(|| format!("cannot remove {}", table.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread of each life is late: it hangs before its first line for longer than a stop may take. That is a stop which is not clean, and the run says so.
    #[test]
    fn a_stop_that_leaves_a_thread_is_not_clean() {
        let hangs = |name: &str| {
            if name == "boot" {
                std::thread::sleep(3 * scene::WITHIN);
            }
        };
        let (runtime, drill) =
            (daemon::runtime().expect("a runtime"), Stop::builder("drill").on_thread_start(hangs).build());
        let fixture = Fixture::unpack(|| false).expect("the pool");
        let stage = Stage { drill: &drill, runtime: &runtime, fixture: &fixture };
        let mut blemishes = Vec::new();
        let stops =
            stage.stops(Scenario::Frozen(State::Replay), 1, &mut blemishes).expect("the drill itself goes well");
        assert_eq!((stops.runs, stops.clean, blemishes.len()), (1, false, 1), "{blemishes:?}");
        assert!(blemishes[0].starts_with("replay, run 0: not everything has ended"), "{blemishes:?}");
        assert!(blemishes[0].contains("thread boot"), "{blemishes:?}");
        let drill = Stop::new("drill");
        let stage = Stage { drill: &drill, ..stage };
        let stops =
            stage.stops(Scenario::Frozen(State::Replay), 1, &mut blemishes).expect("the drill itself goes well");
        assert_eq!((stops.clean, blemishes.len()), (true, 1), "{blemishes:?}");
    }
}
