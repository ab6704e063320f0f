//! A monitor's line: who waits for its lock, and who is woken at an unlock.
//!
//! The user's lock is taken by its own `try_lock` and by nothing else. Who fails queues here and sleeps; who unlocks looks at `word` and, if
//! somebody needs it, gives the first in line its *turn*: a wake-up with which it tries again. The lock is not handed over, so a thread that
//! just runs may be faster; a thread that was overtaken repeatedly closes the fast path until it has the lock.
//!
//! | bit of `word` | meaning |
//! |---|---|
//! | `NEED` | somebody is queued and no thread has a turn: an unlock must give one |
//! | `WRITER` | the first in line wants the lock exclusively: readers queue behind it, without a try |
//! | `CLOSED` | the first thread in line was overtaken too often: nobody else may keep the lock |
//! | `ALERT` × n | the next n unlocks that find nobody in need pass a full barrier before they look |
//! | `ALWAYS` | all of them do |
//! | `READER` × n | n guards hold the lock for reading |
//!
//! # No lost wake-up (L3)
//! A waiter links itself, sets `NEED` by a read-modify-write, and *then* tries the lock once more. Who unlocks unlocks, and *then* looks at the same
//! word. Each needs a full barrier between the two, or both can miss each other (the model `twin_unlock_with_a_load` deadlocks):
//! - While the word is not 0, who unlocks looks by a read-modify-write. Of that and the waiter's the later one sees the earlier: either the waiter
//!   finds the lock free, or the unlocker finds `NEED`.
//! - While it is 0, who unlocks passes the light side of the asymmetric barrier, and loads: a lock for which nobody queues costs what the user's own
//!   costs. So who sets `NEED` where no `ALERT` was passes the heavy side, under the line's lock, before anybody relies on it: then the unlock of
//!   whoever has found 0 is seen, or he finds `NEED`. (The model `twin_queued_without_a_barrier` deadlocks.)
//!
//! `NEED` comes with `ALERT`, which later unlocks count down, and a new monitor has it. So where threads queue often, or monitors do not live long,
//! nobody passes a heavy barrier, and elsewhere one does for a thousand unlocks. Where the light side is not free there is `ALWAYS` instead, which
//! stays. (If membarrier is refused only later, who finds neither waits until all that was done so far is seen: `sys::heavy_for_bare`.)
//!
//! While a thread has a turn `NEED` is off and the duty is the thread's: it gives it back when it takes the lock and others are queued, when it
//! fails and queues again, and when it is stopped, times out or unwinds.
//!
//! Who comes to a closed line queues without a try, and relies on the one for whom it is closed; so does a reader behind a writer. That one may be
//! stopped or time out, and be passed over by an unlock in the moment before it leaves. So who leaves the head of the line without the lock gives
//! the next one its turn. (The models `line_closed_for_one_who_is_stopped` and `..._who_times_out` deadlock without.)
//!
//! # Cache lines
//! Where two threads take turns at the lock, what the last holder wrote has to come from its cache. What an acquisition *writes* (`holder`) comes
//! while it goes on; what it *reads* it waits for, and so does everybody behind it. So a writer reads nothing that a holder writes: whether the line
//! is closed stands a second time apart from that (`closed`), as a hint, and the user's lock lies apart from what leads here. (Measured, two threads
//! and a short section: 270 ns from one holder to the next with both on the holder's lines, 230 with one of them, 140 without, as bare parking_lot.)
//!
//! For the same reason the line and its stamp lie in a cache line of their own, and so does each condition and what others touch of a waiter.
//!
//! # Tasks
//! A woken task may not be polled for long. So a task's turn leaves `NEED` on, and the next thread in line is woken with it; and no reader waits
//! without a try for a task that has been woken and wants to write. A task that is notified is not linked here but given a turn at once: it is
//! polled later anyway, and queues only if the lock is not free then.
//!
//! # Who holds it
//! `holder` is stored after the lock is taken and cleared before it is let go. If a notifier moves a waiter here and, after the
//! barrier of that, still finds a holder, then that holder's unlock comes later and sees `NEED`.
//!
//! # Since when
//! The fast path looks at no clock. Who queues, and who takes the lock before others in the line, *stamps* the hold: sets `STAMPED` in `holder` by a
//! compare-and-swap, and then `stamp` to the time, all under the line's lock. The unlock's plain store takes the stamp off with the holder. So a stamp is
//! never of an earlier hold, and "held since at least then" is true; a lock for which nobody has queued has none. (Not in a model: ages play no part there.)

