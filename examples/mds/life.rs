//! One life of a metadata server: its states, its threads, what they wait for, and how it ends.
//!
//! There is no I/O in this file: it reads through a [`Store`], whose answers are completions. And there is no lock, thread or clock but
//! `unwedge`'s and those that the parent module names in `world`: so the loom models compile this very file and check its stop.
//!
//! # Threads
//!
//! As in Ceph, and each a member of the life's stop domain:
//! - `recovery` reads the journal's pointer and header and looks for its end;
//! - `replay` waits for that, then reads every entry;
//! - `boot` waits for that, then reads the tables and the root directory, waits for the clients of the last life, and opens the server.
//!
//! # Invariants
//!
//! - **Let go**: whoever waits, for storage or for another thread, has let the MDS lock go; a wait that a stop ends does not take it again.
//!   So the lock's holder may stop the life and wait for all its threads.
//! - **Whole**: at every wait the server's data are whole: what is read goes in at one stroke, after the wait.
//! - **Not emptied**: the table of sessions is written only by a life that has read it.

use std::time::Duration;
use std::{fmt, io};

use super::decode::inode::Inode;
use super::decode::journal::{Entries, Header, Journal, Probe, Wanted};
use super::decode::tables::{InoTable, JournalPointer, SavedSessions, SessionMap};
use super::decode::{Damage, Omap, missing, object_name};
use super::namespace::{Dir, Lack, RANK_DIR, ROOT};
use super::rank::{Log, Mds, Trouble};
use super::state::{IllegalTransition, State};
use super::world::{Arc, Mutex, now};
use unwedge::report::Report;
use unwedge::stream::Ordered;
use unwedge::{Abandoned, Completion, Condvar, Monitor, MonitorGuard, Plan, Stop, Stopped};

/// The rank that this server is.
const RANK: u64 = 0;

/// How much is read at once: a stop waits for none of it, a client's request for the decoding of one piece at most.
const PIECE: u64 = 256 << 10;

/// How many pieces of the journal are asked for at a time, so that the storage reads on while this server decodes.
const AHEAD: usize = 4;

/// More than any table of a rank has.
const LARGEST_TABLE: usize = 16 << 20;

/// What the table of sessions is given at least, however long the storage has been silent: more than storage takes that is well.
const LAST_TRY: Duration = Duration::from_millis(10);

/// How long the clients of the last life are waited for.
pub const RECONNECT_WINDOW: Duration = Duration::from_secs(3);

/// Objects by name, whose reads are completions.
pub trait Store: Clone + Send + Sync + 'static {
    /// An object that is open.
    type Object: Send + Sync + 'static;
    /// Why an object could not be opened.
    type OpenError: Fault;
    /// Why a read failed.
    type ReadError: Fault;

    /// The same store, its waits under another domain: a phase of the shutdown.
    fn within(&self, domain: &Stop) -> Self;

    /// Opens an object.
    fn open(&self, object: &str) -> Completion<Self::Object, Self::OpenError>;

    /// Reads at most `len` bytes of an object's data; none at all at its end.
    fn read_at(&self, object: &Self::Object, offset: u64, len: usize) -> Completion<Vec<u8>, Self::ReadError>;

    /// Reads what an object holds besides its data, in the store's own form.
    fn omap(&self, object: &str) -> Completion<Vec<u8>, Self::ReadError>;

    /// Decodes that form.
    fn decode_omap(&self, object: &str, raw: &[u8]) -> Result<Omap, Damage>;

    /// Writes a whole object at one stroke: a reader finds the old or the new one, also after a crash. The text says why it failed.
    fn save(&self, object: &str, bytes: Vec<u8>) -> Completion<Result<(), String>>;

    /// For how long it has been asked and has not answered.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    /// Called when a life enters a state, with the MDS lock held: for stores that go wrong on purpose.
    fn entering(&self, state: State) {
        let _ = state;
    }
}

/// An error of a store.
pub trait Fault: fmt::Display + From<Abandoned> + Send + 'static {
    /// Whether the object is not there.
    fn is_missing(&self) -> bool;
}

