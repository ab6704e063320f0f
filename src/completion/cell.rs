//! The cell that a completion and its completer share: one value, one waiter, one state word.
//!
//! | state | meaning | who may touch the value |
//! |---|---|---|
//! | `EMPTY` | nothing yet | completer |
//! | `WAITED` | nothing yet; `waiter` names who waits | completer |
//! | `READY` | the value is there; the completer is gone | completion |
//! | `CLOSED` | the completion is gone | completer |
//!
//! | from | to | by |
//! |---|---|---|
//! | `EMPTY` | `WAITED` (version + 1) | completion |
//! | `WAITED` | `EMPTY` | completion, to name another waiter |
//! | `EMPTY`, `WAITED` | `READY` | completer, for good |
//! | `EMPTY`, `WAITED` | `CLOSED` | completion, for good |
//!
//! # Invariants
//! - **Last one frees.** Who finds the other side's final state (`READY` seen by the completion, `CLOSED` seen by the completer) owns the
//!   cell alone and frees it; who sets its own final state never touches the cell again.
//! - **Version.** The word carries a count of the waiters named so far, so that a completer that has read a waiter's name and then finds the
//!   same word knows that the name is still the right one.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use super::{Owed, block};
use crate::registry::domain::DomainRef;
use crate::registry::link::Link;
use crate::registry::member::{self, MemberRef};
use crate::registry::order::{self, Debt, Place};
use crate::sys::{AcqRel, Acquire, AtomicU64, PlainU64, Relaxed, Release, UnsafeCell};
use crate::wait::debtor::Debtor;
use crate::wait::ticket::Ticket;
use crate::wait::waiter::{Waiter, Watcher};

const EMPTY: u64 = 0;
const WAITED: u64 = 1;
const READY: u64 = 2;
const CLOSED: u64 = 3;
const TAG: u64 = 3;
const VERSION: u64 = 4;

/// See the head of this file. [`make`] writes every field. In this order, because what begins as zero is then written several words at a time, and a
/// completion that is ready soon costs little more than its stores.
#[repr(C)]
struct Cell<V> {
    value: UnsafeCell<MaybeUninit<V>>,
    /// Whose stop ends a wait for it; never changed.
    domain: DomainRef,
    /// What is owed, without an operation where the value was there from the start; never changed.
    owed: Owed,
    word: AtomicU64,
    /// Who waits. Written by the completion in `EMPTY`, read by the completer after it saw `WAITED`.
    waiter: Link<Waiter>,
    began: PlainU64,
    /// Who owes the value, if somebody has said so: a [`Debtor`] as a word.
    debtor: PlainU64,
    /// For the order of locks.
    class: Debt,
    /// The wait of a task. The completion's alone, and taken out before it says that it is gone.
    ticket: UnsafeCell<ManuallyDrop<Option<Ticket>>>,
}

impl<V> Cell<V> {
    /// Moves the value out.
    ///
    /// # Safety
    /// It was written, the caller alone may touch it (table above), and nobody reads it again.
    unsafe fn take_value(&self) -> V {
        self.value.with_mut(|place| {
            // SAFETY: the caller alone may touch it.
            let place = unsafe { &mut *place };
            // SAFETY: it was written and is not read again.
            unsafe { place.assume_init_read() }
        })
    }
}

/// A new cell: its two ends.
#[inline]
pub(super) fn cell<V>(domain: DomainRef, owed: Owed, class: Debt) -> (Sender<V>, Receiver<V>) {
    let cell = make(EMPTY, MaybeUninit::uninit(), domain, owed, class);
    (Sender(cell), Receiver(cell))
}

/// A new cell with its value in it, whose completer is gone.
#[inline]
pub(super) fn full<V>(value: V, domain: DomainRef, class: Debt) -> Receiver<V> {
    Receiver(make(READY, MaybeUninit::new(value), domain, Owed::from(""), class))
}

/// Writes the fields where they will lie. A cell that is put together on the stack and moved to its place is copied two words at a time, and each such load
/// waits until the stores of the single words are through: a quarter of a completion's whole cost.
#[inline]
fn make<V>(word: u64, value: MaybeUninit<V>, domain: DomainRef, owed: Owed, class: Debt) -> NonNull<Cell<V>> {
    let cell = block::take::<Cell<V>>();
    let place = cell.as_ptr();
    macro_rules! write {
        ($($field:ident).+, $value:expr) => {{
            // SAFETY: `place` is memory for a cell; no reference is made to what is not written yet.
            let field = unsafe { &raw mut (*place).$($field).+ };
            // SAFETY: valid and aligned, as a field of it; nothing is there to be dropped.
            unsafe { field.write($value) };
        }};
    }
    let Owed { operation, object, offset, length } = owed;
    write!(value, UnsafeCell::new(value));
    write!(domain, domain);
    write!(owed.operation, operation);
    write!(owed.object, object);
    write!(owed.offset, offset);
    write!(owed.length, length);
    write!(word, AtomicU64::new(word));
    write!(waiter, Link::new());
    write!(began, PlainU64::new(0));
    write!(debtor, PlainU64::new(0));
    write!(class, class);
    write!(ticket, UnsafeCell::new(ManuallyDrop::new(None)));
    cell
}

