//! The example as a process: what it serves, how it stops, what it says when it cannot start.

mod mds;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mds::fixture::Fixture;
use mds::{mds, program, text};
use serde_json::{Value, json};

/// Nothing here takes long: who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
struct Server {
    child: Option<Child>,
    socket: PathBuf,
}

impl Server {
    fn start(pool: &Path, socket: &Path) -> Server {
        Server::start_with(pool, socket, "auto")
    }

    fn start_with(pool: &Path, socket: &Path, backend: &str) -> Server {
        let mut serve = Command::new(program());
        serve.args(["serve", "--pool"]).arg(pool).arg("--socket").arg(socket);
        if backend != "auto" {
            serve.env("UNWEDGE_IO", backend);
        }
        let child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
        Server { child: Some(child), socket: socket.to_owned() }
    }

    fn connect(&self) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                return Client { lines: BufReader::new(stream) };
            }
            assert!(Instant::now() < until, "the server makes no socket");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn signal(&self, signal: i32) {
        let pid = self.child.as_ref().expect("it runs").id() as i32;
        // SAFETY: `kill` takes no memory; the process is a child that has not been waited for, so its number is no other's.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the process: how it ended, what it said, and how long that took.
    fn wait(mut self) -> (ExitStatus, String, Duration) {
        let begun = Instant::now();
        let mut child = self.child.take().expect("it runs");
        while child.try_wait().expect("a child").is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill().expect("a child");
                panic!("the process does not end");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let time = begun.elapsed();
        let output = child.wait_with_output().expect("a child");
        (output.status, text(&output.stderr).to_owned(), time)
    }

    fn stop(self) -> (ExitStatus, String, Duration) {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Stops it, and asks for an orderly end without a word.
    fn stop_cleanly(self) {
        let socket = self.socket.clone();
        let (status, said, _) = self.stop();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""));
        assert!(!socket.exists(), "the socket goes with the server");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }
}

struct Client {
    lines: BufReader<UnixStream>,
}

impl Client {
    fn say(&mut self, line: &str) {
        self.lines.get_mut().write_all(line.as_bytes()).expect("the server listens");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the server answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.say(&format!("{request}\n"));
        self.hear()
    }

    fn ok(&mut self, request: Value) -> Value {
        let reply = self.ask(&request);
        reply.get("ok").unwrap_or_else(|| panic!("{request}: {reply}")).clone()
    }

    fn error(&mut self, request: Value) -> String {
        let reply = self.ask(&request);
        assert!(reply["message"].is_string(), "{reply}");
        reply["error"].as_str().unwrap_or_else(|| panic!("{request}: {reply}")).to_owned()
    }
}

/// The pools, and a place for the socket.
fn stage() -> (Fixture, PathBuf) {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let socket = fixture.folder().join("mds.sock");
    (fixture, socket)
}

#[test]
fn the_tree_served_is_the_one_that_a_client_saw() {
    let (fixture, socket) = stage();
    let seen = fs::read_to_string(fixture.folder().join("tree.jsonl")).expect("the listing is there");
    for listing in ["tree.jsonl", "flushed/journal-events.txt", "flushed/header.json"] {
        fs::remove_file(fixture.folder().join(listing)).expect("removed");
    }
    let server = Server::start(&fixture.flushed(), &socket);
    let mut client = server.connect();
    let mut served = BTreeMap::new();
    let mut open = vec![(String::new(), 1)];
    while let Some((path, ino)) = open.pop() {
        for mut entry in client.ok(json!({"op": "readdir", "ino": ino})).as_array().expect("a list").clone() {
            let name = entry["name"].as_str().expect("a name").to_owned();
            assert_eq!(client.ok(json!({"op": "lookup", "parent": ino, "name": name})), entry);
            let path = format!("{path}/{name}");
            let child = entry["ino"].as_u64().expect("a number");
            if entry["type"] == "dir" {
                open.push((path.clone(), child));
            } else if entry["type"] == "symlink" {
                entry["target"] = client.ok(json!({"op": "readlink", "ino": child}));
            }
            served.insert(path, entry);
        }
    }
    assert_eq!((served.len(), seen.lines().count()), (1630, 1630));
    for line in seen.lines() {
        let theirs: Value = serde_json::from_str(line).expect("a listing");
        let ours = &served[theirs["path"].as_str().expect("a path")];
        for field in ["ino", "mode", "size", "nlink", "uid", "gid", "mtime", "target"] {
            assert_eq!(ours.get(field), theirs.get(field), "{field} in {theirs}");
        }
        let mode = u32::from_str_radix(&theirs["mode"].as_str().expect("a mode")[2..], 8).expect("octal");
        let kind = [(0o040_000, "dir"), (0o100_000, "file"), (0o120_000, "symlink")];
        let kind = kind.iter().find(|(bits, _)| mode & 0o170_000 == *bits).map_or("other", |(_, kind)| kind);
        assert_eq!(ours["type"], kind, "{theirs}");
    }
    server.stop_cleanly();
}

