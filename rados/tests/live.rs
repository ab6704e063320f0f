//! The crate on a live cluster, and on one whose OSD or monitor has stopped answering.

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::{Ceph, GUARD, end};
use unwedge::{Monitor, Plan, Stop};
use unwedge_rados::{Claim, Cluster, Pool, RadosError, ReadOp, WriteOp};

fn main() {
    common::run(&[
        ("objects", objects),
        ("omaps", omaps),
        ("compound", compound),
        ("lists", lists),
        ("locks", locks),
        ("a_lock_that_is_undecided", a_lock_that_is_undecided),
        ("leases", leases),
        ("fencing", fencing),
        ("watches", watches),
        ("more_than_the_limit", more_than_the_limit),
        ("below_the_limits_of_librados", below_the_limits_of_librados),
        ("phases", phases),
        ("handles_that_are_dropped", handles_that_are_dropped),
        ("what_cannot_be", what_cannot_be),
        ("a_frozen_osd", a_frozen_osd),
        ("a_drop_cancels", a_drop_cancels),
        ("every_kind_is_cancelled", every_kind_is_cancelled),
        ("what_cannot_be_cancelled", what_cannot_be_cancelled),
        ("a_large_write_beside_what_was_let_go", a_large_write_beside_what_was_let_go),
        ("undecided_writes", undecided_writes),
        ("a_list_that_hangs", a_list_that_hangs),
        ("no_monitor", no_monitor),
    ])
}

/// One `?` each in a test, with what went wrong.
macro_rules! get {
    ($completion:expr) => {
        $completion.wait_until(Instant::now() + GUARD).expect("in time").expect("an answer")
    };
}

macro_rules! fails {
    ($completion:expr) => {
        $completion.wait_until(Instant::now() + GUARD).expect("in time").expect_err("it has to fail")
    };
}

fn objects(ceph: &Ceph) {
    let stop = Stop::new("objects");
    let (_cluster, pool) = ceph.client(&stop);
    get!(pool.write_full("o", *b"hello"));
    get!(pool.append("o", *b" world"));
    get!(pool.write("o", 0, *b"J"));
    assert_eq!(get!(pool.read("o", 0, 100)), b"Jello world");
    assert_eq!(get!(pool.read("o", 6, 3)), b"wor");
    assert_eq!(get!(pool.read("o", 100, 3)), b"");
    let (size, mtime) = get!(pool.stat("o"));
    assert_eq!(size, 11);
    assert!(mtime.elapsed().is_ok_and(|age| age < GUARD));
    // Other clients see the same.
    assert!(ceph.tool("rados", &["-p", "meta", "stat", "o"]).contains("size 11"));
    // Attributes, also larger than the first guess.
    let long = vec![7_u8; 5000];
    get!(pool.operate("o", WriteOp::new().setxattr("short", *b"x").setxattr("long", long.clone())));
    assert_eq!(get!(pool.getxattr("o", "short")), b"x");
    assert_eq!(get!(pool.getxattr("o", "long")), long);
    assert_eq!(fails!(pool.getxattr("o", "none")).raw_os_error(), Some(61));
    get!(pool.write_full("o", vec![1; 3 << 20]));
    assert_eq!(get!(pool.read("o", 0, 4 << 20)).len(), 3 << 20);
    get!(pool.remove("o"));
    for error in [fails!(pool.read("o", 0, 1)), fails!(pool.stat("o")), fails!(pool.remove("o"))] {
        assert!(error.is_missing() && !error.is_undecided(), "{error}");
        assert_eq!(error.object(), Some("o"));
    }
    assert_eq!(fails!(pool.read("o", 0, 1)).to_string(), "read of o: No such file or directory (os error 2)");
    end(&stop);
}

