//! The server's side of the socket: tasks that accept clients and answer them from the tree, reading directories when first asked for.
//!
//! No task holds the MDS lock while it waits: what it wants of the tree it says as a closure ([`Monitor::when_async`]), and a read is a
//! completion that it awaits with no lock. A directory that several tasks want is read by the first of them; the others wait for the tree to
//! change.
//!
//! [`Monitor::when_async`]: unwedge::Monitor::when_async

use std::io;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use unwedge::{Completion, Stopped};

use crate::decode::Damage;
use crate::decode::inode::Kind;
use crate::life::{End, Life, Store, unreadable};
use crate::namespace::{Dir, Lack};
use crate::protocol::{Answer, Attributes, LONGEST_LINE, Op, Refusal, Request, reply};
use crate::rank::Mds;
use crate::refresh::refresh;

/// A socket that nobody else listens on; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: Option<StdListener>,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket. One that a server has left behind when it was killed is replaced.
    pub fn bind(path: &Path) -> anyhow::Result<Socket> {
        let shown = path.display();
        let mut bound = StdListener::bind(path);
        if matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            match StdStream::connect(path) {
                Ok(_) => bail!("{shown} is busy: a server listens there"),
                // Nobody listens: the file is a socket that was left behind, and nothing else refuses so.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                    std::fs::remove_file(path).with_context(|| format!("cannot remove the old socket {shown}"))?;
                    bound = StdListener::bind(path);
                }
                Err(_) => bail!("{shown} is there already, and is no socket"),
            }
        }
        let listener = bound.with_context(|| format!("cannot make the socket {shown}"))?;
        listener.set_nonblocking(true).context("cannot use the socket")?;
        Ok(Socket { listener: Some(listener), path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been removed by hand.
        drop(std::fs::remove_file(&self.path));
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Answers whoever comes to the socket, on tasks of the life's domain, until its stop. Has to be called on a tokio runtime.
pub fn serve<S: Store>(life: &Arc<Life<S>>, mut socket: Socket) -> io::Result<()> {
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let listener = UnixListener::from_std(listener)?;
    let life = Arc::clone(life);
    life.domain().clone().spawn_task("accept", async move {
        let _socket = socket;
        let mut stopped = pin!(life.domain().requested());
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut stopped => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let client = Arc::clone(&life);
                    // Detached: the domain waits for it.
                    drop(life.domain().spawn_task("client", async move { attend(&client, stream).await }));
                }
                // Out of descriptors, as a rule: who waits in the queue is served when somebody has gone.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    Ok(())
}

/// One client, from its first request until it goes or the life ends.
async fn attend<S: Store>(life: &Arc<Life<S>>, stream: UnixStream) {
    let mut session = None;
    let mut stopped = pin!(life.domain().requested());
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = async { (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).await };
        let read = tokio::select! {
            biased;
            _ = &mut stopped => return,
            read = read => read,
        };
        if !matches!(read, Ok(1..)) {
            break;
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST_LINE;
        let request = Request::parse(&line);
        let answer = match request.op {
            _ if !is_whole => Ok(Err(Refusal::new("EINVAL", format!("a line of more than {LONGEST_LINE} bytes")))),
            Ok(Op::Session { client }) if session.is_none_or(|session| session == client) => {
                session = Some(client);
                open_session(life, client).await
            }
            Ok(op) => answer(life, op).await,
            Err(refusal) => Ok(Err(refusal)),
        };
        let Ok(answer) = answer else { return };
        let reply = reply(answer, request.id);
        let written = tokio::select! {
            biased;
            _ = &mut stopped => return,
            written = write.write_all(&reply) => written,
        };
        if written.is_err() || !is_whole {
            break;
        }
    }
    // The client has gone of itself. After a stop it has not: then its session is saved for the next life.
    if let Some(client) = session {
        let closed = life.mds().when_async(|mds| {
            mds.close_session(client);
            Some(())
        });
        if closed.await.is_ok() {
            life.notify();
        }
    }
}

async fn open_session<S: Store>(life: &Life<S>, client: u64) -> Result<Result<Answer, Refusal>, Stopped> {
    let opened = life.mds().when_async(|mds| mds.open_session(client)).await?;
    life.notify();
    Ok(opened.map(|()| Answer::Done(true)).map_err(Refusal::from))
}

/// The answer to a request.
async fn answer<S: Store>(life: &Arc<Life<S>>, op: Op) -> Result<Result<Answer, Refusal>, Stopped> {
    match op {
        Op::Lookup { parent, name } => {
            ask(life, |mds| Ok(Answer::Attributes(Attributes::new(&name, mds.namespace.lookup(parent, &name)?)))).await
        }
        Op::Getattr { ino } => {
            ask(life, |mds| Ok(Answer::Attributes(Attributes::new("", mds.namespace.inode(ino)?)))).await
        }
        Op::Readdir { ino } => {
            ask(life, |mds| {
                let entries = mds.namespace.list(ino)?;
                Ok(Answer::Entries(entries.into_iter().map(|(name, inode)| Attributes::new(name, inode)).collect()))
            })
            .await
        }
        Op::Readlink { ino } => {
            let found = ask(life, |mds| {
                let inode = mds.namespace.inode(ino)?;
                Ok((inode.kind() == Kind::Symlink).then(|| inode.target_text()).flatten())
            });
            Ok(found.await?.and_then(|target| {
                target
                    .map(Answer::Target)
                    .ok_or_else(|| Refusal::new("EINVAL", format!("inode {ino:#x} is no symbolic link")))
            }))
        }
        Op::Session { .. } => Ok(Err(Refusal::new("EINVAL", "this connection has another client's session"))),
        Op::Flush => flush(life).await,
        Op::Refresh => refresh(life).await,
    }
}

/// An operator's request, on a thread of its own as in Ceph: the thread waits for storage and for the MDS lock, the task for the thread.
async fn flush<S: Store>(life: &Arc<Life<S>>) -> Result<Result<Answer, Refusal>, Stopped> {
    let (completer, done) = Completion::<Result<(), End>>::new("flush", life.domain());
    let admin = Arc::clone(life);
    if let Err(error) = life.domain().spawn("admin", move || drop(completer.complete(admin.flush()))) {
        return Ok(Err(Refusal::new("EAGAIN", format!("no thread for the request: {error}"))));
    }
    Ok(match done.await? {
        Ok(Ok(())) => Ok(Answer::Done(true)),
        Ok(Err(End::Trouble(trouble))) => Err(trouble.into()),
        Ok(Err(End::Stopped(stopped))) => return Err(stopped),
        Err(abandoned) => Err(Refusal::new("EIO", abandoned.to_string())),
    })
}

/// Asks the tree once the server serves, and reads the directories that the answer needs.
async fn ask<S: Store, T>(
    life: &Life<S>,
    mut question: impl FnMut(&mut Mds) -> Result<T, Lack>,
) -> Result<Result<T, Refusal>, Stopped> {
    loop {
        let asked = life.mds().when_async(|mds| {
            Some(mds.is_open()?.map_err(Refusal::from).and_then(|()| match question(mds) {
                Ok(answer) => Ok(Asked::Answer(answer)),
                Err(Lack::Dir(ino)) => Ok(Asked::Read(ino)),
                Err(lack) => Err(Refusal::of(lack, &mds.namespace)),
            }))
        });
        match asked.await? {
            Ok(Asked::Answer(answer)) => return Ok(Ok(answer)),
            Ok(Asked::Read(ino)) => load(life, ino).await?,
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// What came of a question to the tree.
enum Asked<T> {
    /// The answer.
    Answer(T),
    /// This directory has to be read first.
    Read(u64),
}

/// Whose turn it is to read a directory.
enum Turn {
    /// Nobody's: it has been read, or cannot be.
    Over,
    /// The caller's: these are its objects.
    Mine(Vec<String>),
}

/// Reads a directory into the tree, or waits for who does.
async fn load<S: Store>(life: &Life<S>, ino: u64) -> Result<(), Stopped> {
    let turn = life.mds().when_async(|mds| {
        if !matches!(mds.namespace.entries(ino), Err(Lack::Dir(_))) {
            return Some(Turn::Over);
        }
        mds.loading.insert(ino).then(|| Turn::Mine(mds.namespace.fragments(ino)))
    });
    let Turn::Mine(objects) = turn.await? else { return Ok(()) };
    let mut read = Some(fragments(life, ino, objects).await?);
    let put_in = life.mds().when_async(|mds| {
        mds.loading.remove(&ino);
        match read.take()? {
            Ok(dir) => mds.namespace.add_dir(dir),
            Err(damage) => mds.namespace.give_up(ino, damage),
        }
        Some(())
    });
    put_in.await
}

/// A directory's fragments, read one after the other.
async fn fragments<S: Store>(life: &Life<S>, ino: u64, objects: Vec<String>) -> Result<Result<Dir, Damage>, Stopped> {
    let mut dir = Dir::new(ino);
    for object in objects {
        let raw = life.store().omap(&object).await?;
        let added = raw
            .map_err(|fault| unreadable(&object, 0, &fault).in_part("omap"))
            .and_then(|raw| life.store().decode_omap(&object, &raw))
            .and_then(|omap| dir.add(&object, &omap));
        if let Err(damage) = added {
            return Ok(Err(damage));
        }
    }
    Ok(Ok(dir))
}
