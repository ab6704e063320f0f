//! The example `mds-rados` on a live cluster, beside ceph-mds: the tree that ceph-mds has made and libcephfs sees is the tree that ours serves, also
//! where a directory of 30,000 entries was split, where links outlive their file, and after changes.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use common::{Ceph, GUARD, bounded, printed};
use serde_json::{Value, json};

fn main() {
    common::run(&[
        ("the_tree_of_libcephfs", the_tree_of_libcephfs),
        ("the_journal_of_cephfs_journal_tool", the_journal_of_cephfs_journal_tool),
        ("sessions_are_in_an_object", sessions_are_in_an_object),
        ("every_stop_ends", every_stop_ends),
    ])
}

/// The example, which is built first: one that lies there may be old.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let here = std::env::current_exe().expect("a test knows its own file");
        let profile = here.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
        let target = profile.parent().expect("a profile's folder lies in target");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "mds-rados", "--target-dir"]).arg(target);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the example does not build");
        profile.join("examples").join("mds-rados")
    })
}

fn pool(ceph: &Ceph) -> String {
    format!("rados:{}:meta", ceph.conf().display())
}

/// Runs the example to its end, and gives what it prints.
fn mds(args: &[&str]) -> String {
    printed(bounded(120, program()).args(args))
}

/// Runs a program on libcephfs, which is mounted as `fs`.
fn on_libcephfs(ceph: &Ceph, body: &str) -> String {
    let program = format!(
        "import cephfs, json, os, stat, sys\n\
         fs = cephfs.LibCephFS(conffile={:?}); fs.mount()\n\
         def touch(path, mode=0o644, data=b''):\n\
         \x20   fd = fs.open(path, 'w', mode)\n\
         \x20   if data: fs.write(fd, data, 0)\n\
         \x20   fs.close(fd)\n\
         {body}\n\
         fs.sync_fs(); fs.unmount(); fs.shutdown()\n",
        ceph.conf().display().to_string(),
    );
    printed(bounded(600, "/usr/bin/python3").arg("-c").arg(program))
}

/// Every path with its attributes, as libcephfs sees them.
const WALK: &str = r#"
def walk(path, ino):
    d = fs.opendir(path or '/')
    entry = fs.readdir(d)
    names = []
    while entry:
        if entry.d_name not in (b'.', b'..'): names.append(entry.d_name.decode())
        entry = fs.readdir(d)
    fs.closedir(d)
    for name in names:
        full = path + '/' + name
        s = fs.statx(full, cephfs.CEPH_STATX_BASIC_STATS, cephfs.AT_SYMLINK_NOFOLLOW)
        row = {'path': full, 'ino': s['ino'], 'mode': oct(s['mode']), 'size': s['size'], 'nlink': s['nlink'], 'uid': s['uid'], 'gid': s['gid'],
               'mtime': int(s['mtime'].timestamp())}
        if stat.S_ISLNK(s['mode']): row['target'] = fs.readlink(full, 4096).decode()
        print(json.dumps(row))
        if stat.S_ISDIR(s['mode']): walk(full, s['ino'])
walk('', 1)
"#;

/// By path; of a directory not the bytes below it, which ceph-mds brings up to date lazily.
fn rows(lines: &str) -> BTreeMap<String, Value> {
    let row = |line: &str| {
        let mut row: Value = serde_json::from_str(line).expect("JSON");
        row["mtime"] = json!(row["mtime"].as_f64().map(|mtime| mtime as u64));
        if row["mode"].as_str().is_some_and(|mode| mode.starts_with("0o40")) {
            row["size"] = Value::Null;
        }
        (row["path"].as_str().expect("a path").to_owned(), row)
    };
    lines.lines().map(row).collect()
}

/// One that runs already is left to it.
fn start_ceph_mds(ceph: &Ceph) {
    ceph.script("up", &["mds.a"]);
    ceph.script("active", &[]);
}

/// Asks again where no answer comes: Ceph's tool waits for ever for one that was lost with its connection, on a busy machine a ceph-mds whose beacons are late
/// begins anew, and an OSD that was late with its lease may wait for it for ever, so that it has to.
fn flush(ceph: &Ceph) {
    for _ in 0..4 {
        let mut asked = bounded(90, "ceph");
        asked
            .arg("--conf")
            .arg(ceph.conf())
            .args(["tell", "mds.a", "flush", "journal"])
            .env("PYTHONWARNINGS", "ignore");
        if asked.output().expect("the program is there").status.success() {
            return;
        }
        ceph.script("well", &[]);
        start_ceph_mds(ceph);
    }
    panic!("ceph-mds does not flush its journal");
}

/// A server of ours that runs.
struct Server {
    child: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.0.get_mut(), "{request}").expect("the server reads");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{request}: {line:?}: {error}"))
    }
}

