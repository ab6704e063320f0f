//! How a body is run here: on random schedules from a seed, which is said. `UNWEDGE_SHUTTLE=100000,42` has so many of each kind, from that seed.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use unwedge::model;

/// How a twin must fail. shuttle does not tell a lost wake-up from a deadlock.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// Threads wait, and nobody is left who could wake them.
    Deadlock,
    /// A panic with this text.
    Panic(&'static str),
}

/// Runs a body under shuttle. The bound is loom's.
pub fn explore(law: &str, bound: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    explore_as(test_of(&body), law, bound, body);
}

/// As [`explore`], under a name.
pub fn explore_as(name: &str, law: &str, _bound: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let begun = Instant::now();
    let executions = model::check(None, body);
    let (_, seed) = loom::model::plan();
    let seconds = begun.elapsed().as_secs_f64();
    println!("shuttle {name} law {law} seed {seed} schedules {executions} seconds {seconds:.2}");
}

/// Runs a broken twin, which must fail in this way.
pub fn fails(failure: Failure, _bound: Option<usize>, twin: impl Fn() + Sync + Send + 'static) {
    let name = test_of(&twin);
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| model::check(None, twin))) else {
        panic!("{name} must fail, and it passed");
    };
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let said = said.unwrap_or("what is no text");
    let right = match failure {
        Failure::Deadlock => said.contains("deadlock! blocked tasks"),
        Failure::Panic(text) => said.contains(text),
    };
    assert!(right, "{name} must fail with {failure:?}, and it said: {said}");
    println!("shuttle {name} fails with {failure:?}");
}

/// The test in which a closure was written, without its module.
fn test_of<F>(_: &F) -> &'static str {
    let path = type_name::<F>().split("::{{closure}}").next().unwrap_or_default();
    path.rsplit("::").next().unwrap_or(path)
}
