//! The waiters of one condition, and how a notification moves on.
//!
//! **Wait morphing.** A thread that will take a monitor's lock is not woken into a held lock: it moves from here to the end of the monitor's
//! line, and is woken when its turn comes. A task has its turn at once (see `line`).
//!
//! # Invariants
//! - **Lock order.** A condition's lock is taken before a line's, never after it. Both are leaves otherwise: nothing foreign runs under them.
//! - **The word decides.** Who is popped here and found stopped, timed out or dropped did not consume the notification: the next one is tried
//!   (L3). A waiter that moved to a line and is stopped there remembers this condition in `passing`.

use crate::registry::arena::arena;
use crate::registry::text::Text;
use crate::sys::{AtomicU32, Mutex, Relaxed};

use super::line::{MonitorCell, monitors};
use super::list::List;
use super::waiter::{NOTIFIED, Place, QUEUED, TURN, WAITING, Waiter};

/// How many waiters one hold of the lock serves.
const BATCH: usize = 32;

/// A condition's waiters.
pub(crate) struct Condition {
    list: Mutex<List>,
    /// How many are linked: what makes a notification without waiters one load. Changed under the lock.
    len: AtomicU32,
    pub(crate) name: Text<4>,
}

arena!(
    /// Every condition variable that was ever waited on.
    conditions: Condition = Condition::new
);

impl Condition {
    #[cfg(not(unwedge_loom))]
    pub(super) const fn new() -> Self {
        Condition { list: Mutex::new(List::new(Place::Condition)), len: AtomicU32::new(0), name: Text::new() }
    }

    #[cfg(unwedge_loom)]
    pub(super) fn new() -> Self {
        Condition { list: Mutex::new(List::new(Place::Condition)), len: AtomicU32::new(0), name: Text::new() }
    }

    /// Whether somebody waits, as far as one who holds the user's lock must know: a waiter is counted before it lets go of that lock.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        // Ordering: Relaxed. The user's lock orders this load after the count of every waiter whose predicate the caller may have changed.
        self.len.load(Relaxed) != 0
    }

    /// Under the lock, so that a load and a store will do.
    fn count(&self, change: i32) {
        self.len.store(self.len.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }

    pub(super) fn push(&self, index: u32) {
        let mut list = self.list.lock();
        list.push_back(index);
        self.count(1);
    }

    /// Takes a waiter out if it is linked here. `index` waits on this condition and on no other.
    pub(super) fn remove(&self, index: u32) {
        let mut list = self.list.lock();
        if list.remove(index) {
            self.count(-1);
        }
    }

    /// Takes out whoever is left: futures that were forgotten and never dropped.
    pub(super) fn clear(&self) {
        let mut list = self.list.lock();
        while let Some((index, _)) = list.front() {
            list.remove(index);
            self.count(-1);
        }
    }

    /// Notifies the first waiter, or all who wait now. How many.
    pub(crate) fn notify(&self, all: bool) -> usize {
        if !self.has_waiters() {
            return 0;
        }
        let mut left = if all { usize::MAX } else { 1 };
        let mut first = true;
        let mut notified = 0;
        while left > 0 {
            let mut batch = Batch::new();
            {
                let mut list = self.list.lock();
                if all && first {
                    left = self.len.load(Relaxed) as usize;
                }
                first = false;
                while left > 0 && !batch.is_full() {
                    let Some((index, waiter)) = list.front() else {
                        left = 0;
                        break;
                    };
                    list.remove(index);
                    self.count(-1);
                    if batch.serve(index, waiter, all) {
                        left -= 1;
                        notified += 1;
                    } else if all {
                        left -= 1;
                    }
                }
            }
            batch.wake();
        }
        notified
    }
}

/// Whom to wake once the lock is free.
struct Batch {
    direct: [Option<&'static Waiter>; BATCH],
    len: usize,
    kick: [Option<&'static MonitorCell>; 4],
}

impl Batch {
    fn new() -> Self {
        Batch { direct: [None; BATCH], len: 0, kick: [None; 4] }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH || self.kick.iter().all(Option::is_some)
    }

    /// Gives the notification to a waiter that was just taken out of the list. Whether it took it.
    fn serve(&mut self, index: u32, waiter: &'static Waiter, all: bool) -> bool {
        let monitor = waiter.monitor.load(Relaxed);
        // Nobody but this notification gives `passing` a value, and it is read after the word.
        waiter.passing.store(if all { 0 } else { waiter.condition.load(Relaxed) }, Relaxed);
        if monitor == 0 || !waiter.is_thread() {
            let taken = waiter.advance(WAITING, if monitor == 0 { NOTIFIED } else { TURN });
            if taken {
                self.direct[self.len] = Some(waiter);
                self.len += 1;
            }
            return taken;
        }
        let cell = monitors().get(monitor);
        if !cell.morph(index, || waiter.advance(WAITING, QUEUED)) {
            return false;
        }
        for slot in &mut self.kick {
            match slot {
                Some(known) if std::ptr::eq(*known, cell) => break,
                Some(_) => {}
                None => {
                    *slot = Some(cell);
                    break;
                }
            }
        }
        true
    }

    fn wake(self) {
        for cell in self.kick.into_iter().flatten() {
            // Who holds the lock wakes the line when it lets go; where nobody does, we do.
            if !cell.is_held() {
                cell.wake_next();
            }
        }
        for waiter in self.direct.into_iter().flatten() {
            waiter.wake();
        }
    }
}
