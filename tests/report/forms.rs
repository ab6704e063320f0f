//! The report's forms say the same: text, JSON, Graphviz, and what is written to a file descriptor.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use unwedge::io::{Io, IoError};
use unwedge::report::{CauseKind, Report, report_fd};
use unwedge::{Completion, Condvar, Monitor, Owed, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};
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

/// A daemon has a lock for each rank or inode, all of one name.
#[test]
fn locks_and_conditions_of_one_name_are_nodes_of_their_own() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (mut go, mut ids) = (Vec::new(), Vec::new());
        for (holder, waits, idle) in [("holder 0", "waits 0", "idle 0"), ("holder 1", "waits 1", "idle 1")] {
            let lock = Arc::new(Monitor::new("inode_lock", Mutex::new(0), &stop));
            let own = lock.clone();
            stop.spawn(idle, move || own.lock()?.wait(&Condvar::new()).map(drop)).expect("a thread");
            until_waits(&stop, idle, "a condition variable of inode_lock");
            let (send, gone) = mpsc::channel::<()>();
            let own = lock.clone();
            stop.spawn(holder, move || {
                let _held = own.lock();
                gone.recv().ok();
            })
            .expect("a thread");
            until("it holds the lock", || matches!(lock.try_lock(), Ok(None)));
            stop.spawn(waits, move || lock.lock().map(drop)).expect("a thread");
            until_waits(&stop, waits, "lock inode_lock");
            go.push(send);
            ids.push([holder, waits, idle]);
        }
        let report = stop.report();
        let graph = report.to_dot();
        let member = |name: &str| {
            let id = report.members().iter().find(|member| member.name == name).expect("a member").id;
            format!("\"member {id}\"")
        };
        let edge_from = |id: &str| -> Vec<String> {
            let from = format!("  {id} -> ");
            let edges = graph.lines().filter_map(|line| line.strip_prefix(&from));
            edges.map(|edge| format!("\"{}\"", edge.split('"').nth(1).expect("a node"))).collect()
        };
        for [holder, waits, idle] in &ids {
            let lock = edge_from(&member(waits));
            assert_eq!(edge_from(&lock[0]), [member(holder)], "{graph}");
            assert!(graph.contains(&format!("{} [label=\"lock inode_lock\"", lock[0])), "{graph}");
            assert_eq!(edge_from(&member(idle)).len(), 1, "{graph}");
        }
        assert_ne!(edge_from(&member("idle 0")), edge_from(&member("idle 1")), "{graph}");
        drop(go);
        end(&stop);
    });
}

/// Names may be anybody's: of a file, of an object.
#[test]
fn what_is_in_a_name_is_neither_a_line_s_end_nor_an_order_to_the_terminal() {
    guarded(|| {
        let stop = Stop::new("odd\nlife");
        let io = Io::new(&stop).expect("I/O");
        let lock = Arc::new(Monitor::new("odd\rlock", Mutex::new(0), &stop));
        let owed = Owed { operation: "read", object: Some("odd \u{1b}[2J\n\"name\"".into()), offset: 0, length: 1 };
        let (frozen, mut journal) = io.external::<u8, IoError>(owed);
        let held = lock.clone();
        stop.spawn("odd\tthread\u{7f}", move || {
            let _held = held.lock()?;
            journal.wait().map(drop)
        })
        .expect("a thread");
        until_waits(&stop, "odd\tthread\u{7f}", "read odd \u{1b}[2J\n\"name\" at 0, 1 bytes");
        stop.spawn("next", move || lock.lock().map(drop)).expect("a thread");
        let report = until_blamed(&stop, CauseKind::Storage, 2);
        let text = report.to_string();
        let is_plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
        assert!(is_plain(&text), "{text:?}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "a head, a cause, two threads and a lock: {text}");
        assert_eq!(lines[0], "odd\\nlife: no stop requested");
        assert!(lines[1].contains("thread \"odd\\tthread\\u{7f}\" waits "), "{text}");
        assert!(lines[1].contains("for read of odd \\u{1b}[2J\\n\"name\" at 0 ("), "{text}");
        assert!(lines[4].starts_with("  lock odd\\rlock: held by "), "{text}");
        let written = written();
        assert!(is_plain(&written), "{written:?}");
        assert!(
            written.lines().any(|line| line.starts_with("  odd\\nlife: thread \"odd\\tthread\\u{7f}\" (tid ")),
            "{written}"
        );
        #[cfg(feature = "json")]
        {
            let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
            assert_eq!(json["domain"], "odd\nlife");
            assert_eq!(json["causes"][0]["chain"][0]["wait"]["object"], "odd \u{1b}[2J\n\"name\"");
        }
        drop(frozen);
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
    });
}

/// A lock that nobody has named is still no lock that others also take directly.
#[test]
fn what_has_no_name_is_called_unnamed() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let lock = Arc::new(Monitor::new("", Mutex::new(0), &stop));
        let held = lock.lock().expect("no stop");
        let own = lock.clone();
        stop.spawn("", move || own.lock().map(drop)).expect("a thread");
        until_waits(&stop, "unnamed", "lock unnamed");
        let text = stop.report().to_string();
        assert!(text.contains("thread \"unnamed\" waits ") && text.contains(" for lock unnamed ("), "{text}");
        assert!(text.contains("), held by thread \""), "{text}");
        drop(held);
        end(&stop);
    });
}

