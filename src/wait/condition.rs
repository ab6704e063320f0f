//! The waiters of one condition, and how a notification moves on.
//!
//! **Wait morphing.** A thread that will take a monitor's lock is not woken into a held lock: it moves from here to the end of the monitor's
//! line, and is woken when its turn comes. A task has its turn at once (see `line`).
//!
//! # Invariants
//! - **Lock order.** A condition's lock is taken before a line's, never after it. Both are leaves otherwise: nothing foreign runs under them.
//! - **The word decides.** Who is popped here and found stopped, timed out or dropped did not consume the notification: the next one is tried
//!   (L3). A waiter that moved to a line and is stopped there remembers this condition in `passing`.

use std::panic::Location;

use crate::registry::arena::arena;
use crate::registry::member::{self, MemberRef};
use crate::registry::text::{Copied, Text};
use crate::sys::{AtomicU32, LightGuard, LightMutex, PlainPtr, PlainU32, PlainU64, Relaxed};

use super::line::{MonitorCell, Morphing};
use super::list::List;
use super::waiter::{NOTIFIED, Place, QUEUED, TURN, WAITING, Waiter, Wake};

/// How many waiters one hold of the lock serves.
const BATCH: usize = 32;

/// Who notified a condition, as a reader sees it.
pub(crate) struct Notifier {
    pub(crate) member: MemberRef,
    pub(crate) name: Copied<4>,
    pub(crate) location: Option<&'static Location<'static>>,
}

/// A condition's waiters. What a notification touches lies in one cache line.
#[repr(C, align(64))]
pub(crate) struct Condition {
    list: LightMutex<List>,
    /// How many are linked: what makes a notification without waiters one load. Changed under the lock.
    len: AtomicU32,
    /// Its own place in the arena. Written by who claims it; a monitor's own has none.
    index: PlainU32,
    // For reports: who notified last while somebody waited, and where.
    notifier: PlainU64,
    notified_at: PlainPtr<Location<'static>>,
    /// The notifier's, whom it outlives.
    notifier_name: Text<4>,
}

arena!(
    /// Every condition variable that was ever waited on.
    conditions: Condition = Condition::new
);

impl Condition {
    #[cfg(not(unwedge_loom))]
    pub(super) const fn new() -> Self {
        Condition {
            list: LightMutex::new(List::new(Place::Condition)),
            len: AtomicU32::new(0),
            index: PlainU32::new(0),
            notifier: PlainU64::new(0),
            notified_at: PlainPtr::new(std::ptr::null_mut()),
            notifier_name: Text::new(),
        }
    }

    #[cfg(unwedge_loom)]
    pub(super) fn new() -> Self {
        Condition {
            list: LightMutex::new(List::new(Place::Condition)),
            len: AtomicU32::new(0),
            index: PlainU32::new(0),
            notifier: PlainU64::new(0),
            notified_at: PlainPtr::new(std::ptr::null_mut()),
            notifier_name: Text::new(),
        }
    }