use crossbeam_utils::CachePadded;

use crate::registry::arena::arena;
use crate::registry::member::{self, MemberRef};
use crate::registry::text::{Copied, Text};
use crate::sys::{
    self, AcqRel, Acquire, AtomicU32, AtomicU64, LightGuard, LightMutex, PlainU32, PlainU64, Relaxed, Release,
};

use super::condition::Condition;
use super::list::List;
use super::trace;
use super::waiter::{Place, QUEUED, STOPPED, TURN, Waiter, Wake};

const NEED: u64 = 1;
const WRITER: u64 = 2;
const CLOSED: u64 = 4;
const ALERT: u64 = 8;
const ALWAYS: u64 = 1 << 15;
const READER: u64 = 1 << 16;

/// The part of the word that says whether an unlock passes a full barrier.
const ALERTS: u64 = READER - ALERT;

/// How many there are after somebody has come to be in need: a heavy barrier costs as much as some hundred read-modify-writes. In a model one, so that both ways
/// of looking follow each other.
const ALERTED: u64 = if cfg!(unwedge_loom) { 1 } else { 1023 } * ALERT;

/// The same for those of a new monitor: one that does not live long is never worth a heavy barrier. In a model it is quiet at once.
const BORN: u64 = if cfg!(unwedge_loom) { 0 } else { ALERTED };

/// That many, where it pays.
fn alerts(many: u64) -> u64 {
    if sys::is_free() { many } else { ALWAYS }
}

/// In `holder`: `stamp` is of this hold. A bit that no [`MemberRef`] has.
const STAMPED: u64 = 1 << 63;

/// What a monitor is besides the user's lock.
#[repr(C)]
pub(crate) struct MonitorCell {
    hot: CachePadded<Hot>,
    line: LightMutex<Line>,
    /// When the hold was stamped, in coarse milliseconds; 0 while that is being done. Written under the line's lock.
    stamp: PlainU64,
    /// Who waits for a change of the data (`when`).
    pub(crate) when: Condition,
    /// `CLOSED`, once more, for a writer that comes: see "Cache lines". Written under the line's lock.
    closed: AtomicU32,
    pub(crate) name: Text<4>,
    /// Counts the monitors whose cell this has been. Written by who claims it.
    pub(super) life: PlainU32,
}

/// What every holder writes.
struct Hot {
    /// See the table in the head of this file.
    word: AtomicU64,
    /// The member that holds the lock exclusively, as a word, 0 for none; with `STAMPED`: see "Since when".
    holder: AtomicU64,
}

/// Guarded by its mutex.
struct Line {
    list: List,
    /// The thread that has a turn.
    turn: Option<&'static Waiter>,
    /// The thread for which the line is closed.
    closed_for: Option<&'static Waiter>,
    /// How many threads are linked.
    threads: u32,
}

/// A monitor's lock as a reader sees it.
#[derive(Clone, Copy)]
pub(crate) struct SeenLock {
    /// Who holds it exclusively; nobody, if it is free or held for reading.
    pub(crate) holder: MemberRef,
    /// Since when at least, in coarse milliseconds.
    pub(crate) since: Option<u64>,
    /// How many hold it for reading.
    pub(crate) readers: u32,
}

/// Whether that is this one.
fn is(that: Option<&'static Waiter>, this: &'static Waiter) -> bool {
    that.is_some_and(|that| std::ptr::eq(that, this))
}

impl Line {
    const EMPTY: Line = Line { list: List::new(Place::Line), turn: None, closed_for: None, threads: 0 };

    fn link(&mut self, waiter: &'static Waiter) {
        self.list.push_back(waiter);
        self.threads += u32::from(waiter.is_thread());
    }

    /// Unlinks a waiter that is linked. Whether the line was closed for it.
    fn take_out(&mut self, waiter: &'static Waiter) -> bool {
        // Looked at first: once it is unlinked its owner may be gone, and the slot another's.
        let is_thread = waiter.is_thread();
        if self.list.remove(waiter) {
            self.threads -= u32::from(is_thread);
        }
        let was_closed = is(self.closed_for, waiter);
        if was_closed {
            self.closed_for = None;
        }
        was_closed
    }
}