/// How a piece of a life's work ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A stop was requested; the lock is not held.
    Stopped(Stopped),
    /// It cannot go on.
    Trouble(Trouble),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Stopped(stopped) => stopped.fmt(f),
            End::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

impl std::error::Error for End {}

impl From<Stopped> for End {
    fn from(stopped: Stopped) -> End {
        End::Stopped(stopped)
    }
}

impl From<Damage> for End {
    fn from(damage: Damage) -> End {
        End::Trouble(Trouble::Damage(damage))
    }
}

impl From<IllegalTransition> for End {
    fn from(illegal: IllegalTransition) -> End {
        End::Trouble(Trouble::Illegal(illegal))
    }
}

/// The MDS lock, held.
type Held<'a> = MonitorGuard<'a, Mutex<Mds>>;

/// A life: see the head of this file.
#[derive(Debug)]
pub struct Life<S: Store> {
    stop: Stop,
    mds: Monitor<Mutex<Mds>>,
    /// Notified when the state, the log, the replay or the sessions have changed.
    changed: Condvar,
    store: S,
}

/// What a thread of a life does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Finds the journal and its end.
    Recovery,
    /// Reads the journal.
    Replay,
    /// Does all that follows.
    Boot,
}

/// An object that is kept open while its pieces are read in turn.
struct Source<S: Store> {
    open: Option<(String, S::Object)>,
}

impl<S: Store> Life<S> {
    /// Begins a life: the server boots on threads of the domain.
    ///
    /// # Errors
    ///
    /// If a thread cannot be made. Others may have begun: the domain has to be shut down.
    pub fn start(stop: &Stop, store: S) -> io::Result<Arc<Life<S>>> {
        let life = Life::new(stop, store);
        for role in [Role::Recovery, Role::Replay, Role::Boot] {
            life.play(role)?;
        }
        Ok(life)
    }

    /// A life whose threads have not begun.
    pub fn new(stop: &Stop, store: S) -> Arc<Life<S>> {
        let mds = Monitor::new("mds_lock", Mutex::new(Mds::new()), stop);
        Arc::new(Life { stop: stop.clone(), mds, changed: Condvar::new(), store })
    }

    /// Begins one of its threads.
    ///
    /// # Errors
    ///
    /// If the thread cannot be made.
    pub fn play(self: &Arc<Self>, role: Role) -> io::Result<()> {
        let (name, work): (_, fn(&Self) -> _) = match role {
            Role::Recovery => ("recovery", Life::recover),
            Role::Replay => ("replay", Life::replay),
            Role::Boot => ("boot", Life::boot),
        };
        let life = Arc::clone(self);
        // Detached: the domain waits for it.
        self.stop.spawn(name, move || life.finish(work(&life))).map(drop)
    }

    /// The life's stop domain.
    pub fn domain(&self) -> &Stop {
        &self.stop
    }

    /// The MDS lock and what it protects.
    pub fn mds(&self) -> &Monitor<Mutex<Mds>> {
        &self.mds
    }

    /// Where the life reads.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Tells the life's threads that the server's data have changed.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until the server serves, or cannot.
    pub fn wait_open(&self) -> Result<Result<(), Trouble>, Stopped> {
        self.mds.when(|mds| mds.is_open())
    }

    /// Writes the table of sessions, once the server serves: what an operator's request does, on a thread of its own.
    pub fn flush(&self) -> Result<(), End> {
        self.wait_open()?.map_err(End::Trouble)?;
        self.save_sessions(self.mds.lock()?, &self.store).map(drop)
    }

    /// Ends the life: requests the stop, writes the table of sessions if `save_within` is enough for it, and waits for every thread and task.
    /// What the storage has begun is waited for during `drain`: this server only reads, so nothing is lost by leaving it.
    pub fn shut_down(
        self: &Arc<Self>,
        reason: &str,
        within: Duration,
        save_within: Duration,
        drain: Duration,
    ) -> Report {
        self.stop.request(reason);
        self.stop.shutdown(self.plan(within, save_within).drain(drain))
    }

