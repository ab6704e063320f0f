//! Phases of a shutdown, seen while they run: what each has come to, and which of their steps the stop waits for, among others that have not ended.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use unwedge::io::{Io, IoError};
use unwedge::report::{CauseKind, Outcome, Report};
use unwedge::{Monitor, Owed, Plan, Step, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};
use crate::{OLDER, names, written};

/// Looks until a phase is as far as that, and what its step does is seen too.
#[track_caller]
fn until_phase(stop: &Stop, name: &str, outcome: &Outcome) -> Report {
    let mut seen = stop.report();
    until(&format!("phase {name}: {outcome:?}; last:\n{seen}"), || {
        seen = stop.report();
        seen.phases().iter().any(|phase| phase.name == name && phase.outcome == *outcome)
            && seen.causes().iter().any(|cause| cause.phase.as_deref() == Some(name))
    });
    seen
}

/// Threads that the stop of `mds.a` does not reach, and that have waited longer than any phase: each for a read of a life that is not stopped.
struct Decoys {
    life: Stop,
    _io: Io,
    frozen: Vec<unwedge::io::ExternalCompleter<u8, IoError>>,
}

impl Decoys {
    fn new(stop: &Stop, count: usize) -> Self {
        let life = Stop::new("journaler");
        let io = Io::new(&life).expect("I/O");
        let mut frozen = Vec::new();
        for index in 0..count {
            let owed = Owed { operation: "read", object: Some("100.0".into()), offset: 4096 * index as u64, length: 1 };
            let (completer, mut completion) = io.external::<u8, IoError>(owed);
            frozen.push(completer);
            stop.spawn("decoy", move || completion.wait().is_ok()).expect("a thread");
            until_waits(stop, "decoy", &format!("read 100.0 at {}, 1 bytes", 4096 * index));
        }
        thread::sleep(OLDER);
        Decoys { life, _io: io, frozen }
    }

    fn end(self) {
        drop(self.frozen);
        crate::end(&self.life);
    }
}

fn shut_down(stop: &Stop, plan: Plan) -> thread::JoinHandle<Report> {
    let own = stop.clone();
    thread::spawn(move || {
        own.request("SIGTERM");
        own.shutdown(plan)
    })
}

/// Of a stop that is in a phase no report says that nobody has requested it, also one that is taken while both happen.
#[test]
fn a_stop_that_is_in_a_phase_was_requested() {
    // With the request looked at first it was seen within some tens of these.
    for _ in 0..500 {
        let stop = Stop::new("mds.a");
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(GUARD).phase("save", GUARD, move |_| Ok(gone.recv()?));
        let own = stop.clone();
        let shutdown = thread::spawn(move || own.shutdown(plan));
        let seen = loop {
            let seen = stop.report();
            if seen.phases().iter().any(|phase| phase.outcome.is_current()) {
                break seen;
            }
        };
        assert_eq!(seen.reason(), Some("shutdown"), "{seen}");
        go.send(()).expect("the phase waits");
        assert!(shutdown.join().expect("no panic").is_clean());
    }
}

#[test]
fn a_step_that_blocks_outside_is_named_in_the_first_lines_among_decoys() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let decoys = Decoys::new(&stop, 3);
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(20 * GUARD)
            .step(Step::new("stop accepting", GUARD).before_join().run(|_| Ok(())))
            .step(Step::new("fence", 2 * GUARD).before_join().or_abort().run(move |_| Ok(gone.recv()?)))
            .phase("save", GUARD, |_| Err("no space".into()))
            .phase("release", Duration::MAX, |_| Ok(()));
        let shutdown = shut_down(&stop, plan);
        let report = until_phase(&stop, "fence", &Outcome::Running);

        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("mds.a: stopping (SIGTERM), in phase fence (2 of 4), "), "{text}");
        assert!(lines[0].ends_with(" s left"), "{text}");
        let blamed = "  stop waits for thread \"fence\" of phase fence, which runs, or blocks outside unwedge";
        assert_eq!(lines[1], blamed, "{text}");
        let line = |part: &str| {
            lines.iter().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("{part} in\n{text}"))
        };
        assert!(line("  phase stop accepting: ").contains(": done ("), "{text}");
        let fence = line("  phase fence: runs for ");
        assert!(fence.ends_with(" s left, then the process is aborted"), "{text}");
        assert!(line("  phase save: to come, ").ends_with(" at most, then it is stopped"), "{text}");
        assert_eq!(*line("  phase release: "), "  phase release: to come");

        let cause = &report.causes()[0];
        assert_eq!((cause.kind, names(cause)), (CauseKind::Outside, vec!["fence"]));
        let phases: Vec<_> = report.phases().iter().map(|it| (it.name.as_str(), &it.outcome, it.or_abort)).collect();
        let planned = &Outcome::Planned;
        let expected = [
            ("stop accepting", &Outcome::Done, false),
            ("fence", &Outcome::Running, true),
            ("save", planned, false),
            ("release", planned, false),
        ];
        assert_eq!(phases, expected);
        let fence = &report.phases()[1];
        assert!(
            fence.limit <= 2 * GUARD && fence.left.is_some_and(|left| left <= fence.limit && left > GUARD),
            "{fence:?}"
        );
        assert_eq!(fence.domain, "mds.a");
        assert!(!report.is_clean(), "its step has not ended");
        assert_eq!(report.members()[0].phase.as_deref(), Some("fence"));
        assert!(report.members()[1..].iter().all(|decoy| decoy.name == "decoy" && decoy.phase.is_none()));

        go.send(()).expect("it waits");
        decoys.end();
        let report = shutdown.join().expect("no panic");
        let ended: Vec<_> = report.phases().iter().map(|phase| phase.outcome.clone()).collect();
        assert_eq!(ended, [Outcome::Done, Outcome::Done, Outcome::Failed("no space".into()), Outcome::Done]);
        assert!(report.phases().iter().all(|phase| phase.left.is_none()));
        assert!(stop.report().phases().is_empty(), "the shutdown is over");
    });
}