fn omaps(ceph: &Ceph) {
    let stop = Stop::new("omaps");
    let (_cluster, pool) = ceph.client(&stop);
    let keys: Vec<String> = (0..3000).map(|n| format!("name{n:05}_head")).collect();
    get!(pool.omap_set("d", keys.iter().map(|key| (key.as_bytes(), key.to_uppercase()))));
    let first = get!(pool.omap_get_vals("d", "", 10));
    assert!(first.more);
    assert_eq!(first.entries.len(), 10);
    assert_eq!(first.entries[9], (keys[9].clone().into_bytes(), keys[9].to_uppercase().into_bytes()));
    let next = get!(pool.omap_get_keys("d", &keys[2994], 10));
    assert!(!next.more);
    assert_eq!(
        next.entries.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(),
        keys[2995..].iter().map(|key| key.as_bytes()).collect::<Vec<_>>()
    );
    // All of it, in pages; the header is written by Ceph's own tool.
    assert_eq!(get!(pool.omap_get_header("d")), b"");
    ceph.tool("rados", &["-p", "meta", "setomapheader", "d", "fnode"]);
    assert_eq!(get!(pool.omap_get_header("d")), b"fnode");
    let whole = get!(pool.omap("d"));
    assert_eq!((whole.header.as_slice(), whole.entries.len()), (b"fnode".as_slice(), 3000));
    assert!(whole.entries.iter().map(|(key, _)| key.as_slice()).eq(keys.iter().map(|key| key.as_bytes())));
    get!(pool.omap_rm_keys("d", keys[1..].iter().map(String::as_str)));
    assert_eq!(ceph.tool("rados", &["-p", "meta", "listomapkeys", "d"]).trim(), keys[0]);
    get!(pool.remove("d"));
    for error in [fails!(pool.omap("d")), fails!(pool.omap_get_header("d"))] {
        assert!(error.is_missing(), "{error}");
    }
    assert!(fails!(pool.omap_get_vals("d", "", 1)).is_missing());
    end(&stop);
}

fn compound(ceph: &Ceph) {
    let stop = Stop::new("compound");
    let (_cluster, pool) = ceph.client(&stop);
    let table = WriteOp::new().create(true).write_full(*b"data").omap_set([("k", "v")]).setxattr("a", *b"b");
    get!(pool.operate("t", table.clone()));
    // All or none: it is there already, so nothing is changed.
    assert_eq!(fails!(pool.operate("t", WriteOp::new().omap_rm_keys(["k"]).create(true))).raw_os_error(), Some(17));
    let wanted = ReadOp::new().assert_exists().stat().read(1, 2).omap_get_vals("", 5);
    let answer = get!(pool.query("t", wanted.clone()));
    assert_eq!((answer.stat.map(|(size, _)| size), answer.data.as_deref()), (Some(4), Some(b"at".as_slice())));
    assert_eq!(answer.omap.map(|page| (page.entries, page.more)), Some((vec![(b"k".to_vec(), b"v".to_vec())], false)));
    get!(pool.operate("t", WriteOp::new().assert_exists().truncate(1).rmxattr("a")));
    assert_eq!(get!(pool.read("t", 0, 9)), b"d");
    get!(pool.operate("t", WriteOp::new().remove()));
    assert!(fails!(pool.query("t", wanted)).is_missing());
    assert!(fails!(pool.operate("t", WriteOp::new().assert_exists().append(*b"x"))).is_missing());
    end(&stop);
}

fn lists(ceph: &Ceph) {
    let stop = Stop::new("lists");
    let (_cluster, pool) = ceph.client(&stop);
    let names: Vec<String> = (0..100).map(|n| format!("list.{n:08x}")).collect();
    let mut writes: Vec<_> = names.iter().map(|name| pool.write_full(name, *b"x")).collect();
    writes.iter_mut().for_each(|write| get!(write));
    let mut listed = get!(pool.list_objects());
    listed.retain(|name| name.starts_with("list."));
    listed.sort();
    assert_eq!(listed, names);
    let mut removes: Vec<_> = names.iter().map(|name| pool.remove(name)).collect();
    removes.iter_mut().for_each(|remove| get!(remove));
    end(&stop);
}

