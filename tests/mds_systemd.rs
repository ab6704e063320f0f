//! The example under a service manager: what it tells the notify socket, and when.

mod mds;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mds::fixture::Fixture;
use mds::program;

/// Nothing here takes long: who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and the socket of its manager.
struct Managed {
    child: Child,
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Managed {
    fn start(fixture: &Fixture) -> Managed {
        let folder = tempfile::tempdir().expect("a folder");
        let notify = folder.path().join("notify");
        let socket = UnixDatagram::bind(&notify).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // A manager names the process whose watchdog it is: the shell's number becomes the program's.
        let child = Command::new("sh")
            .args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
            .arg(program())
            .args(["serve", "--pool"])
            .arg(fixture.flushed())
            .arg("--socket")
            .arg(folder.path().join("mds.asok"))
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "20000")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        Managed { child, socket, _folder: folder }
    }

    /// Reads what it says until this comes; all of it.
    fn hear(&self, wanted: &str) -> Vec<String> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
        while heard.last().is_none_or(|said: &String| !said.starts_with(wanted)) {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|_| panic!("{wanted} does not come: {heard:?}"));
            heard.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
        }
        heard
    }

    fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes no memory; the process is a child that has not been waited for, so its number is no other's.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    fn ends_well(mut self) {
        let begun = Instant::now();
        self.socket.set_nonblocking(true).expect("a socket");
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert_eq!(status.code(), Some(0));
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the process does not end");
            // A manager reads what it is told, or nobody could go on telling it.
            while self.socket.recv(&mut [0; 256]).is_ok() {}
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_manager_is_told_of_start_life_stop_and_progress() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let server = Managed::start(&fixture);
    assert_eq!(server.hear("READY=1").len(), 1, "it is the first word");
    server.hear("WATCHDOG=1");
    server.hear("WATCHDOG=1");
    server.signal(libc::SIGTERM);
    let said = server.hear("STOPPING=1");
    assert!(said.iter().rev().skip(1).all(|said| said == "WATCHDOG=1"), "{said:?}");
    let said = server.hear("EXTEND_TIMEOUT_USEC=");
    let micros: u64 = said.last().and_then(|said| said.split_once('=')?.1.parse().ok()).expect("a number");
    assert!((1_000_000..=1_500_000).contains(&micros), "what the phase has left, and a little: {micros}");
    server.ends_well();
}

/// Signals that come again do a stop no harm that ends by itself. (That the second one hurries is shown in `mds_signals.rs`.)
#[test]
fn signals_may_come_again() {
    let fixture = Fixture::unpack(|| false).expect("unpacks");
    let server = Managed::start(&fixture);
    server.hear("READY=1");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTERM] {
        server.signal(signal);
    }
    server.hear("STOPPING=1");
    server.ends_well();
}