#[test]
fn a_step_that_waits_in_turn_is_told_with_its_chain_to_the_read() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let decoys = Decoys::new(&stop, 3);
        let life = Stop::new("objecter");
        let io = Io::new(&life).expect("I/O");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &life));
        let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 1 << 20, length: 4096 };
        let (frozen, mut journal) = io.external::<u8, IoError>(owed);
        let big_lock = mds.clone();
        life.spawn("replay", move || {
            let _held = big_lock.lock()?;
            journal.wait().map(drop)
        })
        .expect("a thread");
        until_waits(&life, "replay", "read 200.00000001 at 1048576, 4096 bytes");
        let plan = Plan::within(20 * GUARD).step(Step::new("flush", GUARD).before_join().run(move |phase| {
            drop(mds.lock_in(phase)?);
            Ok(())
        }));
        let shutdown = shut_down(&stop, plan);
        let mut report = until_phase(&stop, "flush", &Outcome::Running);
        until("its step waits for the lock", || {
            report = stop.report();
            report.causes()[0].kind == CauseKind::Storage
        });
        let cause = &report.causes()[0];
        assert_eq!((names(cause), cause.phase.as_deref()), (vec!["flush", "replay"], Some("flush")));
        let text = report.to_string();
        let line = text.lines().nth(1).expect("three lines");
        assert!(line.starts_with("  stop waits for thread \"flush\" of phase flush, which waits "), "{text}");
        assert!(
            line.contains(" for lock mds_lock (") && line.contains(", held by thread \"replay\", which waits "),
            "{text}"
        );
        assert!(line.contains(" for read of 200.00000001 at 1,048,576 ("), "{text}");
        drop(frozen);
        decoys.end();
        assert_eq!(shutdown.join().expect("no panic").phases()[0].outcome, Outcome::Done);
        crate::end(&life);
    });
}

#[test]
fn one_that_was_left_is_still_told_while_the_next_one_runs_and_at_the_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (go_save, save) = mpsc::channel::<()>();
        let (go_release, release) = mpsc::channel::<()>();
        let plan = Plan::within(20 * GUARD).phase("save", Duration::from_millis(10), move |_| Ok(save.recv()?)).phase(
            "release",
            GUARD,
            move |_| Ok(release.recv()?),
        );
        let shutdown = shut_down(&stop, plan);
        let report = until_phase(&stop, "release", &Outcome::Running);
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("mds.a: stopping (SIGTERM), in phase release (2 of 2), "), "{text}");
        assert!(lines[1].starts_with("  stop waits for thread \"release\" of phase release, which runs"), "{text}");
        assert!(lines[2].starts_with("  stop waits for thread \"save\" of phase save, which runs"), "{text}");
        assert!(text.contains("\n  phase save: its time was up, and its thread has not ended ("), "{text}");
        go_release.send(()).expect("it waits");
        let report = shutdown.join().expect("no panic");
        let text = report.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("mds.a: NOT STOPPED (SIGTERM) after "), "{text}");
        assert!(lines[1].starts_with("  stop waits for thread \"save\" of phase save, which runs"), "{text}");
        go_save.send(()).expect("it waits");
    });
}

#[test]
fn a_childs_phase_is_told_by_its_parent_and_by_whose_it_is() {
    guarded(|| {
        let node = Stop::new("node");
        let rank = node.child("mds.1");
        let other = node.child("mds.2");
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(20 * GUARD).phase("save", GUARD, move |_| Ok(gone.recv()?));
        let shutdown = shut_down(&rank, plan);
        until_phase(&rank, "save", &Outcome::Running);
        let text = node.report().to_string();
        assert!(text.starts_with("node: no stop requested, in phase save of mds.1 (1 of 1), "), "{text}");
        assert!(text.contains("\n  phase save of mds.1: runs for "), "{text}");
        assert!(other.report().phases().is_empty() && other.report().is_clean());
        go.send(()).expect("it waits");
        assert!(shutdown.join().expect("no panic").is_clean());
        crate::end(&node);
    });
}

