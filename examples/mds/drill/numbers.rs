//! Figures: percentiles, and what the kernel says that this process has.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Milliseconds with a fraction.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The value below which `percent` of the sorted values lie (nearest rank); 0 if there are none.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The threads of this process: their kernel ids and names.
pub fn threads() -> BTreeMap<u32, String> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = fs::read_to_string(task.path().join("comm"));
        // One that has just ended has no name any more.
        if let (Some(tid), Ok(name)) = (task.file_name().to_str().and_then(|tid| tid.parse().ok()), name) {
            threads.insert(tid, name.trim_end().to_owned());
        }
    }
    threads
}

/// How many descriptors this process has open.
pub fn descriptors() -> usize {
    // The listing itself has one open.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// How much memory this process has in use, in KiB.
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

/// How long what ends behind a life's back is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the process has no more threads than before a life but those `left` that its report counts; and no more descriptors, if that is asked for.
pub fn settled(before: &BTreeMap<u32, String>, left: usize, open_before: Option<usize>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut extra = threads();
        extra.retain(|tid, _| !before.contains_key(tid));
        let more = open_before.map_or(0, |before| descriptors().saturating_sub(before));
        if extra.len() <= left && more == 0 {
            return Ok(());
        }
        // A thread that was joined is on the kernel's list a moment longer.
        anyhow::ensure!(
            Instant::now() < until,
            "leaked: {more} descriptors, threads {:?}, and the report counts {left} threads",
            extra.values()
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What a process has at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    threads: usize,
    descriptors: usize,
    resident_kib: u64,
}

impl Footprint {
    /// How much more memory is no leak: allocators keep some, and give some back late.
    const SLACK_KIB: u64 = 8 << 10;

    /// What it has now.
    pub fn now() -> Footprint {
        Footprint { threads: threads().len(), descriptors: descriptors(), resident_kib: resident_kib() }
    }

    /// The threads and descriptors of this one with the memory of a later one: allocators warm up.
    pub fn warmed_up(self, later: Footprint) -> Footprint {
        Footprint { resident_kib: later.resident_kib, ..self }
    }

    /// Whether the process has no more than it had then. What a life drops last is closed behind its back, so that may take a moment.
    pub fn is_kept(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = Footprint::now();
            let is_kept = now.threads <= self.threads
                && now.descriptors <= self.descriptors
                && now.resident_kib <= self.resident_kib + Footprint::SLACK_KIB;
            if is_kept {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("{self:?} has become {now:?}: {:?}", threads().values()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the main job has found, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Milliseconds in each state of a boot, and `total`.
    pub boot_ms: BTreeMap<String, f64>,
    /// How clients were served.
    pub serve: Served,
    /// How the life stopped in each scenario.
    pub stops: Vec<Stops>,
    /// From the request of a stop to the next life's being active.
    pub restart_ms: Restarts,
    /// What did the I/O.
    pub backend: String,
}

/// How clients were served.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Served {
    /// Requests answered in a second.
    pub ops_per_s: f64,
    /// 99 of 100 answers came within so many microseconds.
    pub p99_us: f64,
}

/// The stops of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Stops {
    /// The scenario.
    pub scenario: String,
    /// How many stops.
    pub runs: usize,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// None took longer.
    pub max_ms: f64,
    /// Whether every one was clean.
    pub clean: bool,
}

impl Stops {
    /// The figures of a scenario's runs.
    pub fn new(scenario: &str, mut times: Vec<Duration>, clean: bool) -> Stops {
        times.sort_unstable();
        Stops {
            scenario: scenario.to_owned(),
            runs: times.len(),
            p50_ms: ms(percentile(&times, 50)),
            p99_ms: ms(percentile(&times, 99)),
            max_ms: ms(percentile(&times, 100)),
            clean,
        }
    }
}

/// How long the server is away when it is started again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Restarts {
    /// Half of the restarts took no longer.
    pub p50: f64,
    /// None took longer.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<u32> = (1..=200).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&sorted, percent)), [100, 198, 200]);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile::<u32>(&[], 50), 0);
    }

    #[test]
    fn this_process_has_threads_descriptors_and_memory() {
        assert!(!threads().is_empty());
        assert!(descriptors() >= 3);
        assert!(resident_kib() > 100);
    }
}