#[test]
fn an_inode_is_found_before_any_name_led_to_it() {
    let (fixture, socket) = stage();
    let seen = fs::read_to_string(fixture.folder().join("tree.jsonl")).expect("the listing is there");
    let deepest = seen.lines().max_by_key(|line| line.matches('/').count()).expect("entries");
    let deepest: Value = serde_json::from_str(deepest).expect("a listing");
    let server = Server::start(&fixture.flushed(), &socket);
    let mut client = server.connect();
    assert_eq!(client.ok(json!({"op": "getattr", "ino": deepest["ino"]}))["mode"], deepest["mode"]);
    assert_eq!(client.error(json!({"op": "getattr", "ino": 4_000_000_000_u64})), "ENOENT");
    server.stop_cleanly();
}

#[test]
fn bad_requests_get_an_error_each() {
    let (fixture, socket) = stage();
    let server = Server::start(&fixture.flushed(), &socket);
    let mut client = server.connect();
    assert_eq!(client.ask(&json!({"op": "getattr", "ino": 1, "id": {"a": 1}}))["id"], json!({"a": 1}));
    let file = client.ok(json!({"op": "lookup", "parent": 1, "name": "UPPER-00320"}))["ino"].clone();
    for (request, error) in [
        (json!({"op": "lookup", "parent": 1, "name": "nobody"}), "ENOENT"),
        (json!({"op": "readdir", "ino": file}), "ENOTDIR"),
        (json!({"op": "lookup", "parent": file, "name": "a"}), "ENOTDIR"),
        (json!({"op": "readlink", "ino": file}), "EINVAL"),
        (json!({"op": "unlink", "ino": 1}), "EINVAL"),
        (json!({"op": "getattr"}), "EINVAL"),
        (json!([1]), "EINVAL"),
    ] {
        assert_eq!(client.error(request), error);
    }
    client.say("{\"op\":\n");
    assert_eq!(client.hear()["error"], "EINVAL");
    // A line that never ends is refused, and its client with it; the others are served.
    let mut endless = server.connect();
    endless.say(&"x".repeat(64 << 10));
    assert_eq!(endless.hear()["error"], "EINVAL");
    assert_eq!(endless.lines.read_line(&mut String::new()).expect("an end"), 0);
    assert_eq!(client.ok(json!({"op": "getattr", "ino": 1}))["ino"], 1);
    server.stop_cleanly();
}

#[test]
fn many_clients_at_once() {
    let (fixture, socket) = stage();
    let server = Server::start(&fixture.flushed(), &socket);
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(&format!("{{\"op\":\"readdir\",\"ino\":{},\"id\":{number}}}\n", (1_u64 << 40) + number as u64 % 40));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let reply = client.hear();
        assert_eq!(reply["id"], number);
        assert!(reply["ok"].as_array().is_some_and(|entries| entries.len() > 20), "{reply}");
    }
    server.stop_cleanly();
}

