//! The storage that is a file, and the daemon over it. All I/O is here, and none of it in a model.

use std::error::Error;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;

use modelled::{Counts, Daemon, Failure, Storage};
use unwedge::io::Io;
use unwedge::{Completion, Stop};

/// A file of lines, `apples 3`.
struct File {
    io: Io,
    path: PathBuf,
}

fn parse(text: &str) -> Counts {
    let line = |line: &str| line.split_once(' ').and_then(|(what, n)| Some((what.to_owned(), n.trim().parse().ok()?)));
    text.lines().filter_map(line).collect()
}

impl Storage for File {
    fn load(&self, domain: &Stop) -> Completion<Result<Counts, Failure>> {
        let path = self.path.clone();
        self.io.with(domain).run_blocking("load", move || match std::fs::read_to_string(path) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Counts::new()),
            Err(error) => Err(Failure(error.to_string())),
        })
    }

    fn save(&self, domain: &Stop, counts: &Counts) -> Completion<Result<(), Failure>> {
        let (path, new) = (self.path.clone(), self.path.with_extension("new"));
        let text: String = counts.iter().map(|(what, n)| format!("{what} {n}\n")).collect();
        self.io.with(domain).run_blocking("save", move || {
            let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(new, path));
            written.map_err(|error| Failure(error.to_string()))
        })
    }
}

pub fn run() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: modelled FILE")?.into();
    let stop = Stop::new("modelled");
    let daemon = Daemon::start(&stop, File { io: Io::new(&stop)?, path })?;
    for line in std::io::stdin().lock().lines() {
        for (what, n) in parse(&line?) {
            println!("{what} {}", daemon.add(&what, n)??);
        }
    }
    let report = stop.shutdown(daemon.plan(Duration::from_secs(2)));
    println!("{report}");
    Ok(())
}
