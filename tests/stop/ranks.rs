//! Virtual ranks: one process holds many, each a child domain, over one `Io`. And lives that follow each other.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use unwedge::io::{File, Io, OpenOptions};
use unwedge::{Monitor, Plan, Stop};

use crate::common::{GUARD, guarded};
use crate::seen::{until, until_waits};

const RANKS: usize = 16;

/// A rank: a domain, a lock, a thread that serves, and how often it has.
struct Rank {
    stop: Stop,
    served: Arc<AtomicUsize>,
}

impl Rank {
    fn start(root: &Stop, io: &Io, file: &File, number: usize) -> Rank {
        let stop = root.child(&format!("rank.{number}"));
        let served = Arc::new(AtomicUsize::new(0));
        let lock = Arc::new(Monitor::new("mds_lock", parking_lot::Mutex::new(0), &stop));
        let (own, io, file, count) = (stop.clone(), io.clone(), file.clone(), served.clone());
        stop.spawn("server", move || -> Result<(), unwedge::Stopped> {
            loop {
                let mut read = io.read_at(&file, vec![0; 512], 0);
                let (mut state, read) = lock.lock()?.wait_for(&mut read)?;
                assert_eq!(read.expect("a read").len(), 512);
                *state += 1;
                count.store(*state, Relaxed);
                drop(state);
                if own.wait_timeout(Duration::from_micros(200)) {
                    return Ok(());
                }
            }
        })
        .expect("a thread");
        Rank { stop, served }
    }

    fn serves(&self) -> bool {
        let before = self.served.load(Relaxed);
        until("it serves", || self.served.load(Relaxed) > before + 2);
        !self.stop.is_requested()
    }
}

#[test]
fn ranks_are_stopped_frozen_and_restarted_without_their_siblings() {
    guarded(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("object");
        fs::write(&path, vec![7; 4096]).expect("a file");
        let root = Stop::new("host");
        let io = Io::new(&root).expect("I/O");
        let file = io.open(&path, OpenOptions::new().read(true)).wait().expect("not stopped").expect("a file");
        let mut ranks: Vec<_> = (0..RANKS).map(|number| Rank::start(&root, &io, &file, number)).collect();
        assert!(ranks.iter().all(Rank::serves));

        // One freezes: its thread waits for storage that does not answer.
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let mut job = io.run_blocking("frozen read", move || begun.send(()).is_ok() && stuck.recv().is_ok());
        begins.recv().expect("a thread has it");
        let own = ranks[3].stop.clone();
        ranks[3].stop.spawn("replay", move || job.wait_in(&own).is_err()).expect("a thread");
        until_waits(&ranks[3].stop, "replay", "frozen read");
        assert!(ranks.iter().all(Rank::serves));

        // It is stopped and restarted, and so is one that is well; the frozen operation is not its report's, and holds nobody up.
        for number in [3, 8] {
            let report = ranks[number].stop.shutdown(Plan::within(GUARD));
            assert!(report.is_clean(), "{report}");
            assert_eq!(report.leaked_operations(), 0);
            let old = ranks[number].stop.generation();
            assert!(ranks.iter().enumerate().all(|(at, rank)| at == number || rank.serves()));
            ranks[number] = Rank::start(&root, &io, &file, number);
            assert!(ranks[number].stop.generation() > old);
            assert!(ranks.iter().all(Rank::serves));
        }

        // All end with the root, whose report has what is left in the shared I/O.
        let report = root.shutdown(Plan::within(Duration::from_secs(5)).drain(Duration::ZERO));
        assert!(report.members().is_empty(), "{report}");
        assert_eq!(report.leaked_operations(), 1, "{report}");
        assert!(ranks.iter().all(|rank| rank.stop.is_requested()));
        drop(release);
    });
}

#[test]
fn what_an_old_life_leaked_stays_its_own() {
    guarded(|| {
        let first = Stop::new("mds.a");
        let io = Io::new(&first).expect("I/O");
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let job = io.run_blocking("frozen read", move || begun.send(()).is_ok() && stuck.recv().is_ok());
        begins.recv().expect("a thread has it");
        let leaked = |stop: &Stop| {
            let report = stop.shutdown(Plan::within(GUARD).drain(Duration::ZERO));
            (report.leaked_operations(), report.leaked_threads())
        };
        assert_eq!(leaked(&first), (1, 1));
        let second = Stop::new("mds.a");
        assert!(second.generation() > first.generation());
        let again = Io::new(&second).expect("I/O");
        assert!(again.run_blocking("job", || true).wait().is_ok_and(|done| done == Ok(true)));
        assert_eq!(leaked(&second), (0, 0), "the new life has leaked nothing");
        assert_eq!(leaked(&first), (1, 1), "and the old one's is still known");
        assert_eq!(io.metrics().leaked_operations(), 1);
        drop((release, job));
    });
}
