//! The example as a process whose storage hangs during its boot: SIGTERM and the storage's return come at the same moment, because it is frozen meanwhile. It
//! ends as by any stop, and serves nobody. (Each state of the boot, with the stop before, after and beside the storage: `startup` in the example itself.)

mod mds;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mds::fixture::Fixture;
use mds::{program, text};

/// Against a hang, and no measure.
const GUARD: Duration = Duration::from_secs(60);

/// Ends with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    fn start(pool: &Path, socket: &Path, backend: &str) -> Server {
        let mut serve = Command::new(program());
        serve.args(["serve", "--pool"]).arg(pool).arg("--socket").arg(socket);
        if backend != "auto" {
            serve.env("UNWEDGE_IO", backend);
        }
        Server(serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs"))
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: `kill` takes no memory; the process is a child that has not been waited for, so its number is no other's.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }

    /// Whether all its threads are frozen.
    fn is_frozen(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it is there");
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }
}

fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < GUARD, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A pipe in a file's place, open at both ends: what is written is read, and nobody sees an end.
fn pipe_instead(path: &Path) -> fs::File {
    fs::remove_file(path).expect("removed");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    fs::File::options().read(true).write(true).open(path).expect("a pipe")
}

#[test]
fn sigterm_at_the_moment_in_which_the_storage_comes_back_ends_the_server() {
    // In order of the boot: the journal's pointer, its header, its entries, a table, the root directory, the rank's own.
    let objects =
        ["400.00000000", "200.00000000", "200.00000001", "mds0_inotable", "1.00000000.inode", "100.00000000.inode"];
    for backend in ["auto", "pool"] {
        for object in objects {
            let fixture = Fixture::unpack(|| false).expect("the pool");
            let (pool, socket): (PathBuf, PathBuf) = (fixture.dirty(), fixture.folder().join("mds.sock"));
            let path = pool.join("objects").join(object);
            let good = fs::read(&path).expect("there");
            let (first, rest) = good.split_at(8);
            let mut pipe = pipe_instead(&path);
            pipe.write_all(first).expect("it fits");
            let mut server = Server::start(&pool, &socket, backend);
            let mut client = None;
            until("the server's socket", || {
                client = UnixStream::connect(&socket).ok();
                client.is_some()
            });
            let mut client = client.expect("it was seen");
            client.set_read_timeout(Some(GUARD)).expect("a socket");
            client.write_all(b"{\"op\":\"getattr\",\"ino\":1}\n").expect("the server listens");
            until("a read of the pipe", || rustix::io::ioctl_fionread(&pipe).expect("a pipe") == 0);

            server.signal(libc::SIGSTOP);
            until("that it is frozen", || server.is_frozen());
            server.signal(libc::SIGTERM);
            // The journal's first object is larger than a pipe: it comes back in part.
            let fits = rest.len().min(32 << 10);
            pipe.write_all(&rest[..fits]).expect("it fits");
            // Whoever reads the others sees their end now: nothing but the stop keeps the server from going on.
            let pipe = (fits < rest.len()).then_some(pipe);
            server.signal(libc::SIGCONT);

            until("the server's end", || server.0.try_wait().expect("a child").is_some());
            let status = server.0.wait().expect("a child");
            let mut said = Vec::new();
            server.0.stderr.take().expect("it is piped").read_to_end(&mut said).expect("it has ended");
            drop(pipe);
            // What the storage still has in its hands at the end may be told, and is no failure; a thread that is left would be one.
            let said = text(&said);
            assert_eq!(status.code(), Some(0), "{backend}, {object}: {said}");
            assert!(["  thread ", "  task "].iter().all(|left| !said.contains(left)), "{backend}, {object}: {said}");
            assert!(!socket.exists() && UnixStream::connect(&socket).is_err(), "{backend}, {object}: nobody serves");
        }
    }
}