/// Each rank has a phase of that name.
#[test]
fn phases_of_one_name_are_nodes_of_their_own() {
    guarded(|| {
        let node = Stop::new("node");
        let (mut go, mut shutdowns) = (Vec::new(), Vec::new());
        for name in ["mds.1", "mds.2"] {
            let rank = node.child(name);
            let (send, gone) = mpsc::channel::<()>();
            let plan = Plan::within(20 * GUARD).phase("save", GUARD, move |_| Ok(gone.recv()?));
            shutdowns.push(shut_down(&rank, plan));
            until_phase(&rank, "save", &Outcome::Running);
            go.push(send);
        }
        let report = node.report();
        let graph = report.to_dot();
        let runs: Vec<_> = graph.lines().filter(|line| line.ends_with("[label=\"runs in\"];")).collect();
        let phase = |line: &str| line.split('"').nth(1).map(str::to_owned).expect("an id");
        assert_eq!(runs.len(), 2, "{graph}");
        assert_ne!(phase(runs[0]), phase(runs[1]), "{graph}");
        for line in runs {
            assert_eq!(graph.matches(&format!("\"{}\" [label=\"phase save\\n", phase(line))).count(), 1, "{graph}");
        }
        drop(go);
        for shutdown in shutdowns {
            assert!(shutdown.join().expect("no panic").is_clean());
        }
        crate::end(&node);
    });
}

#[test]
fn each_form_has_the_phases() {
    guarded(|| {
        let stop = Stop::new("mds.forms");
        let (go, gone) = mpsc::channel::<()>();
        let plan = Plan::within(20 * GUARD)
            .phase("close", GUARD, |_| Err("no such session".into()))
            .phase("save table", 2 * GUARD, move |_| Ok(gone.recv()?))
            .step(Step::new("release", GUARD).or_abort().run(|_| Ok(())));
        let shutdown = shut_down(&stop, plan);
        let report = until_phase(&stop, "save table", &Outcome::Running);

        let graph = report.to_dot();
        let node = graph
            .lines()
            .find(|line| line.contains("\"phase save table\" [label=\"phase save table\\n"))
            .expect("a node");
        assert!(node.contains(" s left\", shape=folder"), "{graph}");
        let step = format!("\"phase save table\" -> \"member {}\" [label=\"runs in\"]", report.members()[0].id);
        assert!(graph.contains(&step), "{graph}");
        assert!(!graph.contains("phase close") && !graph.contains("phase release"), "{graph}");

        // The phase is seen before its thread has begun, which has no number then.
        let mut text = written();
        until("its thread runs", || {
            text = written();
            // In this line: another one of the same text may be written after it has begun.
            text.contains(" s left: thread \"save table\" (tid ")
        });
        let line =
            |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in\n{text}"));
        let blamed = line("stop of mds.forms waits for phase save table, ");
        assert!(
            blamed.contains(" s left: thread \"save table\" (tid ")
                && blamed.ends_with(" runs, or blocks outside unwedge"),
            "{text}"
        );
        assert!(text.find("stop of mds.forms waits") < text.find("\n  "), "before all members: {text}");
        line("  mds.forms: phase close: failed: no such session");
        line("  mds.forms: phase save table: runs for ");
        assert!(line("  mds.forms: phase release: to come, ").ends_with(", then the process is aborted"), "{text}");

        #[cfg(feature = "json")]
        {
            let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
            let [close, save, release] = [0, 1, 2].map(|at| &json["phases"][at]);
            assert_eq!((close["outcome"].as_str(), close["error"].as_str()), (Some("failed"), Some("no such session")));
            assert_eq!((save["outcome"].as_str(), save["on_late"].as_str()), (Some("running"), Some("stop")));
            assert_eq!((save["name"].as_str(), save["domain"].as_str()), (Some("save table"), Some("mds.forms")));
            let [limit, left] = ["limit_ms", "left_ms"].map(|field| save[field].as_u64().expect("a number"));
            assert!(left <= limit && limit <= 2 * GUARD.as_millis() as u64, "{save}");
            assert_eq!((release["outcome"].as_str(), release["on_late"].as_str()), (Some("planned"), Some("abort")));
            assert!(release["left_ms"].is_null() && release["limit_ms"].as_u64() == Some(GUARD.as_millis() as u64));
            assert_eq!(
                (json["members"][0]["phase"].as_str(), json["causes"][0]["phase"].as_str()),
                (Some("save table"), Some("save table"))
            );
        }
        go.send(()).expect("it waits");
        assert!(shutdown.join().expect("no panic").is_clean());
    });
}
