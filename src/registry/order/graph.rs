//! The graph of orders, and the cycles that a new edge closes.
//!
//! An edge is kept with the places at which it was seen first. Instances of one class are a graph of their own, of instances, so that who takes them in one
//! order is never alarmed; where both were given a number ([`Monitor::with_order`](crate::Monitor::with_order)) the numbers decide alone.

use std::collections::{HashMap, HashSet};
use std::panic::Location;

use super::{Inversion, Order};

/// The most pairs of instances that are kept: a daemon may have a monitor for each file.
const MOST_PAIRS: usize = 1 << 16;

/// What is held or wanted.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Number of its class.
    pub(super) class: u32,
    /// Which one of that class it is.
    pub(super) instance: u64,
    /// Its place among those of its class, if it was given one.
    pub(super) order: Option<u64>,
    pub(super) at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
struct Edge {
    held_at: &'static Location<'static>,
    wanted_at: &'static Location<'static>,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Graph {
    numbers: HashMap<(String, &'static Location<'static>), u32>,
    names: Vec<String>,
    edges: HashMap<(u32, u32), Edge>,
    after: HashMap<u32, Vec<u32>>,
    /// Of instances of one class that have no order.
    pairs: HashMap<(u64, u64), Edge>,
    /// Pairs of classes of which an inversion was told.
    told: HashSet<(u32, u32)>,
}

impl Graph {
    /// The number of a class.
    pub(super) fn class(&mut self, name: &str, made: &'static Location<'static>) -> u32 {
        if let Some(number) = self.numbers.get(&(name.to_owned(), made)) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert((name.to_owned(), made), number);
        number
    }

    /// Notes that something is wanted while something else is held. The inversion, if that closes a cycle and was not told before.
    pub(super) fn add(&mut self, held: &Item, wanted: &Item) -> Option<Inversion> {
        if held.class == wanted.class {
            return self.add_instances(held, wanted);
        }
        let key = (held.class, wanted.class);
        if self.edges.contains_key(&key) {
            return None;
        }
        let path = self.path(wanted.class, held.class);
        self.edges.insert(key, Edge { held_at: held.at, wanted_at: wanted.at });
        self.after.entry(held.class).or_default().push(wanted.class);
        let before =
            path?.windows(2).map(|pair| self.order(pair[0], pair[1], self.edges[&(pair[0], pair[1])])).collect();
        self.told.insert(key).then(|| Inversion { now: self.now(held, wanted), before })
    }

    fn add_instances(&mut self, held: &Item, wanted: &Item) -> Option<Inversion> {
        if held.instance == wanted.instance {
            // A thread that waits for itself: the wait-for graph tells.
            return None;
        }
        let key = (held.class, wanted.class);
        if let (Some(first), Some(second)) = (held.order, wanted.order) {
            let wrong = first >= second && self.told.insert(key);
            return wrong.then(|| Inversion { now: self.now(held, wanted), before: Vec::new() });
        }
        if self.pairs.len() < MOST_PAIRS {
            let edge = Edge { held_at: held.at, wanted_at: wanted.at };
            self.pairs.entry((held.instance, wanted.instance)).or_insert(edge);
        }
        let other = *self.pairs.get(&(wanted.instance, held.instance))?;
        let before = vec![self.order(held.class, wanted.class, other)];
        self.told.insert(key).then(|| Inversion { now: self.now(held, wanted), before })
    }

    fn now(&self, held: &Item, wanted: &Item) -> Order {
        self.order(held.class, wanted.class, Edge { held_at: held.at, wanted_at: wanted.at })
    }

    fn order(&self, held: u32, wanted: u32, edge: Edge) -> Order {
        let name = |class: u32| self.names[class as usize].clone();
        Order { held: name(held), held_at: edge.held_at, wanted: name(wanted), wanted_at: edge.wanted_at }
    }

    /// The classes on a way from one to another, both included: the shortest.
    fn path(&self, from: u32, to: u32) -> Option<Vec<u32>> {
        let mut came_from = HashMap::from([(from, from)]);
        let mut next = vec![from];
        let mut done = 0;
        while let Some(&at) = next.get(done) {
            done += 1;
            if at == to {
                let mut path = vec![to];
                let mut at = to;
                while at != from {
                    at = came_from[&at];
                    path.push(at);
                }
                path.reverse();
                return Some(path);
            }
            for &class in self.after.get(&at).into_iter().flatten() {
                came_from.entry(class).or_insert_with(|| {
                    next.push(class);
                    at
                });
            }
        }
        None
    }
}