    /// One for a new condition variable.
    pub(super) fn claim() -> &'static Condition {
        let index = conditions().claim();
        let condition = conditions().get(index);
        condition.index.store(index, Relaxed);
        condition
    }

    /// Gives it back. Nobody waits on it any more.
    pub(super) fn release(&self) {
        conditions().release(self.index.load(Relaxed));
    }

    /// Notes who notifies: a user's notification, and not one that is passed on. Only where somebody waits.
    #[inline(always)]
    pub(super) fn note_notifier(&self, at: Option<&'static Location<'static>>) {
        let notifier = member::signaller();
        if self.notifier.load(Relaxed) != notifier.word() {
            self.note_other(notifier);
        }
        self.notified_at.store(at.map_or(std::ptr::null_mut(), |at| std::ptr::from_ref(at).cast_mut()), Relaxed);
    }

    #[cold]
    fn note_other(&self, notifier: MemberRef) {
        if let Some(slot) = notifier.slot() {
            self.notifier_name.copy_from(&slot.name);
        }
        self.notifier.store(notifier.word(), Relaxed);
    }

    /// Who notified last while somebody waited, and where. Two notifications at once may be mixed.
    pub(crate) fn last_notifier(&self) -> Option<Notifier> {
        let member = MemberRef::from_word(self.notifier.load(Relaxed));
        let at = self.notified_at.load(Relaxed);
        // SAFETY: what is stored here is null or came from a `&'static Location`, and it is never written through.
        let location = unsafe { at.as_ref() };
        (member != MemberRef::NOBODY).then(|| Notifier { member, name: self.notifier_name.copy(), location })
    }

    /// Whether somebody waits, as far as one who holds the user's lock must know: a waiter is counted before it lets go of that lock.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        // Ordering: Relaxed. The user's lock orders this load after the count of every waiter whose predicate the caller may have changed.
        self.len.load(Relaxed) != 0
    }

    /// Under the lock, so that a load and a store will do.
    #[inline]
    fn count(&self, change: i32) {
        self.len.store(self.len.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }

    #[inline]
    pub(super) fn push(&self, waiter: &'static Waiter) {
        let mut list = self.list.lock();
        list.push_back(waiter);
        self.count(1);
    }

    /// Takes a waiter out if it is linked here. It waits on this condition and on no other.
    pub(super) fn remove(&self, waiter: &'static Waiter) {
        let mut list = self.list.lock();
        if list.remove(waiter) {
            self.count(-1);
        }
    }

    /// Takes out whoever is left: futures that were forgotten and never dropped.
    pub(super) fn clear(&self) {
        let mut list = self.list.lock();
        while self.pop(&mut list).is_some() {}
        self.notifier.store(0, Relaxed);
    }

    /// Notifies the first waiter. Whether there was one.
    pub(crate) fn notify_one(&self) -> bool {
        self.serve_one(Served::finish).is_some()
    }

    /// As [`notify_one`](Self::notify_one), for one who is to wake only later: whom, if there was a waiter.
    pub(super) fn notify_next(&self) -> Option<[Option<Wake>; 2]> {
        self.serve_one(Served::wakes)
    }

    #[inline(always)]
    fn serve_one<R>(&self, then: impl Fn(Served) -> R) -> Option<R> {
        if !self.has_waiters() {
            return None;
        }
        let mut list = self.list.lock();
        loop {
            let next = self.pop(&mut list)?;
            let unlocked = |list: LightGuard<'_, List>, served| {
                drop(list);
                then(served)
            };
            match serve(next, next.condition.get(), |cell| move_to(cell, next, &mut None), list, unlocked) {
                Ok(done) => return Some(done),
                Err(still) => list = still,
            }
        }
    }

    /// Notifies all who wait now. How many that were.
    pub(crate) fn notify_all(&self) -> usize {
        if !self.has_waiters() {
            return 0;
        }
        let mut notified = 0;
        let mut left = usize::MAX;
        while left > 0 {
            let mut batch = [const { None }; BATCH];
            let mut taken = 0;
            {
                let mut list = self.list.lock();
                let mut morphing = None;
                // Who comes while the lock is let go between two batches is not among them.
                left = left.min(self.len.load(Relaxed) as usize);
                while left > 0 && taken < BATCH {
                    let Some(next) = self.pop(&mut list) else { break };
                    left -= 1;
                    let moved = |cell| move_to(cell, next, &mut morphing);
                    batch[taken] = serve(next, None, moved, (), |(), served| served).ok();
                    taken += usize::from(batch[taken].is_some());
                }
            }
            notified += taken;
            batch.into_iter().flatten().for_each(Served::finish);
        }
        notified
    }

    #[inline]
    fn pop(&self, list: &mut List) -> Option<&'static Waiter> {
        let first = list.pop_front()?;
        self.count(-1);
        Some(first)
    }
}

/// What is left to do for a waiter that took a notification, once the locks are free.
enum Served {
    Wake(Wake),
    /// It was moved to this monitor's line: who holds the lock wakes the line when it lets go; where nobody does, we do.
    Moved(&'static MonitorCell),
}

/// Gives the notification to a waiter that was just taken out of the list, and does what is left to do; gives `held` back if something else had ended its wait.
/// `passing`: to whom it goes on if that one does not use it. `moved` moves a thread to its monitor's line.
///
/// Each way to the end by itself, so that the commonest is short.
#[inline(always)]
fn serve<H, R>(
    waiter: &'static Waiter,
    passing: Option<&'static Condition>,
    moved: impl FnOnce(&'static MonitorCell) -> bool,
    held: H,
    then: impl FnOnce(H, Served) -> R,
) -> Result<R, H> {
    // Nobody but this notification gives `passing` a value, and it is read after the word.
    waiter.passing.set(passing);
    match waiter.monitor.get() {
        Some(cell) if waiter.is_thread() => match moved(cell) {
            true => Ok(then(held, Served::Moved(cell))),
            false => Err(held),
        },
        Some(_) => match waiter.rouse_task(WAITING, TURN) {
            Some(wake) => Ok(then(held, Served::Wake(wake))),
            None => Err(held),
        },
        None => match end_wait(waiter) {
            Some(wake) => Ok(then(held, Served::Wake(wake))),
            None => Err(held),
        },
    }
}

/// Ends a wait over a lock that is no monitor's.
#[inline(never)]
fn end_wait(waiter: &'static Waiter) -> Option<Wake> {
    waiter.rouse(WAITING, NOTIFIED)
}

/// Moves a thread to its monitor's line. Whether it still waited. `morphing` is the line that is open for those who are moved to it.
#[inline(never)]
fn move_to(cell: &'static MonitorCell, waiter: &'static Waiter, morphing: &mut Option<Morphing>) -> bool {
    if !morphing.as_ref().is_some_and(|open| open.is_to(cell)) {
        // One line's lock at a time.
        *morphing = None;
    }
    let open = morphing.get_or_insert_with(|| cell.morph());
    open.take(waiter, || waiter.advance(WAITING, QUEUED))
}

impl Served {
    #[inline]
    fn finish(self) {
        match self {
            Served::Wake(wake) => wake.wake(),
            Served::Moved(cell) if cell.is_held() => {}
            Served::Moved(cell) => cell.wake_next(),
        }
    }

    fn wakes(self) -> [Option<Wake>; 2] {
        match self {
            Served::Wake(wake) => [Some(wake), None],
            Served::Moved(cell) if cell.is_held() => [None, None],
            Served::Moved(cell) => cell.next_turn(),
        }
    }
}