/// A task may wait for hundreds of reads at once, and hold as many locks; a daemon may have lost as many tasks.
#[test]
fn no_line_and_no_list_is_without_an_end() {
    const MANY: usize = 300;
    guarded(|| {
        let stop = Stop::new("mds.a");
        let locks: Arc<Vec<_>> = Arc::new((0..MANY).map(|_| Monitor::new("inode", Mutex::new(0), &stop)).collect());
        let (go, gone) = mpsc::channel::<()>();
        let own = locks.clone();
        stop.spawn("holder", move || {
            let _held: Result<Vec<_>, _> = own.iter().map(Monitor::lock).collect();
            gone.recv().ok();
        })
        .expect("a thread");
        until("it holds all", || locks.iter().all(|lock| matches!(lock.try_lock(), Ok(None))));
        let (owed, waits): (Vec<_>, Vec<_>) = (0..MANY).map(|_| Completion::<u8>::new("read", &stop)).unzip();
        for _ in 0..MANY {
            // As a panic, of which no hook tells.
            stop.spawn("panics", || std::panic::resume_unwind(Box::new(()))).expect("a thread");
        }
        until("they have ended", || stop.report().panicked().len() == MANY);
        let (_spawned, task) = stop.track("replay", async {
            let mut waits: Vec<_> = waits.into_iter().map(Box::pin).collect();
            std::future::poll_fn(|cx| {
                waits.retain_mut(|wait| wait.as_mut().poll(cx).is_pending());
                if waits.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        let mut task = Box::pin(task);
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let report = stop.report();
        let member = |name: &str| report.members().iter().find(|member| member.name == name).expect("a member");
        assert_eq!((member("holder").holds.len(), member("replay").waits.len()), (MANY, MANY));
        let text = report.to_string();
        let line = text.lines().find(|line| line.starts_with("  task replay")).expect("a line");
        assert_eq!(line.matches(" for read").count(), 4, "{line}");
        assert!(line.ends_with(", and 296 more"), "{line}");
        let line = text.lines().find(|line| line.starts_with("  thread holder")).expect("a line");
        assert_eq!(line.matches("inode").count(), 4, "{line}");
        assert!(line.ends_with(", and 296 more"), "{line}");
        assert!(text.ends_with("\n  panicked: panics\n  and 290 more that panicked"), "{text}");
        assert_eq!(report.panicked().len(), MANY);
        go.send(()).expect("it waits");
        drop((task, owed));
        end(&stop);
    });
}

/// As many threads wait for work, each for its own, and nobody asked for a stop.
#[test]
fn what_is_not_worth_a_line_is_not_counted() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let (owed, mut waits): (Vec<_>, Vec<_>) = (0..100).map(|_| Completion::<u8>::new("work", &stop)).unzip();
        let tasks: Vec<_> = waits
            .drain(..)
            .map(|wait| {
                let mut task = Box::pin(stop.track("idle", wait).1);
                assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                task
            })
            .collect();
        let io = Io::new(&stop).expect("I/O");
        let mut frozen = Vec::new();
        for name in ["one", "two", "three"] {
            let (completer, mut reply) =
                io.external::<u8, IoError>(Owed { object: Some(name.into()), ..Owed::from("read") });
            stop.spawn(name, move || reply.wait().map(drop)).expect("a thread");
            frozen.push(completer);
        }
        let storage = |report: &Report| report.causes().iter().filter(|it| it.kind == CauseKind::Storage).count();
        until("all three wait", || storage(&stop.report()) == 3);
        let text = stop.report().to_string();
        assert_eq!(text.lines().nth(3), Some("  and 1 more"), "{text}");
        drop((frozen, tasks, owed));
        end(&stop);
    });
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
