//! A store that stops answering, as the one below a daemon does when a storage node dies: its reads and writes never complete until it is
//! thawed, and then they complete late.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use unwedge::{Abandoned, Completion, Stop};

use crate::decode::{Damage, Omap};
use crate::life::Store;
use crate::state::State;

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct FrozenStore<S> {
    inner: S,
    domain: Stop,
    ice: Ice,
}

/// Whether a store answers: kept by who freezes and thaws it.
#[derive(Clone, Debug)]
pub struct Ice(Arc<Mutex<Frost>>);

struct Frost {
    is_frozen: bool,
    /// It freezes when the life enters this state.
    at: Option<State>,
    /// What was asked for and not answered: asks the store again, and passes the answer on.
    held: Vec<Held>,
}

type Held = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Frost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frost {{ is_frozen: {}, at: {:?}, held: {} }}", self.is_frozen, self.at, self.held.len())
    }
}

impl Ice {
    /// For a store that freezes when the life enters a state, or never.
    pub fn new(at: Option<State>) -> Ice {
        Ice(Arc::new(Mutex::new(Frost { is_frozen: false, at, held: Vec::new() })))
    }

    /// Stops answering.
    pub fn freeze(&self) {
        self.0.lock().is_frozen = true;
    }

    /// Answers again, also what was asked meanwhile.
    pub fn thaw(&self) {
        let held = {
            let mut frost = self.0.lock();
            frost.is_frozen = false;
            frost.at = None;
            std::mem::take(&mut frost.held)
        };
        for ask in held {
            ask();
        }
    }

    /// How many questions have no answer.
    pub fn held(&self) -> usize {
        self.0.lock().held.len()
    }

    /// Keeps a question back if the store is frozen, and gives the completion of its late answer.
    fn hold<T, E>(
        &self,
        name: &'static str,
        domain: &Stop,
        ask: impl FnOnce() -> Completion<T, E> + Send + 'static,
    ) -> Completion<T, E>
    where
        T: Send + 'static,
        E: From<Abandoned> + Send + 'static,
    {
        let mut frost = self.0.lock();
        if !frost.is_frozen {
            drop(frost);
            return ask();
        }
        let (completer, completion) = Completion::new(name, domain);
        let domain = domain.clone();
        frost.held.push(Box::new(move || {
            // Where no callback can be run, and where the domain was stopped, the completer goes without an answer.
            drop(ask().on_complete(&domain, move |answer| {
                if let Ok(answer) = answer {
                    drop(completer.finish(answer));
                }
            }));
        }));
        completion
    }
}

impl<S: Store> FrozenStore<S>
where
    S::Object: Clone,
{
    /// A store over another.
    pub fn new(inner: S, domain: &Stop, ice: &Ice) -> FrozenStore<S> {
        FrozenStore { inner, domain: domain.clone(), ice: ice.clone() }
    }
}

impl<S: Store> Store for FrozenStore<S>
where
    S::Object: Clone,
{
    type Object = S::Object;
    type OpenError = S::OpenError;
    type ReadError = S::ReadError;

    fn within(&self, domain: &Stop) -> Self {
        FrozenStore { inner: self.inner.within(domain), domain: domain.clone(), ice: self.ice.clone() }
    }

    fn open(&self, object: &str) -> Completion<S::Object, S::OpenError> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        self.ice.hold("frozen open", &self.domain, move || inner.open(&object))
    }

    fn read_at(&self, object: &S::Object, offset: u64, len: usize) -> Completion<Vec<u8>, S::ReadError> {
        let (inner, object) = (self.inner.clone(), object.clone());
        self.ice.hold("frozen read", &self.domain, move || inner.read_at(&object, offset, len))
    }

    fn omap(&self, object: &str) -> Completion<Vec<u8>, S::ReadError> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        self.ice.hold("frozen omap", &self.domain, move || inner.omap(&object))
    }

    fn decode_omap(&self, object: &str, raw: &[u8]) -> Result<Omap, Damage> {
        self.inner.decode_omap(object, raw)
    }

    fn save(&self, object: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        self.ice.hold("frozen save", &self.domain, move || inner.save(&object, bytes))
    }

    fn silence(&self) -> Duration {
        self.inner.silence()
    }

    fn entering(&self, state: State) {
        {
            let mut frost = self.ice.0.lock();
            frost.is_frozen |= frost.at == Some(state);
        }
        self.inner.entering(state);
    }
}
