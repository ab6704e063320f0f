//! Who owes what a waiter waits for, as far as somebody has said so.
//!
//! A completion knows its debtor as a word of its own. A waiter's slot, which is what a reader sees, has it together with a part of the count of the wait that is
//! meant, in one word: so a completer that is late, and finds another wait in the slot, says nothing about that one.
//!
//! | bits | in a waiter's slot |
//! |---|---|
//! | 0 to 23 | the member's slot; all set: storage |
//! | 24 to 43 | the low bits of its life |
//! | 44 to 63 | the low bits of the count with which the wait began |
//!
//! A member whose slot has a higher number than that is not named.

use super::waiter::COUNT;
use crate::registry::member::{self, MemberRef};

/// Who owes a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Debtor {
    /// Nobody has said so.
    Unknown,
    /// Storage: the kernel, or a foreign client.
    Storage,
    /// This member, which may have ended.
    Member(MemberRef),
}

const INDEX: u32 = 24;
const LIFE: u32 = 20;
const MOST: u64 = (1 << INDEX) - 1;
const STORAGE: u64 = u64::MAX;

fn low(value: u64, bits: u32) -> u64 {
    value & ((1 << bits) - 1)
}

fn tag(began: u64) -> u64 {
    low(began / COUNT, 64 - INDEX - LIFE) << (INDEX + LIFE)
}

impl Debtor {
    /// As a word of its own; 0 is `Unknown`.
    pub(crate) fn word(self) -> u64 {
        match self {
            Debtor::Unknown => 0,
            Debtor::Storage => STORAGE,
            Debtor::Member(member) => member.word(),
        }
    }

    pub(crate) fn from_word(word: u64) -> Self {
        match word {
            0 => Debtor::Unknown,
            STORAGE => Debtor::Storage,
            word => Debtor::Member(MemberRef::from_word(word)),
        }
    }

    pub(super) fn in_wait(self, began: u64) -> u64 {
        let who = match self {
            Debtor::Unknown => 0,
            Debtor::Storage => MOST,
            Debtor::Member(member) if u64::from(member.index()) >= MOST => 0,
            Debtor::Member(member) => u64::from(member.index()) | low(member.word() >> 32, LIFE) << INDEX,
        };
        tag(began) | who
    }

    pub(super) fn of_wait(word: u64, began: u64) -> Self {
        if word & !low(u64::MAX, INDEX + LIFE) != tag(began) {
            return Debtor::Unknown;
        }
        match low(word, INDEX) {
            0 => Debtor::Unknown,
            MOST => Debtor::Storage,
            index => Debtor::Member(member::from_low_bits(index as u32, low(word >> INDEX, LIFE) as u32, LIFE)),
        }
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::{COUNT, Debtor};
    use crate::registry::member::{Kind, Membership};

    #[test]
    fn means_one_wait_and_one_life() {
        let membership = Membership::new("debtor", Kind::Thread, None);
        let member = Debtor::Member(membership.member());
        for debtor in [Debtor::Unknown, Debtor::Storage, member] {
            assert_eq!(Debtor::from_word(debtor.word()), debtor);
            assert_eq!(Debtor::of_wait(debtor.in_wait(7 * COUNT), 7 * COUNT), debtor);
            for other in [8, 7 + (1 << 12), 7 + (1 << 19)] {
                assert_eq!(Debtor::of_wait(debtor.in_wait(7 * COUNT), other * COUNT), Debtor::Unknown);
            }
        }
        let word = member.in_wait(7 * COUNT);
        let gone = membership.member();
        drop(membership);
        let Debtor::Member(seen) = Debtor::of_wait(word, 7 * COUNT) else { panic!("a member") };
        assert_eq!(seen, gone);
        assert!(seen.look().is_none(), "it has ended");
    }
}
