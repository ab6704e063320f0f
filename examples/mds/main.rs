//! A metadata server (MDS) that boots from a captured Ceph metadata pool, serves it read-only, and always stops.

mod cli;
mod daemon;
mod decode;
mod drill;
mod dump;
mod fixture;
mod frozen;
mod life;
mod manager;
#[cfg(test)]
mod mutations;
mod namespace;
mod omap;
mod pool;
mod protocol;
mod random;
mod rank;
mod refresh;
mod serve;
mod soak;
#[cfg(test)]
mod startup;
mod state;
mod store;
mod world;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, Job};
use crate::pool::Pool;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_main_job = cli.command.is_none();
    match run(cli) {
        Ok(status) => status,
        // Enough was read of a dump. Of the main job not every stop was made.
        Err(error) if is_closed_pipe(&error) && is_main_job => ExitCode::FAILURE,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mds: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for. What did not go well has been said.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Some(job) = cli.command else {
        return drill::run(&cli.drill);
    };
    match job {
        Job::Soak(options) => return soak::run(&options),
        Job::Pool(Command::Dump { pool, what }) => dump::print(&Pool::open(&pool)?, what)?,
        Job::Pool(Command::Refresh { socket }) => refresh::ask(&socket)?,
        Job::Pool(Command::Serve { pool, socket }) => daemon::run(&pool, &socket)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the reader of our output has gone, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind_of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) => Some(error.kind()),
        None => cause.downcast_ref::<serde_json::Error>()?.io_error_kind(),
    };
    error.chain().any(|cause| kind_of(cause) == Some(io::ErrorKind::BrokenPipe))
}
