//! How a model is run: so many random schedules, and as many of PCT's, from a seed.

use std::sync::Arc;
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// How many schedules of each kind, unless `UNWEDGE_SHUTTLE` says otherwise.
const SCHEDULES: usize = 1000;

/// The seed, unless `UNWEDGE_SHUTTLE` says otherwise.
const SEED: u64 = 7;

/// At how many places PCT lets another thread go first.
const DEPTH: usize = 3;

/// How many schedules of each kind, and the seed: `UNWEDGE_SHUTTLE=100000,42`.
///
/// # Panics
/// If that variable is not two numbers.
#[must_use]
pub fn plan() -> (usize, u64) {
    let Ok(text) = std::env::var("UNWEDGE_SHUTTLE") else { return (SCHEDULES, SEED) };
    let parsed = text.split_once(',').and_then(|(n, seed)| Some((n.parse().ok()?, seed.parse().ok()?)));
    parsed.expect("UNWEDGE_SHUTTLE is a number of schedules, a comma and a seed")
}

/// As loom's, of which the bounds say nothing here but the time.
#[derive(Debug, Default)]
pub struct Builder {
    /// Not used: schedules are random.
    pub preemption_bound: Option<usize>,
    /// Not used: shuttle has a bound of its own.
    pub max_branches: usize,
    /// The longest that each kind may take.
    pub max_duration: Option<Duration>,
    /// Not used.
    pub checkpoint_interval: usize,
}

impl Builder {
    /// As loom's.
    #[must_use]
    pub fn new() -> Self {
        Builder::default()
    }

    /// Runs the model; shuttle says the schedule of one that fails.
    pub fn check(&self, f: impl Fn() + Send + Sync + 'static) {
        let (schedules, seed) = plan();
        let mut config = Config::new();
        config.max_time = self.max_duration;
        config.silence_warnings = true;
        let f = Arc::new(f);
        let own = f.clone();
        Runner::new(RandomScheduler::new_from_seed(seed, schedules), config.clone()).run(move || own());
        Runner::new(PctScheduler::new_from_seed(seed, DEPTH, schedules), config).run(move || f());
    }
}
