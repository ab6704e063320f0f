//! `stat` of 100,000 files whose attributes the kernel has in memory.
//!
//! The files are made by the first run in the process, in directories of 1,000; each is looked at once before anything is measured.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::ours::Ours;
use super::peers::tokio_runtime;
use super::scene;
use crate::groups::UNSTOPPED;
use crate::measure::{Measured, Stopwatch};

const FILES: usize = 100_000;
const OF_A_DIRECTORY: usize = 1000;
/// What tokio's tasks take turns at: as many stats are under way.
const TASKS: usize = 32;

/// The paths, and that they are warm.
fn paths() -> &'static [PathBuf] {
    static PATHS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let paths = PATHS.get_or_init(|| {
        let make = |index: usize| {
            let dir = scene::path("stat").join(format!("{}", index / OF_A_DIRECTORY));
            if index % OF_A_DIRECTORY == 0 {
                fs::create_dir_all(&dir).expect("a directory");
            }
            let path = dir.join(format!("{index:x}.00000000"));
            File::create(&path).expect("a file");
            path
        };
        (0..FILES).map(make).collect()
    });
    paths.iter().for_each(|path| assert!(fs::metadata(path).is_ok_and(|data| data.len() == 0)));
    paths
}

/// `n` times all files.
fn repeated(n: u64, mut all: impl FnMut(&'static [PathBuf]) -> usize) -> Measured {
    let paths = paths();
    let watch = Stopwatch::start();
    for _ in 0..n {
        assert_eq!(all(paths), FILES, "not all files were looked at");
    }
    watch.stop(n)
}

/// Ours: all paths in one call.
#[must_use]
pub fn ours<const POOL: bool>(n: u64) -> Measured {
    let ours = Ours::new(POOL, 256);
    repeated(n, |paths| {
        let all = ours.io.stat_many(paths).wait().expect(UNSTOPPED).expect("the batch comes back");
        all.iter().filter(|stat| stat.is_ok()).count()
    })
}

/// One thread's loop.
#[must_use]
pub fn one_thread(n: u64) -> Measured {
    repeated(n, |paths| paths.iter().filter(|path| fs::metadata(path).is_ok()).count())
}

/// `tokio::fs::metadata`, by 32 tasks.
#[must_use]
pub fn tokio_fs(n: u64) -> Measured {
    let runtime = tokio_runtime();
    repeated(n, |paths| {
        runtime.block_on(async {
            let part = |task| async move {
                let mut found = 0;
                for path in paths.iter().skip(task).step_by(TASKS) {
                    found += usize::from(tokio::fs::metadata(path).await.is_ok());
                }
                found
            };
            let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(part(task))).collect();
            let mut found = 0;
            for task in tasks {
                found += task.await.expect("no task panicked");
            }
            found
        })
    })
}