#[test]
fn sessions_are_handed_on_to_the_next_life() {
    let (fixture, socket) = stage();
    let table = fixture.dirty().join("objects/unwedge_mds0_sessions");
    let server = Server::start(&fixture.dirty(), &socket);
    let (mut a, mut b) = (server.connect(), server.connect());
    assert_eq!(a.ok(json!({"op": "session", "client": 7})), true);
    assert_eq!(b.ok(json!({"op": "session", "client": 9})), true);
    assert_eq!(b.error(json!({"op": "session", "client": 8})), "EINVAL", "a connection has one session");
    assert!(!table.exists());
    server.stop_cleanly();
    let both = fs::read(&table).expect("saved by the orderly stop");
    assert_eq!(both.len(), 6 + 4 + 2 * 8);

    // Both come back, one of them goes of itself, and an operator has the table written at once.
    let server = Server::start(&fixture.dirty(), &socket);
    let (mut a, mut b) = (server.connect(), server.connect());
    for (client, number) in [(&mut a, 7), (&mut b, 9)] {
        client.say(&format!("{{\"op\":\"session\",\"client\":{number}}}\n"));
    }
    assert_eq!((a.hear()["ok"].clone(), b.hear()["ok"].clone()), (json!(true), json!(true)));
    drop(b);
    let until = Instant::now() + PATIENCE;
    while fs::read(&table).expect("there").len() != both.len() - 8 {
        assert!(Instant::now() < until, "the client that has gone is still in the table");
        assert_eq!(a.ok(json!({"op": "flush"})), true);
    }
    server.stop_cleanly();

    // The other does not come back: it is waited for, and then forgotten.
    let server = Server::start(&fixture.dirty(), &socket);
    assert_eq!(server.connect().ok(json!({"op": "getattr", "ino": 1}))["ino"], 1);
    server.stop_cleanly();
    assert_eq!(fs::read(&table).expect("there").len(), both.len() - 16);
}

