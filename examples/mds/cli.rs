//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A metadata server that boots from a captured Ceph metadata pool, serves it read-only, and always stops.
///
/// Without a command it is the main job: it boots from the pool that comes with the project, serves it for a second, and then stops many
/// times while the storage below it does not answer, in each state of its life.
///
/// Exit status 0: every stop was clean. 1: not so; what was wrong has been said. 130: interrupted by SIGINT or SIGTERM before its end.
#[derive(Debug, Parser)]
#[command(name = "mds", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of the main job.
    #[command(subcommand)]
    pub command: Option<Job>,
    /// How the main job runs.
    #[command(flatten)]
    pub drill: Drill,
}

/// What to do instead of the main job.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Something with a pool.
    #[command(flatten)]
    Pool(Command),
    /// Have thousands of lives, each frozen at a random point and stopped, with random faults of the storage.
    ///
    /// Exit status 0: every stop came before its deadline, and what was left the reports say. 1: not so; what was wrong has been said, with the seed.
    /// 3: a life hung. 130: interrupted by SIGINT or SIGTERM, and all was well until then.
    Soak(Soak),
}

/// How the soak runs.
#[derive(Args, Clone, Debug)]
pub struct Soak {
    /// Print one JSON object instead of text for people.
    #[arg(long)]
    pub json: bool,
    /// How many lives.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub lives: u64,
    /// What happens in each life follows from this; without it another one each time.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The number of the first life: with `--lives 1`, one that went wrong again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u64,
    /// The limit of each shutdown's plan, in milliseconds: a stop that takes longer is late.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub within_ms: u64,
}

/// How the main job runs.
#[derive(Args, Clone, Debug)]
pub struct Drill {
    /// Print one JSON object instead of text for people.
    #[arg(long)]
    pub json: bool,
    /// Runs of each stop.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Lives in a row when the restarts are timed.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub lives: u32,
}

/// What the program can do besides the main job.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what a pool holds.
    Dump {
        /// The pool's folder: `objects/` and `omap.jsonl`. (`mds-rados` also takes `rados:CONF:POOL`.)
        #[arg(long, value_name = "DIR")]
        pool: PathBuf,
        /// What to print.
        what: What,
    },
    /// Serve a pool until SIGTERM or SIGINT. That is its end, and no interruption: the exit status is 0.
    ///
    /// One JSON object a line each way: {"op":"lookup","parent":1,"name":"a"}, {"op":"getattr","ino":1}, {"op":"readdir","ino":1},
    /// {"op":"readlink","ino":9}; an "id" comes back with the reply. The root is inode 1. A client that wants to be waited for when the server starts
    /// again says so: {"op":"session","client":4711}. And for operators: {"op":"refresh"} forgets what was read of the tree, {"op":"flush"} writes the table of
    /// sessions now.
    Serve {
        /// The pool's folder: `objects/` and `omap.jsonl`. (`mds-rados` also takes `rados:CONF:POOL`.)
        #[arg(long, value_name = "DIR")]
        pool: PathBuf,
        /// Where to make the Unix socket.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Have a server that runs forget what it has read: what has changed in the pool since is seen from then on.
    Refresh {
        /// The server's Unix socket.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
}

/// What `dump` prints.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// Each event of the journal: where it starts, and its type.
    Events,
    /// Each entry of the tree as a JSON object, sorted by the bytes of its path.
    Tree,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;
    use crate::protocol::Request;

    #[test]
    fn the_help_names_every_request() {
        let mut cli = Cli::command();
        let serve = cli.find_subcommand_mut("serve").expect("it serves");
        let help = serve.render_long_help().to_string();
        // Who asks for what is no request is told what there is.
        let refusal = Request::parse(br#"{"op":"?"}"#).op.expect_err("there is none of that name").message;
        let names: Vec<_> = refusal.split('`').skip(3).step_by(2).collect();
        assert!(names.len() > 4, "{refusal}");
        for name in names {
            assert!(help.contains(&format!("{{\"op\":\"{name}\"")), "{name} in {help}");
        }
    }
}
