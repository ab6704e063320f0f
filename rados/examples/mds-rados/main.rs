//! The example `mds` of unwedge, on the metadata pool of a live Ceph cluster: `--pool rados:CONF:POOL` beside a captured pool's folder.
//!
//! All but this file and `rados.rs` is the plain example's. It lies here because the plain one does without librados.

#[path = "../../../examples/mds/cli.rs"]
mod cli;
#[path = "../../../examples/mds/daemon.rs"]
mod daemon;
#[path = "../../../examples/mds/decode/mod.rs"]
mod decode;
#[path = "../../../examples/mds/dump.rs"]
mod dump;
#[expect(dead_code, reason = "the main job and the models use more of it")]
#[path = "../../../examples/mds/life.rs"]
mod life;
#[path = "../../../examples/mds/manager.rs"]
mod manager;
#[expect(dead_code, reason = "the main job uses more of it")]
#[path = "../../../examples/mds/namespace.rs"]
mod namespace;
#[path = "../../../examples/mds/omap.rs"]
mod omap;
mod packed;
#[path = "../../../examples/mds/pool.rs"]
mod pool;
#[path = "../../../examples/mds/protocol.rs"]
mod protocol;
mod rados;
#[expect(dead_code, reason = "the main job uses more of it")]
#[path = "../../../examples/mds/rank.rs"]
mod rank;
#[path = "../../../examples/mds/refresh.rs"]
mod refresh;
#[path = "../../../examples/mds/serve.rs"]
mod serve;
#[path = "../../../examples/mds/state.rs"]
mod state;
#[path = "../../../examples/mds/store.rs"]
mod store;
#[path = "../../../examples/mds/world.rs"]
mod world;

use std::io::Write as _;

use clap::Parser;

use crate::cli::Command;
use crate::pool::Pool;
use crate::rados::{Place, Plain, RadosStore};

/// A metadata server that boots from a Ceph metadata pool, live or captured, serves it read-only, and always stops.
#[derive(Debug, Parser)]
#[command(name = "mds-rados", version)]
struct Cli {
    /// What to do. A pool is a captured one's folder, or `rados:CONF:POOL`.
    #[command(subcommand)]
    command: Command,
}

fn main() {
    let result = run(Cli::parse());
    if let Err(error) = &result {
        eprintln!("mds-rados: {error:#}");
    }
    drop(std::io::stdout().flush());
    // Librados may have threads that wait for a cluster that does not answer: no destructor of its globals may run under them.
    // SAFETY: It takes no memory, and does not come back.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve { pool, socket } => match Place::parse(&pool)? {
            Some(place) => daemon::run_on(&socket, |stop| RadosStore::open(stop, &place)),
            None => daemon::run(&pool, &socket),
        },
        Command::Dump { pool, what } => match Place::parse(&pool)? {
            Some(place) => dump::print(&Pool(Plain::open(&place)?), what),
            None => dump::print(&Pool::open(&pool)?, what),
        },
        Command::Refresh { socket } => refresh::ask(&socket),
    }
}
