//! Whether the machine was ours while we measured, and on which of its cores the threads ran.
//!
//! Two threads that wake each other take 1 µs a turn on one core and 5 to 10 on two, of which one sleeps deeply. Where the scheduler puts them changes from run to run: so it is
//! not left to it (`Pinned`).
//!
//! Interleaved pairs take out what drifts slowly. They cannot take out another process on the core that a woken thread would have had: so
//! the share of the others stands under every table, and who reads it can tell a busy machine from a slow primitive.

use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::measure::process_cpu;

/// CPU time of the whole machine, and of this process with those that it started and that have ended, since it was started.
#[derive(Debug)]
pub struct Watch {
    machine: Ticks,
    own: Duration,
}

/// The first line of `/proc/stat`: CPU time of all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    /// Time in which any process, the kernel or another virtual machine ran.
    busy: u64,
    /// That and idle time.
    all: u64,
}

impl Watch {
    /// Starts now; `None` where there is no `/proc/stat`.
    #[must_use]
    pub fn start() -> Option<Watch> {
        Some(Watch { machine: ticks()?, own: own_cpu() })
    }

    /// The part of the machine's CPU time since the start that others took, from 0 to 1.
    #[must_use]
    pub fn others(&self) -> Option<f64> {
        let now = ticks()?;
        let own = (own_cpu() - self.own).as_secs_f64() * clock_ticks_per_second() as f64;
        let all = (now.all - self.machine.all) as f64;
        let busy = (now.busy - self.machine.busy) as f64;
        (all > 0.0).then(|| ((busy - own) / all).clamp(0.0, 1.0))
    }
}

fn own_cpu() -> Duration {
    // SAFETY: a structure of integers, for which all zeros are a value.
    let mut children: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to the structure that the call fills in.
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut children) };
    assert_eq!(done, 0, "a process may ask what its children took");
    let time =
        |part: libc::timeval| Duration::new(part.tv_sec.unsigned_abs(), part.tv_usec.unsigned_abs() as u32 * 1000);
    process_cpu() + time(children.ru_utime) + time(children.ru_stime)
}

fn ticks() -> Option<Ticks> {
    parse(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; the guests' time is in `user` and `nice` already.
fn parse(stat: &str) -> Option<Ticks> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(Ticks { busy: all - idle, all })
}

/// While it lives, this thread and those that it starts run on one core.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// To the `nth` of the cores that this thread may run on, or the last of fewer.
    pub(crate) fn to(nth: usize) -> Pinned {
        let before = sched_getaffinity(None).expect("a thread may ask for its cores");
        let cores = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        let mut one = CpuSet::new();
        one.set(cores.take(nth + 1).last().expect("a thread runs somewhere"));
        sched_setaffinity(None, &one).expect("a thread may choose among its cores");
        Pinned { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).expect("the cores that it had before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_for_a_disk_are_not_busy() {
        let stat = "cpu  10 1 5 100 7 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse(stat), Some(Ticks { busy: 25, all: 132 }));
        assert_eq!(parse("intr 1"), None);
        assert_eq!(parse("cpu  1 2"), None);
    }
}
