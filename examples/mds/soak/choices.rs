//! What happens in a life of the soak: chosen from the seed and the life's number alone, so that one life can be had again.

use std::fmt;
use std::time::Duration;

use unwedge::io::Backend;

use crate::random::Random;
use crate::state::State;

/// When the storage stops answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// It does not.
    Never,
    /// When the life enters this state.
    At(State),
    /// After so many questions.
    After(u32),
    /// After this time.
    In(Duration),
    /// One of the journal's objects is a pipe whose writer has stopped: the kernel holds the read.
    Pipe,
}

/// How the life is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By a request, then a shutdown.
    Plain,
    /// By a shutdown alone.
    Unasked,
    /// With the MDS lock held all the while.
    Holding,
    /// By two threads at once.
    Twice,
    /// Hurried in the middle of it.
    Hurried,
    /// The storage comes back in the middle of it.
    Thawed,
    /// Requested by a thread of the life itself.
    Within,
    /// By a task.
    Async,
}

/// A life: see the head of this file.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether the journal has been flushed: then the tree is in the directory objects.
    pub is_flushed: bool,
    /// What does the I/O.
    pub backend: Backend,
    /// When the storage stops answering.
    pub freeze: Freeze,
    /// How many of a thousand answers go wrong.
    pub faults: u32,
    /// How many clients come.
    pub clients: usize,
    /// How long it is let run, once it is where it is to be stopped.
    pub run: Duration,
    /// How it is stopped.
    pub how: How,
    /// How much of the shutdown the table of sessions may take.
    pub save_within: Duration,
    /// How long what the storage has begun is waited for.
    pub drain: Duration,
    /// For what is chosen later.
    pub seed: u64,
}

impl Choices {
    /// Those of a life.
    pub fn new(seed: u64, life: u64) -> Choices {
        let mut random = Random(seed ^ life.wrapping_mul(0xd6e8_feb8_6659_fd93));
        // The first number of like seeds is alike.
        random.next();
        let freeze = match random.below(20) {
            0..=2 => Freeze::Never,
            3..=9 => Freeze::At(random.pick(State::BOOT)),
            10..=14 => Freeze::After(random.below(90) as u32),
            15..=18 => Freeze::In(Duration::from_micros(random.below(25_000) as u64)),
            _ => Freeze::Pipe,
        };
        use How::{Async, Holding, Hurried, Plain, Thawed, Twice, Unasked, Within};
        Choices {
            // The pipe is in the journal of the one that was not flushed.
            is_flushed: random.below(2) == 0 && freeze != Freeze::Pipe,
            backend: if random.below(4) == 0 { Backend::Pool } else { Backend::Auto },
            freeze,
            faults: random.pick([0, 0, 0, 5, 20, 100]),
            clients: random.pick([0, 1, 4]),
            run: Duration::from_micros(random.below(4000) as u64),
            how: random.pick([Plain, Plain, Unasked, Holding, Holding, Twice, Hurried, Thawed, Within, Async]),
            save_within: Duration::from_micros(random.below(4000) as u64),
            drain: Duration::from_micros(random.below(2000) as u64),
            seed: random.next(),
        }
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choices { is_flushed, backend, freeze, faults, clients, run, how, save_within, drain, .. } = self;
        let pool = if *is_flushed { "flushed" } else { "dirty" };
        write!(f, "{pool} pool, backend {backend:?}, freeze {freeze:?}, {faults} faults of 1000, {clients} clients, ")?;
        write!(f, "run {run:?}, stop {how:?}, save within {save_within:?}, drain {drain:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_the_same_each_time_and_another_with_another_seed() {
        let text = |seed, life| Choices::new(seed, life).to_string();
        assert_eq!(text(1, 7), text(1, 7));
        assert_ne!(text(1, 7), text(2, 7));
        assert_ne!(text(1, 7), text(1, 8));
    }

    #[test]
    fn everything_is_chosen_now_and_then() {
        let lives: Vec<Choices> = (0..2000).map(|life| Choices::new(5, life)).collect();
        for state in State::BOOT {
            assert!(lives.iter().any(|life| life.freeze == Freeze::At(state)), "{state}");
        }
        assert!(lives.iter().any(|life| life.freeze == Freeze::Pipe));
        use How::{Async, Holding, Hurried, Plain, Thawed, Twice, Unasked, Within};
        for how in [Plain, Unasked, Holding, Twice, Hurried, Thawed, Within, Async] {
            assert!(lives.iter().any(|life| life.how == how), "{how:?}");
        }
        assert!(lives.iter().any(|life| life.is_flushed && life.backend == Backend::Pool));
    }
}
