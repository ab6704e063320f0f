//! The hooks, where the order is watched.
//!
//! What a member holds and owes stands in its slot, under a lock of its own; the graph has one too. Neither is held while the other is taken, nor over foreign
//! code (L6): who is told of an inversion is told by the thread that found it, after both were let go. What that one locks in turn is not watched.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::Location;
use std::sync::Arc;

use super::Inversion;
use super::graph::{Graph, Item};
use crate::registry::link::Link;
use crate::registry::member::{self, MemberRef};
use crate::sys::{Mutex, PlainU64, Relaxed};

/// Whether the order is watched.
pub(crate) const WATCHED: bool = true;

/// Where something was taken.
pub(crate) type Place = &'static Location<'static>;

#[inline]
pub(crate) fn place(at: &'static Location<'static>) -> Place {
    at
}

/// The class of a monitor, and which one of it this is.
pub(crate) struct Class {
    class: u32,
    instance: u64,
    order: Option<u64>,
}

static GRAPH: Mutex<Option<Graph>> = Mutex::new(None);
/// The inversion that was found last, and with it all before. Each is found once, and kept for as long as the process runs: so a reader needs no lock.
static LATEST: Link<Found> = Link::new();
/// Held by who adds to them.
static ADDS: Mutex<()> = Mutex::new(());
static HOOK: Mutex<Option<Hook>> = Mutex::new(None);
static INSTANCES: PlainU64 = PlainU64::new(1);

struct Found {
    inversion: Inversion,
    before: Option<&'static Found>,
}

type Hook = Arc<dyn Fn(&Inversion) + Send + Sync>;

thread_local! {
    /// Whether this thread tells of an inversion.
    static TELLS: Cell<bool> = const { Cell::new(false) };
    /// Pairs of classes of which this thread knows that they are in the graph.
    static KNOWN: RefCell<HashSet<(u32, u32)>> = RefCell::new(HashSet::new());
}

fn with_graph<R>(f: impl FnOnce(&mut Graph) -> R) -> R {
    f(GRAPH.lock().get_or_insert_with(Graph::default))
}

fn new_instance() -> u64 {
    INSTANCES.fetch_add(1, Relaxed)
}

impl Class {
    pub(crate) fn new(name: &'static str, made: Place) -> Self {
        Class { class: with_graph(|graph| graph.class(name, made)), instance: new_instance(), order: None }
    }

    pub(crate) fn set_order(&mut self, order: u64) {
        self.order = Some(order);
    }

    fn item(&self, at: Place) -> Item {
        Item { class: self.class, instance: self.instance, order: self.order, at }
    }
}

/// The class of a completion: where it was made. What is owed completes it.
#[derive(Clone, Copy)]
pub(crate) struct Debt(Place);

impl Debt {
    #[inline]
    pub(crate) fn new(made: Place) -> Self {
        Debt(made)
    }

    fn item(self, name: &str, at: Place) -> Item {
        // One of a class is as good as another: whose result it is, is not known before it is owed.
        Item { class: with_graph(|graph| graph.class(name, self.0)), instance: 0, order: None, at }
    }
}

/// What a member holds and owes, in its slot; and by what it is found again.
pub(crate) struct HeldList(Mutex<Vec<(Item, Key)>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// A monitor's number.
    Monitor(u64),
    /// The address of a completion's cell.
    Cell(usize),
}

impl HeldList {
    pub(crate) const fn new() -> Self {
        HeldList(Mutex::new(Vec::new()))
    }

    /// Another member has the slot.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    fn add(&self, item: Item, key: Key) {
        self.0.lock().push((item, key));
    }

    fn get(&self, at: usize) -> Option<Item> {
        self.0.lock().get(at).map(|(item, _)| *item)
    }

    fn remove(&self, key: Key) {
        let mut held = self.0.lock();
        if let Some(at) = held.iter().rposition(|(_, known)| *known == key) {
            held.remove(at);
        }
    }
}

/// That a monitor is held, until this is dropped: by whom, wherever the guard has come to.
pub(crate) struct Held {
    by: MemberRef,
    instance: u64,
}

