//! What the shipped records stand on, smaller: atomics that loom sees, texts of one word, domains of two numbers, and an arena with one slot.

pub(super) mod sys {
    pub(crate) use loom::sync::atomic::{AtomicU32 as PlainU32, AtomicU64 as PlainU64};
    pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    /// The clock stands still.
    pub(crate) fn coarse_millis() -> u64 {
        1
    }
}

pub(super) mod text {
    use super::sys::{PlainU64, Relaxed};

    /// The texts that there are.
    const KNOWN: [&str; 7] = ["", "read", "write", "200", "400", "save", "drain"];

    pub(crate) struct Text<const WORDS: usize>(PlainU64);

    impl<const WORDS: usize> Text<WORDS> {
        pub(crate) fn new() -> Self {
            Text(PlainU64::new(0))
        }

        pub(crate) fn set(&self, text: &str) {
            let known = KNOWN.iter().position(|known| *known == text).expect("a known text");
            self.0.store(known as u64, Relaxed);
        }

        pub(crate) fn clear(&self) {
            self.0.store(0, Relaxed);
        }

        pub(crate) fn copy(&self) -> Copied<WORDS> {
            Copied(self.0.load(Relaxed))
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Copied<const WORDS: usize>(u64);

    impl<const WORDS: usize> Copied<WORDS> {
        pub(crate) fn text(self) -> &'static str {
            KNOWN[self.0 as usize]
        }

        pub(crate) fn mixed(&self) -> u64 {
            self.0
        }
    }
}

pub(super) mod domain {
    /// What a link to a domain's cell leads to: here it is a number.
    pub(crate) struct DomainCell;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct DomainRef {
        pub(crate) cell: u64,
        pub(crate) live: u64,
    }

    impl DomainRef {
        pub(crate) fn parts(self) -> (u64, u64) {
            (self.cell, self.live)
        }

        pub(crate) fn from_parts(cell: Option<u64>, live: u64) -> Option<Self> {
            cell.map(|cell| DomainRef { cell, live })
        }
    }
}

pub(super) mod link {
    use std::marker::PhantomData;

    use super::sys::{Acquire, PlainU64, Release};

    /// As the shipped one, with a number in the place of a pointer: 0 is none.
    pub(crate) struct Link<T>(PlainU64, PhantomData<T>);

    impl<T> Link<T> {
        pub(crate) fn new() -> Self {
            Link(PlainU64::new(0), PhantomData)
        }

        pub(crate) fn set(&self, to: Option<u64>) {
            self.0.store(to.unwrap_or(0), Release);
        }

        pub(crate) fn get(&self) -> Option<u64> {
            Some(self.0.load(Acquire)).filter(|number| *number != 0)
        }
    }
}

pub(super) mod arena {
    /// One slot, which each one claims after the other.
    pub(crate) struct One<T>(T);

    impl<T> One<T> {
        pub(crate) fn new(make: fn() -> T) -> Self {
            One(make())
        }

        pub(crate) fn claim(&self) -> u32 {
            1
        }

        pub(crate) fn release(&self, _index: u32) {}

        pub(crate) fn get(&self, _index: u32) -> &T {
            &self.0
        }

        pub(crate) fn count(&self) -> usize {
            1
        }

        pub(crate) fn look(&self) -> impl Iterator<Item = (u32, &T)> {
            std::iter::once((1, &self.0))
        }
    }

    macro_rules! arena {
        ($(#[$doc:meta])* $name:ident: $type:ty = $make:expr) => {
            $(#[$doc])*
            fn $name() -> &'static super::arena::One<$type> {
                loom::lazy_static! {
                    static ref ONE: super::arena::One<$type> = super::arena::One::new($make);
                }
                &ONE
            }
        };
    }
    pub(crate) use arena;
}