#[test]
fn a_busy_socket_a_file_and_no_pool_get_one_clear_line() {
    let (fixture, socket) = stage();
    let pool = fixture.flushed();
    let pool = pool.to_str().expect("a plain path");
    let shown = socket.to_str().expect("a plain path");
    let complaint = |pool: &str, socket: &str| {
        let run = mds(&["serve", "--pool", pool, "--socket", socket]);
        assert_eq!(run.status.code(), Some(1));
        text(&run.stderr).to_owned()
    };
    let listener = UnixListener::bind(&socket).expect("a socket");
    assert_eq!(complaint(pool, shown), format!("mds: {shown} is busy: a server listens there\n"));
    assert!(socket.exists(), "another server's socket is left alone");
    drop(listener);
    // Nobody listens any more: what a server that was killed has left behind is replaced.
    let server = Server::start(&fixture.flushed(), &socket);
    assert_eq!(server.connect().ok(json!({"op": "getattr", "ino": 1}))["ino"], 1);
    server.stop_cleanly();
    fs::write(&socket, "mine").expect("written");
    assert_eq!(complaint(pool, shown), format!("mds: {shown} is there already, and is no socket\n"));
    assert_eq!(fs::read(&socket).expect("there"), b"mine");
    assert_eq!(complaint("/nowhere/pool", "/nowhere/socket"), "mds: /nowhere/pool is no folder\n");
    let said = complaint(pool, "/nowhere/socket");
    assert!(said.starts_with("mds: cannot make the socket /nowhere/socket: ") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_damaged_pool_is_named_and_the_stop_is_clean() {
    for (oid, cut, complaint) in [
        ("400.00000000", None, "object 400.00000000, offset 0x0: the object is not there"),
        ("400.00000000", Some(21), "object 400.00000000, offset 0x6: journal pointer needs 16 bytes, 15 are left"),
        ("200.00000000", Some(40), "object 200.00000000, offset 0x6: journal header needs 84 bytes, 34 are left"),
        (
            "200.00000001",
            Some(1000),
            "object 200.00000001, offset 0x3e8: the object ends here, the journal only at 0xb027b5",
        ),
        ("200.00000002", None, "object 200.00000002, offset 0x0: the object is not there"),
        ("mds0_inotable", None, "object mds0_inotable, offset 0x0: the object is not there"),
        (
            "1.00000000.inode",
            Some(300),
            "object 1.00000000.inode, offset 0x1d: inode store needs 525 bytes, 271 are left",
        ),
        ("100.00000000.inode", None, "object 100.00000000.inode, offset 0x0: the object is not there"),
    ] {
        let (fixture, socket) = stage();
        let path = fixture.dirty().join("objects").join(oid);
        match cut {
            None => fs::remove_file(path).expect("removed"),
            Some(cut) => fs::File::options().write(true).open(path).expect("there").set_len(cut).expect("cut"),
        }
        let server = Server::start(&fixture.dirty(), &socket);
        let (status, said, _) = server.wait();
        assert_eq!(status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("mds: {complaint}")), "{said}");
        assert!(!socket.exists());
    }
}

#[test]
fn an_entry_that_is_being_written_is_not_yet_the_journals() {
    let mut entry = 0x3141_5926_5358_9793_u64.to_le_bytes().to_vec();
    entry.extend(100_u32.to_le_bytes());
    entry.extend([0; 40]);
    for len in [1, 8, 11, 12, 13, entry.len()] {
        let (fixture, socket) = stage();
        let path = fixture.dirty().join("objects/200.00000002");
        let mut file = fs::File::options().append(true).open(path).expect("there");
        file.write_all(&entry[..len]).expect("written");
        let server = Server::start(&fixture.dirty(), &socket);
        let mut client = server.connect();
        assert_eq!(client.ok(json!({"op": "getattr", "ino": 1}))["ino"], 1, "{len} bytes of it");
        drop(client);
        server.stop_cleanly();
    }
}

#[test]
fn a_damaged_directory_costs_its_own_clients_alone() {
    let (fixture, socket) = stage();
    let omaps = fixture.flushed().join("omap.jsonl");
    let good = fs::read_to_string(&omaps).expect("there");
    let without: Vec<&str> =
        good.lines().filter(|line| !line.starts_with("{\"oid\": \"10000000001.00000000\"")).collect();
    assert_eq!(without.len() + 1, good.lines().count());
    fs::write(&omaps, without.join("\n")).expect("written");
    let server = Server::start(&fixture.flushed(), &socket);
    let mut client = server.connect();
    for _ in 0..2 {
        let reply = client.ask(&json!({"op": "readdir", "ino": 0x100_0000_0001_u64}));
        assert_eq!(reply["error"], "EIO", "{reply}");
        let message = reply["message"].as_str().expect("text");
        assert_eq!(message, "object 10000000001.00000000, offset 0x0: the object is not there");
    }
    // What can be found elsewhere is found, names that lead to other directories' inodes included.
    let seen = fs::read_to_string(fixture.folder().join("tree.jsonl")).expect("the listing is there");
    let mut found = 0;
    for line in seen.lines() {
        let entry: Value = serde_json::from_str(line).expect("a listing");
        let (parent, name) = entry["path"].as_str().expect("a path").rsplit_once('/').expect("below the root");
        if parent.is_empty()
            && client.ask(&json!({"op": "lookup", "parent": 1, "name": name}))["ok"]["ino"] == entry["ino"]
        {
            found += 1;
        }
    }
    assert!(found > 50, "{found} of the root's 53 names");
    server.stop_cleanly();
}

/// Puts a pipe in a file's place: with nobody at its other end, opening it hangs; held open by the caller, reading it does.
fn pipe_instead(path: &Path) {
    fs::remove_file(path).expect("removed");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
}

/// Stops a server once it waits for storage that does not answer, and tells what that took.
fn stop_hung(server: Server, signal: i32, is_hung: impl Fn() -> bool) -> Duration {
    let mut client = server.connect();
    client.say("{\"op\":\"getattr\",\"ino\":1}\n");
    let until = Instant::now() + PATIENCE;
    while !is_hung() {
        assert!(Instant::now() < until, "the server does not get as far as the pipe");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.signal(signal);
    let (status, said, time) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("thread replay") && !said.contains("task"), "{said}");
    match client.lines.read_line(&mut String::new()) {
        Ok(read) => assert_eq!(read, 0, "no answer was made up"),
        // The request was not even read.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    time
}

#[test]
fn sigterm_ends_a_server_whose_storage_hangs() {
    for backend in ["auto", "pool"] {
        for (object, part) in [("200.00000001", 4096), ("400.00000000", 10), ("1.00000000.inode", 100)] {
            let (fixture, socket) = stage();
            let path = fixture.dirty().join("objects").join(object);
            let good = fs::read(&path).expect("there");
            pipe_instead(&path);
            // Nobody has the pipe's other end: the open hangs, and nothing outside the server shows when it has begun to. A stop that
            // comes before that has to be as clean.
            let begun = Instant::now();
            let server = Server::start_with(&fixture.dirty(), &socket, backend);
            let time = stop_hung(server, libc::SIGTERM, || begun.elapsed() > Duration::from_millis(150));
            println!("{backend}: open of {object} hangs: SIGTERM to the end in {time:?}");

            // A part of the object comes, and no more: once that is read, the next read hangs.
            let mut pipe = fs::File::options().read(true).write(true).open(&path).expect("a pipe");
            pipe.write_all(&good[..part]).expect("it holds more");
            let server = Server::start_with(&fixture.dirty(), &socket, backend);
            let time = stop_hung(server, libc::SIGINT, || rustix::io::ioctl_fionread(&pipe).expect("a pipe") == 0);
            println!("{backend}: read of {object} hangs: SIGINT to the end in {time:?}");
        }
    }
}

#[test]
fn sigquit_has_a_server_say_what_it_waits_for() {
    let (fixture, socket) = stage();
    let path = fixture.dirty().join("objects").join("200.00000001");
    let good = fs::read(&path).expect("there");
    pipe_instead(&path);
    let mut pipe = fs::File::options().read(true).write(true).open(&path).expect("a pipe");
    pipe.write_all(&good[..4096]).expect("it holds more");
    let mut server = Server::start(&fixture.dirty(), &socket);
    let stderr = server.child.as_mut().and_then(|child| child.stderr.take()).expect("it is piped");
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            tell.send(line).ok();
        }
    });
    // From its socket on it has its handlers.
    let client = server.connect();
    let until = Instant::now() + PATIENCE;
    let blamed = loop {
        assert!(Instant::now() < until, "the report does not say it");
        server.signal(libc::SIGQUIT);
        // The replay's next read, once it has come that far.
        let line = told.recv_timeout(PATIENCE).expect("a line");
        if line.contains("replay") && line.contains(" waits ") && line.contains("200.00000001") {
            break line;
        }
    };
    assert!(blamed.contains("thread \"replay\" waits ") || blamed.contains("thread replay"), "{blamed}");
    drop(client);
    server.signal(libc::SIGTERM);
    let (status, _, _) = server.wait();
    assert_eq!(status.code(), Some(0));
    reader.join().expect("no panic");
}

