//! What the MDS lock protects: the server's state, and all it knows.
//!
//! Invariant **In order**: the state is changed by [`Mds::go`] alone, along the table in `state.rs`.

use std::collections::BTreeSet;
use std::fmt;

use super::decode::Damage;
use super::decode::journal::Journal;
use super::decode::tables::{InoTable, SavedSessions};
use super::namespace::Namespace;
use super::state::{IllegalTransition, State};
use super::world::{Instant, now};

/// Why a life cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An object is missing, cannot be read, or is not what it should be.
    Damage(Damage),
    /// The server has a bug.
    Illegal(IllegalTransition),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Damage(damage) => damage.fmt(f),
            Trouble::Illegal(transition) => transition.fmt(f),
        }
    }
}

impl std::error::Error for Trouble {}

/// The server's data, which the MDS lock protects.
#[derive(Debug)]
pub struct Mds {
    /// Where in its life it is.
    state: State,
    /// When each state was entered.
    entered: Vec<(State, Instant)>,
    /// The journal, once its end is known.
    pub log: Option<Log>,
    /// How much of it has been replayed.
    pub replayed: Replayed,
    /// The free inode numbers, once they have been read.
    pub inotable: Option<InoTable>,
    /// The tree, as far as it has been read.
    pub namespace: Namespace,
    /// The clients that have a session.
    pub sessions: BTreeSet<u64>,
    /// The clients of the last life that have not come back.
    pub expected: BTreeSet<u64>,
    /// Whether the sessions differ from what is stored; `None` before they have been read.
    pub unsaved: Option<bool>,
    /// Directories that somebody is reading.
    pub loading: BTreeSet<u64>,
    /// Why the life cannot go on.
    pub trouble: Option<Trouble>,
}

/// Where the journal's entries are.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The journal.
    pub journal: Journal,
    /// Where the first entry is.
    pub start: u64,
    /// Where the last entry ended when the journal's header was written.
    pub write: u64,
    /// Where the journal ends; once it has been read, where its last whole entry does.
    pub end: u64,
}

/// How far the replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events read.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes from the journal's beginning to its end; 0 as long as the end is not known.
    pub of: u64,
    /// Whether that was all.
    pub is_done: bool,
}

impl Mds {
    /// A server that has read nothing.
    pub fn new() -> Mds {
        Mds {
            state: State::Boot,
            entered: vec![(State::Boot, now())],
            log: None,
            replayed: Replayed::default(),
            inotable: None,
            namespace: Namespace::default(),
            sessions: BTreeSet::new(),
            expected: BTreeSet::new(),
            unsaved: None,
            loading: BTreeSet::new(),
            trouble: None,
        }
    }

    /// Where in its life the server is.
    pub fn state(&self) -> State {
        self.state
    }

    /// When each state was entered, in order.
    pub fn entered(&self) -> &[(State, Instant)] {
        &self.entered
    }

    /// How many inode numbers are free, once the table has been read.
    pub fn free_inodes(&self) -> Option<u64> {
        let table = self.inotable.as_ref()?;
        Some(table.free.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len)))
    }

    /// `None` as long as the server boots, then whether it serves.
    pub fn is_open(&self) -> Option<Result<(), Trouble>> {
        match &self.trouble {
            Some(trouble) => Some(Err(trouble.clone())),
            None => (self.state >= State::Active).then_some(Ok(())),
        }
    }

    /// The clients that the next life has to wait for.
    pub fn session_table(&self) -> SavedSessions {
        SavedSessions { clients: self.sessions.union(&self.expected).copied().collect() }
    }

    /// Takes a client in: one of the last life from reconnect on, any other when the server is active. `None`: not yet.
    pub fn open_session(&mut self, client: u64) -> Option<Result<(), Trouble>> {
        let came_back = self.state == State::Reconnect && self.expected.remove(&client);
        if came_back || self.is_open()?.is_ok() {
            // Who came back is in the stored table already.
            if self.sessions.insert(client) && !came_back {
                self.unsaved = Some(true);
            }
            return Some(Ok(()));
        }
        self.is_open()
    }

    /// Forgets a client that has gone.
    pub fn close_session(&mut self, client: u64) {
        if self.sessions.remove(&client) {
            self.unsaved = Some(true);
        }
    }

    /// Goes on to another state.
    pub fn go(&mut self, to: State) -> Result<(), IllegalTransition> {
        self.state = self.state.go(to)?;
        self.entered.push((to, now()));
        Ok(())
    }
}