arena!(
    /// Every monitor of the process.
    monitors: MonitorCell = || MonitorCell {
        hot: CachePadded::new(Hot { word: AtomicU64::new(0), holder: AtomicU64::new(0) }),
        line: LightMutex::new(Line::EMPTY),
        stamp: PlainU64::new(0),
        when: Condition::new(),
        closed: AtomicU32::new(0),
        name: Text::new(),
        life: PlainU32::new(0),
    }
);

/// Moves waiters that were notified to the end of the line, as many as come together. Whoever drops it wakes the line unless somebody holds the lock.
pub(super) struct Morphing {
    cell: &'static MonitorCell,
    line: LightGuard<'static, Line>,
    moved: bool,
}

impl Morphing {
    pub(super) fn is_to(&self, cell: &'static MonitorCell) -> bool {
        std::ptr::eq(self.cell, cell)
    }

    /// Moves one, if `won` says that its notification was first.
    pub(super) fn take(&mut self, waiter: &'static Waiter, won: impl FnOnce() -> bool) -> bool {
        let won = won();
        if won {
            self.line.link(waiter);
            self.moved = true;
        }
        won
    }
}

impl Drop for Morphing {
    fn drop(&mut self) {
        if self.moved {
            self.cell.refresh(&self.line);
        }
    }
}

impl MonitorCell {
    /// Whether who comes now may try the lock, or has to queue: a hint.
    #[inline]
    pub(super) fn seems_open(&self, shared: bool) -> bool {
        // Ordering: Relaxed, nothing is concluded from it.
        if shared { self.is_open(true) } else { self.closed.load(Relaxed) == 0 }
    }

    /// Whether who was linked tries the lock. `false` means that somebody before it in the line has the duty: see "No lost wake-up".
    #[inline]
    pub(crate) fn is_open(&self, shared: bool) -> bool {
        // Ordering: Relaxed. It comes after a read-modify-write of this word by the waiter itself, so that it reads that or what followed it.
        self.hot.word.load(Relaxed) & if shared { CLOSED | WRITER } else { CLOSED } == 0
    }

    /// The lock was taken.
    #[inline]
    pub(crate) fn acquired(&'static self, shared: bool) {
        trace::lock_taken(self, shared);
        if shared {
            self.hot.word.fetch_add(READER, AcqRel);
        } else {
            // Ordering: Relaxed, see "Who holds it": the unlock's look at `word`, with its barrier, comes after the clearing.
            self.hot.holder.store(member::me().word(), Relaxed);
        }
    }

    /// The data were changed: has those look again who wait for that.
    #[cold]
    pub(super) fn notify_when(&self) {
        self.when.note_notifier(None);
        self.when.notify_all();
    }

    /// The lock is about to be let go.
    #[inline]
    pub(crate) fn releasing(&'static self, shared: bool) {
        trace::lock_freed(self, shared);
        if !shared {
            self.hot.holder.store(0, Relaxed);
        }
    }

    /// The lock was let go.
    #[inline]
    pub(crate) fn released(&self, shared: bool) {
        // For all of it: see "No lost wake-up". Ordering: AcqRel, partner of the read-modify-write in `refresh`; Relaxed, where the barrier, the partner
        // of the one there, does it.
        if shared {
            if self.hot.word.fetch_sub(READER, AcqRel) & NEED != 0 {
                self.wake_next();
            }
            return;
        }
        sys::bare();
        if self.hot.word.load(Relaxed) != 0 {
            self.released_slow();
        }
    }

