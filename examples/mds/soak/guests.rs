//! Clients of the soak: they ask for anything, also for what is nothing, hang up, and come back. Whatever the server answers has to be an answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::namespace::ROOT;
use crate::random::Random;

/// Clients at work. Each asks until it is told to end or the server is gone.
pub struct Guests {
    clients: Vec<JoinHandle<anyhow::Result<u64>>>,
    is_over: Arc<AtomicBool>,
}

/// How long a client that was told to end may wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Guests {
    /// Sends clients to a socket.
    pub fn start(runtime: &Runtime, socket: &Path, count: usize, seed: u64) -> Guests {
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |number| runtime.spawn(visit(number, socket.to_owned(), Arc::clone(&is_over), seed));
        Guests { clients: (0..count).map(client).collect(), is_over }
    }

    /// Tells the clients to end, and waits for them: how many answers they got. Errors are answers that are none.
    pub fn finish(self, runtime: &Runtime) -> anyhow::Result<u64> {
        // Relaxed: it says no more than that it is set.
        self.is_over.store(true, Relaxed);
        let mut answers = 0;
        for client in self.clients {
            let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, client).await });
            answers += ended.context("a client waits for a server that is gone")?.context("a client panicked")??;
        }
        Ok(answers)
    }
}

/// One client, and how many answers it got.
async fn visit(number: usize, socket: PathBuf, is_over: Arc<AtomicBool>, seed: u64) -> anyhow::Result<u64> {
    let mut random = Random(seed.wrapping_add(number as u64));
    let mut known = vec![ROOT];
    let mut answers = 0;
    while !is_over.load(Relaxed) {
        let Ok(stream) = UnixStream::connect(&socket).await else { break };
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let mut line = String::new();
        // The same number in each life: who had a session is waited for.
        let mut request = format!("{{\"op\":\"session\",\"client\":{number}}}\n");
        let mut is_sense = true;
        for _ in 0..1 + random.below(60) {
            line.clear();
            if write.write_all(request.as_bytes()).await.is_err() || !matches!(read.read_line(&mut line).await, Ok(1..))
            {
                // Gone, or the life is over.
                break;
            }
            let reply: Value = serde_json::from_str(&line).with_context(|| format!("{line:?} is no answer"))?;
            match (reply.get("ok"), reply.get("error")) {
                (Some(_), None) if !is_sense => bail!("{} was understood: {line}", request.trim_end()),
                (Some(found), None) => learn(&mut known, found),
                (None, Some(_)) => {}
                _ => bail!("{line:?} is no answer to {}", request.trim_end()),
            }
            answers += 1;
            (request, is_sense) = next(&mut random, &known);
            if is_over.load(Relaxed) {
                break;
            }
        }
        // One that is refused at once shall not keep the machine from the server.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok(answers)
}

/// Something to ask, and whether it makes sense.
fn next(random: &mut Random, known: &[u64]) -> (String, bool) {
    let ino = known[random.below(known.len())];
    match random.below(100) {
        0..=39 => (format!("{{\"op\":\"readdir\",\"ino\":{ino}}}\n"), true),
        40..=69 => (format!("{{\"op\":\"getattr\",\"ino\":{ino}}}\n"), true),
        70..=84 => (format!("{{\"op\":\"lookup\",\"parent\":{ino},\"name\":\"a\"}}\n"), true),
        85..=89 => (format!("{{\"op\":\"readlink\",\"ino\":{ino}}}\n"), true),
        90..=92 => ("{\"op\":\"flush\"}\n".to_owned(), true),
        93..=94 => ("{\"op\":\"refresh\"}\n".to_owned(), true),
        95..=96 => (format!("{{\"op\":\"getattr\",\"ino\":{}}}\n", random.next()), true),
        97..=98 => ("{\"op\":\"getattr\",\"ino\":-1}\n".to_owned(), false),
        _ => ("{{{\n".to_owned(), false),
    }
}

/// Remembers the inodes that an answer names.
fn learn(known: &mut Vec<u64>, found: &Value) {
    let inodes = found.as_array().into_iter().flatten().filter_map(|entry| entry.get("ino")?.as_u64());
    known.extend(inodes.take(64usize.saturating_sub(known.len())));
}