fn locks(ceph: &Ceph) {
    let stop = Stop::new("locks");
    let ((ours, pool), (_theirs, other)) = (ceph.client(&stop), ceph.client(&stop));
    let claim = || Claim::new("mds", "life 1").description(ours.address());
    get!(pool.lock_exclusive("l", claim()));
    assert_eq!(fails!(other.lock_exclusive("l", Claim::new("mds", "life 2"))).raw_os_error(), Some(16));
    assert_eq!(fails!(other.lock_shared("l", Claim::new("mds", "life 2"))).raw_os_error(), Some(16));
    assert_eq!(fails!(pool.lock_exclusive("l", claim())).raw_os_error(), Some(17), "ours already");
    get!(pool.lock_exclusive("l", claim().renew()));
    let lockers = get!(other.lockers("l", "mds"));
    assert_eq!(lockers.len(), 1);
    assert_eq!((lockers[0].client, lockers[0].cookie.as_str()), (ours.instance(), "life 1"));
    assert_eq!((lockers[0].description.as_str(), lockers[0].expires), (ours.address(), None));
    get!(other.break_lock("l", "mds", &lockers[0]));
    get!(other.lock_shared("l", Claim::new("mds", "a").tag("readers")));
    get!(pool.lock_shared("l", Claim::new("mds", "b").tag("readers")));
    assert_eq!(get!(pool.lockers("l", "mds")).len(), 2);
    get!(pool.unlock("l", "mds", "b"));
    get!(other.unlock("l", "mds", "a"));
    assert_eq!(get!(pool.lockers("l", "mds")), []);
    assert!(fails!(pool.unlock("l", "mds", "b")).is_missing());
    // Who shares it has to call it the same. Who is alone has it exclusively by renewing it so.
    let readers = |cookie| Claim::new("mds", cookie).tag("readers");
    get!(pool.lock_shared("l", readers("b")));
    assert_eq!(fails!(other.lock_shared("l", Claim::new("mds", "a").tag("writers"))).raw_os_error(), Some(16));
    get!(other.lock_shared("l", readers("a")));
    assert_eq!(fails!(pool.lock_exclusive("l", readers("b").renew())).raw_os_error(), Some(16));
    get!(other.unlock("l", "mds", "a"));
    get!(pool.lock_exclusive("l", readers("b").renew()));
    assert_eq!(fails!(other.lock_shared("l", readers("a"))).raw_os_error(), Some(16));
    // A lock is its holder's, and a name is a lock: others let neither go.
    assert!(fails!(other.unlock("l", "mds", "b")).is_missing());
    assert!(fails!(pool.unlock("l", "mds", "c")).is_missing());
    get!(other.lock_exclusive("l", Claim::new("another", "")));
    let holder = get!(other.lockers("l", "mds")).remove(0);
    get!(pool.unlock("l", "mds", "b"));
    assert!(fails!(other.break_lock("l", "mds", &holder)).is_missing(), "it is not taken from who has it next");
    assert_eq!(get!(pool.lockers("l", "none")), []);
    get!(pool.remove("l"));
    assert!(fails!(pool.lockers("l", "mds")).is_missing());
    end(&stop);
}

/// The taking of a lock that was cancelled is undecided: a claim that renews takes it or finds itself in it.
fn a_lock_that_is_undecided(ceph: &Ceph) {
    let stop = Stop::new("undecided lock");
    let (cluster, pool) = ceph.client(&stop);
    get!(pool.write_full("l", *b""));
    ceph.script("freeze", &["osd.0"]);
    drop(pool.lock_exclusive("l", Claim::new("mds", "1")));
    let until = Instant::now() + GUARD;
    while cluster.undecided() == 0 {
        assert!(Instant::now() < until, "it is not cancelled");
        thread::sleep(Duration::from_millis(1));
    }
    ceph.script("thaw", &["osd.0"]);
    get!(pool.lock_exclusive("l", Claim::new("mds", "1").renew()));
    assert_eq!(get!(pool.lockers("l", "mds")).len(), 1);
    get!(pool.remove("l"));
    end(&stop);
}

