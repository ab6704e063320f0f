//! Files: reads through the page cache and past it, many submitters, a journal's replay, a shutdown with reads out.
//!
//! Every group has ours twice, on io_uring and on the pool; the bars are for io_uring. The bars were given as throughput against the peer; here
//! a ratio is of times, so that a bar of 1.2 is 1 / 1.2.
//!
//! Peers on io_uring (tokio-uring, monoio, compio) are one thread's own: no other thread can submit to them. `raw` is a loop on the `io-uring`
//! crate, see [`raw`].

use super::{Contest, Group, Side};
use crate::verdict::Bar;

mod lane;
mod many;
mod ours;
mod page;
mod peers;
pub mod raw;
mod replay;
pub mod scene;
mod shutdown;
mod stat;

pub use page::{PAGE, Page};

const URING: &str = "unwedge uring";
const POOL: &str = "unwedge pool";

/// All groups, in the order of the table.
pub const GROUPS: [Group; 11] = [
    Group {
        name: "io_hit_d1",
        operation: "read 4 KiB at random that are in the page cache; one at a time",
        contests: hits_1,
        files: true,
    },
    Group { name: "io_hit_d32", operation: "the same, 32 in flight", contests: hits_32, files: true },
    Group {
        name: "io_direct_d1_thread",
        operation: "the median of direct reads of 4 KiB at random, one at a time, waited for by a thread",
        contests: direct_1_thread,
        files: true,
    },
    Group { name: "io_direct_d1_task", operation: "the same, by a task", contests: direct_1_task, files: true },
    Group {
        name: "io_direct_d32",
        operation: "a direct read of 4 KiB at random, 32 in flight",
        contests: direct_32,
        files: true,
    },
    Group { name: "io_direct_d128", operation: "the same, 128 in flight", contests: direct_128, files: true },
    Group {
        name: "io_many",
        operation: "a read of 4 KiB by one of 8 threads and 1,000 tasks",
        contests: many_submitters,
        files: true,
    },
    Group {
        name: "io_stat",
        operation: "stat 100,000 files whose attributes are in memory",
        contests: stats,
        files: true,
    },
    Group {
        name: "io_replay_cold",
        operation: "replay a journal of 64 MiB that is not in the page cache",
        contests: replay_cold,
        files: true,
    },
    Group {
        name: "io_replay_warm",
        operation: "replay a journal of 64 MiB that is",
        contests: replay_warm,
        files: true,
    },
    Group {
        name: "io_shutdown",
        operation: "shut down with 1,024 reads that never complete, until the last waiter is let go",
        contests: shutdowns,
        files: true,
    },
];

/// Throughput against the peer, as a ratio of times.
const fn throughput(times: f64) -> f64 {
    1.0 / times
}

fn without_bars(peers: &[(Side, Bar)]) -> Vec<(Side, Bar)> {
    peers.iter().map(|(side, _)| (*side, Bar::Context)).collect()
}

/// Ours on both backends against the same peers.
fn both(
    uring: fn(u64) -> crate::measure::Measured,
    pool: fn(u64) -> crate::measure::Measured,
    peers: Vec<(Side, Bar)>,
) -> Vec<Contest> {
    let beside = without_bars(&peers);
    vec![Contest { ours: Side::ops(URING, uring), peers }, Contest { ours: Side::ops(POOL, pool), peers: beside }]
}

/// The runtimes that a thread has for itself.
fn runtimes<const DIRECT: bool, const DEPTH: usize, const TIMED: bool>(bar: Bar) -> Vec<(Side, Bar)> {
    vec![
        (Side::ops("tokio-uring", peers::tokio_uring::<DIRECT, DEPTH, TIMED>), bar),
        (Side::ops("monoio", peers::monoio::<DIRECT, DEPTH, TIMED>), bar),
        (Side::ops("compio", peers::compio::<DIRECT, DEPTH, TIMED>), bar),
    ]
}

fn hits<const DEPTH: usize>(raw: Bar, own: Bar) -> Vec<(Side, Bar)> {
    let mut all = vec![(Side::ops("raw io-uring", raw::run::<false, DEPTH, false>), raw)];
    all.extend(runtimes::<false, DEPTH, false>(own));
    all.push((Side::ops("tokio::fs", peers::tokio_fs::<DEPTH>), Bar::Ratio(1.0)));
    all.push((Side::ops("spawn_blocking", peers::spawn_blocking::<false, DEPTH, false>), Bar::Ratio(1.0)));
    all
}

