//! A live cluster of a test program's own, by `ci/ceph/cluster.sh`: made when the program starts, ended when it ends, however it ends.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::ffi::OsStr;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{Duration, Instant};

use unwedge::report::Report;
use unwedge::{Plan, Stop};
use unwedge_rados::{Cluster, Pool};

/// A guard against a hang: nothing here takes nearly as long.
pub const GUARD: Duration = Duration::from_secs(60);

/// A program that is ended should it take longer than so many seconds. Ceph's own wait for ever for a cluster that does not answer.
pub fn bounded(seconds: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(seconds.to_string()).arg(program);
    command
}

/// Runs a [bounded] program, and gives what it prints.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let end = if output.status.code() == Some(124) { "no end in time" } else { "failed" };
    assert!(output.status.success(), "{end}: {command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// See the head of this file.
pub struct Ceph {
    folder: tempfile::TempDir,
}

impl Ceph {
    fn start() -> Ceph {
        let ceph = Ceph { folder: tempfile::Builder::new().prefix("unwedge-ceph").tempdir().expect("a folder") };
        let owner = std::process::id().to_string();
        ceph.script("start", &["--owner", &owner]);
        ceph
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// Runs the cluster's script.
    pub fn script(&self, verb: &str, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/ceph/cluster.sh");
        let status = bounded(600, script).arg(verb).arg(self.dir()).args(args).status().expect("the script runs");
        assert!(status.success(), "cluster.sh {verb} {args:?}: {status}");
    }

    /// What one of Ceph's own programs prints.
    pub fn tool(&self, program: &str, args: &[&str]) -> String {
        printed(bounded(300, program).arg("--conf").arg(self.conf()).args(args).env("PYTHONWARNINGS", "ignore"))
    }

    /// The configuration for clients.
    pub fn conf(&self) -> PathBuf {
        self.dir().join("ceph.conf")
    }

    /// The process of a daemon that runs.
    pub fn process(&self, name: &str) -> u32 {
        let path = self.dir().join("pid").join(name);
        std::fs::read_to_string(path).expect("it was started").trim().parse().expect("a number")
    }

    /// A connected client and its metadata pool.
    pub fn client(&self, stop: &Stop) -> (Cluster, Pool) {
        self.client_of(stop, 512)
    }

    /// The same with a limit of its own.
    pub fn client_of(&self, stop: &Stop, operations: usize) -> (Cluster, Pool) {
        let until = Instant::now() + GUARD;
        let mut connected = Cluster::builder(self.conf()).operations(operations).connect(stop);
        let cluster = connected.wait_until(until).expect("in time").expect("a cluster");
        let pool = cluster.pool("meta").wait_until(until).expect("in time").expect("a pool");
        (cluster, pool)
    }

    /// Ends what a frozen OSD has left behind: another one comes up, because one that was frozen for long may stay laggy.
    pub fn renew_osd(&self) {
        self.script("kill", &["osd.0"]);
        self.script("up", &["osd.0"]);
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        self.script("destroy", &[]);
    }
}

/// A test and its name.
pub type Test = (&'static str, fn(&Ceph));

/// Runs the tests one after the other, each on a cluster that is well; those that were named on the command line, if any were.
pub fn run(tests: &[Test]) -> ! {
    let wanted: Vec<String> = std::env::args().skip(1).take_while(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|arg| arg == "--list") {
        exit(0);
    }
    let mut ceph = Ceph::start();
    let mut failed = 0;
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let result = catch_unwind(|| test(&ceph));
        let said = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {said} ({} ms)", begun.elapsed().as_millis());
        if result.is_err() {
            failed += 1;
            // What it has done to the cluster must not fail the others.
            if catch_unwind(|| ceph.script("well", &[])).is_err() {
                drop(ceph);
                ceph = Ceph::start();
            }
        }
    }
    drop(ceph);
    println!("{failed} failed");
    drop(std::io::stdout().flush());
    // Librados may have threads, and no destructor of its globals may run under them: the bench was seen to abort at its end.
    // SAFETY: It takes no memory, and does not come back.
    unsafe { libc::_exit(i32::from(failed > 0)) }
}

/// A stop that has to leave nothing.
pub fn end(stop: &Stop) -> Report {
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    report
}
