//! Operations in flight: also those that nobody waits for are listed, and a stop that waits for nothing else says so.

use std::io::Write as _;
use std::thread;

use unwedge::io::{Io, IoError};
use unwedge::report::OperationReport;
use unwedge::{Owed, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};
use crate::{OLDER, end, written};

fn owed(operation: &'static str, object: &str, offset: u64) -> Owed {
    Owed { operation, object: Some(object.into()), offset, length: 4096 }
}

/// What is done to what, and by whom it is waited for.
fn told(operations: &[OperationReport]) -> Vec<(String, Option<&str>, u64, Option<&str>)> {
    let waiter = |it: &OperationReport| it.waiter.as_ref().map(|by| by.name.clone());
    let all = operations.iter().map(|it| (it, waiter(it)));
    let mut told: Vec<_> = all
        .map(|(it, by)| (it.operation.clone(), it.object.as_deref(), it.offset, by.map(|name| &*name.leak())))
        .collect();
    told.sort();
    told
}

#[test]
fn what_nobody_waits_for_is_listed_among_what_is_waited_for() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let other = Stop::new("mds.b");
        let (io, others) = (Io::new(&stop).expect("I/O"), Io::new(&other).expect("I/O"));
        let (_first, mut waited) = io.external::<u8, IoError>(owed("read", "200.00000001", 0));
        stop.spawn("replay", move || waited.wait().is_ok()).expect("a thread");
        until_waits(&stop, "replay", "read 200.00000001 at 0, 4096 bytes");
        // Twice the same: one of them is waited for.
        let (_second, mut same) = io.external::<u8, IoError>(owed("read", "1.0", 4096));
        let (_third, _forgotten) = io.external::<u8, IoError>(owed("read", "1.0", 4096));
        stop.spawn("fetch", move || same.wait().is_ok()).expect("a thread");
        until_waits(&stop, "fetch", "read 1.0 at 4096, 4096 bytes");
        // Given up, and still out.
        let (fourth, dropped) = io.external::<u8, IoError>(owed("write", "mds0_sessionmap", 0));
        drop(dropped);
        let (_foreign, _unseen) = others.external::<u8, IoError>(owed("read", "another life", 0));
        thread::sleep(OLDER);

        let report = stop.report();
        let expected = [
            ("read".to_owned(), Some("1.0"), 4096, None),
            ("read".to_owned(), Some("1.0"), 4096, Some("fetch")),
            ("read".to_owned(), Some("200.00000001"), 0, Some("replay")),
            ("write".to_owned(), Some("mds0_sessionmap"), 0, None),
        ];
        assert_eq!(told(report.operations()), expected);
        assert!(report.operations().iter().all(|it| it.age >= OLDER / 2), "{report:?}");
        let text = report.to_string();
        let line = "\n  in flight, and nobody waits for it: write of mds0_sessionmap at 0, for ";
        assert!(text.contains(line) && text.contains("nobody waits for it: read of 1.0 at 4,096, for "), "{text}");
        assert_eq!(text.matches("nobody waits for it").count(), 2, "{text}");
        let graph = report.to_dot();
        assert!(
            graph.contains("[label=\"write of mds0_sessionmap at 0, for ") && !graph.contains("another life"),
            "{graph}"
        );
        #[cfg(feature = "json")]
        {
            let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
            let operations = json["operations"].as_array().expect("a list");
            let write = operations.iter().find(|it| it["operation"] == "write").expect("it is out");
            assert!(write["waiter"].is_null() && write["object"] == "mds0_sessionmap", "{write}");
            assert!(operations.iter().any(|it| it["waiter"]["name"] == "replay"));
        }
        let text = written();
        assert!(text.contains("  in flight: mds.a: write mds0_sessionmap at 0, 4,096 bytes, for "), "{text}");

        // The last one to be told is gone with its end.
        drop(fourth);
        assert_eq!(told(stop.report().operations()), expected[..3]);
    });
}

#[test]
fn a_stop_that_waits_for_io_alone_says_for_which() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let (frozen, forgotten) = io.external::<u8, IoError>(owed("write", "mds0_sessionmap", 8192));
        drop(forgotten);
        let own = stop.clone();
        let shutdown = thread::spawn(move || own.shutdown(Plan::within(20 * GUARD)));
        until("the stop is requested", || stop.is_requested());
        let text = stop.report().to_string();
        let line = text.lines().nth(1).unwrap_or_else(|| panic!("{text}"));
        assert!(line.starts_with("  stop waits for write of mds0_sessionmap at 8,192, for "), "{text}");
        drop(frozen);
        assert!(shutdown.join().expect("no panic").is_clean());

        // What is left at the end is named too, and what has ended is not.
        let stop = Stop::new("mds.b");
        let io = Io::new(&stop).expect("I/O");
        let (_frozen, _reply) = io.external::<u8, IoError>(owed("read", "200.00000002", 0));
        let report = stop.shutdown(Plan::within(GUARD).drain(OLDER));
        let text = report.to_string();
        assert!(text.starts_with("mds.b: NOT STOPPED (shutdown) after "), "{text}");
        assert!(text.contains("\n  left in flight: read of 200.00000002 at 0, for "), "{text}");
        assert_eq!(report.leaked_operations(), 1, "{report}");
    });
}

/// Real operations: each is in flight until its end, on either backend, and none is after it.
#[test]
fn operations_of_files_are_in_flight_until_their_end() {
    guarded(|| {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop).expect("I/O");
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        let socket = io.attach(reader, "a socket").expect("attached");
        let read = io.read_at(&socket, vec![0; 16], 0);
        let report = stop.report();
        assert_eq!(told(report.operations()), [("read".to_owned(), Some("a socket"), 0, None)]);
        writer.write_all(b"0123").expect("written");
        let mut read = read;
        assert_eq!(read.wait().expect("no stop").expect("read"), b"0123");
        assert_eq!(told(stop.report().operations()), []);

        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut job = io.run_blocking("save", move || gone.recv().is_ok());
        assert_eq!(told(stop.report().operations()), [("save".to_owned(), None, 0, None)]);
        go.send(()).expect("it is there");
        assert!(job.wait().expect("no stop").expect("run"));
        assert_eq!(told(stop.report().operations()), []);
        end(&stop);
    });
}