fn hits_1() -> Vec<Contest> {
    let peers = hits::<1>(Bar::Ratio(throughput(1.2)), Bar::Ratio(1.0));
    both(ours::thread::<false, false, 1, false>, ours::thread::<true, false, 1, false>, peers)
}

fn hits_32() -> Vec<Contest> {
    let peers = hits::<32>(Bar::Ratio(throughput(0.9)), Bar::Context);
    both(ours::thread::<false, false, 32, false>, ours::thread::<true, false, 32, false>, peers)
}

fn direct<const DEPTH: usize, const TIMED: bool>(raw: Bar) -> Vec<(Side, Bar)> {
    let mut all = vec![(Side::ops("raw io-uring", raw::run::<true, DEPTH, TIMED>), raw)];
    all.extend(runtimes::<true, DEPTH, TIMED>(Bar::Context));
    all.push((Side::ops("spawn_blocking", peers::spawn_blocking::<true, DEPTH, TIMED>), Bar::Context));
    all
}

fn direct_1_thread() -> Vec<Contest> {
    both(ours::thread::<false, true, 1, true>, ours::thread::<true, true, 1, true>, direct::<1, true>(Bar::Ratio(1.25)))
}

fn direct_1_task() -> Vec<Contest> {
    both(ours::tasks::<false, true, 1, true>, ours::tasks::<true, true, 1, true>, direct::<1, true>(Bar::Ratio(1.4)))
}

/// As much throughput as nearly all of the raw loop's, for no more than twice its CPU time.
const NEAR_RAW: Bar = Bar::WithCpu { wall: throughput(0.9), cpu: 2.0 };

fn direct_32() -> Vec<Contest> {
    let peers = direct::<32, false>(NEAR_RAW);
    both(ours::thread::<false, true, 32, false>, ours::thread::<true, true, 32, false>, peers)
}

fn direct_128() -> Vec<Contest> {
    let peers = direct::<128, false>(NEAR_RAW);
    both(ours::thread::<false, true, 128, false>, ours::thread::<true, true, 128, false>, peers)
}

fn many_submitters() -> Vec<Contest> {
    let bar = Bar::BestPeerWithCpu { wall: throughput(1.3), cpu: 1.0 / 3.0 };
    let hits = vec![
        (Side::ops("spawn_blocking, hits", many::spawn_blocking::<false>), bar),
        (Side::ops("tokio::fs, hits", many::tokio_fs), bar),
        (Side::ops("pool of 32, hits", many::pool::<false>), bar),
    ];
    let direct = vec![
        (Side::ops("spawn_blocking, direct", many::spawn_blocking::<true>), bar),
        (Side::ops("pool of 32, direct", many::pool::<true>), bar),
    ];
    let mut all = both(many::ours::<false, false>, many::ours::<true, false>, hits);
    all.extend(both(many::ours::<false, true>, many::ours::<true, true>, direct));
    all
}

fn stats() -> Vec<Contest> {
    let bar = Bar::Ratio(throughput(1.7));
    let peers = vec![
        (Side::ops("one thread's loop", stat::one_thread), bar),
        (Side::ops("tokio::fs", stat::tokio_fs), Bar::Context),
    ];
    both(stat::ours::<false>, stat::ours::<true>, peers)
}

fn replay_cold() -> Vec<Contest> {
    let bar = Bar::BestPeer(throughput(1.3));
    let peers = vec![
        (Side::ops("pread by entries", replay::by_entries::<true>), bar),
        (Side::ops("pread by parts", replay::by_parts::<true>), bar),
    ];
    both(replay::ours::<false, true>, replay::ours::<true, true>, peers)
}

fn replay_warm() -> Vec<Contest> {
    let bar = Bar::BestPeer(1.0);
    let peers = vec![
        (Side::ops("pread by entries", replay::by_entries::<false>), bar),
        (Side::ops("pread by parts", replay::by_parts::<false>), bar),
    ];
    both(replay::ours::<false, false>, replay::ours::<true, false>, peers)
}

fn shutdowns() -> Vec<Contest> {
    let bar = Bar::AtMostNs(5e6);
    let tasks = vec![(Side::ops("oneshots, tasks", shutdown::oneshot_tasks), bar)];
    let threads = vec![
        (Side::ops("oneshots, threads", shutdown::oneshot_threads), bar),
        (Side::ops("one futex, threads", shutdown::one_futex), bar),
    ];
    let mut all = both(shutdown::tasks::<false>, shutdown::tasks::<true>, tasks);
    all.extend(both(shutdown::threads::<false>, shutdown::threads::<true>, threads));
    all
}
