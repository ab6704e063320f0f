//! What all models share: how one is run, and how a broken twin is seen to fail.
//!
//! A twin runs in a process of its own, because a deadlock with live guards aborts the process: the test starts its own binary again, for that
//! one test alone. The first panic there ends the process and says what it was, so that a twin cannot pass by failing for another reason.

use std::any::type_name;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use unwedge::model;

/// Set in the process of a twin: which test it is.
const TWIN: &str = "UNWEDGE_TWIN";

/// What begins the line with which a twin's process says how it failed.
const FAILED: &str = "twin failed: ";

/// The longest that a twin's process may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How a twin must fail.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// Threads wait for each other, and what they wait for has not happened.
    Deadlock,
    /// A thread sleeps though what it waits for has happened: the twin has called [`happened`].
    LostWakeUp,
    /// A panic with this text.
    Panic(&'static str),
}

/// Whether the event that the twin's waiter waits for has happened in this execution. Not seen by loom.
static HAPPENED: AtomicBool = AtomicBool::new(false);

/// The event that a waiter waits for has happened: if it sleeps from now on, a wake-up was lost.
pub fn happened() {
    HAPPENED.store(true, Ordering::Relaxed);
}

/// Runs a model and prints what it took. `bound`: how many preemptions; `None` is exhaustive.
pub fn explore(law: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    explore_as(&test_of(&model), law, bound, model);
}

/// As [`explore`], for one of several models in a test.
pub fn explore_as(name: &str, law: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let begun = Instant::now();
    let executions = model::check(bound, model);
    let name = name.rsplit("::").next().unwrap_or(name);
    let bound = bound.map_or("exhaustive".to_owned(), |bound| bound.to_string());
    let seconds = begun.elapsed().as_secs_f64();
    println!("model {name} law {law} bound {bound} executions {executions} seconds {seconds:.2}");
    assert!(executions > 1, "a model with one schedule shows nothing");
}

/// Runs a broken twin, which must fail in this way and in no other.
pub fn fails(failure: Failure, bound: Option<usize>, twin: impl Fn() + Sync + Send + 'static) {
    let Some(said) = said_by(&test_of(&twin), bound, String::new, twin) else { return };
    assert!(said.is(failure), "{} must fail with {failure:?}, and it said: {}", said.test, said.text);
    println!("twin {} fails with {failure:?}", said.name());
}

/// With what a twin's process failed.
pub struct Said {
    /// Which test it was.
    pub test: String,
    /// What it failed with.
    pub text: String,
    /// What it wrote to its error output.
    pub stderr: String,
}

impl Said {
    /// The test's name without its module.
    pub fn name(&self) -> &str {
        self.test.rsplit("::").next().unwrap_or(&self.test)
    }

    /// Whether it failed in this way.
    pub fn is(&self, failure: Failure) -> bool {
        let (event, message) = self.text.split_once(": ").unwrap_or(("", &self.text));
        match failure {
            Failure::Deadlock => message.starts_with("deadlock; threads") && event == "outstanding",
            Failure::LostWakeUp => message.starts_with("deadlock; threads") && event == "happened",
            Failure::Panic(text) => message.contains(text),
        }
    }
}

/// Runs a broken twin in a process of its own, and gives what it said: its first panic, and what `more` has to say at that moment. In that
/// process itself: nothing.
pub fn said_by(
    test: &str,
    bound: Option<usize>,
    more: fn() -> String,
    twin: impl Fn() + Sync + Send + 'static,
) -> Option<Said> {
    if std::env::var(TWIN).is_ok_and(|name| name == test) {
        run_twin(bound, more, twin);
        return None;
    }
    Some(run_apart(test))
}

/// The name of the test in which a closure was written.
pub fn test_of<F>(_: &F) -> String {
    let path = type_name::<F>();
    let (function, _) = path.split_once("::{{closure}}").expect("a model is a closure in its test");
    let (_, test) = function.split_once("::").expect("a crate's name comes first");
    test.to_owned()
}

/// In the twin's own process: the first panic says what it was and ends the process.
fn run_twin(bound: Option<usize>, more: fn() -> String, twin: impl Fn() + Sync + Send + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(message), _) => message,
            (_, Some(message)) => message.as_str(),
            _ => "a payload that is no text",
        };
        let event = if HAPPENED.load(Ordering::Relaxed) { "happened" } else { "outstanding" };
        println!("\n{FAILED}{event}: {}{}", message.replace('\n', " "), more());
        std::process::exit(1);
    }));
    model::check(bound, move || {
        HAPPENED.store(false, Ordering::Relaxed);
        twin();
    });
}

/// Reads all that a process says on one of its outputs.
fn listen(mut output: impl Read + Send + 'static) -> std::thread::JoinHandle<std::io::Result<String>> {
    std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    })
}

/// Starts this binary again for one test, and returns with what it failed.
fn run_apart(test: &str) -> Said {
    let mut child = Command::new(std::env::current_exe().expect("a test binary has a path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(TWIN, test)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test binary starts again");
    let stdout = listen(child.stdout.take().expect("stdout is piped"));
    let stderr = listen(child.stderr.take().expect("stderr is piped"));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("{test} did not fail within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [text, stderr] =
        [stdout, stderr].map(|reader| reader.join().expect("the reader does not panic").expect("a twin prints UTF-8"));
    assert!(!status.success(), "{test} must fail, and it passed:\n{text}");
    let said = text.lines().find_map(|line| line.strip_prefix(FAILED));
    let said = said.unwrap_or_else(|| panic!("{test} failed without a reason:\n{text}\n{stderr}"));
    Said { test: test.to_owned(), text: said.to_owned(), stderr }
}
