//! The example where it cannot write: a reader that has gone, a full device, a limit on the sizes of files. One clear line each, and a right exit
//! status.

mod mds;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mds::fixture::Fixture;
use mds::{mds, program, text};

/// Nothing here takes long: who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads one line of what the program prints, and goes.
fn head(args: &[&str], temporary: &Path) -> Output {
    let mut job = Command::new(program());
    job.args(args).env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut job = job.spawn().expect("the program runs");
    let mut line = String::new();
    BufReader::new(job.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(!line.is_empty());
    job.wait_with_output().expect("it ends")
}

#[test]
fn a_reader_that_goes_ends_it_without_a_word() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    for (pool, what) in [(fixture.dirty(), "events"), (fixture.flushed(), "tree")] {
        let run = head(&["dump", "--pool", pool.to_str().expect("a path"), what], fixture.folder());
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{what}");
    }
    // Of the main job not every stop was made: that is no success.
    let temporary = tempfile::tempdir().expect("a folder");
    let run = head(&["--runs", "1", "--lives", "1"], temporary.path());
    assert_eq!((run.status.code(), text(&run.stderr)), (Some(1), ""));
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
}

#[test]
fn a_full_device_gets_one_clear_line() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let pool = fixture.flushed();
    for args in
        [&["dump", "--pool", pool.to_str().expect("a path"), "tree"] as &[&str], &["--runs", "1", "--lives", "1"]]
    {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let mut run = Command::new(program());
        let run = run.args(args).stdout(full).output().expect("the program runs");
        let said = "mds: cannot write: No space left on device (os error 28)\n";
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(1), said), "{args:?}");
    }
}

/// The program, with files limited to this many blocks of 512 bytes.
fn limited(blocks: u32, args: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -f {blocks} && exec \"$0\" \"$@\"")]).arg(program()).args(args);
    shell
}

#[test]
fn a_pool_that_does_not_fit_gets_one_clear_line() {
    let temporary = tempfile::tempdir().expect("a folder");
    let run = limited(1, &["--runs", "1"]).env("TMPDIR", temporary.path()).output().expect("the program runs");
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    let (begins, ends) = ("mds: no space left in ", " for the captured pool (12 MB): set TMPDIR to another folder\n");
    assert!(said.starts_with(begins) && said.ends_with(ends) && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
}

/// The stop goes on without the table, the last line says why, and no half of it is left.
#[test]
fn a_table_of_sessions_that_does_not_fit_is_given_up() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let (pool, socket) = (fixture.dirty(), fixture.folder().join("mds.sock"));
    let [pool_arg, socket_arg] = [&pool, &socket].map(|path| path.to_str().expect("a path"));
    let mut server = limited(0, &["serve", "--pool", pool_arg, "--socket", socket_arg]);
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let before = names(&pool);
    let client = session(&socket, &mut server);
    // SAFETY: `kill` takes no memory; the process is a child that has not been waited for, so its number is no other's.
    assert_eq!(unsafe { libc::kill(server.id() as i32, libc::SIGTERM) }, 0);
    let ended = server.wait_with_output().expect("it ends");
    drop(client);
    let said = text(&ended.stderr);
    let begins = "mds: the table of sessions is not saved: object unwedge_mds0_sessions, offset 0x0: cannot be written: File too large";
    assert!(said.starts_with(begins) && said.lines().count() == 1, "{said}");
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(names(&pool), before, "nothing half is left");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.join("objects"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Opens a session, as soon as there is a socket: so there is a table to be saved.
fn session(socket: &Path, server: &mut Child) -> BufReader<UnixStream> {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until && server.try_wait().expect("a child").is_none(), "it does not serve");
        if let Ok(mut stream) = UnixStream::connect(socket) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            stream.write_all(b"{\"op\":\"session\",\"client\":7}\n").expect("it listens");
            let (mut lines, mut line) = (BufReader::new(stream), String::new());
            lines.read_line(&mut line).expect("it answers");
            assert!(line.contains("\"ok\""), "{line}");
            return lines;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The restarts of the main job hand sessions on, which cannot be written any more: not every stop is as it should be, and its exit status says so.
#[test]
fn a_main_job_that_is_not_clean_fails() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut job = Command::new(program());
    job.args(["--runs", "1", "--lives", "200"]).env("TMPDIR", temporary.path());
    let mut job = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut lines = BufReader::new(job.stdout.take().expect("piped")).lines().map(|line| line.expect("text"));
    // The line behind the last of the stops; all of them were clean.
    let stops: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("  (*)")).collect();
    assert!(!stops.iter().any(|line| line.contains("  NO ")), "{stops:?}");
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is valid for reading, the old limit is not asked for; the process is a child that has not been waited for.
    assert_eq!(unsafe { libc::prlimit(job.id() as i32, libc::RLIMIT_FSIZE, &none, std::ptr::null_mut()) }, 0);
    assert_eq!(lines.last().as_deref(), Some("NOT every stop was clean"));
    let ended = job.wait_with_output().expect("it ends");
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.lines().any(|line| line.starts_with("mds: not clean: restart: ")), "{said}");
    assert!(said.contains("unwedge_mds0_sessions") && said.contains("File too large"), "{said}");
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "everything temporary has gone");
}

#[test]
fn options_of_the_main_job_are_refused_beside_a_command() {
    let run = mds(&["--json", "dump", "--pool", "/", "tree"]);
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stderr));
}