#[test]
fn a_pool_whose_omap_is_a_pipe_is_none() {
    let (fixture, socket) = stage();
    pipe_instead(&fixture.dirty().join("omap.jsonl"));
    let pool = fixture.dirty();
    let run = mds(&["serve", "--pool", pool.to_str().expect("a path"), "--socket", socket.to_str().expect("a path")]);
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(text(&run.stderr), format!("mds: {} is no metadata pool: it has no omap.jsonl\n", pool.display()));
}

/// The main job, with its temporary files in a folder of the test's.
fn main_job(args: &[&str], temporary: &Path) -> Child {
    let mut job = Command::new(program());
    job.args(args).env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
    job.spawn().expect("the program runs")
}

#[test]
fn the_main_job_prints_one_object_and_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("a folder");
    // Two at once do not meet.
    let jobs = [(); 2].map(|()| main_job(&["--json", "--runs", "2", "--lives", "10"], temporary.path()));
    for job in jobs {
        let output = job.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{}", text(&output.stdout));
        let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
        for state in ["pointer", "header", "recovery", "replay", "tables", "root", "reconnect", "rejoin", "total"] {
            assert!(found["boot_ms"][state].as_f64().is_some_and(|ms| ms >= 0.0), "{found}");
        }
        assert!(
            found["serve"]["ops_per_s"].as_f64().is_some_and(|n| n > 0.0) && found["serve"]["p99_us"].is_f64(),
            "{found}"
        );
        let stops = found["stops"].as_array().expect("a list");
        let scenarios: Vec<_> = stops.iter().filter_map(|stop| stop["scenario"].as_str()).collect();
        let expected = [
            "recovery",
            "replay",
            "tables",
            "root",
            "reconnect",
            "rejoin",
            "active",
            "active, admin request",
            "replay, storage back",
            "replay, pipe hangs",
        ];
        assert_eq!(scenarios, expected);
        for stop in stops {
            assert_eq!((&stop["runs"], &stop["clean"]), (&json!(2), &json!(true)), "{stop}");
            let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|figure| stop[figure].as_f64().expect("a figure"));
            assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{stop}");
        }
        assert!(found["restart_ms"]["p50"].is_f64() && found["restart_ms"]["max"].is_f64(), "{found}");
        assert!(["uring", "pool"].contains(&found["backend"].as_str().expect("a name")));
    }
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
}

