//! The example's `dump` against what Ceph's own tools and a real client said of the same pools.

mod mds;

use std::fs;
use std::path::Path;
use std::process::Command;

use mds::fixture::Fixture;
use mds::{mds, program, text};

fn dump(pool: &Path, what: &str) -> String {
    let run = mds(&["dump", "--pool", pool.to_str().expect("a plain path"), what]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    text(&run.stdout).to_owned()
}

/// The one line that a failing run prints.
fn complaint(args: &[&str]) -> String {
    let run = mds(args);
    assert_eq!(run.status.code(), Some(1), "{args:?}: {}", text(&run.stderr));
    assert!(run.stdout.is_empty());
    let said = text(&run.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().to_owned()
}

#[test]
fn events_are_those_that_cephfs_journal_tool_lists() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    for (pool, events) in [(fixture.dirty(), 3505), (fixture.flushed(), 11)] {
        let listing = fs::read_to_string(pool.join("journal-events.txt")).expect("the listing is there");
        fs::remove_file(pool.join("journal-events.txt")).expect("removed");
        let dumped = dump(&pool, "events");
        assert_eq!(dumped.lines().count(), events);
        assert_eq!(dumped, listing);
    }
}

#[test]
fn the_tree_is_the_one_that_a_client_saw() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let listing = fixture.folder().join("tree.jsonl");
    let seen = fs::read_to_string(&listing).expect("the listing is there");
    for listing in [listing, fixture.flushed().join("journal-events.txt"), fixture.flushed().join("header.json")] {
        fs::remove_file(listing).expect("removed");
    }
    let dumped = dump(&fixture.flushed(), "tree");
    assert_eq!(dumped.lines().count(), 1630);
    for (ours, theirs) in dumped.lines().zip(seen.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(dump(&fixture.dirty(), "tree"), "", "before the flush the tree is in the journal alone");
}

#[test]
fn what_is_no_pool_gets_one_clear_line() {
    let empty = tempfile::tempdir().expect("a folder");
    let folder = empty.path().to_str().expect("a plain path");
    assert_eq!(complaint(&["dump", "--pool", "/nowhere/pool", "tree"]), "mds: /nowhere/pool is no folder");
    assert_eq!(
        complaint(&["dump", "--pool", folder, "tree"]),
        format!("mds: {folder} is no metadata pool: it has no objects/")
    );
    fs::create_dir(empty.path().join("objects")).expect("made");
    assert_eq!(
        complaint(&["dump", "--pool", folder, "events"]),
        format!("mds: {folder} is no metadata pool: it has no omap.jsonl")
    );
    fs::write(empty.path().join("omap.jsonl"), "").expect("written");
    assert_eq!(
        complaint(&["dump", "--pool", folder, "events"]),
        "mds: object 400.00000000, offset 0x0: the object is not there"
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let mut run = Command::new(program())
        .args(["dump", "--pool"])
        .arg(fixture.dirty())
        .arg("events")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    drop(run.stdout.take());
    let ended = run.wait_with_output().expect("ends");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", text(&ended.stderr));
}

/// Lengths and counts of four gigabytes, in a process that may have 256 MB of address space.
#[test]
fn lengths_that_lie_do_not_allocate() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let objects = fixture.flushed().join("objects");
    let limited = |what: &str| {
        let run = Command::new("sh")
            .args(["-c", "ulimit -v 262144; exec \"$0\" \"$@\""])
            .arg(program())
            .args(["dump", "--pool"])
            .arg(fixture.flushed())
            .arg(what)
            .output()
            .expect("sh runs");
        (run.status.code(), text(&run.stderr).to_owned())
    };
    assert_eq!(limited("events"), (Some(0), String::new()), "the limit leaves enough for the pool as it is");
    assert_eq!(limited("tree"), (Some(0), String::new()));
    let ruin = |oid: &str, at: usize, with: &[u8]| {
        let path = objects.join(oid);
        let good = fs::read(&path).expect("there");
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        fs::write(&path, bytes).expect("written");
        move || fs::write(&path, &good).expect("written")
    };
    let huge = [0xff; 4];
    // The length of an entry; of the root inode's mark; of its envelope.
    for (oid, at, what) in
        [("200.00000002", 0x3029c1 + 8, "events"), ("1.00000000.inode", 0, "tree"), ("1.00000000.inode", 25, "tree")]
    {
        let mend = ruin(oid, at, &huge);
        let (code, said) = limited(what);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with(&format!("mds: object {oid}, offset 0x")), "{said}");
        mend();
    }
    // A write position of almost 2^63: the journal ends where its objects do.
    let mend = ruin("200.00000000", 6 + 23 + 24, &(i64::MAX as u64).to_le_bytes());
    let (code, said) = limited("events");
    assert_eq!(code, Some(1));
    assert!(said.starts_with("mds: object 200.00000002, offset 0x309f74: the object ends here"), "{said}");
    mend();
}
