//! Clients that keep a server busy through its socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::namespace::ROOT;

/// How many clients there are.
pub const CLIENTS: usize = 8;

/// Clients at work. Each asks for one thing after the other until it is told to end or the server is gone.
pub struct Load {
    clients: Vec<JoinHandle<anyhow::Result<Done>>>,
    is_over: Arc<AtomicBool>,
}

/// What a client has done.
#[derive(Debug, Default)]
pub struct Done {
    /// How long each answer took.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Sends clients to a socket.
    pub fn start(runtime: &Runtime, socket: &Path) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|number| runtime.spawn(client(number, socket.to_owned(), Arc::clone(&is_over))));
        Load { clients: clients.collect(), is_over }
    }

    /// Tells the clients to end after their next answer, and waits for them. Errors are wrong answers; a server that is gone is none.
    pub fn finish(self, runtime: &Runtime) -> anyhow::Result<Vec<Done>> {
        self.is_over.store(true, Relaxed);
        let mut done = Vec::new();
        for client in self.clients {
            let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), client).await });
            done.push(ended.context("a client waits for a server that is gone")?.context("a client panicked")??);
        }
        Ok(done)
    }
}

/// One client: walks about in the tree from directory to directory.
async fn client(number: usize, socket: PathBuf, is_over: Arc<AtomicBool>) -> anyhow::Result<Done> {
    let mut done = Done::default();
    let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(done) };
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    let session = format!("{{\"op\":\"session\",\"client\":{number}}}\n");
    if ask(&mut read, &mut write, &mut line, &session).await?.is_none() {
        return Ok(done);
    }
    let mut at = ROOT;
    let mut step = number;
    while !is_over.load(Relaxed) {
        // A directory's entries, then the attributes of one of them.
        let begun = Instant::now();
        let Some(entries) =
            ask(&mut read, &mut write, &mut line, &format!("{{\"op\":\"readdir\",\"ino\":{at}}}\n")).await?
        else {
            break;
        };
        done.latencies.push(begun.elapsed());
        let entries = entries.as_array().context("the answer to readdir is no list")?;
        step = step.wrapping_mul(31).wrapping_add(7);
        let Some(entry) = entries.get(step % entries.len().max(1)) else {
            at = ROOT;
            // An empty tree: not faster than this.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let name = entry.get("name").context("an entry has no name")?;
        for _ in 0..8 {
            let begun = Instant::now();
            let request = format!("{{\"op\":\"lookup\",\"parent\":{at},\"name\":{name}}}\n");
            let Some(found) = ask(&mut read, &mut write, &mut line, &request).await? else { return Ok(done) };
            done.latencies.push(begun.elapsed());
            if found.get("ino") != entry.get("ino") {
                bail!("{name} is {found} when it is looked up, and {entry} in its directory");
            }
        }
        let subdirs = entries.iter().filter(|entry| entry.get("type").is_some_and(|kind| kind == "dir"));
        let subdirs: Vec<u64> = subdirs.filter_map(|dir| dir.get("ino")?.as_u64()).collect();
        at = subdirs.get(step / 3 % subdirs.len().max(1)).copied().unwrap_or(ROOT);
    }
    Ok(done)
}

/// A request and its answer; `None` if the server is gone.
async fn ask(
    read: &mut BufReader<tokio::net::unix::OwnedReadHalf>,
    write: &mut tokio::net::unix::OwnedWriteHalf,
    line: &mut String,
    request: &str,
) -> anyhow::Result<Option<Value>> {
    if write.write_all(request.as_bytes()).await.is_err() {
        return Ok(None);
    }
    line.clear();
    if !matches!(read.read_line(line).await, Ok(1..)) {
        return Ok(None);
    }
    let mut reply: Value = serde_json::from_str(line).context("the server's reply is no JSON")?;
    match reply.get_mut("ok") {
        Some(answer) => Ok(Some(answer.take())),
        None => bail!("{} is refused: {reply}", request.trim_end()),
    }
}