impl Server {
    fn start(ceph: &Ceph) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("mds.sock");
        let child = Command::new(program()).args(["serve", "--pool", &pool(ceph), "--socket"]).arg(&socket).spawn();
        Server { child: child.expect("the program runs"), socket, _folder: folder }
    }

    fn connect(&self) -> Client {
        let until = Instant::now() + GUARD;
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
                stream.set_read_timeout(Some(GUARD)).expect("a socket");
                return Client(BufReader::new(stream));
            }
            assert!(Instant::now() < until, "the server makes no socket");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM, and the end of the process; its exit status has to be 0.
    fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let pid = i32::try_from(self.child.id()).expect("a process's number");
        // SAFETY: It takes no memory; the process is a child that has not been waited for, so its number is no other's.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert!(status.success(), "{status}");
                return begun.elapsed();
            }
            assert!(begun.elapsed() < GUARD, "it does not end");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

const MAKE: &str = r#"
fs.mkdir('/large', 0o755)
for n in range(30000): touch('/large/file%06d' % n)
fs.mkdir('/links', 0o711); fs.mkdir('/links/below', 0o755)
touch('/links/one', 0o640, b'hello'); fs.link('/links/one', '/links/below/two'); fs.link('/links/one', '/large/three')
fs.symlink('../links/one', '/links/below/sym'); fs.symlink('/nowhere', '/dangling')
touch('/links/gone', 0o600, b'still here'); fs.link('/links/gone', '/links/below/kept'); fs.unlink('/links/gone')
fs.chown('/links/one', 7, 8)
touch('/links/ünïcode ☃', 0o644)
"#;

const CHANGE: &str = r#"
fs.rename('/links/below', '/moved'); fs.unlink('/links/one'); touch('/moved/new', 0o644, b'new'); fs.mkdir('/fresh', 0o700); touch('/fresh/x')
for n in range(0, 30000, 3): fs.unlink('/large/file%06d' % n)
"#;

fn the_tree_of_libcephfs(ceph: &Ceph) {
    start_ceph_mds(ceph);
    on_libcephfs(ceph, MAKE);
    flush(ceph);
    let theirs = rows(&on_libcephfs(ceph, WALK));
    flush(ceph);
    assert!(theirs.len() > 30_000 && theirs.contains_key("/links/below/kept"));
    let large = theirs["/large"]["ino"].as_u64().expect("a number");
    let objects = ceph.tool("rados", &["-p", "meta", "ls"]);
    let fragments = objects.lines().filter(|name| name.starts_with(&format!("{large:x}."))).count();
    assert!(fragments >= 8, "ceph-mds has split the directory: {fragments} objects");
    same(&rows(&mds(&["dump", "--pool", &pool(ceph), "tree"])), &theirs);

    // The same over our server's socket, by readdir, lookup and readlink; ceph-mds may write meanwhile.
    let server = Server::start(ceph);
    let mut client = server.connect();
    same(&walk(&mut client), &theirs);
    assert_eq!(client.ask(&json!({"op": "lookup", "parent": large, "name": "nobody"}))["error"], "ENOENT");

    // Ours runs; theirs changes the tree. Before a refresh ours says what it has read, afterwards what is.
    start_ceph_mds(ceph);
    on_libcephfs(ceph, CHANGE);
    flush(ceph);
    let changed = rows(&on_libcephfs(ceph, WALK));
    flush(ceph);
    same(&walk(&mut client), &theirs);
    mds(&["refresh", "--socket", server.socket.to_str().expect("text")]);
    same(&walk(&mut client), &changed);
    assert!(!changed.contains_key("/links/one") && changed.contains_key("/moved/two"));
    drop(client);
    server.stop();
}

/// Two trees that have to be the same; says where they are not.
fn same(ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) {
    for (path, row) in theirs {
        assert_eq!(ours.get(path), Some(row), "{path}");
    }
    let more: Vec<_> = ours.keys().filter(|path| !theirs.contains_key(*path)).take(5).collect();
    assert!(more.is_empty(), "only ours has {more:?}");
}

fn walk(client: &mut Client) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut below = vec![(String::new(), 1_u64)];
    while let Some((path, ino)) = below.pop() {
        let reply = client.ask(&json!({"op": "readdir", "ino": ino}));
        let entries = reply["ok"].as_array().unwrap_or_else(|| panic!("{path}: {reply}")).clone();
        for (n, mut entry) in entries.into_iter().enumerate() {
            let (name, child) =
                (entry["name"].as_str().expect("a name").to_owned(), entry["ino"].as_u64().expect("ino"));
            // Not each of 30,000 names.
            if n % 100 == 0 {
                let looked_up = client.ask(&json!({"op": "lookup", "parent": ino, "name": name}));
                assert_eq!(looked_up["ok"], entry, "{path}/{name}");
            }
            let full = format!("{path}/{name}");
            if entry["type"] == "symlink" {
                entry["target"] = client.ask(&json!({"op": "readlink", "ino": child}))["ok"].clone();
            }
            if entry["type"] == "dir" {
                below.push((full.clone(), child));
            }
            let row = entry.as_object_mut().expect("an object");
            row.remove("name");
            row.remove("type");
            row.insert("path".to_owned(), json!(full));
            found.extend(rows(&entry.to_string()));
        }
    }
    found
}

