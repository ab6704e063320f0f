//! One run of one side, and interleaved pairs of runs.
//!
//! A run reports wall time and the CPU time of the whole process for a counted number of operations. Machines drift (frequency, other
//! tenants, heat), so two sides are never compared over runs that lie far apart: a pair is one run of each, back to back, who begins
//! alternates from pair to pair, and the comparison is the median over the pairs of what each pair says.
//!
//! Invariants:
//! - A [`Stopwatch`] runs only while the work runs: threads, runtimes and objects are made before it starts.
//! - A run that did not do its work panics; it never reports a time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::groups::{Side, Work};
use crate::stats::Median;

/// What one run took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Time on the clock. Where a group is about the time of a single operation: the median of those, times their number.
    pub wall: Duration,
    /// CPU time of the process, all threads together, user and system.
    pub cpu: Duration,
    /// Operations done.
    pub ops: u64,
    /// Operations of each thread, where threads compete.
    pub served: Vec<u64>,
}

impl std::ops::AddAssign for Measured {
    /// Two parts of one run.
    fn add_assign(&mut self, other: Measured) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.ops += other.ops;
    }
}

impl Measured {
    /// Nothing so far.
    #[must_use]
    pub fn nothing() -> Measured {
        Measured { wall: Duration::ZERO, cpu: Duration::ZERO, ops: 0, served: Vec::new() }
    }

    /// Nanoseconds on the clock for one operation.
    #[must_use]
    pub fn wall_ns(&self) -> f64 {
        self.wall.as_secs_f64() * 1e9 / self.ops as f64
    }

    /// Nanoseconds of CPU time for one operation.
    #[must_use]
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.ops as f64
    }

    /// The part of all operations that the least served thread did; `None` where nobody competes.
    #[must_use]
    pub fn least_share(&self) -> Option<f64> {
        let least = self.served.iter().min()?;
        Some(*least as f64 / self.ops as f64)
    }
}

/// Wall and CPU time since it was started.
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        let cpu = process_cpu();
        Stopwatch { wall: Instant::now(), cpu }
    }

    /// What `ops` operations took since the start.
    #[must_use]
    pub fn stop(self, ops: u64) -> Measured {
        let wall = self.wall.elapsed();
        Measured { wall, cpu: process_cpu().saturating_sub(self.cpu), ops, served: Vec::new() }
    }
}

/// CPU time of this process so far, all threads together.
pub(crate) fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    // Neither field of a CPU clock is ever negative.
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Runs `op` `n` times on this thread.
#[inline]
pub fn repeat(n: u64, mut op: impl FnMut()) -> Measured {
    let watch = Stopwatch::start();
    for _ in 0..n {
        op();
    }
    watch.stop(n)
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Pairs of runs.
    pub pairs: usize,
    /// How long one run should last.
    pub slice: Duration,
}

/// Two sides over all pairs.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Ours over the peer's, wall time.
    pub ratio: Median,
    /// Ours over the peer's, CPU time of the process.
    pub cpu_ratio: Median,
    /// Ours less the peer's, nanoseconds of wall time.
    pub difference: Median,
    /// Our runs.
    pub ours: Summary,
    /// The peer's runs.
    pub peer: Summary,
}

/// One side over all its runs: medians for each operation.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Wall time, nanoseconds.
    pub wall_ns: f64,
    /// The same with its interval.
    pub wall: Median,
    /// CPU time of the process, nanoseconds.
    pub cpu_ns: f64,
    /// Where threads compete, how fairly.
    pub fairness: Option<Fairness>,
}

/// How evenly, and how soon, competing threads were served.
#[derive(Clone, Debug)]
pub struct Fairness {
    /// Each thread's part of all operations of all runs.
    pub shares: Vec<f64>,
    /// The smallest part that any thread had in any run.
    pub least_share: f64,
    /// 99.9 % of the acquisitions took no longer than this, nanoseconds.
    pub p999_ns: f64,
}

/// Measures `ours` against `peer`.
///
/// # Panics
///
/// If a run of either side did not do its work, or `effort.pairs` is 0.
#[must_use]
pub fn compare(ours: &Side, peer: &Side, effort: Effort) -> Compared {
    let our_amount = calibrate(ours, effort.slice);
    let peer_amount = calibrate(peer, effort.slice);
    let (mut our_runs, mut peer_runs) = (Vec::new(), Vec::new());
    for pair in 0..effort.pairs {
        if pair % 2 == 0 {
            our_runs.push(run(ours, our_amount));
            peer_runs.push(run(peer, peer_amount));
        } else {
            peer_runs.push(run(peer, peer_amount));
            our_runs.push(run(ours, our_amount));
        }
    }
    let pairs = || our_runs.iter().zip(&peer_runs);
    Compared {
        ratio: Median::of(pairs().map(|(o, p)| o.wall_ns() / p.wall_ns()).collect()),
        cpu_ratio: Median::of(pairs().map(|(o, p)| o.cpu_ns() / p.cpu_ns().max(1e-3)).collect()),
        difference: Median::of(pairs().map(|(o, p)| o.wall_ns() - p.wall_ns()).collect()),
        ours: summary(ours, &our_runs, effort),
        peer: summary(peer, &peer_runs, effort),
    }
}

/// What one run is given: a number of operations or a span of time.
#[derive(Clone, Copy)]
enum Amount {
    Ops(u64),
    Span(Duration),
}

