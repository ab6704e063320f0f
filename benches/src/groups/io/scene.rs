//! The files that the groups of I/O read: made once for a process, where `UNWEDGE_BENCH_PATH` says, and removed at its end,
//! also if that is a SIGINT (Ctrl-C), SIGTERM or SIGHUP.
//!
//! A page of a file begins with its number, so that whoever reads one can see whether it is the right one.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use super::page::{PAGE, Page};
use super::replay;

/// Pages of the file that is read from the page cache: 64 MiB.
pub const HITS: u64 = 16 << 10;
/// Pages of the file that is read past the page cache: 1 GiB.
pub const DIRECT: u64 = 256 << 10;

/// The files. Removed when it is dropped.
#[derive(Debug)]
pub struct Scene {
    dir: PathBuf,
}

/// Where the files of this process are, as soon as they are there.
static SCENE: OnceLock<PathBuf> = OnceLock::new();

impl Scene {
    /// Makes the files, and says on a terminal how far it is.
    ///
    /// # Errors
    ///
    /// If they cannot be made, or cannot be read past the page cache; the error says where, and what to do about it.
    pub fn make() -> io::Result<Scene> {
        let parent = parent();
        let dir = parent.join(format!("unwedge-bench-{}", std::process::id()));
        let explained = |error: io::Error| {
            let advice = "UNWEDGE_BENCH_PATH=DIR chooses another place for the files";
            io::Error::new(error.kind(), format!("{}: {error}; {advice}", parent.display()))
        };
        remove_when_signalled(dir.clone())?;
        fs::create_dir_all(&dir).map_err(explained)?;
        let scene = Scene { dir };
        scene.fill().map_err(explained)?;
        // Set once: a process makes one scene.
        SCENE.get_or_init(|| scene.dir.clone());
        Ok(scene)
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn fill(&self) -> io::Result<()> {
        pages(&self.dir.join("hits"), HITS)?;
        pages(&self.dir.join("direct"), DIRECT)?;
        replay::write_journal(&self.dir.join("journal"))?;
        progress("");
        let mut page = Page::new();
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(self.dir.join("direct"));
        let read = direct.and_then(|file| file.read_exact_at(page.bytes_mut(), 7 * PAGE as u64));
        read.map_err(|error| io::Error::new(error.kind(), format!("no direct reads here: {error}")))?;
        assert_eq!(page.number(), 7, "a file that was just written has what was written");
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cargo compare: {} is left behind: {error}", self.dir.display());
        }
    }
}

/// Has a signal that ends the process remove a directory first.
fn remove_when_signalled(dir: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            // Who finds a file gone from now on waits for the end, and does not tell of it.
            std::panic::set_hook(Box::new(|_| {
                loop {
                    thread::park();
                }
            }));
            // The files may be in the making: what was added meanwhile takes another round.
            for _ in 0..100 {
                match fs::remove_dir_all(&dir) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(Duration::from_millis(1)),
                    _ => break,
                }
            }
            // Ends the process, as the signal would have.
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// The directory of `UNWEDGE_BENCH_PATH`, or that of the build: cargo's target directory.
fn parent() -> PathBuf {
    if let Some(dir) = env::var_os("UNWEDGE_BENCH_PATH").filter(|dir| !dir.is_empty()) {
        return dir.into();
    }
    // target/release/compare
    let target = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    target.unwrap_or_else(env::temp_dir)
}

/// The path of one of the files.
///
/// # Panics
///
/// If there is no scene: whoever runs a group of I/O makes one first.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    SCENE.get().expect("the files were made").join(name)
}

/// Opens the file of a side: past the page cache, or (all of it read into the cache before) through it.
///
/// # Panics
///
/// If there is no scene.
#[must_use]
pub fn open(direct: bool) -> File {
    let path = path(if direct { "direct" } else { "hits" });
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).expect("the file was made");
    if !direct {
        warm(&file, HITS);
    }
    file
}

/// The pages of the file that [`open`] opens.
#[must_use]
pub fn pages_of(direct: bool) -> u64 {
    if direct { DIRECT } else { HITS }
}

/// Reads all of a file: from then on it is in the page cache. Takes a few milliseconds if it was.
fn warm(file: &File, pages: u64) {
    let mut bytes = vec![0; 1 << 20];
    for offset in (0..pages * PAGE as u64).step_by(bytes.len()) {
        file.read_exact_at(&mut bytes, offset).expect("the file was made");
    }
}

fn pages(path: &Path, count: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut page = [0x5a; PAGE];
    for number in 0..count {
        page[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&page)?;
        if number % (1 << 13) == 0 {
            progress(&format!("{}: {} of {} MiB", path.display(), number >> 8, count >> 8));
        }
    }
    file.into_inner()?.sync_all()
}

fn progress(text: &str) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        // Who cannot see it does without.
        let _ = write!(terminal, "\r\x1b[K{text}");
    }
}
