//! What an [`Io`](super::Io) counts, and the snapshot of it that its user reads.
//!
//! # Algorithm
//!
//! Plain counters that only grow, in shards: a thread counts in the shard of its [seat](super::seat), which nobody else writes to as long as it lives, if
//! there is a seat for it. A snapshot adds the shards up. It is no instant in time: what is counted meanwhile is in it or not,
//! and an operation may be seen ended by one shard before another shows it begun (then it is not in flight).
//!
//! All of it is relaxed: a figure for people decides nothing.

use std::{fmt, sync::Arc, sync::OnceLock, time::Duration};

use crossbeam_utils::CachePadded;

use super::seat::{SEATS, Seat};
use crate::{
    stop::Leaked,
    sys::{PlainU64, Relaxed},
};

/// Powers of two from 2^10 ns (1.024 µs) on; the last one has no upper bound.
const BUCKETS: usize = 24;
const FIRST_BOUND: u32 = 10;

/// A kind of operation, as [`Metrics`] counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// [`Io::open`](super::Io::open), [`open_in`](super::Io::open_in), and the opening of a directory that is read.
    Open,
    /// Reads; each range of [`read_ranges`](super::Io::read_ranges) is one.
    Read,
    /// Writes.
    Write,
    /// [`fsync`](super::Io::fsync) and [`fdatasync`](super::Io::fdatasync).
    Sync,
    /// [`stat`](super::Io::stat) and [`stat_file`](super::Io::stat_file); a whole [`stat_many`](super::Io::stat_many) is one.
    Stat,
    /// A batch of [`ReadDir`](super::ReadDir).
    ReadDir,
    /// What changes names: `rename`, `remove_file`, `create_dir`.
    Change,
    /// [`run_blocking`](super::Io::run_blocking).
    Job,
    /// [`external`](super::Io::external).
    External,
}

impl Operation {
    /// Every kind, in the order of this enumeration.
    pub const ALL: [Operation; 9] = [
        Operation::Open,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Stat,
        Operation::ReadDir,
        Operation::Change,
        Operation::Job,
        Operation::External,
    ];

    /// A name in lower case, for exporters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Stat => "stat",
            Operation::ReadDir => "read_dir",
            Operation::Change => "change",
            Operation::Job => "job",
            Operation::External => "external",
        }
    }
}

/// The counters: see the head of this file.
pub(super) struct Meter {
    /// A seat's, made when it first counts.
    shards: [OnceLock<Box<CachePadded<Shard>>>; SEATS],
    timed_out: PlainU64,
    leaked_operations: PlainU64,
    leaked_bytes: PlainU64,
    leaked_threads: PlainU64,
}

#[derive(Default)]
struct Shard {
    rows: [Row; Operation::ALL.len()],
    too_late: PlainU64,
}

/// The counters of one kind of operation in one shard.
#[derive(Default)]
struct Row {
    /// Done on the caller's own thread, and in none of the others.
    prompt: PlainU64,
    begun: PlainU64,
    ended: PlainU64,
    failed: PlainU64,
    nanos: PlainU64,
    slowest: PlainU64,
    buckets: [PlainU64; BUCKETS],
}

/// The shard of this thread's seat.
struct Own<'a> {
    shard: &'a Shard,
    alone: bool,
}