#[test]
fn an_interrupted_main_job_leaves_nothing() {
    for after in [20, 400, 1500] {
        let temporary = tempfile::tempdir().expect("a folder");
        let job = main_job(&["--runs", "1000000"], temporary.path());
        let server = Server { child: Some(job), socket: PathBuf::new() };
        // The folder is there as soon as the job listens to signals.
        let until = Instant::now() + PATIENCE;
        while fs::read_dir(temporary.path()).expect("a folder").count() == 0 {
            assert!(Instant::now() < until, "nothing is unpacked");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(after));
        server.signal(libc::SIGINT);
        let (status, said, _) = server.wait();
        assert_eq!((status.code(), said.as_str()), (Some(130), "mds: interrupted\n"), "after {after} ms");
        assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
    }
}

#[test]
fn a_thousand_lives_leave_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a folder");
    let output =
        main_job(&["--json", "--runs", "1", "--lives", "1000"], temporary.path()).wait_with_output().expect("it ends");
    // It compares threads, descriptors and memory itself, and says what has grown.
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn a_soak_counts_its_lives_and_is_the_same_again_by_its_seed() {
    let temporary = tempfile::tempdir().expect("a folder");
    let args = ["soak", "--json", "--lives", "40", "--seed", "7", "--within-ms", "30000"];
    let output = main_job(&args, temporary.path()).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("seed 7"), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&found["lives"], &found["failures"], &found["seed"]), (&json!(40), &json!(0), &json!(7)), "{found}");
    let stopped_in = found["stopped_in"].as_object().expect("states");
    assert_eq!(stopped_in.values().filter_map(Value::as_u64).sum::<u64>(), 40, "{found}");
    assert!(!found["faults"].as_object().expect("faults").is_empty(), "{found}");
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
}

#[test]
fn a_late_stop_is_told_with_its_seed() {
    let temporary = tempfile::tempdir().expect("a folder");
    // No stop comes before a deadline that is now.
    let args = ["soak", "--lives", "1000", "--seed", "7", "--within-ms", "0"];
    let output = main_job(&args, temporary.path()).wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("seed 7, life 0: late: "), "{said}");
    assert!(said.contains("again: mds soak --seed 7 --first 0 --lives 1"), "{said}");
    assert!(text(&output.stdout).contains("20 lives in "), "it gives up: {}", text(&output.stdout));
}

#[test]
fn an_interrupted_soak_leaves_nothing() {
    // While it unpacks the pool, and (unless the machine is slow) in one of its lives.
    for after in [0, 700].map(Duration::from_millis) {
        let temporary = tempfile::tempdir().expect("a folder");
        let job = main_job(&["soak", "--lives", "1000000", "--within-ms", "30000"], temporary.path());
        let server = Server { child: Some(job), socket: PathBuf::new() };
        let until = Instant::now() + PATIENCE;
        while fs::read_dir(temporary.path()).expect("a folder").count() == 0 {
            assert!(Instant::now() < until, "nothing is unpacked");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(after);
        server.signal(libc::SIGINT);
        let (status, said, _) = server.wait();
        assert_eq!(status.code(), Some(130), "{said}");
        assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
    }
}

#[test]
fn help_everywhere() {
    for args in [&["--help"] as &[&str], &["dump", "--help"], &["serve", "--help"], &["soak", "--help"]] {
        let run = mds(args);
        assert!(run.status.success() && text(&run.stdout).contains("Usage: mds"), "{args:?}");
    }
    // Short or long, it says what the program is, and not what the library is.
    let short = mds(&["-h"]);
    assert!(short.status.success() && text(&short.stdout).starts_with("A metadata server that boots"), "{short:?}");
    assert!(text(&mds(&["--help"]).stdout).starts_with("A metadata server that boots"));
    assert_eq!(mds(&["--runs", "0"]).status.code(), Some(2));
    assert_eq!(mds(&["serve"]).status.code(), Some(2));
}
