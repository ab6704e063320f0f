//! `mds soak`: thousands of lives in one process, each started, loaded, frozen at a random point, stopped, and followed by the next.
//!
//! What happens in a life follows from the seed and the life's number (`choices.rs`); when exactly, from the machine. A life that was not as it should be
//! (`one.rs` has the list) is said at once, with its seed, and makes the exit status 1. Ctrl-C ends the life that runs, and then the soak, with status 130.

mod choices;
mod faulty;
mod guests;
mod one;

use std::collections::BTreeMap;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use unwedge::{Plan, Stop};

use crate::cli;
use crate::daemon;
use crate::drill::INTERRUPTED;
use crate::drill::numbers::{Footprint, ms, percentile};
use crate::drill::scene::Stage;
use crate::fixture::Fixture;

use choices::Choices;

/// The exit status where a life hangs.
const HUNG: i32 = 3;

/// How long a life may take: a hundred times what it does.
const LONGEST_LIFE: Duration = Duration::from_secs(120);

/// How often it is said how far it is, where there is no terminal.
const NEWS: Duration = Duration::from_secs(5);

/// So many lives warm the allocator up: what the process has is compared with what it had after them. (Threads and descriptors are counted in each life too.)
const WARM: u64 = 500;

/// After so many failures it gives up.
const MOST_FAILURES: u64 = 20;

/// What came of it, as `--json` prints it.
#[derive(Debug, Default, Serialize)]
struct Found {
    seed: u64,
    lives: u64,
    failures: u64,
    interrupted: bool,
    seconds: f64,
    stop_p50_ms: f64,
    stop_p99_ms: f64,
    stop_max_ms: f64,
    /// How many lives were stopped in each state.
    stopped_in: BTreeMap<&'static str, u64>,
    /// How many answers of the storage went wrong, and how.
    faults: BTreeMap<&'static str, u64>,
    /// How many answers clients got.
    answers: u64,
    /// Lives with something left in the kernel at their deadline, and what: operations, bytes, threads. All of it was reported, and went later.
    lives_with_leaks: u64,
    reported_leaks: [usize; 3],
    /// Threads of phases that were late, were reported, and ended later.
    late_phases: usize,
}

/// Runs the soak, and says what it found.
pub fn run(options: &cli::Soak) -> anyhow::Result<ExitCode> {
    let runtime = daemon::runtime()?;
    let soak = Stop::new("soak");
    daemon::stop_on_signals(&runtime, &soak)?;
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(clock()));
    eprintln!("mds: soak of {} lives, seed {seed}", options.lives);
    let fixture = match Fixture::unpack(|| soak.is_requested()) {
        Err(error) if soak.is_requested() => {
            eprintln!("mds: {error:#}");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        unpacked => unpacked?,
    };
    let stage = Stage { drill: &soak, runtime: &runtime, fixture: &fixture };
    let found = all(&stage, options, seed)?;
    soak.shutdown(Plan::within(LONGEST_LIFE));
    if options.json {
        crate::drill::print(&serde_json::to_string(&found).context("cannot print what was found")?)?;
    } else {
        say(&found)?;
    }
    Ok(match found {
        Found { failures: 1.., .. } => ExitCode::FAILURE,
        Found { interrupted: true, .. } => ExitCode::from(INTERRUPTED),
        _ => ExitCode::SUCCESS,
    })
}

/// Nanoseconds of the clock's second: for a seed.
fn clock() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos())
}

/// Every life.
fn all(stage: &Stage<'_>, options: &cli::Soak, seed: u64) -> anyhow::Result<Found> {
    let within = Duration::from_millis(options.within_ms);
    let mut found = Found { seed, ..Found::default() };
    let mut stops = Vec::new();
    let mut progress = Progress::new(options)?;
    let watchdog = Watchdog::start(stage.drill, seed).context("cannot start a thread")?;
    let begun = Instant::now();
    let mut before = None;
    for life in (options.first..).take(usize::try_from(options.lives)?) {
        if stage.drill.is_requested() {
            break;
        }
        watchdog.next(life);
        let choices = Choices::new(seed, life);
        let lived = one::live(stage, &choices, within);
        let is_interrupted = stage.drill.is_requested();
        match lived {
            Ok(lived) => {
                stops.push(lived.stop);
                *found.stopped_in.entry(lived.state).or_default() += 1;
                lived.faults.into_iter().for_each(|(fault, n)| *found.faults.entry(fault).or_default() += n);
                found.answers += lived.answers;
                found.late_phases += lived.late_phases;
                found.lives_with_leaks += u64::from(lived.left.iter().any(|left| *left > 0));
                found.reported_leaks.iter_mut().zip(lived.left).for_each(|(sum, more)| *sum += more);
            }
            // It could not begin, because the soak was stopped.
            Err(error) if is_interrupted && error.chain().any(|cause| cause.is::<unwedge::Stopped>()) => break,
            Err(error) => {
                found.failures += 1;
                progress.bar.suspend(|| {
                    eprintln!("mds: seed {seed}, life {life}: {error:#}\n  {choices}");
                    eprintln!("  again: mds soak --seed {seed} --first {life} --lives 1");
                });
            }
        }
        found.lives += 1;
        progress.is_at(&found);
        if found.failures >= MOST_FAILURES {
            break;
        }
        if found.lives == WARM {
            before = Some(Footprint::now());
        }
    }
    watchdog.end();
    progress.bar.finish_and_clear();
    found.interrupted = stage.drill.is_requested();
    if let Some(Err(grown)) = before.map(|before| before.is_kept()) {
        found.failures += 1;
        eprintln!("mds: seed {seed}: leaked in {} lives: {grown}", found.lives);
    }
    ensure!(found.lives > 0 || found.interrupted, "no life was had");
    stops.sort_unstable();
    [found.stop_p50_ms, found.stop_p99_ms, found.stop_max_ms] =
        [50, 99, 100].map(|percent| ms(percentile(&stops, percent)));
    found.seconds = begun.elapsed().as_secs_f64();
    Ok(found)
}

