//! A store for models: storage that answers at once, late or never.

use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::{Arc, PoisonError};

use crate::completion::{Completion, Object, Owed};
use crate::error::Abandoned;
use crate::stop::Stop;

use super::choice::choose;

/// When a [`Store`] answers what is asked of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there already when it is waited for.
    Now,
    /// When somebody calls [`Store::answer_late`], which may be at any point.
    Late,
    /// Not at all: the storage is frozen.
    Never,
    /// Each of the three: the model is run with every combination, see [`choose`](super::choose).
    Any,
}

/// Storage in a model: what is asked of it is owed, and answered at once, late or never.
///
/// Put it where the daemon has its I/O: the daemon's own trait over it asks by [`ask`](Self::ask), and a model says which objects are slow. At the end of the
/// model every operation is accounted for: it was answered, or who asked has given its completion up (dropped it, as every stopped wait does sooner or later).
///
/// ```
/// # #[cfg(not(unwedge_loom))] fn main() {}
/// # #[cfg(unwedge_loom)]
/// # fn main() {
/// use std::sync::Arc;
/// use unwedge::{Abandoned, Monitor, Stop, Stopped, model::{self, Answer, Checker, Store}};
///
/// let seen = Checker::new().preemptions(2).check(|| {
///     let stop = Stop::new("life");
///     let store = Store::new(&stop).with("header", Answer::Any);
///     let mds = Arc::new(Monitor::new("mds_lock", model::Mutex::new(0), &stop));
///     let (own, storage) = (mds.clone(), store.clone());
///     let replay = stop.spawn("replay", move || {
///         let (mut position, read) = own.lock()?.wait_for(&mut storage.ask::<u64, Abandoned>("read", "header", Ok(4096)))?;
///         *position = read.unwrap_or(0);
///         Ok::<(), Stopped>(())
///     });
///     let late = model::thread::spawn(move || store.answer_late());    // at any point, or for nobody
///     let report = stop.shutdown(unwedge::Plan::within(std::time::Duration::from_secs(3600)));
///     assert!(report.is_clean(), "{report}");
///     late.join().unwrap();
///     drop(replay);
/// });
/// assert_eq!(seen.combinations, 3);
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    domain: Stop,
    /// The objects that are not answered at once.
    slow: Arc<Vec<(String, Answer)>>,
    held: Arc<Held>,
}

/// What is owed: a lock that loom sees, because another thread answers.
struct Held(loom::sync::Mutex<Vec<Operation>>);

struct Operation {
    name: String,
    late: bool,
    /// Gives the result, or (`false`) says that there will be none. Whether somebody wanted to know.
    end: Box<dyn FnOnce(bool) -> bool + Send>,
}

impl Held {
    fn take(&self, which: impl Fn(&Operation) -> bool) -> Vec<Operation> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *held).into_iter().partition(which);
        *held = left;
        taken
    }
}

std::thread_local! {
    /// What every store of the execution owes. Not dropped by itself: loom's objects in it must not be dropped outside an execution, where one that has failed
    /// would leave them.
    static OWED: RefCell<Vec<ManuallyDrop<Arc<Held>>>> = const { RefCell::new(Vec::new()) };
}

/// An execution begins: what one that has failed has left stays where it is.
pub(super) fn begin() {
    OWED.with_borrow_mut(Vec::clear);
}

/// The model's closure has returned: which operations nobody will answer although somebody holds their completion.
pub(super) fn end() -> Vec<String> {
    let owed = OWED.with_borrow_mut(std::mem::take);
    let owed = owed.into_iter().map(ManuallyDrop::into_inner);
    let operations = owed.flat_map(|held| held.take(|_| true));
    operations.filter_map(|operation| (operation.end)(false).then(|| format!("{} is owed", operation.name))).collect()
}

impl Store {
    /// A store that answers everything at once. Whoever waits for an answer is stopped with the domain.
    #[must_use]
    pub fn new(domain: &Stop) -> Self {
        let held = Arc::new(Held(loom::sync::Mutex::new(Vec::new())));
        OWED.with_borrow_mut(|owed| owed.push(ManuallyDrop::new(held.clone())));
        Store { domain: domain.clone(), slow: Arc::default(), held }
    }

    /// The same, but for what is asked of one object.
    #[must_use]
    pub fn with(mut self, object: &str, answer: Answer) -> Self {
        Arc::make_mut(&mut self.slow).push((object.to_owned(), answer));
        self
    }

    /// The same store, its waits under another domain: a phase of a shutdown, or another life.
    #[must_use]
    pub fn within(&self, domain: &Stop) -> Self {
        Store { domain: domain.clone(), ..self.clone() }
    }

    /// Asks for something of an object: `result`, when the answer comes.
    pub fn ask<T, E>(&self, operation: &'static str, object: &str, result: Result<T, E>) -> Completion<T, E>
    where
        T: Send + 'static,
        E: From<Abandoned> + Send + 'static,
    {
        let late = match self.answer(object) {
            Answer::Now => return Completion::ready(result, &self.domain),
            answer => answer == Answer::Late,
        };
        let owed = Owed { operation, object: Some(Object::from(object)), ..Owed::default() };
        let (completer, completion) = Completion::new(owed, &self.domain);
        let end =
            Box::new(move |given: bool| completer.finish(if given { result } else { Err(E::from(Abandoned)) }).is_ok());
        let name = format!("{operation} {object}");
        self.held.0.lock().unwrap_or_else(PoisonError::into_inner).push(Operation { name, late, end });
        completion
    }

    /// The storage comes back: what is late is answered. How many answers somebody still wanted.
    pub fn answer_late(&self) -> usize {
        // Taken out first: no lock is held while completions are given.
        let late = self.held.take(|operation| operation.late);
        late.into_iter().map(|operation| usize::from((operation.end)(true))).sum()
    }

    fn answer(&self, object: &str) -> Answer {
        let answer = self.slow.iter().find(|(slow, _)| slow == object).map_or(Answer::Now, |(_, answer)| *answer);
        if answer != Answer::Any {
            return answer;
        }
        [Answer::Now, Answer::Late, Answer::Never][choose(object, 3)]
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("slow", &self.slow).finish_non_exhaustive()
    }
}