    #[cold]
    fn released_slow(&self) {
        let mut word = self.hot.word.load(Relaxed);
        // Who sees `NEED` has seen enough. Who does not, looks again by a read-modify-write of whatever is there, which counts down `ALERT`.
        while word & NEED == 0 {
            let counts = word & ALWAYS == 0 && word & ALERTS != 0;
            let counted = if counts { word - ALERT } else { word };
            // Ordering: AcqRel, partner of the read-modify-write in `refresh`.
            match self.hot.word.compare_exchange(word, counted, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.wake_next();
    }

    /// Whether somebody holds the lock whose unlock is yet to come: see "Who holds it".
    pub(super) fn is_held(&self) -> bool {
        self.hot.holder.load(Relaxed) != 0 || self.hot.word.load(Relaxed) >= READER
    }

    /// Who holds it, as a reader without any lock sees it.
    pub(crate) fn look(&self) -> SeenLock {
        // Ordering: Acquire, partner of the AcqRel in `stamp_hold`: what `stamp` says is of this hold or of a later one.
        let holder = self.hot.holder.load(Acquire);
        let stamp = self.stamp.load(Relaxed);
        SeenLock {
            holder: MemberRef::from_word(holder & !STAMPED),
            since: (holder & STAMPED != 0 && stamp != 0).then_some(stamp),
            readers: u32::try_from(self.hot.word.load(Relaxed) / READER).unwrap_or(u32::MAX),
        }
    }

    /// The same with the monitor's name, and which monitor it is; `None` where another one has come into the cell meanwhile.
    pub(crate) fn look_by_name(&self) -> Option<(u32, Copied<4>, SeenLock)> {
        let life = self.life.load(Acquire);
        let seen = (life, self.name.copy(), self.look());
        // Ordering: Acquire, partner of the Release fence in `claim`: who reads what the next monitor has sees that this one is gone.
        sys::plain_fence(Acquire);
        (self.life.load(Relaxed) == life).then_some(seen)
    }

    /// See "Since when". Under the line's lock.
    #[cfg(not(unwedge_loom))]
    fn stamp_hold(&self) {
        let holder = self.hot.holder.load(Relaxed);
        if holder != 0 && holder & STAMPED == 0 {
            self.stamp.store(0, Relaxed);
            // Ordering: AcqRel, partner of the Acquire in `look`.
            if self.hot.holder.compare_exchange(holder, holder | STAMPED, AcqRel, Relaxed).is_ok() {
                // After the step, so that it is never of a time before the hold.
                self.stamp.store(sys::coarse_millis(), Relaxed);
            }
        }
    }

    #[cfg(unwedge_loom)]
    fn stamp_hold(&self) {}

    /// Brings the bits in line with the line: one read-modify-write, and the heavy barrier where nobody was alert.
    fn refresh(&self, line: &Line) {
        let mut bits = 0;
        if let Some(first) = line.list.front() {
            if line.turn.is_none() {
                bits |= NEED;
            }
            if !first.is_shared() && (first.is_thread() || first.is(QUEUED)) {
                bits |= WRITER;
            }
        }
        let closed = u32::from(line.closed_for.is_some());
        bits |= CLOSED * u64::from(closed);
        // Not written where it says so already: others have it in their caches.
        if self.closed.load(Relaxed) != closed {
            self.closed.store(closed, Relaxed);
        }
        let needed = bits & NEED != 0;
        let alerted = alerts(ALERTED);
        let mut word = self.hot.word.load(Relaxed);
        loop {
            let alerts = if needed { alerted } else { word & ALERTS };
            let new = word & !(NEED | WRITER | CLOSED | ALERTS) | bits | alerts;
            // Ordering: AcqRel, partner of `released`: see "No lost wake-up".
            match self.hot.word.compare_exchange(word, new, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if needed && word & ALERTS == 0 {
            sys::heavy_for_bare();
        }
    }

    /// Puts a waiter at the end of the line. It tries the lock once more afterwards.
    pub(super) fn enqueue(&self, waiter: &'static Waiter) {
        let mut line = self.line.lock();
        line.link(waiter);
        self.refresh(&line);
        self.stamp_hold();
    }

    /// For waiters that were notified: see [`Morphing`].
    pub(super) fn morph(&'static self) -> Morphing {
        Morphing { cell: self, line: self.line.lock(), moved: false }
    }

    /// Back to sleep after a turn in which the lock was not free; keeps its place. Whether it is queued again (it may have been stopped).
    pub(super) fn requeue(&self, waiter: &'static Waiter, overtaken: u32) -> bool {
        let mut line = self.line.lock();
        if is(line.turn, waiter) {
            line.turn = None;
        }
        let queued = waiter.advance(TURN, QUEUED);
        if queued && waiter.place() == Place::None {
            // A task that was notified, and has its first place in the line now.
            line.list.push_back(waiter);
        }
        if queued && overtaken >= 2 && line.closed_for.is_none() && waiter.is_thread() {
            line.closed_for = Some(waiter);
        }
        self.refresh(&line);
        queued
    }

    /// Takes a waiter out, whether it has the lock now or gave up.
    #[inline]
    pub(super) fn leave(&self, waiter: &'static Waiter, has_lock: bool) {
        // Only its owner, who calls this, and a notification, which is over or lost by now, link it. Where `wake_next` has taken it out, that is
        // over too (`Waiter::place`), and its duty with it.
        if waiter.place() == Place::Line {
            self.leave_line(waiter, has_lock);
        }
    }

    fn leave_line(&self, waiter: &'static Waiter, has_lock: bool) {
        let mut line = self.line.lock();
        let was_first = is(line.list.front(), waiter);
        let had_turn = is(line.turn, waiter);
        if had_turn {
            line.turn = None;
        }
        let was_closed = line.take_out(waiter);
        self.refresh(&line);
        if has_lock && line.list.front().is_some() {
            self.stamp_hold();
        }
        // A turn that was not used goes on; so does the duty of one behind whom others queued without a try. A reader that has the lock lets
        // the readers behind it in.
        let next_reader = has_lock && waiter.is_shared() && line.list.front().is_some_and(Waiter::is_shared);
        drop(line);
        if next_reader || (!has_lock && (had_turn || was_closed || was_first)) {
            self.wake_next();
        }
    }

    /// Gives the first in line its turn, and wakes it.
    #[cold]
    pub(crate) fn wake_next(&self) {
        self.next_turn().into_iter().flatten().for_each(Wake::wake);
    }

    /// Gives the first in line its turn. Whom the caller is to wake.
    #[cold]
    pub(super) fn next_turn(&self) -> [Option<Wake>; 2] {
        // A task, and the thread behind it.
        let (mut task, mut thread) = (None, None);
        {
            let mut line = self.line.lock();
            if let Some(turn) = line.turn {
                if turn.is(TURN) {
                    return [None, None];
                }
                // Stopped, or has the lock already and is on its way to say so.
                line.turn = None;
            }
            let mut taken_out = false;
            for waiter in line.list.iter() {
                let is_thread = waiter.is_thread();
                let wake = if is_thread || task.is_none() { waiter.rouse(QUEUED, TURN) } else { None };
                if wake.is_some() && is_thread {
                    (line.turn, thread) = (Some(waiter), wake);
                    break;
                } else if wake.is_some() {
                    task = wake;
                } else if waiter.is(STOPPED) {
                    // Out of the way: otherwise each of many that are stopped together would look at all the others when it leaves. Whoever
                    // comes after it has its turn here, and its own `leave` finds it gone.
                    line.take_out(waiter);
                    taken_out = true;
                }
                if task.is_some() && line.threads == 0 {
                    break;
                }
            }
            if taken_out || (line.turn.is_none() && task.is_some()) {
                self.refresh(&line);
            }
            if line.turn.is_some() || task.is_none() {
                // The thread has the duty now; or nobody is there to be woken, and who queues again sets the bit anew.
                self.hot.word.fetch_and(!NEED, AcqRel);
            }
        }
        [task, thread]
    }

    /// A cell for a new monitor.
    pub(super) fn claim(name: &str) -> u32 {
        let index = monitors().claim();
        let cell = monitors().get(index);
        cell.life.store(cell.life.load(Relaxed).wrapping_add(1), Relaxed);
        // Ordering: Release, partner of the Acquire fence in `look_by_name`.
        sys::plain_fence(Release);
        cell.name.set_name(name);
        // Ordering: AcqRel, as wherever it is written; who uses the monitor has it from who claims its cell here.
        cell.hot.word.swap(alerts(BORN), AcqRel);
        index
    }

    /// Gives the cell back. The line is empty but for futures that were forgotten.
    pub(super) fn give_back(index: u32) {
        let cell = monitors().get(index);
        cell.when.clear();
        {
            let mut line = cell.line.lock();
            while let Some(waiter) = line.list.front() {
                line.list.remove(waiter);
            }
            *line = Line::EMPTY;
            cell.hot.word.swap(0, AcqRel);
            cell.closed.store(0, Relaxed);
        }
        cell.hot.holder.store(0, Relaxed);
        monitors().release(index);
    }
}
