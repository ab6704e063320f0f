//! `mds serve`: the server as a daemon, from its start to its orderly stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use unwedge::io::Io;
use unwedge::report::{Outcome, report_fd};
use unwedge::{Plan, Stop};

use crate::life::{Life, Store};
use crate::manager;
use crate::pool;
use crate::rank::Trouble;
use crate::serve::{Socket, serve};
use crate::store::FileStore;

/// The whole stop, storage frozen or not.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// How much of it the table of sessions may take.
const SAVE_WITHIN: Duration = Duration::from_millis(500);

/// How long what the storage has begun is waited for: more than storage takes that is well.
const DRAIN: Duration = Duration::from_millis(15);

/// The runtime that the clients' tasks run on.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the tasks' runtime")
}

/// From now on SIGTERM and SIGINT request the domain's stop, and a second one hurries it. They do it on a task, because a request is not for a signal
/// handler.
pub fn stop_on_signals(runtime: &Runtime, stop: &Stop) -> anyhow::Result<()> {
    let _entered = runtime.enter();
    let asked = Arc::new(AtomicBool::new(false));
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
        let mut signals = signal(kind).with_context(|| format!("cannot watch for {name}"))?;
        let (stop, asked) = (stop.clone(), asked.clone());
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                // Only signals count: the stop may have been requested by the server itself.
                if asked.swap(true, Ordering::Relaxed) {
                    stop.hurry(name);
                } else {
                    stop.request(name);
                }
            }
        });
    }
    // A write beyond the limit on the sizes of files shall fail, and not end the process: whoever handles this signal has no more to do.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ)).context("cannot watch for SIGXFSZ")?);
    Ok(())
}

/// From now on SIGQUIT has the domain's report printed, and a panic what the whole process waits for: why does it not stop? The thread that prints has a
/// runtime of its own, so that it is there when the daemon's is stuck.
pub fn report_on_signals(stop: &Stop) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime for SIGQUIT")?;
    let entered = runtime.enter();
    let mut signals = signal(SignalKind::quit()).context("cannot watch for SIGQUIT")?;
    drop(entered);
    let stop = stop.clone();
    let print = move || {
        runtime.block_on(async {
            while signals.recv().await.is_some() {
                eprintln!("mds: {}", stop.report());
            }
        });
    };
    std::thread::Builder::new().name("report".into()).spawn(print).context("cannot start a thread for SIGQUIT")?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        // What cannot be written has nowhere to be told.
        let _ = report_fd(std::io::stderr());
    }));
    Ok(())
}

/// Serves a pool's folder until SIGTERM or SIGINT.
pub fn run(folder: &Path, socket: &Path) -> anyhow::Result<()> {
    pool::check(folder)?;
    run_on(socket, |stop| FileStore::open(&Io::new(stop).context("cannot start I/O")?, stop, folder))
}

/// Serves a store until SIGTERM or SIGINT. Whoever opens it may block; a stop has to end that.
pub fn run_on<S: Store>(socket: &Path, open: impl FnOnce(&Stop) -> anyhow::Result<S>) -> anyhow::Result<()> {
    // Signals first: from the socket on there is something to clean up.
    let runtime = runtime()?;
    let stop = Stop::new("mds");
    stop_on_signals(&runtime, &stop)?;
    report_on_signals(&stop)?;
    let socket = Socket::bind(socket)?;
    let store = match open(&stop) {
        Ok(store) => store,
        Err(error) => {
            let is_stopped = stop.is_requested();
            // There is nothing to be saved, and what it waits for may never come.
            stop.shutdown(Plan::within(STOP_WITHIN).drain(Duration::ZERO));
            return if is_stopped { Ok(()) } else { Err(error) };
        }
    };
    let life = Life::start(&stop, store).context("cannot start the server's threads")?;
    {
        let _entered = runtime.enter();
        serve(&life, socket).context("cannot use the socket")?;
    }
    manager::ready();
    manager::watch(&runtime, &life);
    // Until the stop, or until the server finds that it cannot serve.
    let trouble: Option<Trouble> = runtime.block_on(life.mds().when_async(|mds| mds.trouble.clone())).ok();
    manager::stopping();
    stop.request("damaged");
    let plan = life.plan(STOP_WITHIN, SAVE_WITHIN).drain(DRAIN).on_progress(manager::extend);
    let report = stop.shutdown(plan);
    let failed = report.phases().iter().find_map(|phase| match &phase.outcome {
        Outcome::Failed(why) => Some(why.clone()),
        _ => None,
    });
    let given_up = report
        .phases()
        .iter()
        .any(|phase| matches!(phase.outcome, Outcome::Stopped | Outcome::Left | Outcome::Skipped));
    if !report.is_clean() || given_up {
        eprintln!("mds: {report}");
    }
    // What a dead disk holds in the kernel is said, and is no fault of the server's.
    if !report.members().is_empty() || !report.panicked().is_empty() {
        bail!("not everything has ended");
    }
    match (trouble, failed) {
        (Some(trouble), _) => bail!("{trouble}"),
        // What was given up at its deadline is the frozen storage's doing; this is not.
        (None, Some(why)) => bail!("the table of sessions is not saved: {why}"),
        (None, None) => Ok(()),
    }
}