/// The completer's end. Not dropped without [`Sender::send`]: its owner sees to that.
pub(super) struct Sender<V>(NonNull<Cell<V>>);

/// The completion's end.
pub(super) struct Receiver<V>(NonNull<Cell<V>>);

// SAFETY: a value moves from one thread to the other, never is it shared: so it must be `Send`, and that is enough. The words are atomic, and
// what is known of it is shared and never changed.
unsafe impl<V: Send> Send for Sender<V> {}
// SAFETY: through a shared sender only the word can be read.
unsafe impl<V: Send> Sync for Sender<V> {}
// SAFETY: as for the sender.
unsafe impl<V: Send> Send for Receiver<V> {}
// SAFETY: through a shared receiver only the word and what is known of it can be read.
unsafe impl<V: Send> Sync for Receiver<V> {}

/// Frees a cell.
///
/// # Safety
/// The caller is the last to own the cell ("Last one frees").
#[inline]
unsafe fn free<V>(cell: NonNull<Cell<V>>) {
    // (The value was taken out, and so was the ticket: what is left to drop is the name of the object.)
    // SAFETY: `make` wrote every field, and the cell is the caller's alone.
    unsafe { cell.drop_in_place() };
    // SAFETY: it came from `block::take` in `make`, and is given back once, by the caller's promise.
    unsafe { block::give_back(cell) };
}

impl<V> Sender<V> {
    fn cell(&self) -> &Cell<V> {
        // SAFETY: "Last one frees": the completion frees only in `READY`, which this sender sets last and by value.
        unsafe { self.0.as_ref() }
    }

    /// Whether the completion is still there.
    pub(super) fn is_wanted(&self) -> bool {
        self.cell().word.load(Acquire) & TAG != CLOSED
    }

    /// Says who owes the value, before anybody can wait for it.
    #[inline]
    pub(super) fn owed_by(&self, debtor: Debtor) {
        self.cell().debtor.store(debtor.word(), Relaxed);
    }

    /// Says that who runs here owes the value, also to who waits for it.
    pub(super) fn now_owed_by_me(&self, at: Place) {
        let cell = self.cell();
        self.paid();
        let debtor = Debtor::Member(member::me());
        order::owe(cell.class, cell.owed.operation, self.0.addr().get(), at);
        self.owed_by(debtor);
        // Ordering: AcqRel, partner of the step to `WAITED` in `register`: the later of the two sees what the other one wrote before.
        if cell.word.fetch_add(0, AcqRel) & TAG == WAITED {
            if let Some(waiter) = cell.waiter.get() {
                // Of two waiters' words, or too late, it is of no wait.
                waiter.set_debtor(debtor, cell.began.load(Relaxed));
            }
        }
    }

    /// What its debtor owes from now on is not this.
    #[inline]
    fn paid(&self) {
        if order::WATCHED {
            if let Debtor::Member(member) = Debtor::from_word(self.cell().debtor.load(Relaxed)) {
                order::paid(member, self.0.addr().get());
            }
        }
    }

    /// As [`owed_by`](Self::owed_by): the end of a member, for as long as it runs.
    pub(super) fn owed_as_end_of(&self, member: MemberRef, name: &str) {
        self.owed_by(Debtor::Member(member));
        order::owe_end(member, self.cell().class, name, self.0.addr().get());
    }