fn leases(ceph: &Ceph) {
    let stop = Stop::new("leases");
    let ((_ours, pool), (_theirs, other)) = (ceph.client(&stop), ceph.client(&stop));
    get!(pool.lock_exclusive("lease", Claim::new("mds", "1").lease(Duration::from_secs(2))));
    let expires = get!(other.lockers("lease", "mds"))[0].expires.expect("a lease");
    assert!(expires > SystemTime::now());
    // The holder does nothing: it is over by itself.
    let until = Instant::now() + GUARD;
    while other.lock_exclusive("lease", Claim::new("mds", "2")).wait().expect("no stop").is_err() {
        assert!(Instant::now() < until, "the lease does not end");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(SystemTime::now() >= expires - Duration::from_millis(100));
    // Who had it has nothing to let go or to renew.
    assert!(fails!(pool.unlock("lease", "mds", "1")).is_missing());
    let again = Claim::new("mds", "1").lease(Duration::from_secs(60)).renew();
    assert_eq!(fails!(pool.lock_exclusive("lease", again.clone())).raw_os_error(), Some(16));
    // A lease that is renewed begins anew; one without end has none; one beyond the end of Ceph's time ends there.
    get!(other.unlock("lease", "mds", "2"));
    let expires = |claim: Claim| {
        get!(pool.lock_exclusive("lease", claim));
        let lockers = get!(other.lockers("lease", "mds"));
        assert_eq!(lockers.len(), 1);
        lockers[0].expires
    };
    let first = expires(again.clone()).expect("a lease");
    let second = expires(again).expect("a lease");
    assert!(second > first);
    assert_eq!(expires(Claim::new("mds", "1").renew()), None);
    let last = expires(Claim::new("mds", "1").lease(Duration::MAX).renew()).expect("a lease");
    assert!(last > second + Duration::from_secs(365 * 24 * 3600));
    get!(pool.unlock("lease", "mds", "1"));
    // No time at all is over at once, and not without end.
    get!(pool.lock_exclusive("lease", Claim::new("mds", "1").lease(Duration::ZERO)));
    get!(other.lock_exclusive("lease", Claim::new("mds", "2")));
    get!(other.remove("lease"));
    end(&stop);
}

fn fencing(ceph: &Ceph) {
    let (stop, fenced) = (Stop::new("fencing"), Stop::new("fenced"));
    let ((ours, pool), (theirs, other)) = (ceph.client(&stop), ceph.client(&fenced));
    get!(other.write_full("f", *b"1"));
    get!(ours.blocklist_add(&legacy(theirs.address()), Duration::from_secs(60)));
    let until = Instant::now() + GUARD;
    // It is refused as soon as the OSD knows.
    let error = loop {
        match other.write_full("f", *b"2").wait_until(until).expect("in time") {
            Ok(()) => assert!(Instant::now() < until, "it is not fenced"),
            Err(error) => break error,
        }
    };
    assert!(error.is_blocklisted() && !error.is_undecided(), "{error}");
    get!(pool.remove("f"));
    end(&fenced);
    end(&stop);
}

/// As `blocklist_add` wants it.
fn legacy(address: &str) -> String {
    address
        .rsplit_once("v1:")
        .or_else(|| address.rsplit_once("v2:"))
        .map_or(address, |(_, rest)| rest)
        .trim_end_matches(']')
        .to_owned()
}

fn watches(ceph: &Ceph) {
    let stop = Stop::new("watches");
    let ((_ours, pool), (theirs, other)) = (ceph.client(&stop), ceph.client(&stop));
    assert!(fails!(pool.watch("w", Duration::from_secs(10))).is_missing());
    get!(pool.write_full("w", *b""));
    let watch = get!(pool.watch("w", Duration::from_secs(10)));
    let mut told = other.notify("w", *b"hand over", Duration::from_secs(20));
    let notification = get!(watch.next());
    assert_eq!((notification.payload.as_slice(), notification.notifier), (b"hand over".as_slice(), theirs.instance()));
    watch.acknowledge(&notification, b"ready").expect("it is sent");
    assert_eq!(get!(told).replies.into_iter().map(|(_, reply)| reply).collect::<Vec<_>>(), [b"ready".to_vec()]);
    // One that comes while nobody waits is there for who asks next.
    drop(watch.next());
    let mut told = other.notify("w", *b"again", Duration::from_secs(20));
    let next = get!(watch.next());
    assert_eq!(next.payload, b"again");
    watch.acknowledge(&next, b"").expect("it is sent");
    get!(told);
    // A wait that nothing comes for ends by the stop, and so does the watch.
    let mut never = watch.next();
    let waiter = thread::spawn(move || never.wait().is_err());
    end(&stop);
    assert!(waiter.join().expect("it ended"));
    assert!(watch.acknowledge(&next, b"").expect_err("closed").is_closed());
}

fn more_than_the_limit(ceph: &Ceph) {
    let stop = Stop::new("limit");
    let (cluster, pool) = ceph.client_of(&stop, 4);
    get!(pool.write_full("m", vec![5; 4096]));
    let mut reads: Vec<_> = (0..500).map(|_| pool.read("m", 0, 4096)).collect();
    assert!(cluster.in_flight().0 <= 4);
    for read in &mut reads {
        assert_eq!(get!(read), vec![5; 4096]);
    }
    drop(reads);
    assert_eq!(cluster.in_flight(), (0, 0));
    get!(pool.remove("m"));
    end(&stop);
}

/// Who submits is never blocked, whatever librados's limits are.
fn below_the_limits_of_librados(ceph: &Ceph) {
    for (option, value, let_in) in [("objecter_inflight_ops", "8", 7), ("objecter_inflight_op_bytes", "100000", 23)] {
        let stop = Stop::new("their limit");
        let cluster = get!(Cluster::builder(ceph.conf()).option(option, value).connect(&stop));
        let pool = get!(cluster.pool("meta"));
        get!(pool.write_full("m", vec![5; 4096]));
        ceph.script("freeze", &["osd.0"]);
        let begins = thread::spawn(move || (0..30).map(|_| pool.read("m", 0, 4096)).collect::<Vec<_>>());
        let until = Instant::now() + GUARD;
        while !begins.is_finished() {
            assert!(Instant::now() < until, "librados blocks who submits: {:?} are in flight", cluster.in_flight());
            thread::sleep(Duration::from_millis(1));
        }
        let reads = begins.join().expect("it ended");
        assert_eq!(cluster.in_flight(), (let_in, 30 - let_in));
        end(&stop);
        drop(reads);
        ceph.script("thaw", &["osd.0"]);
    }
}

fn phases(ceph: &Ceph) {
    let stop = Stop::new("phases");
    let (_cluster, pool) = ceph.client(&stop);
    let saved = pool.clone();
    let plan = Plan::within(GUARD)
        .phase("save", GUARD, move |phase| Ok(saved.with(phase).write_full("sessions", *b"4123").wait()??));
    let report = stop.shutdown(plan);
    assert!(report.is_clean(), "{report}");
    // Afterwards everything is refused, and nothing of librados's is touched.
    assert!(pool.read("sessions", 0, 4).wait().is_err());
    let (other, next) = (Stop::new("other"), Stop::new("next"));
    assert!(fails!(pool.with(&other).read("sessions", 0, 4)).is_abandoned());
    let (_cluster, pool) = ceph.client(&next);
    assert_eq!(get!(pool.read("sessions", 0, 9)), b"4123");
    get!(pool.remove("sessions"));
    end(&next);
}

fn handles_that_are_dropped(ceph: &Ceph) {
    for _ in 0..3 {
        let stop = Stop::new("dropped");
        let (cluster, pool) = ceph.client(&stop);
        let mut read = pool.read("none", 0, 1);
        drop((cluster, pool));
        assert!(fails!(read).is_missing(), "an operation keeps what it needs");
        drop(pool_of_nothing(ceph, &stop));
    }
}

/// A handle whose last share goes with an operation, in librados's own callback.
fn pool_of_nothing(ceph: &Ceph, stop: &Stop) -> Option<RadosError> {
    let (cluster, pool) = ceph.client(stop);
    let reads: Vec<_> = (0..100).map(|_| pool.read("none", 0, 1)).collect();
    drop((cluster, pool, reads));
    None
}

fn what_cannot_be(ceph: &Ceph) {
    let stop = Stop::new("wrong");
    let error = fails!(Cluster::connect(&stop, "/nonexistent/ceph.conf"));
    assert!(error.is_missing() && error.object() == Some("/nonexistent/ceph.conf"), "{error}");
    let error = fails!(Cluster::builder(ceph.conf()).option("no_such_option", "1").connect(&stop));
    assert!(error.is_missing(), "{error}");
    let (cluster, pool) = ceph.client(&stop);
    assert!(fails!(cluster.pool("no such pool")).is_missing());
    assert_eq!(fails!(pool.read("a\0b", 0, 1)).kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(fails!(pool.getxattr("o", "a\0b")).kind(), std::io::ErrorKind::InvalidInput);
    end(&stop);
}

/// Threads under one big lock wait for an OSD that does not answer; a stopper that holds the lock joins them.
fn a_frozen_osd(ceph: &Ceph) {
    for is_frozen in [true, true, false] {
        let stop = Stop::new("frozen");
        let (cluster, pool) = ceph.client_of(&stop, 32);
        get!(pool.write_full("z", *b"z"));
        if is_frozen {
            ceph.script("freeze", &["osd.0"]);
        } else {
            ceph.script("kill", &["osd.0"]);
        }
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        for n in 0..100 {
            let (mds, pool) = (Arc::clone(&mds), pool.clone());
            stop.spawn("reader", move || {
                let guard = mds.lock()?;
                if n % 2 == 0 {
                    guard.wait_for(&mut pool.read("z", 0, 1)).map(drop)?;
                } else {
                    guard.wait_for(&mut pool.omap("z")).map(drop)?;
                }
                Ok::<(), unwedge::Stopped>(())
            })
            .expect("a thread");
        }
        let until = Instant::now() + GUARD;
        while cluster.in_flight() != (32, 68) {
            assert!(Instant::now() < until, "{:?} are in flight", cluster.in_flight());
            thread::sleep(Duration::from_millis(1));
        }
        let before = cluster.silence();
        assert!(before > Duration::ZERO);
        let guard = mds.lock().expect("nobody has it while it waits");
        let report = stop.shutdown_holding(guard, Plan::within(GUARD));
        assert!(report.is_clean(), "{report}");
        assert_eq!((cluster.in_flight(), cluster.undecided()), ((0, 0), 0));
        assert!(cluster.silence() >= before, "what was cancelled is no answer");
        if is_frozen {
            ceph.script("thaw", &["osd.0"]);
        }
        ceph.renew_osd();
    }
}

fn a_drop_cancels(ceph: &Ceph) {
    let stop = Stop::new("drop");
    let (cluster, pool) = ceph.client_of(&stop, 8);
    get!(pool.write_full("d", *b"d"));
    ceph.script("freeze", &["osd.0"]);
    let reads: Vec<_> = (0..20).map(|_| pool.read("d", 0, 1)).collect();
    assert_eq!(cluster.in_flight(), (8, 12));
    drop(reads);
    let until = Instant::now() + GUARD;
    while cluster.in_flight() != (0, 0) {
        assert!(Instant::now() < until, "{:?} are in flight", cluster.in_flight());
        thread::sleep(Duration::from_millis(1));
    }
    ceph.script("thaw", &["osd.0"]);
    assert_eq!(get!(pool.read("d", 0, 1)), b"d", "the client is as good as new");
    assert_eq!(cluster.silence(), Duration::ZERO);
    end(&stop);
}

/// Whatever kind of operation waits for an OSD that does not answer: librados lets go of it when it is told to, so that nothing is left.
fn every_kind_is_cancelled(ceph: &Ceph) {
    let stop = Stop::new("kinds");
    let (cluster, pool) = ceph.client(&stop);
    get!(pool.write_full("k", *b"k"));
    ceph.script("freeze", &["osd.0"]);
    let claim = || Claim::new("lock", "cookie");
    let reads = (pool.read("k", 0, 1), pool.stat("k"), pool.getxattr("k", "x"), pool.query("k", ReadOp::new().stat()));
    let omaps = (pool.omap("k"), pool.omap_get_keys("k", "", 9), pool.omap_get_header("k"));
    let locks = (pool.lock_exclusive("k", claim()), pool.unlock("k", "lock", "cookie"), pool.lockers("k", "lock"));
    let writes = (pool.append("k", *b"k"), pool.operate("k", WriteOp::new().setxattr("x", *b"x")));
    assert_eq!(cluster.in_flight(), (12, 0));
    end(&stop);
    assert_eq!((cluster.in_flight(), cluster.undecided()), ((0, 0), 4));
    drop((reads, omaps, locks, writes));
    ceph.script("thaw", &["osd.0"]);
}

/// A watch that is being made, its end and a notification: librados has no cancel for them. The stop does not wait for them until its deadline; it leaves
/// librados's handle, and says so. A watch that is there is no hindrance.
fn what_cannot_be_cancelled(ceph: &Ceph) {
    let long = Duration::from_secs(30);
    let watched = |ceph: &Ceph, stop: &Stop| {
        let (cluster, pool) = ceph.client(stop);
        get!(pool.write_full("w", *b""));
        let watch = get!(pool.watch("w", long));
        (cluster, pool, watch)
    };
    let left = |stop: &Stop, cluster: &Cluster, undecided| {
        let begun = Instant::now();
        let report = stop.shutdown(Plan::within(GUARD));
        assert!(begun.elapsed() < GUARD / 2, "not until the deadline");
        assert_eq!((report.leaked_operations(), report.leaked_threads()), (0, 1), "{report}");
        assert_eq!(cluster.undecided(), undecided);
    };
    let (making, ending, telling, watching) =
        (Stop::new("making"), Stop::new("ending"), Stop::new("telling"), Stop::new("watching"));
    let (first, second, third, fourth) =
        (watched(ceph, &making), watched(ceph, &ending), watched(ceph, &telling), watched(ceph, &watching));
    ceph.script("freeze", &["osd.0"]);
    let mut watch = first.1.watch("w", long);
    left(&making, &first.0, 1);
    let after = Stop::new("after");
    assert!(watch.wait().is_err());
    assert!(watch.wait_in(&after).expect("no stop").expect_err("given up").is_undecided());
    drop(second.2);
    assert_eq!(second.0.in_flight(), (1, 0));
    left(&ending, &second.0, 1);
    let told = third.1.notify("w", *b"told", long);
    left(&telling, &third.0, 1);
    drop(told);
    end(&watching);
    drop(fourth);
    ceph.script("thaw", &["osd.0"]);
    ceph.renew_osd();
}

/// A watch that was let go stays librados's, for as long as its OSD does not answer: what moves more bytes than the limit does not wait for it.
fn a_large_write_beside_what_was_let_go(ceph: &Ceph) {
    let stop = Stop::new("large");
    let cluster = get!(Cluster::builder(ceph.conf()).bytes(1000).connect(&stop));
    let pool = get!(cluster.pool("meta"));
    get!(pool.write_full("w", *b""));
    ceph.script("freeze", &["osd.0"]);
    drop(pool.watch("w", Duration::from_secs(30)));
    let until = Instant::now() + GUARD;
    while cluster.undecided() == 0 {
        assert!(Instant::now() < until, "it is not let go");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(cluster.in_flight(), (1, 0));
    let mut large = pool.write_full("w", vec![7; 5000]);
    let small = pool.read("w", 0, 1);
    assert_eq!(cluster.in_flight(), (2, 1), "the large one is on its way, and the small one waits for it");
    drop(small);
    ceph.script("thaw", &["osd.0"]);
    get!(large);
    get!(pool.remove("w"));
    end(&stop);
}

/// A write that had been sent when the stop came: nobody knows. One that had not is known not to be done.
fn undecided_writes(ceph: &Ceph) {
    let stop = Stop::new("undecided");
    let (cluster, pool) = ceph.client_of(&stop, 2);
    get!(pool.write_full("u", *b"before"));
    ceph.script("freeze", &["osd.0"]);
    let mut writes: Vec<_> = ["first", "second", "third"].map(|text| pool.write_full("u", text)).into();
    assert_eq!(cluster.in_flight(), (2, 1));
    stop.request("test");
    // The waits are over at once; under another domain one can ask what has become of them.
    let after = Stop::new("after");
    assert!(writes.iter_mut().all(|write| write.wait().is_err()));
    let errors = writes.iter_mut().map(|write| write.wait_in(&after).expect("no stop").expect_err("cancelled"));
    let known: Vec<_> = errors.map(|error| (error.is_undecided(), error.is_cancelled())).collect();
    assert_eq!(known, [(true, false), (true, false), (false, true)]);
    assert_eq!(cluster.undecided(), 2);
    end(&stop);
    ceph.script("thaw", &["osd.0"]);
    let next = Stop::new("next");
    let (_cluster, pool) = ceph.client(&next);
    let found = get!(pool.read("u", 0, 100));
    assert!([b"before".as_slice(), b"first", b"second"].contains(&found.as_slice()), "{found:?}");
    end(&next);
}

/// librados has no call for it that can be cancelled: it is left, and said.
fn a_list_that_hangs(ceph: &Ceph) {
    let stop = Stop::new("list");
    let (cluster, pool) = ceph.client(&stop);
    ceph.script("freeze", &["osd.0"]);
    let mut list = pool.list_objects();
    let report = stop.shutdown(Plan::within(Duration::from_millis(300)));
    assert!(list.wait().is_err());
    assert_eq!((report.leaked_operations(), report.leaked_threads()), (1, 1), "{report}");
    assert!(pool.read("z", 0, 1).wait().is_err(), "what is left is not used");
    drop((cluster, pool));
    ceph.script("thaw", &["osd.0"]);
    ceph.renew_osd();
}

fn no_monitor(ceph: &Ceph) {
    let well = Stop::new("well");
    let (_cluster, pool): (Cluster, Pool) = ceph.client(&well);
    ceph.script("freeze", &["mon.a"]);
    // Connecting waits, and a stop ends the wait. The thread that tries ends by itself.
    let stop = Stop::new("connect");
    let mut connected = Cluster::connect(&stop, ceph.conf());
    let waiter = thread::spawn(move || connected.wait().is_err());
    let until = Instant::now() + GUARD;
    while !stop.report().to_string().contains("connect") && Instant::now() < until && !waiter.is_finished() {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(1500));
    stop.request("test");
    assert!(waiter.join().expect("it ended"));
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    // With OSD and monitor gone a stop is what it was.
    ceph.script("freeze", &["osd.0"]);
    let mut read = pool.read("z", 0, 1);
    let waiter = thread::spawn(move || read.wait().is_err());
    end(&well);
    assert!(waiter.join().expect("it ended"));
    ceph.script("thaw", &["mon.a", "osd.0"]);
    ceph.renew_osd();
}