/// Prints what was found, for people.
fn say(found: &Found) -> anyhow::Result<()> {
    let list = |counts: &BTreeMap<&'static str, u64>| {
        let list: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        list.join(", ")
    };
    let Found { seed, lives, failures, interrupted, seconds, stop_p50_ms, stop_p99_ms, stop_max_ms, .. } = found;
    let [operations, bytes, threads] = found.reported_leaks;
    for line in [
        format!(
            "{lives} lives in {seconds:.1} s, seed {seed}: {failures} failed{}",
            if *interrupted { ", interrupted" } else { "" }
        ),
        format!(
            "a stop took {stop_p50_ms} ms (half of them), {stop_p99_ms} ms (99 of 100), {stop_max_ms} ms (the longest)"
        ),
        format!("stopped in: {}", list(&found.stopped_in)),
        format!("answers of the storage that went wrong: {}", list(&found.faults)),
        format!("clients got {} answers", found.answers),
        format!(
            "left in the kernel at the deadline, and reported, in {} lives: {operations} operations, {bytes} bytes, {threads} threads",
            found.lives_with_leaks
        ),
        format!("phases that were late on their way out, and reported: {}", found.late_phases),
    ] {
        crate::drill::print(&line)?;
    }
    Ok(())
}

/// Says how far it is: in a bar on a terminal, now and then in a line where there is none.
struct Progress {
    bar: ProgressBar,
    said: Instant,
    lives: u64,
}

impl Progress {
    fn new(options: &cli::Soak) -> anyhow::Result<Progress> {
        // Hidden where standard error is no terminal.
        let bar = ProgressBar::new(options.lives);
        let style = "{wide_bar} {pos} of {len} lives, {msg}; {eta} left";
        bar.set_style(ProgressStyle::with_template(style).context("no such style")?);
        Ok(Progress { bar, said: Instant::now(), lives: options.lives })
    }

    fn is_at(&mut self, found: &Found) {
        self.bar.set_position(found.lives);
        self.bar.set_message(format!("{} failed", found.failures));
        if self.bar.is_hidden() && self.said.elapsed() >= NEWS {
            eprintln!("mds: {} of {} lives, {} failed", found.lives, self.lives, found.failures);
            self.said = Instant::now();
        }
    }
}

/// Ends the process, with a report, where a life hangs: whatever is wrong then, it is not said by who hangs.
struct Watchdog {
    /// The life that runs, and one more than it, which is 0 at the end. Relaxed: nothing is passed on by it.
    life: Arc<AtomicU64>,
}

impl Watchdog {
    fn start(soak: &Stop, seed: u64) -> std::io::Result<Watchdog> {
        let life = Arc::new(AtomicU64::new(1));
        let (watched, soak) = (Arc::clone(&life), soak.clone());
        let watch = move || {
            let (mut seen, mut since) = (1, Instant::now());
            loop {
                std::thread::sleep(Duration::from_millis(200));
                match watched.load(Relaxed) {
                    0 => return,
                    now if now != seen => (seen, since) = (now, Instant::now()),
                    _ if since.elapsed() < LONGEST_LIFE => {}
                    _ => {
                        eprintln!("mds: seed {seed}, life {}: hangs for {LONGEST_LIFE:?}; {}", seen - 1, soak.report());
                        exit(HUNG);
                    }
                }
            }
        };
        std::thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Watchdog { life })
    }

    fn next(&self, life: u64) {
        self.life.store(life + 1, Relaxed);
    }

    fn end(&self) {
        self.life.store(0, Relaxed);
    }
}