fn the_journal_of_cephfs_journal_tool(ceph: &Ceph) {
    start_ceph_mds(ceph);
    on_libcephfs(
        ceph,
        "fs.mkdir('/journal', 0o755)\n\
         for n in range(2000): touch('/journal/j%d' % n)\n\
         for n in range(0, 2000, 2): fs.unlink('/journal/j%d' % n)",
    );
    // Neither writes while it is read.
    ceph.script("kill", &["mds.a"]);
    let theirs = ceph.tool("cephfs-journal-tool", &["--rank=fs:0", "event", "get", "list"]);
    // `0x400000 SUBTREEMAP:  ()`, with a time before it in some versions, and the names that it is about in lines below it.
    let events = theirs.lines().filter_map(|line| {
        let at = line.find("0x")?;
        let (position, rest) = line[at..].split_once(' ')?;
        let kind = rest.split(':').next()?.trim();
        (!line.starts_with(' ') && !kind.is_empty()).then(|| format!("{position} {kind}"))
    });
    let theirs: Vec<String> = events.collect();
    let ours: Vec<String> = mds(&["dump", "--pool", &pool(ceph), "events"]).lines().map(str::to_owned).collect();
    assert!(theirs.len() > 1000, "{} events", theirs.len());
    assert_eq!(ours, theirs);
}

fn sessions_are_in_an_object(ceph: &Ceph) {
    start_ceph_mds(ceph);
    ceph.script("kill", &["mds.a"]);
    let server = Server::start(ceph);
    let mut client = server.connect();
    assert_eq!(client.ask(&json!({"op": "session", "client": 4123}))["ok"], true);
    assert_eq!(client.ask(&json!({"op": "flush"}))["ok"], true);
    server.stop();
    assert!(ceph.tool("rados", &["-p", "meta", "ls"]).lines().any(|name| name == "unwedge_mds0_sessions"));
    // The next life waits for who was there.
    let server = Server::start(ceph);
    let mut client = server.connect();
    assert_eq!(client.ask(&json!({"op": "session", "client": 4123}))["ok"], true);
    assert_eq!(client.ask(&json!({"op": "getattr", "ino": 1}))["ok"]["ino"], 1);
    server.stop();
}

/// Whatever does not answer, and whenever: SIGTERM ends it, with exit status 0.
fn every_stop_ends(ceph: &Ceph) {
    start_ceph_mds(ceph);
    ceph.script("kill", &["mds.a"]);
    // While it boots, and the OSD does not answer.
    ceph.script("freeze", &["osd.0"]);
    let server = Server::start(ceph);
    let _client = server.connect();
    thread::sleep(Duration::from_millis(300));
    println!("    booting, OSD frozen: {:?}", server.stop());
    // While it connects, and no monitor answers.
    ceph.script("freeze", &["mon.a"]);
    let server = Server::start(ceph);
    let _client = server.connect();
    thread::sleep(Duration::from_millis(300));
    println!("    connecting, monitor frozen: {:?}", server.stop());
    ceph.script("thaw", &["mon.a", "osd.0"]);
    ceph.renew_osd();
    // While it serves, and a request and an operator's command wait for the OSD.
    let server = Server::start(ceph);
    let mut client = server.connect();
    assert_eq!(client.ask(&json!({"op": "session", "client": 5}))["ok"], true);
    ceph.script("freeze", &["osd.0"]);
    for request in [json!({"op": "flush"}), json!({"op": "refresh"})] {
        let mut other = server.connect();
        writeln!(other.0.get_mut(), "{request}").expect("the server reads");
    }
    thread::sleep(Duration::from_millis(200));
    println!("    serving, OSD just frozen: {:?}", server.stop());
    ceph.script("thaw", &["osd.0"]);
    ceph.renew_osd();
    // The same when the OSD has been silent for longer than a stop has patience with it.
    let server = Server::start(ceph);
    let mut client = server.connect();
    assert_eq!(client.ask(&json!({"op": "session", "client": 6}))["ok"], true);
    ceph.script("freeze", &["osd.0"]);
    writeln!(client.0.get_mut(), "{}", json!({"op": "flush"})).expect("the server reads");
    thread::sleep(Duration::from_millis(800));
    println!("    serving, OSD frozen: {:?}", server.stop());
    ceph.script("thaw", &["osd.0"]);
    ceph.renew_osd();
}