    /// How this life ends: see [`shut_down`](Life::shut_down). The patience for saving began when the storage fell silent: what is left of it now is the
    /// phase's.
    pub fn plan(self: &Arc<Self>, within: Duration, save_within: Duration) -> Plan {
        let life = Arc::clone(self);
        let save_within = save_within.saturating_sub(self.store.silence()).max(save_within.min(LAST_TRY));
        Plan::within(within).phase("save", save_within, move |phase| Ok(life.save(phase)?))
    }

    /// The orderly part of a stop. It is late by its phase's deadline at most: lock and storage are waited for under the phase.
    fn save(&self, phase: &Stop) -> Result<(), End> {
        let mut guard = self.mds.lock_in(phase)?;
        if guard.state() != State::Active {
            return Ok(());
        }
        guard.go(State::Stopping)?;
        if guard.unsaved == Some(true) {
            // If the deadline comes first, the table stays the one of the last orderly stop.
            guard = self.save_sessions(guard, &self.store.within(phase))?;
        }
        Ok(guard.go(State::Stopped)?)
    }

    /// Writes the sessions, with the lock let go while the storage works.
    fn save_sessions<'a>(&'a self, guard: Held<'a>, store: &S) -> Result<Held<'a>, End> {
        let object = SavedSessions::object(RANK);
        let table = guard.session_table();
        let (mut guard, saved) = guard.wait_for(&mut store.save(&object, table.encode()))?;
        let failure = match saved {
            Ok(Ok(())) => {
                // Somebody may have come or gone while the lock was free.
                guard.unsaved = Some(guard.session_table() != table);
                return Ok(guard);
            }
            Ok(Err(why)) => why,
            Err(abandoned) => abandoned.to_string(),
        };
        Err(Damage::new(object, 0, format!("cannot be written: {failure}")).into())
    }

    /// What each thread does last: trouble becomes the server's state.
    fn finish(&self, ended: Result<(), End>) {
        let Err(End::Trouble(trouble)) = ended else { return };
        if let Ok(mut guard) = self.mds.lock() {
            // The first trouble is kept: what follows may come from it.
            if guard.trouble.is_none() && guard.go(State::Damaged).is_ok() {
                guard.trouble = Some(trouble);
            }
        }
        self.notify();
    }

    fn enter(&self, guard: &mut Held<'_>, state: State) -> Result<(), IllegalTransition> {
        guard.go(state)?;
        self.store.entering(state);
        self.notify();
        Ok(())
    }

    /// The thread `recovery`: where the journal is, and where it ends.
    fn recover(&self) -> Result<(), End> {
        let mut guard = self.mds.lock()?;
        self.enter(&mut guard, State::Pointer)?;
        let oid = JournalPointer::object(RANK);
        let (mut guard, bytes) = self.table(guard, &oid)?;
        let ino = JournalPointer::decode(&oid, RANK, &bytes)?.front;

        self.enter(&mut guard, State::Header)?;
        let oid = object_name(ino, 0);
        let (mut guard, bytes) = self.table(guard, &oid)?;
        let header = Header::decode(&oid, &bytes)?;

        self.enter(&mut guard, State::Recovery)?;
        let journal = Journal { ino, layout: header.layout };
        let mut probe = Probe::new(journal, &header);
        let mut source = Source { open: None };
        let end = loop {
            let found;
            (guard, found) = self.piece(guard, &mut source, &probe.wants(PIECE))?;
            if let Some(end) = probe.found(found.map_or(0, |bytes| bytes.len())) {
                break end;
            }
        };
        guard.log = Some(Log { journal, start: header.expire, write: header.write, end });
        guard.replayed.of = end - header.expire;
        drop(guard);
        self.notify();
        Ok(())
    }

