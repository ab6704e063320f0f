//! The states of a metadata server's life, and which may follow which.
//!
//! Ceph's cluster map knows one state, replay, for everything from the journal's pointer to the root directory; here each of its waits is
//! a state of its own, so that a boot can be timed and stopped in each.
//!
//! | state | Ceph's | may be followed by |
//! |---|---|---|
//! | `Boot` | BOOT −4 | `Pointer` |
//! | `Pointer` | REPLAY 8 | `Header` |
//! | `Header` | REPLAY 8 | `Recovery` |
//! | `Recovery` | REPLAY 8 | `Replay` |
//! | `Replay` | REPLAY 8 | `Tables` |
//! | `Tables` | REPLAY 8 | `Root` |
//! | `Root` | REPLAY 8 | `Reconnect` |
//! | `Reconnect` | RECONNECT 10 | `Rejoin` |
//! | `Rejoin` | REJOIN 11 | `Active` |
//! | `Active` | ACTIVE 13 | `Stopping` |
//! | `Stopping` | STOPPING 14 | `Stopped` |
//! | `Stopped` | STOPPED −1 | none |
//! | `Damaged` | DAMAGED 15 | none |
//!
//! `Damaged` may follow any state before `Stopping`. A stop before `Active` has no state of its own: there is nothing to be saved, and the
//! life ends in the state it is in.

use std::fmt;

/// Where in its life a metadata server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing has been read.
    Boot,
    /// Reads which journal is in use.
    Pointer,
    /// Reads where the journal begins, and where it ended when its header was written.
    Header,
    /// Looks for the journal's real end.
    Recovery,
    /// Reads every entry.
    Replay,
    /// Reads the tables of inode numbers and of sessions.
    Tables,
    /// Reads the root directory.
    Root,
    /// Waits for the clients of the last life.
    Reconnect,
    /// Reads the rank's own directory and its strays, to which names that are gone may still lead.
    Rejoin,
    /// Serves.
    Active,
    /// Writes what the next life will need.
    Stopping,
    /// Has written it.
    Stopped,
    /// Cannot serve: an object is missing or is not what it should be.
    Damaged,
}

impl State {
    /// The states of a boot, in order.
    pub const BOOT: [State; 10] = [
        State::Boot,
        State::Pointer,
        State::Header,
        State::Recovery,
        State::Replay,
        State::Tables,
        State::Root,
        State::Reconnect,
        State::Rejoin,
        State::Active,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Boot => "boot",
            State::Pointer => "pointer",
            State::Header => "header",
            State::Recovery => "recovery",
            State::Replay => "replay",
            State::Tables => "tables",
            State::Root => "root",
            State::Reconnect => "reconnect",
            State::Rejoin => "rejoin",
            State::Active => "active",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Damaged => "damaged",
        }
    }

    /// Goes on to another state.
    ///
    /// # Errors
    ///
    /// If that state may not follow this one; then the server has a bug.
    pub fn go(self, to: State) -> Result<State, IllegalTransition> {
        let is_legal = match (self, to) {
            (_, State::Damaged) => self < State::Stopping,
            (State::Active, State::Stopping) | (State::Stopping, State::Stopped) => true,
            _ => State::BOOT.windows(2).any(|pair| *pair == [self, to]),
        };
        if is_legal { Ok(to) } else { Err(IllegalTransition { from: self, to }) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A state that was to follow one that it may not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The state before.
    pub from: State,
    /// The state that was wanted.
    pub to: State,
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may not follow {}", self.to, self.from)
    }
}

impl std::error::Error for IllegalTransition {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state: those of a boot, and three more.
    fn all() -> impl Iterator<Item = State> {
        State::BOOT.into_iter().chain([State::Stopping, State::Stopped, State::Damaged])
    }

    /// The number in Ceph's cluster map.
    fn in_ceph(state: State) -> i32 {
        match state {
            State::Boot => -4,
            State::Pointer | State::Header | State::Recovery | State::Replay | State::Tables | State::Root => 8,
            State::Reconnect => 10,
            State::Rejoin => 11,
            State::Active => 13,
            State::Stopping => 14,
            State::Stopped => -1,
            State::Damaged => 15,
        }
    }

    #[test]
    fn what_is_legal_here_is_legal_in_ceph() {
        let mut legal = 0;
        for from in all() {
            for to in all().filter(|to| from.go(*to).is_ok()) {
                legal += 1;
                let (a, b) = (in_ceph(from), in_ceph(to));
                let in_ceph = a == b
                    || b == 15
                    || match a {
                        8 => [9, 10].contains(&b),
                        9 | 10 | 12 => b == a + 1,
                        11 => [13, 12, -1].contains(&b),
                        14 => b == -1,
                        _ => true,
                    };
                assert!(in_ceph, "{from} to {to}");
            }
        }
        assert_eq!(legal, 9 + 2 + 10, "a boot, an orderly stop, and damage in each state before it");
    }

    #[test]
    fn what_is_illegal_is_an_error() {
        for (from, to) in [
            (State::Replay, State::Active),
            (State::Active, State::Replay),
            (State::Stopped, State::Boot),
            (State::Rejoin, State::Stopping),
            (State::Damaged, State::Active),
            (State::Stopped, State::Damaged),
            (State::Replay, State::Replay),
        ] {
            assert_eq!(from.go(to), Err(IllegalTransition { from, to }));
        }
        let error = State::Active.go(State::Replay).unwrap_err();
        assert_eq!(error.to_string(), "replay may not follow active");
    }
}
