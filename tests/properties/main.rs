//! Properties of the sequential specification: random sequences of operations, run here and on a plain model beside.
//!
//! One thread polls every future by hand, so that a sequence has one outcome, and proptest can shorten one that fails. What happens at the same time is for
//! the loom models, and for `tests/linear`. `PROPTEST_CASES=100000 cargo test --test properties` has more of them.

#[path = "../common/mod.rs"]
mod common;

mod completion;
mod flag;
mod monitor;

use proptest::test_runner::Config;

/// How many sequences of each kind, unless the environment says otherwise.
const CASES: u32 = 2000;

/// How proptest runs: it leaves no file behind, and says the shortest sequence that fails.
fn config() -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { Config::default().cases } else { CASES };
    Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() }
}