impl Held {
    pub(crate) fn new(class: &Class, at: Place) -> Self {
        let by = member::me();
        if let Some(slot) = by.slot() {
            slot.held.add(class.item(at), Key::Monitor(class.instance));
        }
        Held { by, instance: class.instance }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(slot) = self.by.slot() {
            slot.held.remove(Key::Monitor(self.instance));
        }
    }
}

/// A monitor's lock is wanted, and will be waited for if need be.
pub(crate) fn want(class: &Class, at: Place) {
    wanted(|| class.item(at));
}

/// The result of a completion is waited for.
pub(crate) fn wait_for(debt: Debt, operation: &str, object: &str, at: Place) {
    wanted(|| debt.item(&name_of(operation, object), at));
}

/// Who runs here owes the result whose cell is at this address.
pub(crate) fn owe(debt: Debt, operation: &str, cell: usize, at: Place) {
    if let Some(slot) = member::me().slot() {
        slot.held.add(debt.item(operation, at), Key::Cell(cell));
    }
}

/// A thread or task owes its end, for as long as it runs.
pub(crate) fn owe_end(member: MemberRef, debt: Debt, name: &str, cell: usize) {
    if let Some(slot) = member.slot() {
        slot.held.add(debt.item(&name_of("end of", name), debt.0), Key::Cell(cell));
    }
}

/// What was owed is given, or given up.
pub(crate) fn paid(by: MemberRef, cell: usize) {
    if let Some(slot) = by.slot() {
        slot.held.remove(Key::Cell(cell));
    }
}

/// Of threads and tasks each name is a class; of operations the object says nothing.
fn name_of(operation: &str, object: &str) -> String {
    if operation == "end of" { format!("{operation} {object}") } else { operation.to_owned() }
}

fn wanted(item: impl FnOnce() -> Item) {
    let Some(slot) = member::me().slot() else { return };
    let Some(first) = slot.held.get(0) else { return };
    let wanted = item();
    // One after the other: nothing is allocated, and no lock is held over the next step.
    let mut next = Some(first);
    let mut at = 0;
    while let Some(held) = next {
        at += 1;
        next = slot.held.get(at);
        let pair = (held.class, wanted.class);
        // A thread at its end has no such memory any more.
        let is_known = pair.0 != pair.1 && KNOWN.try_with(|known| known.borrow().contains(&pair)).unwrap_or(false);
        if is_known || TELLS.get() {
            continue;
        }
        let inversion = with_graph(|graph| graph.add(&held, &wanted));
        let _ = KNOWN.try_with(|known| known.borrow_mut().insert(pair));
        if let Some(inversion) = inversion {
            tell(inversion);
        }
    }
}

/// While it lives, what this thread locks is not watched.
struct Telling;

impl Telling {
    fn begin() -> Self {
        TELLS.set(true);
        Telling
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLS.set(false);
    }
}

#[cold]
fn tell(inversion: Inversion) {
    {
        let _adds = ADDS.lock();
        LATEST.set(Some(Box::leak(Box::new(Found { inversion: inversion.clone(), before: LATEST.get() }))));
    }
    let _telling = Telling::begin();
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "unwedge::order", "{inversion}");
    let hook = HOOK.lock().clone();
    match hook {
        Some(hook) => hook(&inversion),
        None if cfg!(debug_assertions) => eprintln!("unwedge: {inversion}"),
        None => {}
    }
}

/// What was found so far in this process.
pub(crate) fn found() -> Vec<Inversion> {
    let mut found: Vec<_> = latest().cloned().collect();
    found.reverse();
    found
}

/// The same, the latest first. Takes no lock and allocates nothing.
pub(crate) fn latest() -> impl Iterator<Item = &'static Inversion> {
    std::iter::successors(LATEST.get(), |found| found.before).map(|found| &found.inversion)
}

/// Has a hook told of what is found from now on.
pub(crate) fn set_hook(hook: Hook) {
    *HOOK.lock() = Some(hook);
}