/// Finds how many operations fill a slice; warms the side up on the way. Of two runs the faster counts: a disk that still writes what was just made
/// takes milliseconds for the first read, after which a slice would be two reads.
fn calibrate(side: &Side, slice: Duration) -> Amount {
    let Work::Ops(work) = side.work else {
        return Amount::Span(slice);
    };
    // From one on: of some work one operation takes longer than a slice.
    let mut n = 1;
    loop {
        let wall = work(n).wall.min(work(n).wall).max(Duration::from_nanos(1));
        let wanted = slice.as_secs_f64() / wall.as_secs_f64();
        // Close enough that the step to the whole slice is a small one, whose estimate is good.
        if wanted < 8.0 {
            return Amount::Ops(((n as f64 * wanted) as u64).max(1));
        }
        n = (n as f64 * (wanted / 4.0).min(64.0)) as u64;
    }
}

fn run(side: &Side, amount: Amount) -> Measured {
    match (side.work, amount) {
        (Work::Ops(work), Amount::Ops(n)) => work(n),
        (Work::Span { work, .. }, Amount::Span(span)) => work(span),
        _ => unreachable!("calibrate answers in the unit of the side's work"),
    }
}

fn summary(side: &Side, runs: &[Measured], effort: Effort) -> Summary {
    let wall = Median::of(runs.iter().map(Measured::wall_ns).collect());
    Summary {
        wall_ns: wall.value,
        wall,
        cpu_ns: Median::of(runs.iter().map(Measured::cpu_ns).collect()).value,
        fairness: match side.work {
            Work::Ops(_) => None,
            Work::Span { latencies, .. } => Some(fairness(runs, latencies, effort)),
        },
    }
}

/// Shares come from the runs themselves, latencies from runs of their own: taking the time of each acquisition would be part of what
/// the others measure.
fn fairness(runs: &[Measured], latencies: fn(Duration) -> Vec<u32>, effort: Effort) -> Fairness {
    let all: u64 = runs.iter().map(|run| run.ops).sum();
    let threads = runs.first().map_or(0, |run| run.served.len());
    let mut taken = latencies(effort.slice * 4);
    taken.sort_unstable();
    assert!(!taken.is_empty(), "no acquisition was timed");
    Fairness {
        shares: (0..threads).map(|t| runs.iter().map(|run| run.served[t]).sum::<u64>() as f64 / all as f64).collect(),
        least_share: runs.iter().filter_map(Measured::least_share).fold(1.0, f64::min),
        p999_ns: f64::from(taken[(taken.len() * 999).div_ceil(1000) - 1]),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    /// A run that takes so many nanoseconds for each operation, on a clock of its own: no test here depends on the machine's.
    fn taking(n: u64, ns: u64) -> Measured {
        let wall = Duration::from_nanos(n * ns);
        Measured { wall, cpu: wall / 2, ops: n, served: Vec::new() }
    }

    #[test]
    fn a_side_that_does_twice_the_work_takes_twice_the_time() {
        let effort = Effort { pairs: 11, slice: Duration::from_millis(5) };
        let side = |name, work| Side { name, work: Work::Ops(work) };
        let compared = compare(&side("twice", |n| taking(n, 20)), &side("once", |n| taking(n, 10)), effort);
        assert_eq!((compared.ratio.low, compared.ratio.value, compared.ratio.high), (2.0, 2.0, 2.0));
        assert!((compared.difference.value - 10.0).abs() < 1e-6, "{compared:?}");
        assert!((compared.ours.cpu_ns - 10.0).abs() < 1e-6, "{compared:?}");
        assert!(compared.ours.fairness.is_none());
    }

    #[test]
    fn who_begins_a_pair_alternates() {
        static ORDER: Mutex<String> = Mutex::new(String::new());
        fn note(who: char) -> Measured {
            ORDER.lock().expect("nobody panics").push(who);
            taking(1, 1)
        }
        let side = |name, work| Side { name, work: Work::Span { work, latencies: |_| vec![1] } };
        let effort = Effort { pairs: 4, slice: Duration::ZERO };
        let compared = compare(&side("ours", |_| note('o')), &side("peer", |_| note('p')), effort);
        assert_eq!(*ORDER.lock().expect("nobody panics"), "oppooppo");
        assert_eq!(compared.ratio.value, 1.0);
    }

    #[test]
    fn calibration_fills_the_slice() {
        let slice = Duration::from_millis(10);
        let count = |work| match calibrate(&Side { name: "side", work: Work::Ops(work) }, slice) {
            Amount::Ops(n) => n,
            Amount::Span(_) => panic!("counted work is given a count"),
        };
        assert_eq!(count(|n| taking(n, 1)), 10_000_000);
        assert_eq!(count(|n| taking(n, 1000)), 10_000);
        // One operation that takes longer than the slice is still one operation.
        assert_eq!(count(|n| taking(n, 1_000_000_000)), 1);
        // One run that is disturbed does not count.
        static FIRST: AtomicBool = AtomicBool::new(true);
        assert_eq!(count(|n| taking(n, if FIRST.swap(false, Relaxed) { 9_000_000 } else { 1000 })), 10_000);
    }

    #[test]
    fn a_stopwatch_counts_what_was_repeated() {
        let mut done = 0;
        let measured = repeat(1000, || done = std::hint::black_box(done) + 1);
        assert_eq!((done, measured.ops), (1000, 1000));
        assert!(measured.wall > Duration::ZERO);
    }

    #[test]
    fn shares_are_parts_of_all_that_was_done() {
        let run =
            |a, b| Measured { wall: Duration::from_millis(1), cpu: Duration::ZERO, ops: a + b, served: vec![a, b] };
        let effort = Effort { pairs: 11, slice: Duration::from_millis(1) };
        let got = fairness(&[run(10, 30), run(30, 30)], |_| (1..=2000).rev().collect(), effort);
        assert_eq!(got.shares, [0.4, 0.6]);
        assert_eq!(got.least_share, 0.25);
        assert_eq!(got.p999_ns, 1998.0);
    }
}
