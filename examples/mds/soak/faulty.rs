//! A store whose answers go wrong at random: one is lost, late, cut short, changed, or an error; and it freezes after a number of questions.
//!
//! What goes wrong is chosen from a seed and the question's number. What is lost is kept until the life is over, so that nobody is told.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use unwedge::{Abandoned, Completion, Stop};

use crate::decode::{Damage, Omap};
use crate::frozen::Ice;
use crate::life::Store;
use crate::random::Random;
use crate::state::State;

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct FaultyStore<S> {
    inner: S,
    domain: Stop,
    faults: Arc<Faults>,
}

/// What goes wrong: of one life, and kept by who has made it.
pub struct Faults {
    seed: u64,
    /// How many answers of a thousand.
    per_mille: u32,
    /// After how many questions the ice comes.
    freeze_after: Option<u64>,
    ice: Ice,
    /// Where late answers wait.
    runtime: Handle,
    /// How many questions there were. Relaxed: it counts, and what is counted goes by other ways.
    asked: AtomicU64,
    lost: Mutex<Vec<Box<dyn Any + Send>>>,
    /// How often what went wrong.
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("counts", &*self.counts.lock()).finish_non_exhaustive()
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// It never comes.
    Lost,
    /// Who should give it has gone.
    Abandoned,
    /// It comes after this time.
    Late(Duration),
    /// Of its bytes this many of 256 parts come.
    Short(u8),
    /// One of its bits is another one.
    Changed(u64),
}

impl Faults {
    pub fn new(seed: u64, per_mille: u32, freeze_after: Option<u32>, ice: &Ice, runtime: &Handle) -> Arc<Faults> {
        Arc::new(Faults {
            seed,
            per_mille,
            freeze_after: freeze_after.map(u64::from),
            ice: ice.clone(),
            runtime: runtime.clone(),
            asked: AtomicU64::new(0),
            lost: Mutex::default(),
            counts: Mutex::default(),
        })
    }

    /// Lets go what was lost: the life is over.
    pub fn forget(&self) {
        let lost = std::mem::take(&mut *self.lost.lock());
        drop(lost);
    }

    /// How often what went wrong.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    /// What becomes of the next answer.
    fn next(&self) -> Fate {
        let asked = self.asked.fetch_add(1, Relaxed);
        if self.freeze_after == Some(asked) {
            self.ice.freeze();
        }
        let mut random = Random(self.seed ^ asked.wrapping_mul(0xa076_1d64_78bd_642f));
        random.next();
        if !random.per_mille(self.per_mille) {
            return Fate::Well;
        }
        let (fate, name) = match random.below(8) {
            0 => (Fate::Lost, "lost"),
            1 => (Fate::Abandoned, "abandoned"),
            2..=4 => (Fate::Late(Duration::from_micros(random.below(8000) as u64)), "late"),
            5 | 6 => (Fate::Short(random.below(256) as u8), "cut short"),
            _ => (Fate::Changed(random.next()), "changed"),
        };
        *self.counts.lock().entry(name).or_default() += 1;
        fate
    }
}

impl<S: Store> FaultyStore<S> {
    /// A store over another.
    pub fn new(inner: S, domain: &Stop, faults: &Arc<Faults>) -> FaultyStore<S> {
        FaultyStore { inner, domain: domain.clone(), faults: Arc::clone(faults) }
    }

    /// Asks, and sees to it that the answer has its fate; `spoil` is for those that have bytes.
    fn ask<T: Send + 'static, E: From<Abandoned> + Send + 'static>(
        &self,
        name: &'static str,
        spoil: impl FnOnce(Fate, T) -> T + Send + 'static,
        ask: impl FnOnce() -> Completion<T, E> + Send + 'static,
    ) -> Completion<T, E> {
        let fate = self.faults.next();
        if fate == Fate::Well {
            return ask();
        }
        let (completer, completion) = Completion::new(name, &self.domain);
        let domain = self.domain.clone();
        match fate {
            Fate::Lost => self.faults.lost.lock().push(Box::new(completer)),
            Fate::Abandoned => drop(completer),
            Fate::Late(time) => drop(self.faults.runtime.spawn(async move {
                tokio::time::sleep(time).await;
                // The life may be over: then nobody asks, or the answer is of no use to anybody.
                if let Ok(answer) = ask().await {
                    drop(completer.finish(answer));
                }
            })),
            // Where no callback can be run, and where the domain was stopped, the completer goes without an answer.
            _ => drop(ask().on_complete(&domain, move |answer| {
                if let Ok(answer) = answer {
                    drop(completer.finish(answer.map(|answer| spoil(fate, answer))));
                }
            })),
        }
        completion
    }
}

/// Cuts bytes short, or changes a bit of them.
fn spoil(fate: Fate, mut bytes: Vec<u8>) -> Vec<u8> {
    match fate {
        Fate::Short(parts) => bytes.truncate(bytes.len() * usize::from(parts) / 256),
        Fate::Changed(bit) if !bytes.is_empty() => {
            let bit = (bit % (bytes.len() as u64 * 8)) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        _ => {}
    }
    bytes
}

impl<S: Store> Store for FaultyStore<S>
where
    S::Object: Clone,
{
    type Object = S::Object;
    type OpenError = S::OpenError;
    type ReadError = S::ReadError;

    fn within(&self, domain: &Stop) -> Self {
        FaultyStore { inner: self.inner.within(domain), domain: domain.clone(), faults: Arc::clone(&self.faults) }
    }

    fn open(&self, object: &str) -> Completion<S::Object, S::OpenError> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        self.ask("faulty open", |_, object| object, move || inner.open(&object))
    }

    fn read_at(&self, object: &S::Object, offset: u64, len: usize) -> Completion<Vec<u8>, S::ReadError> {
        let (inner, object) = (self.inner.clone(), object.clone());
        self.ask("faulty read", spoil, move || inner.read_at(&object, offset, len))
    }

    fn omap(&self, object: &str) -> Completion<Vec<u8>, S::ReadError> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        self.ask("faulty omap", spoil, move || inner.omap(&object))
    }

    fn decode_omap(&self, object: &str, raw: &[u8]) -> Result<Omap, Damage> {
        self.inner.decode_omap(object, raw)
    }

    fn save(&self, object: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        let (inner, object) = (self.inner.clone(), object.to_owned());
        let spoil =
            |fate, saved| if matches!(fate, Fate::Changed(_)) { Err("no space left".to_owned()) } else { saved };
        self.ask("faulty save", spoil, move || inner.save(&object, bytes))
    }

    fn silence(&self) -> Duration {
        self.inner.silence()
    }

    fn entering(&self, state: State) {
        self.inner.entering(state);
    }
}