impl Own<'_> {
    fn row(&self, kind: Operation) -> &Row {
        &self.shard.rows[kind as usize]
    }

    /// Adds to one of its counters: where nobody else does, without a read-modify-write.
    #[inline]
    fn add(&self, counter: &PlainU64, n: u64) {
        if self.alone {
            counter.store(counter.load(Relaxed) + n, Relaxed);
        } else {
            counter.fetch_add(n, Relaxed);
        }
    }
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            shards: [const { OnceLock::new() }; SEATS],
            timed_out: PlainU64::default(),
            leaked_operations: PlainU64::default(),
            leaked_bytes: PlainU64::default(),
            leaked_threads: PlainU64::default(),
        }
    }

    #[inline]
    fn own(&self) -> Own<'_> {
        let Seat { number, alone } = Seat::of_this_thread();
        Own { shard: self.shards[number].get_or_init(Box::default), alone }
    }

    #[inline]
    pub(super) fn prompt(&self, kind: Operation) {
        let own = self.own();
        own.add(&own.row(kind).prompt, 1);
    }

    pub(super) fn begun(&self, kind: Operation) {
        let own = self.own();
        own.add(&own.row(kind).begun, 1);
    }

    pub(super) fn ended(&self, kind: Operation, took: Duration, ok: bool) {
        let own = self.own();
        let row = own.row(kind);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        own.add(&row.ended, 1);
        if !ok {
            own.add(&row.failed, 1);
        }
        own.add(&row.nanos, nanos);
        // A load first: mostly it is not the slowest, and a read-modify-write costs more.
        if nanos > row.slowest.load(Relaxed) {
            row.slowest.fetch_max(nanos, Relaxed);
        }
        own.add(&row.buckets[bucket(nanos)], 1);
    }

    /// A result came that nobody wanted any more.
    pub(super) fn too_late(&self) {
        let own = self.own();
        own.add(&own.shard.too_late, 1);
    }

    pub(super) fn timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    pub(super) fn leaked(&self, leaked: Leaked) {
        self.leaked_operations.fetch_add(leaked.operations as u64, Relaxed);
        self.leaked_bytes.fetch_add(leaked.bytes as u64, Relaxed);
        self.leaked_threads.fetch_add(leaked.threads as u64, Relaxed);
    }

    pub(super) fn snapshot(&self, backend: &'static str, fallback: Option<Arc<str>>, pool_threads: usize) -> Metrics {
        let shards = || self.shards.iter().filter_map(OnceLock::get);
        let sum = |of: &dyn Fn(&Shard) -> &PlainU64| shards().map(|shard| of(shard).load(Relaxed)).sum();
        let counts = Operation::ALL.map(|kind| {
            let row = kind as usize;
            // The ends first: what ends and begins in between is not in flight, rather than counted as ended twice.
            let ended = sum(&|shard| &shard.rows[row].ended);
            Counts {
                ended,
                begun: sum(&|shard| &shard.rows[row].begun),
                prompt: sum(&|shard| &shard.rows[row].prompt),
                failed: sum(&|shard| &shard.rows[row].failed),
                nanos: sum(&|shard| &shard.rows[row].nanos),
                slowest: shards().map(|shard| shard.rows[row].slowest.load(Relaxed)).max().unwrap_or(0),
                buckets: std::array::from_fn(|i| sum(&|shard| &shard.rows[row].buckets[i])),
            }
        });
        Metrics {
            backend,
            fallback,
            pool_threads,
            counts,
            too_late: sum(&|shard| &shard.too_late),
            timed_out: self.timed_out.load(Relaxed),
            leaked: Leaked {
                operations: self.leaked_operations.load(Relaxed) as usize,
                bytes: self.leaked_bytes.load(Relaxed) as usize,
                threads: self.leaked_threads.load(Relaxed) as usize,
            },
        }
    }
}

/// The first bucket whose bound is above.
fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - (nanos >> FIRST_BOUND).leading_zeros();
    (bits as usize).min(BUCKETS - 1)
}

/// What a bucket's figures are below; `None` for the last.
fn bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < BUCKETS).then(|| Duration::from_nanos(1 << (bucket as u32 + FIRST_BOUND)))
}

/// What an [`Io`](super::Io) has done so far, and what it is at: made by [`Io::metrics`](super::Io::metrics).
///
/// ```
/// use unwedge::{Stop, io::{Io, OpenOptions, Operation}};
///
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// let file = io.open("/proc/self/status", OpenOptions::new().read(true)).wait()??;
/// io.read_at(&file, vec![0; 4096], 0).wait()??;
///
/// let metrics = io.metrics();
/// let reads = metrics.operation(Operation::Read);
/// assert_eq!((reads.done(), reads.failed(), reads.in_flight()), (1, 0, 0));
/// println!("{}: half of the reads took less than {:?}", metrics.backend(), reads.quantile(0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    backend: &'static str,
    fallback: Option<Arc<str>>,
    pool_threads: usize,
    counts: [Counts; Operation::ALL.len()],
    too_late: u64,
    timed_out: u64,
    leaked: Leaked,
}

