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

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::sys::{AcqRel, Acquire, AtomicU64, PlainU32, PlainU64, Relaxed, UnsafeCell};
use crate::wait::waiter::{self, Ticket};

const EMPTY: u64 = 0;
const WAITED: u64 = 1;
const READY: u64 = 2;
const CLOSED: u64 = 3;
const TAG: u64 = 3;
const VERSION: u64 = 4;

struct Cell<V, A> {
    word: AtomicU64,
    /// Slot and word of who waits. Written by the completion in `EMPTY`, read by the completer after it saw `WAITED`.
    waiter_index: PlainU32,
    waiter_word: PlainU64,
    value: UnsafeCell<MaybeUninit<V>>,
    /// What is known of it; never changed.
    about: A,
}

impl<V, A> Cell<V, A> {
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
pub(super) fn cell<V, A>(about: A) -> (Sender<V, A>, Receiver<V, A>) {
    let cell = Box::new(Cell {
        word: AtomicU64::new(EMPTY),
        waiter_index: PlainU32::new(0),
        waiter_word: PlainU64::new(0),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        about,
    });
    let cell = NonNull::from(Box::leak(cell));
    (Sender(cell), Receiver(cell))
}

/// The completer's end. Not dropped without [`Sender::send`]: its owner sees to that.
pub(super) struct Sender<V, A>(NonNull<Cell<V, A>>);

/// The completion's end.
pub(super) struct Receiver<V, A>(NonNull<Cell<V, A>>);

// SAFETY: a value moves from one thread to the other, never is it shared: so it must be `Send`, and that is enough. The words are atomic, and
// what is known of it is shared and never changed.
unsafe impl<V: Send, A: Send + Sync> Send for Sender<V, A> {}
// SAFETY: through a shared sender only the word can be read.
unsafe impl<V: Send, A: Send + Sync> Sync for Sender<V, A> {}
// SAFETY: as for the sender.
unsafe impl<V: Send, A: Send + Sync> Send for Receiver<V, A> {}
// SAFETY: through a shared receiver only the word and what is known of it can be read.
unsafe impl<V: Send, A: Send + Sync> Sync for Receiver<V, A> {}

/// Frees a cell.
///
/// # Safety
/// The caller is the last to own the cell ("Last one frees").
unsafe fn free<V, A>(cell: NonNull<Cell<V, A>>) {
    // SAFETY: it came from `Box::leak` in `cell`, and is freed once, by the caller's promise.
    drop(unsafe { Box::from_raw(cell.as_ptr()) });
}

impl<V, A> Sender<V, A> {
    fn cell(&self) -> &Cell<V, A> {
        // SAFETY: "Last one frees": the completion frees only in `READY`, which this sender sets last and by value.
        unsafe { self.0.as_ref() }
    }

    /// Whether the completion is still there.
    pub(super) fn is_wanted(&self) -> bool {
        self.cell().word.load(Acquire) & TAG != CLOSED
    }

    /// Gives the value to the completion, or back if that is gone.
    #[inline]
    pub(super) fn send(self, value: V) -> Result<(), V> {
        let cell = self.cell();
        cell.value.with_mut(|place| {
            // SAFETY: before `READY` the value is the completer's alone (table above).
            unsafe { &mut *place }.write(value);
        });
        let mut word = cell.word.load(Acquire);
        loop {
            if word & TAG == CLOSED {
                // SAFETY: written above, and the completion is gone.
                let value = unsafe { cell.take_value() };
                // SAFETY: "Last one frees": `CLOSED` was seen.
                unsafe { free(self.0) };
                return Err(value);
            }
            let waiter = (cell.waiter_index.load(Relaxed), cell.waiter_word.load(Relaxed));
            // Ordering: Release, partner of the Acquire in `is_ready`: the value is seen. Acquire: on `CLOSED`, what the completion did is seen.
            match cell.word.compare_exchange(word, word & !TAG | READY, AcqRel, Acquire) {
                Ok(_) => {
                    // The cell may be gone from here on.
                    if word & TAG == WAITED {
                        waiter::notify(waiter.0, waiter.1);
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }
}

impl<V, A> Receiver<V, A> {
    fn cell(&self) -> &Cell<V, A> {
        // SAFETY: "Last one frees": the completer frees only in `CLOSED`, which this receiver's drop sets last.
        unsafe { self.0.as_ref() }
    }

    /// Whether the value is there.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.cell().word.load(Acquire) & TAG == READY
    }

    /// What is known of it.
    #[inline]
    pub(super) fn about(&self) -> &A {
        &self.cell().about
    }

    /// Names who is to be notified. Whether the value is there already, so that nobody need be.
    pub(super) fn register(&mut self, ticket: &Ticket) -> bool {
        let cell = self.cell();
        let mut word = cell.word.load(Acquire);
        loop {
            match word & TAG {
                READY => return true,
                WAITED => match cell.word.compare_exchange(word, word & !TAG | EMPTY, AcqRel, Acquire) {
                    Ok(_) => word = word & !TAG | EMPTY,
                    Err(now) => word = now,
                },
                _ => {
                    cell.waiter_index.store(ticket.index(), Relaxed);
                    cell.waiter_word.store(ticket.waiting_word(), Relaxed);
                    // Ordering: Release, partner of the Acquire loads in `send`: the waiter's name is seen.
                    match cell.word.compare_exchange(word, ((word & !TAG) + VERSION) | WAITED, AcqRel, Acquire) {
                        Ok(_) => return false,
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
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `READY` was seen: the value is there and the completer is gone; it is read once, because the receiver is used up.
        let value = unsafe { this.cell().take_value() };
        // SAFETY: "Last one frees": `READY` was seen.
        unsafe { free(this.0) };
        Ok(value)
    }
}

impl<V, A> Drop for Receiver<V, A> {
    fn drop(&mut self) {
        let cell = self.cell();
        let mut word = cell.word.load(Acquire);
        while word & TAG != READY {
            // Ordering: AcqRel, partner of the Acquire in `send`: the completer frees after everything that was done here.
            match cell.word.compare_exchange(word, word & !TAG | CLOSED, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        // SAFETY: `READY` was seen: the value is there, and nobody else will read or drop it.
        let value = unsafe { cell.take_value() };
        // SAFETY: "Last one frees": `READY` was seen.
        unsafe { free(self.0) };
        drop(value);
    }
}
