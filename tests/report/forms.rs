//! The report's forms say the same: text, JSON, Graphviz, and what is written to a file descriptor.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use unwedge::io::{Io, IoError};
use unwedge::report::{CauseKind, Report, report_fd};
use unwedge::{Monitor, Owed, Plan, Stop};

use crate::common::guarded;
use crate::seen::until_waits;
use crate::{end, until_blamed, written};

/// Runs with a daemon in which `replay` holds the lock and waits for storage, and `admin` waits for the lock.
fn with_a_hang(look: impl FnOnce(Report) + Send + 'static) {
    guarded(|| {
        let stop = Stop::new("mds \"a\"");
        let io = Io::new(&stop).expect("I/O");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 1 << 20, length: 4096 };
        let (frozen, mut journal) = io.external::<u8, IoError>(owed);
        let big_lock = mds.clone();
        stop.spawn("replay", move || {
            let _held = big_lock.lock()?;
            journal.wait().map(drop)
        })
        .expect("a thread");
        until_waits(&stop, "replay", "read 200.00000001 at 1048576, 4096 bytes");
        stop.spawn("admin", move || mds.lock().map(drop)).expect("a thread");
        look(until_blamed(&stop, CauseKind::Storage, 2));
        drop(frozen);
        end(&stop);
    });
}

#[test]
#[cfg(feature = "json")]
fn as_json() {
    with_a_hang(|report| {
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!((json["version"].as_u64(), json["domain"].as_str()), (Some(1), Some("mds \"a\"")));
        assert_eq!((json["clean"].as_bool(), json["reason"].is_null()), (Some(false), true));
        let cause = &json["causes"][0];
        assert_eq!((cause["kind"].as_str(), cause["blocked"].as_u64()), (Some("storage"), Some(2)));
        assert_eq!(cause["others"][0], "admin");
        let step = &cause["chain"][0];
        assert_eq!(step["member"]["name"], "replay");
        assert_eq!(
            (step["wait"]["for"].as_str(), step["wait"]["owed_by"].as_str()),
            (Some("completion"), Some("storage"))
        );
        assert_eq!(
            (step["wait"]["object"].as_str(), step["wait"]["offset"].as_u64()),
            (Some("200.00000001"), Some(1 << 20))
        );
        assert!(step["wait"]["location"]["file"].as_str().is_some_and(|file| file.ends_with("forms.rs")));
        let admin = &json["members"][0];
        assert_eq!((admin["name"].as_str(), admin["kind"].as_str()), (Some("admin"), Some("thread")));
        assert_eq!(admin["waits"][0]["for"], "lock");
        assert_eq!(admin["waits"][0]["held_by"]["id"], json["members"][1]["id"]);
        assert_eq!(json["members"][1]["holds"][0], "mds_lock");
        assert_eq!(
            (json["locks"][0]["name"].as_str(), json["locks"][0]["queue"].as_u64()),
            (Some("mds_lock"), Some(1))
        );
        assert_eq!(json["operations"][0]["waiter"]["name"], "replay");
        let fields: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let known = "causes clean closing domain elapsed_ms inversions leaked locks members more_causes operations panicked phases reason version";
        assert_eq!(fields, known.split(' ').collect::<Vec<_>>(), "a field that goes away is a new version");
        assert_eq!(json["leaked"], serde_json::json!({ "operations": 0, "bytes": 0, "threads": 0, "callbacks": 0 }));
        assert_eq!((json["more_causes"].as_u64(), json["closing"].as_u64()), (Some(0), Some(0)));
    });
}

#[test]
fn as_a_graph() {
    with_a_hang(|report| {
        let graph = report.to_dot();
        assert!(graph.starts_with("digraph \"mds \\\"a\\\"\" {\n"), "{graph}");
        assert!(graph.ends_with("}\n"), "{graph}");
        let replay = graph.lines().find(|line| line.contains("label=\"thread \\\"replay\\\"\"")).expect("a node");
        assert!(replay.contains("color=red"), "it is to blame: {replay}");
        let admin = graph.lines().find(|line| line.contains("label=\"thread \\\"admin\\\"\"")).expect("a node");
        assert!(!admin.contains("color=red"), "it is not: {admin}");
        let id = |line: &str| line.split('"').nth(1).map(str::to_owned).expect("an id");
        assert!(graph.contains(&format!("\"{}\" -> \"lock mds_lock\"", id(admin))), "{graph}");
        assert!(graph.contains(&format!("\"lock mds_lock\" -> \"{}\" [label=\"held by\"]", id(replay))), "{graph}");
        assert!(graph.contains(&format!("\"{}\" -> \"read of 200.00000001 at 1,048,576\"", id(replay))), "{graph}");
        // Each statement is one line, with its quotes closed.
        assert!(
            graph.lines().all(|line| (line.matches('"').count() - line.matches("\\\"").count()) % 2 == 0),
            "{graph}"
        );
    });
}

#[test]
fn as_written_to_a_file_descriptor() {
    with_a_hang(|_| {
        let text = written();
        // Other tests of this process may hang beside this one: it is the report of all.
        assert!(text.starts_with("unwedge: "), "{text}");
        let line =
            |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in\n{text}"));
        let replay = line("mds \"a\": thread \"replay\" (tid ");
        assert!(replay.contains(" for read 200.00000001 at 1,048,576, 4,096 bytes ("), "{replay}");
        assert!(replay.contains("forms.rs:"), "{replay}");
        let admin = line("mds \"a\": thread \"admin\" (tid ");
        assert!(
            admin.contains(" for lock mds_lock (") && admin.contains(", held by thread \"replay\" (tid "),
            "{admin}"
        );
        line("  lock mds_lock: held by thread \"replay\" (tid ");
    });
    assert!(report_fd(std::fs::File::open("/dev/null").expect("a file")).is_err(), "it is open for reading");
}

/// What an ended life has left in the kernel is not said to be of a life that came after it.
#[test]
fn what_an_ended_life_left_is_not_another_s() {
    guarded(|| {
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        {
            let old = Stop::new("old life");
            let io = Io::new(&old).expect("I/O");
            let job = io.run_blocking("its frozen job", move || begun.send(()).is_ok() && stuck.recv().is_ok());
            begins.recv().expect("a thread has it");
            let report = old.shutdown(Plan::within(Duration::ZERO));
            assert_eq!(report.leaked_operations(), 1, "{report}");
            drop(job);
        }
        // Cells are used again: one of these has the old life's, or another test has.
        let lives: Vec<_> = (0..64).map(|_| Stop::new("new life")).collect();
        let text = written();
        let left: Vec<_> = text.lines().filter(|line| line.contains("its frozen job")).collect();
        assert!(left.iter().any(|line| line.contains("in flight")), "{text}");
        assert!(left.iter().all(|line| !line.contains("new life")), "{left:?}");
        drop((lives, release));
    });
}