/// The figures of one kind of operation: see [`Metrics::operation`].
#[derive(Clone, Copy)]
pub struct Counts {
    prompt: u64,
    begun: u64,
    ended: u64,
    failed: u64,
    nanos: u64,
    slowest: u64,
    buckets: [u64; BUCKETS],
}

impl Metrics {
    /// `"uring"` or `"pool"`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Why there is no io_uring, where it was wanted and refused.
    #[must_use]
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// How many threads the pool has now.
    #[must_use]
    pub fn pool_threads(&self) -> usize {
        self.pool_threads
    }

    /// The figures of one kind of operation.
    #[must_use]
    pub fn operation(&self, kind: Operation) -> &Counts {
        &self.counts[kind as usize]
    }

    /// How many operations are in flight, of every kind. One whose wait was given up is in flight until the kernel has answered.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts.iter().map(Counts::in_flight).sum()
    }

    /// Cancels that came too late: operations that ended although nobody wanted them any more, because the kernel or a foreign library had them.
    #[must_use]
    pub fn too_late(&self) -> u64 {
        self.too_late
    }

    /// How many operations were not answered within their [deadline](super::IoBuilder::deadline).
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        self.timed_out
    }

    /// How many operations the shutdown had to leave with the kernel or a foreign library.
    #[must_use]
    pub fn leaked_operations(&self) -> usize {
        self.leaked.operations
    }

    /// How many bytes of buffers were left with them.
    #[must_use]
    pub fn leaked_bytes(&self) -> usize {
        self.leaked.bytes
    }

    /// How many threads were left in the kernel.
    #[must_use]
    pub fn leaked_threads(&self) -> usize {
        self.leaked.threads
    }
}

impl Counts {
    /// How many have ended, with success or not, those on the caller's own thread included.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.ended + self.prompt
    }

    /// How many were done at once on the caller's own thread: reads from the page cache, opens of names that were cached. The time of these
    /// is not taken.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.prompt
    }

    /// How many have ended with an error.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// How many have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.ended)
    }

    /// The time that those which ended on the backend took together, from their call to their end.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The time of the slowest that has ended.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        Duration::from_nanos(self.slowest)
    }

    /// A time within which this share (0 to 1) of the operations ended, exact to a factor of two; `None` if none has ended.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (share.clamp(0.0, 1.0) * all as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(bound(at).map_or(self.slowest(), |bound| bound.min(self.slowest())))
    }

    /// How many ended within which time: the upper bound of each bucket and the count in it, by rising bound. The last bucket has none.
    pub fn histogram(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(i, count)| (bound(i), *count))
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts")
            .field("done", &self.done())
            .field("failed", &self.failed)
            .field("in_flight", &self.in_flight())
            .field("median", &self.quantile(0.5))
            .field("slowest", &self.slowest())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_quantiles() {
        assert_eq!((bucket(0), bucket(1023), bucket(1024), bucket(2047), bucket(2048)), (0, 0, 1, 1, 2));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bound(0), Some(Duration::from_nanos(1024)));
        assert_eq!(bound(BUCKETS - 1), None);

        let meter = Meter::new();
        let kind = Operation::Read;
        for micros in [2, 2, 2, 1000] {
            meter.begun(kind);
            meter.ended(kind, Duration::from_micros(micros), micros != 1000);
        }
        meter.begun(kind);
        (0..2).for_each(|_| meter.prompt(kind));
        let metrics = meter.snapshot("pool", None, 0);
        let reads = metrics.operation(kind);
        assert_eq!((reads.done(), reads.failed(), reads.in_flight(), reads.prompt()), (6, 1, 1, 2));
        assert_eq!(reads.quantile(0.5), Some(Duration::from_nanos(2048)));
        assert_eq!(reads.quantile(1.0), Some(Duration::from_micros(1000)), "never above the slowest");
        assert_eq!((reads.total(), reads.slowest()), (Duration::from_micros(1006), Duration::from_micros(1000)));
        let filled = reads.histogram().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        assert_eq!(filled, [(Some(Duration::from_nanos(2048)), 3), (Some(Duration::from_nanos(1 << 20)), 1)]);
        assert_eq!(metrics.operation(Operation::Write).quantile(0.5), None);
        assert_eq!(metrics.in_flight(), 1);
    }

    #[test]
    fn every_kind_has_its_row() {
        for (at, kind) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