    /// The thread `replay`: every entry of the journal.
    fn replay(&self) -> Result<(), End> {
        let guard = self.mds.lock()?;
        let mut guard = guard.wait_while(&self.changed, |mds| mds.log.is_none() && mds.trouble.is_none())?;
        let Some(log) = guard.log else { return Ok(()) };
        self.enter(&mut guard, State::Replay)?;
        let mut entries = Entries::new(log.journal, log.start, log.end).written(log.write);
        let mut source = Source { open: None };
        while let Some(first) = entries.wants(PIECE) {
            let object;
            (guard, object) = self.object(guard, &mut source, &first)?;
            let Some(object) = object else {
                if !entries.may_end() {
                    return Err(missing(&first.object).into());
                }
                entries.feed(&[])?;
                entries.next()?;
                continue;
            };
            let run: Vec<Wanted> = entries.run(PIECE).collect();
            let reads = run.iter().map(|wanted| self.store.read_at(object, wanted.offset, wanted.len as usize));
            for (wanted, mut read) in run.iter().zip(Ordered::new(reads, AHEAD)) {
                let bytes;
                (guard, bytes) = guard.wait_for(&mut read)?;
                let bytes = bytes.map_err(|fault| unreadable(&wanted.object, wanted.offset, &fault))?;
                entries.feed(&bytes)?;
                while let Some(event) = entries.next()? {
                    if !event.kind.is_known() {
                        let what = format!("an event of type {}", event.kind);
                        return Err(log.journal.damage(event.position, what).into());
                    }
                    guard.replayed.events += 1;
                }
                guard.replayed.bytes = entries.position() - log.start;
                if bytes.len() as u64 != wanted.len {
                    // What was asked for behind it does not follow on it.
                    break;
                }
            }
        }
        // An entry that is not yet whole is not the journal's.
        guard.log = Some(Log { end: entries.position(), ..log });
        guard.replayed.of = guard.replayed.bytes;
        guard.replayed.is_done = true;
        drop(guard);
        self.notify();
        Ok(())
    }

    /// The thread `boot`: from the end of the replay to a server that serves.
    fn boot(&self) -> Result<(), End> {
        let guard = self.mds.lock()?;
        let mut guard = guard.wait_while(&self.changed, |mds| !mds.replayed.is_done && mds.trouble.is_none())?;
        if !guard.replayed.is_done {
            return Ok(());
        }
        self.enter(&mut guard, State::Tables)?;
        guard = self.load_tables(guard)?;

        self.enter(&mut guard, State::Root)?;
        guard = self.load_base(guard, ROOT)?;
        guard = self.load_dir(guard, ROOT)?;

        self.enter(&mut guard, State::Reconnect)?;
        let until = now() + RECONNECT_WINDOW;
        while !guard.expected.is_empty() {
            let waited = guard.wait_until(&self.changed, until)?;
            guard = waited.guard;
            if waited.timed_out {
                // Who has not come back by now has lost its session.
                guard.expected.clear();
                guard.unsaved = Some(true);
            }
        }

        self.enter(&mut guard, State::Rejoin)?;
        guard = self.load_base(guard, RANK_DIR)?;
        guard = self.load_dir(guard, RANK_DIR)?;
        let strays: Vec<u64> =
            guard.namespace.entries(RANK_DIR).map(|dirs| dirs.values().copied().collect()).unwrap_or_default();
        for stray in strays {
            guard = self.load_dir(guard, stray)?;
        }

        self.enter(&mut guard, State::Active)?;
        Ok(())
    }

    fn load_tables<'a>(&'a self, guard: Held<'a>) -> Result<Held<'a>, End> {
        let oid = InoTable::object(RANK);
        let (mut guard, bytes) = self.table(guard, &oid)?;
        guard.inotable = Some(InoTable::decode(&oid, &bytes)?);

        let oid = SessionMap::object(RANK);
        let (guard, omap) = self.omap(guard, &oid)?;
        let values = omap.entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        // These are clients of Ceph's own server, which cannot come back to this one: they are not waited for.
        SessionMap::decode(&oid, &omap.header, values)?;

        let oid = SavedSessions::object(RANK);
        let (mut guard, bytes) = self.optional_table(guard, &oid)?;
        if let Some(bytes) = bytes {
            guard.expected = SavedSessions::decode(&oid, &bytes)?.clients.into_iter().collect();
        }
        guard.unsaved = Some(false);
        Ok(guard)
    }

    /// Reads the inode of a directory that no dentry leads to.
    fn load_base<'a>(&'a self, guard: Held<'a>, ino: u64) -> Result<Held<'a>, End> {
        let oid = Inode::base_object(ino);
        let (mut guard, bytes) = self.table(guard, &oid)?;
        guard.namespace.add_base(Inode::decode_base(&oid, ino, &bytes)?);
        Ok(guard)
    }