    /// Gives the value to the completion, or back if that is gone.
    #[inline]
    pub(super) fn send(self, value: V) -> Result<(), V> {
        self.paid();
        let cell = self.cell();
        cell.value.with_mut(|place| {
            // SAFETY: before `READY` the value is the completer's alone (table above).
            unsafe { &mut *place }.write(value);
        });
        let mut word = cell.word.load(Acquire);
        // The commonest case apart: what is expected is a constant, and need not wait for the load.
        // Ordering: Release, as below.
        if word == EMPTY && cell.word.compare_exchange(EMPTY, READY, Release, Relaxed).is_ok() {
            return Ok(());
        }
        loop {
            if word & TAG == CLOSED {
                // SAFETY: written above, and the completion is gone.
                let value = unsafe { cell.take_value() };
                // SAFETY: "Last one frees": `CLOSED` was seen.
                unsafe { free(self.0) };
                return Err(value);
            }
            let waiter = cell.waiter.get().map(|waiter| Watcher::from_parts(waiter, cell.began.load(Relaxed)));
            // Ordering: Release, partner of the Acquire in `is_ready`: the value is seen. Acquire: on `CLOSED`, what the completion did is seen.
            match cell.word.compare_exchange(word, word & !TAG | READY, AcqRel, Acquire) {
                Ok(_) => {
                    // The cell may be gone from here on.
                    if let Some(waiter) = waiter.filter(|_| word & TAG == WAITED) {
                        waiter.notify();
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }
}

impl<V> Receiver<V> {
    fn cell(&self) -> &Cell<V> {
        // SAFETY: "Last one frees": the completer frees only in `CLOSED`, which this receiver's drop sets last.
        unsafe { self.0.as_ref() }
    }

    /// Whether the value is there.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.cell().word.load(Acquire) & TAG == READY
    }

    /// Whose stop ends a wait for it.
    #[inline]
    pub(super) fn domain(&self) -> DomainRef {
        self.cell().domain
    }

    /// Its class, for the order of locks.
    pub(super) fn class(&self) -> Debt {
        self.cell().class
    }

    /// What is owed.
    #[inline]
    pub(super) fn owed(&self) -> &Owed {
        &self.cell().owed
    }

    /// The wait of a task that has begun with this completion.
    #[inline]
    pub(super) fn ticket(&mut self) -> &mut Option<Ticket> {
        self.cell().ticket.with_mut(|place| {
            // SAFETY: the field is the completion's alone, of which there is one, borrowed exclusively for as long as the reference lives.
            unsafe { &mut *place }
        })
    }

    /// A task's wait begins, where none has.
    #[inline]
    pub(super) fn set_ticket(&mut self, ticket: Ticket) {
        let none = ManuallyDrop::new(self.ticket().replace(ticket));
        debug_assert!(none.is_none(), "the last one has ended");
    }

    /// Names who is to be notified. Whether the value is there already, so that nobody need be.
    pub(super) fn register(&mut self, ticket: &Ticket) -> bool {
        let cell = self.cell();
        let mut word = cell.word.load(Acquire);
        loop {
            match word & TAG {
                READY => return true,
                // A wait that was stopped or timed out has left its name, or a task's wait is followed by a thread's. The completer may be reading it: so the name
                // is taken back before another one is written, else it could take one word of each. (`law5_another_waiter_is_named`, and its twin.)
                WAITED => match cell.word.compare_exchange(word, word & !TAG | EMPTY, AcqRel, Acquire) {
                    Ok(_) => word = word & !TAG | EMPTY,
                    Err(now) => word = now,
                },
                _ => {
                    let (waiter, began) = ticket.watcher().parts();
                    cell.waiter.set(Some(waiter));
                    cell.began.store(began, Relaxed);
                    // Ordering: Release, partner of the Acquire loads in `send`: the waiter's name is seen.
                    match cell.word.compare_exchange(word, ((word & !TAG) + VERSION) | WAITED, AcqRel, Acquire) {
                        Ok(_) => {
                            // After the step: see `now_owed_by_me`. The wait is the caller's, and goes on.
                            match Debtor::from_word(cell.debtor.load(Relaxed)) {
                                Debtor::Unknown => {}
                                debtor => waiter.set_debtor(debtor, began),
                            }
                            return false;
                        }
                        Err(now) => word = now,
                    }
                }
            }
        }
    }

    /// Takes the value out. `Err(self)` if it is not there yet.
    #[inline]
    pub(super) fn take(self) -> Result<V, Self> {
        if !self.is_ready() {
            return Err(self);
        }
        let mut this = ManuallyDrop::new(self);
        drop(this.ticket().take());
        // SAFETY: `READY` was seen: the value is there and the completer is gone; it is read once, because the receiver is used up.
        let value = unsafe { this.cell().take_value() };
        // SAFETY: "Last one frees": `READY` was seen.
        unsafe { free(this.0) };
        Ok(value)
    }
}

impl<V> Receiver<V> {
    /// Says that nobody wants the value any more. The value, if it was there first: a completer that was told that its value is taken finds nobody to
    /// whom it could come back. (The test `linear` finds that where a value is looked for first and the cell is closed then.)
    pub(super) fn close(self) -> Option<V> {
        ManuallyDrop::new(self).shut()
    }

    /// As [`close`](Self::close); the receiver is not used or dropped any more afterwards.
    fn shut(&mut self) -> Option<V> {
        drop(self.ticket().take());
        let cell = self.cell();
        let mut word = cell.word.load(Acquire);
        while word & TAG != READY {
            // Ordering: AcqRel, partner of the Acquire in `send`: the completer frees after everything that was done here.
            match cell.word.compare_exchange(word, word & !TAG | CLOSED, AcqRel, Acquire) {
                Ok(_) => return None,
                Err(now) => word = now,
            }
        }
        // SAFETY: `READY` was seen: the value is there, and nobody else will read or drop it.
        let value = unsafe { cell.take_value() };
        // SAFETY: "Last one frees": `READY` was seen.
        unsafe { free(self.0) };
        Some(value)
    }
}

impl<V> Drop for Receiver<V> {
    fn drop(&mut self) {
        drop(self.shut());
    }
}