    /// Reads a directory, all fragments of it.
    fn load_dir<'a>(&'a self, mut guard: Held<'a>, ino: u64) -> Result<Held<'a>, End> {
        if !matches!(guard.namespace.entries(ino), Err(Lack::Dir(_))) {
            return Ok(guard);
        }
        let mut dir = Dir::new(ino);
        for oid in guard.namespace.fragments(ino) {
            let omap;
            (guard, omap) = self.omap(guard, &oid)?;
            dir.add(&oid, &omap)?;
        }
        guard.namespace.add_dir(dir);
        Ok(guard)
    }

    fn omap<'a>(&'a self, guard: Held<'a>, oid: &str) -> Result<(Held<'a>, Omap), End> {
        let (guard, raw) = guard.wait_for(&mut self.store.omap(oid))?;
        let raw = raw.map_err(|fault| unreadable(oid, 0, &fault).in_part("omap"))?;
        Ok((guard, self.store.decode_omap(oid, &raw)?))
    }

    /// A small object, which has to be there.
    fn table<'a>(&'a self, guard: Held<'a>, oid: &str) -> Result<(Held<'a>, Vec<u8>), End> {
        let (guard, bytes) = self.optional_table(guard, oid)?;
        Ok((guard, bytes.ok_or_else(|| missing(oid))?))
    }

    /// A small object, if it is there.
    fn optional_table<'a>(&'a self, mut guard: Held<'a>, oid: &str) -> Result<(Held<'a>, Option<Vec<u8>>), End> {
        let mut source = Source { open: None };
        let mut bytes = Vec::new();
        loop {
            let wanted = Wanted { object: oid.to_owned(), offset: bytes.len() as u64, len: PIECE };
            let found;
            (guard, found) = self.piece(guard, &mut source, &wanted)?;
            match found {
                None => return Ok((guard, None)),
                Some(piece) if piece.is_empty() => return Ok((guard, Some(bytes))),
                Some(piece) => bytes.extend(piece),
            }
            if bytes.len() > LARGEST_TABLE {
                return Err(Damage::new(oid, LARGEST_TABLE as u64, "the object is larger than any table").into());
            }
        }
    }

    /// A piece of an object's data; `None` if the object is not there.
    fn piece<'a>(
        &'a self,
        guard: Held<'a>,
        source: &mut Source<S>,
        wanted: &Wanted,
    ) -> Result<(Held<'a>, Option<Vec<u8>>), End> {
        let (guard, object) = self.object(guard, source, wanted)?;
        let Some(object) = object else { return Ok((guard, None)) };
        let (guard, read) = guard.wait_for(&mut self.store.read_at(object, wanted.offset, wanted.len as usize))?;
        let bytes = read.map_err(|fault| unreadable(&wanted.object, wanted.offset, &fault))?;
        Ok((guard, Some(bytes)))
    }

    /// The object that a piece is in, opened if it is not open; `None` if it is not there.
    fn object<'a, 's>(
        &'a self,
        mut guard: Held<'a>,
        source: &'s mut Source<S>,
        wanted: &Wanted,
    ) -> Result<(Held<'a>, Option<&'s S::Object>), End> {
        if source.open.as_ref().is_none_or(|(name, _)| *name != wanted.object) {
            let opened;
            (guard, opened) = guard.wait_for(&mut self.store.open(&wanted.object))?;
            match opened {
                Ok(object) => source.open = Some((wanted.object.clone(), object)),
                Err(fault) if fault.is_missing() => return Ok((guard, None)),
                Err(fault) => return Err(unreadable(&wanted.object, wanted.offset, &fault).into()),
            }
        }
        Ok((guard, source.open.as_ref().map(|(_, object)| object)))
    }
}

/// The damage that an object is which cannot be read.
pub fn unreadable(oid: &str, offset: u64, fault: &impl Fault) -> Damage {
    if fault.is_missing() { missing(oid) } else { Damage::new(oid, offset, format!("cannot be read: {fault}")) }
}
