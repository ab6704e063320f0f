//! The report of the whole process, for one who may neither allocate nor take a lock: a crash handler.
//!
//! It walks the registry itself and keeps nothing but a buffer on the stack. What it has to remember of a member (the wait in which it saw it, how many
//! chains end there) it notes in that member's slot.
//!
//! # Notes
//! Two threads may crash at once. A report has a number, and takes a note of a later one for its own rather than undo it: so nobody who waits is said to run by
//! any of them, and the last one has counted right.

use std::cmp::Reverse;
use std::fmt::{self, Write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::registry::domain::{DomainRef, LastName};
use crate::registry::flight::{self, SeenFlight};
use crate::registry::member::{self, Kind, MemberRef, SeenMember};
use crate::registry::order;
use crate::registry::phase::{self, Ended, SeenPhase, State};
use crate::sys::{self, PlainU64, Relaxed};
use crate::wait::debtor::Debtor;
use crate::wait::line::monitors;
use crate::wait::look::{self, Seen};
use crate::wait::waiter::What;

use super::explain::{CauseKind, Lead, class, is_rather_followed, is_real, is_storage, lead, still_leads_to};
use super::text::{Grouped, Seconds, TimeLeft, in_line, is_endless};

/// Writes who waits for what in this process, in all domains and outside of them, to a file descriptor: in the first lines what is to blame.
///
/// It allocates nothing, takes no lock and is async-signal-safe, so that it may be called in a signal handler, a crash handler and a panic hook, whoever is
/// stuck and whatever that one holds. What changes while it reads may be shown as it was at two moments.
///
/// ```
/// use unwedge::report::report_fd;
///
/// std::panic::set_hook(Box::new(|panic| {
///     eprintln!("{panic}");
///     report_fd(std::io::stderr()).ok();
/// }));
/// # drop(std::panic::take_hook());
/// ```
///
/// # Errors
/// The first error of a write; nothing is written after it.
pub fn report_fd(fd: impl AsFd) -> io::Result<()> {
    let mut out = Out { fd: fd.as_fd(), buffer: [0; SIZE], len: 0, error: None };
    // What goes wrong is kept in `error`.
    let _ = write_all(&mut out);
    out.flush();
    out.error.map_or(Ok(()), |error| Err(error.into()))
}

const SIZE: usize = 1024;

/// A buffer before a file descriptor.
struct Out<'a> {
    fd: BorrowedFd<'a>,
    buffer: [u8; SIZE],
    len: usize,
    error: Option<rustix::io::Errno>,
}

impl Out<'_> {
    fn flush(&mut self) {
        let mut rest = &self.buffer[..self.len];
        while !rest.is_empty() && self.error.is_none() {
            match rustix::io::write(self.fd, rest) {
                Ok(0) => self.error = Some(rustix::io::Errno::IO),
                Ok(written) => rest = &rest[written.min(rest.len())..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => self.error = Some(error),
            }
        }
        self.len = 0;
    }
}

impl Out<'_> {
    /// The line ends.
    fn end(&mut self) -> fmt::Result {
        self.put("\n")
    }

    fn put(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == SIZE {
                self.flush();
            }
            let fits = rest.len().min(SIZE - self.len);
            self.buffer[self.len..self.len + fits].copy_from_slice(&rest[..fits]);
            self.len += fits;
            rest = &rest[fits..];
        }
        if self.error.is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        in_line(text, |part| self.put(part))
    }
}

/// The longest chain that is followed.
const LONGEST: u32 = 64;

fn write_all(out: &mut Out<'_>) -> fmt::Result {
    let number = Number::next();
    note_waits(number);
    let (count, waiting) = note_ends(number);
    write!(out, "unwedge: {count} threads and tasks, {waiting} wait")?;
    out.end()?;
    write_current_phases(out)?;
    write_blamed(out, number)?;
    for phase in phase::look() {
        write_phase(out, &phase)?;
    }
    for member in member::look() {
        write_member(out, &member)?;
    }
    write_locks(out)?;
    for flight in flight::look_in(|_| true) {
        write_flight(out, &flight)?;
    }
    for inversion in order::latest() {
        write!(out, "  {inversion}")?;
        out.end()?;
    }
    Ok(())
}

/// An operation in flight, whoever waits for it.
fn write_flight(out: &mut Out<'_>, flight: &SeenFlight) -> fmt::Result {
    let SeenFlight { operation, object, offset, length, age_ms, domain, .. } = flight;
    write!(out, "  in flight: {}: {operation}", LastName(*domain))?;
    if !object.is_empty() {
        write!(out, " {object}")?;
    }
    if *length != 0 {
        write!(out, " at {}, {} bytes", Grouped(*offset), Grouped(*length))?;
    }
    write!(out, ", for {}", seconds(*age_ms))?;
    out.end()
}

/// How many of those whom a phase waits for are named in its line's place: all come later.
const STEPS: usize = 3;

/// The phases that shutdowns wait for now, or have left, and where their steps are.
fn write_current_phases(out: &mut Out<'_>) -> fmt::Result {
    for phase in phase::look().filter(|phase| phase.state.may_run()) {
        let mut steps = member::look().filter(|seen| seen.is_within(phase.own));
        for step in steps.by_ref().take(STEPS) {
            write!(out, "stop of {} waits for phase {}, ", LastName(phase.domain), phase.name)?;
            write_time_left(out, &phase)?;
            write!(out, ": ")?;
            write_party(out, &step)?;
            write_wait_of(out, step.member)?;
            out.end()?;
        }
        let more = steps.count();
        if more != 0 {
            let (domain, name) = (LastName(phase.domain), phase.name);
            write!(out, "stop of {domain} waits for phase {name}: and {more} more threads and tasks")?;
            out.end()?;
        }
    }
    Ok(())
}

fn write_time_left(out: &mut Out<'_>, phase: &SeenPhase) -> fmt::Result {
    match phase.state {
        State::Over(_) => write!(out, "which was left"),
        _ => write!(out, "{}", TimeLeft((phase.state == State::Running).then_some(phase.left), phase.limit)),
    }
}

fn write_phase(out: &mut Out<'_>, phase: &SeenPhase) -> fmt::Result {
    write!(out, "  {}: phase {}: ", LastName(phase.domain), phase.name)?;
    let late = if phase.or_abort { "then the process is aborted" } else { "then it is stopped" };
    match phase.state {
        State::Planned if is_endless(phase.limit) => write!(out, "to come")?,
        State::Planned => write!(out, "to come, {} at most, {late}", Seconds(phase.limit))?,
        State::Running => {
            write!(out, "runs for {}, ", Seconds(phase.elapsed))?;
            write_time_left(out, phase)?;
            if !is_endless(phase.limit) {
                write!(out, ", {late}")?;
            }
        }
        State::Late => write!(out, "late: stopped, and its step has not ended")?,
        State::Over(Ended::Done) => write!(out, "done")?,
        State::Over(Ended::Stopped) => write!(out, "given up: its time was up")?,
        State::Over(Ended::Failed) => write!(out, "failed: {}", phase.why)?,
        State::Over(Ended::Left) => write!(out, "its time was up, and its thread has not ended")?,
        State::Over(Ended::Skipped) => write!(out, "not begun: the stop was hurried")?,
    }
    out.end()
}

/// The number of a report: see "Notes".
#[derive(Clone, Copy)]
struct Number(u32);

static NUMBERS: PlainU64 = PlainU64::new(0);

impl Number {
    fn next() -> Self {
        Number(NUMBERS.fetch_add(1, Relaxed) as u32 + 1)
    }

    /// Changes a note of this report or of an earlier one, which is none of this one's and counts as 0.
    fn change(self, note: &PlainU64, change: impl Fn(u32) -> u32) {
        let mut known = note.load(Relaxed);
        loop {
            let of = (known >> 32) as u32;
            if of > self.0 {
                return;
            }
            let changed = change(if of == self.0 { known as u32 } else { 0 });
            match note.compare_exchange(known, u64::from(self.0) << 32 | u64::from(changed), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => known = now,
            }
        }
    }

    /// What was counted by this report, or by a later one so far.
    fn count(self, note: &PlainU64) -> u32 {
        let known = note.load(Relaxed);
        if (known >> 32) as u32 >= self.0 { known as u32 } else { 0 }
    }
}

/// Notes in each member's slot a wait of it.
fn note_waits(number: Number) {
    for wait in look::look() {
        if let Some(slot) = wait.member.slot() {
            number.change(&slot.seen_in, |known| note(known, &wait));
        }
    }
}

/// The same choice as in `explain`: what is noted of a member with these two waits.
fn note(known: u32, wait: &Seen) -> u32 {
    if known != 0 && !is_real(wait) {
        return known;
    }
    let Some((before, are_several)) = noted(known, wait.member).filter(|(before, _)| is_real(before)) else {
        return wait.index;
    };
    let are_several = are_several || !is_storage(&before) || !is_storage(wait);
    let followed = if is_rather_followed(wait, &before) { wait.index } else { before.index };
    followed | if are_several { SEVERAL } else { 0 }
}

/// In a note: it is one of several waits that are not all for storage. No index has this bit.
const SEVERAL: u32 = 1 << 31;

/// The wait in a note, if this member still waits there, and whether it is one of several.
fn noted(note: u32, member: MemberRef) -> Option<(Seen, bool)> {
    let wait = look::look_at(note & !SEVERAL).filter(|wait| wait.member == member)?;
    Some((wait, note & SEVERAL != 0))
}

/// What was noted of a member.
fn note_of(member: MemberRef) -> Option<(Seen, bool)> {
    noted(member.slot()?.seen_in.load(Relaxed) as u32, member)
}

/// The wait that was noted of a member, if it still waits there.
fn wait_of(member: MemberRef) -> Option<Seen> {
    note_of(member).map(|(wait, _)| wait)
}

/// Where a member's wait leads.
fn follow(member: MemberRef) -> Lead {
    let Some((wait, is_of_several)) = note_of(member) else { return Lead::Ends(CauseKind::Outside) };
    match lead(&wait, wait.monitor.map(|cell| cell.look())) {
        Lead::Ends(CauseKind::Unpolled) => Lead::Ends(CauseKind::Unpolled),
        _ if is_of_several => Lead::Ends(CauseKind::Several),
        Lead::To(next) if next.look().is_some() => Lead::To(next),
        Lead::To(next) if still_leads_to(&wait, next) => Lead::Ends(CauseKind::Gone),
        Lead::To(_) => Lead::Ends(CauseKind::Outside),
        lead => lead,
    }
}

/// What tells the waits of a cycle from others, and from later ones; `None`: it is none, or somebody in it has gone on meanwhile.
fn waits_of_cycle(first: MemberRef) -> Option<u64> {
    let (mut at, mut sum) = (first, 0_u64);
    for _ in 0..LONGEST {
        let wait = wait_of(at)?;
        if !wait.still_waits() {
            return None;
        }
        sum = sum.rotate_left(7) ^ wait.began ^ u64::from(wait.index) << 40;
        match follow(at) {
            Lead::To(next) if next == first => return Some(sum),
            Lead::To(next) => at = next,
            Lead::Ends(_) => return None,
        }
    }
    None
}

/// Whether a cycle is a deadlock: its waits last, and have lasted while all of it was looked at.
fn is_deadlock(first: MemberRef) -> bool {
    let seen = waits_of_cycle(first);
    seen.is_some() && seen == waits_of_cycle(first)
}

/// The member at which a chain ends. In a cycle: the one with the lowest slot, and `true`.
fn end_of(member: MemberRef) -> (MemberRef, bool) {
    let mut at = member;
    let mut lowest = member;
    for step in 0..2 * LONGEST {
        match follow(at) {
            Lead::To(next) => at = next,
            Lead::Ends(_) => return (at, false),
        }
        // After so many steps it is in the cycle, if there is one; from there on the lowest is looked for.
        lowest = if step <= LONGEST || at.index() < lowest.index() { at } else { lowest };
    }
    (lowest, true)
}

/// Notes at the end of each chain how many lead to it. How many members there are, and how many wait.
fn note_ends(number: Number) -> (u32, u32) {
    let (mut count, mut waiting) = (0, 0);
    for seen in member::look() {
        count += 1;
        if wait_of(seen.member).is_none() {
            continue;
        }
        waiting += 1;
        if let Some(slot) = end_of(seen.member).0.slot() {
            number.change(&slot.seen_blocked, |known| known + 1);
        }
    }
    (count, waiting)
}

/// The deadlocks, and the worst of the other ends.
fn write_blamed(out: &mut Out<'_>, number: Number) -> fmt::Result {
    let mut worst: Option<((u8, Reverse<u32>), SeenMember)> = None;
    for seen in member::look() {
        let (end, is_cycle) = end_of(seen.member);
        if end != seen.member {
            continue;
        }
        if is_cycle {
            if is_deadlock(seen.member) {
                write_cycle(out, seen.member)?;
            }
            continue;
        }
        if let Some(rank) = rank(&seen, number).filter(|rank| worst.is_none_or(|(least, _)| *rank < least)) {
            worst = Some((rank, seen));
        }
    }
    let Some(((_, Reverse(blocked)), seen)) = worst else { return Ok(()) };
    write!(out, "to blame: ")?;
    write_party(out, &seen)?;
    write_wait_of(out, seen.member)?;
    if blocked != 0 {
        write!(out, "; {blocked} wait for that")?;
    }
    out.end()
}

/// How bad it is that chains end at this one, and how many do; the less, the worse. `None`: there is nothing to be said against it.
fn rank(end: &SeenMember, number: Number) -> Option<(u8, Reverse<u32>)> {
    let Lead::Ends(kind) = follow(end.member) else { return None };
    let wait = wait_of(end.member);
    let blocked = end.member.slot().map_or(0, |slot| number.count(&slot.seen_blocked));
    let is_waited_for = blocked > u32::from(wait.is_some());
    let is_told = match kind {
        CauseKind::Idle => false,
        // Who runs, or waits for work, is to blame where others wait for it, or where it should have ended.
        CauseKind::Outside | CauseKind::Unknown | CauseKind::Several => {
            is_waited_for || end.domain.is_some_and(DomainRef::is_over)
        }
        _ => true,
    };
    // Who shuts down waits for the others.
    let shuts_down = wait.is_some_and(|wait| wait.what == What::End);
    (is_told && !shuts_down).then_some((class(kind, is_waited_for), Reverse(blocked)))
}

fn write_cycle(out: &mut Out<'_>, first: MemberRef) -> fmt::Result {
    write!(out, "a deadlock: ")?;
    let mut at = first;
    for _ in 0..LONGEST {
        write_ref(out, at)?;
        write_wait_of(out, at)?;
        match follow(at) {
            Lead::To(next) if next != first => {
                write!(out, "; ")?;
                at = next;
            }
            _ => break,
        }
    }
    out.end()
}

fn write_member(out: &mut Out<'_>, seen: &SeenMember) -> fmt::Result {
    write!(out, "  ")?;
    if let Some(domain) = seen.domain {
        write!(out, "{}: ", LastName(domain))?;
    }
    write_party(out, seen)?;
    write_wait_of(out, seen.member)?;
    out.end()
}

fn write_locks(out: &mut Out<'_>) -> fmt::Result {
    let now = sys::coarse_millis();
    for (_, cell) in monitors().look() {
        let seen = cell.look();
        if seen.holder == MemberRef::NOBODY {
            continue;
        }
        write!(out, "  lock {}: held by ", cell.name.copy())?;
        write_ref(out, seen.holder)?;
        if let Some(since) = seen.since {
            write!(out, " for at least {}", seconds(now.saturating_sub(since)))?;
        }
        out.end()?;
    }
    Ok(())
}

fn seconds(ms: u64) -> Seconds {
    Seconds(Duration::from_millis(ms))
}

fn write_party(out: &mut Out<'_>, seen: &SeenMember) -> fmt::Result {
    let kind = if seen.kind == Kind::Task { "task" } else { "thread" };
    write!(out, "{kind} \"{}\"", seen.name)?;
    if seen.tid != 0 { write!(out, " (tid {})", seen.tid) } else { Ok(()) }
}

/// A member that may have ended.
fn write_ref(out: &mut Out<'_>, member: MemberRef) -> fmt::Result {
    match (member.look(), member.last_name()) {
        (Some(seen), _) => write_party(out, &seen),
        (None, Some(name)) => write!(out, "\"{name}\", which has ended"),
        (None, None) => write!(out, "a thread or task that has ended"),
    }
}

/// What a member waits for, and who owes or holds it.
fn write_wait_of(out: &mut Out<'_>, member: MemberRef) -> fmt::Result {
    let Some((wait, is_of_several)) = note_of(member) else { return write!(out, " runs, or blocks outside unwedge") };
    let several = if is_of_several { " for several things at once, one of them" } else { "" };
    write!(out, " waits{several} {} for ", seconds(wait.age_ms))?;
    let lock = wait.monitor.filter(|_| wait.wants_lock());
    match (wait.what, lock) {
        (_, Some(cell)) => write!(out, "lock {}", cell.name.copy())?,
        (What::Lock, None) => write!(out, "a lock that others also take directly")?,
        (What::Condition, None) => write!(out, "a condition variable")?,
        (What::Predicate, None) => write!(out, "a change")?,
        (What::Completion, None) => write_owed(out, &wait)?,
        (What::Stop, None) => write!(out, "the stop")?,
        (What::End, None) => write!(out, "threads and tasks to end")?,
    }
    if let Some(cell) =
        wait.monitor.filter(|_| lock.is_none() && matches!(wait.what, What::Condition | What::Predicate))
    {
        write!(out, " of {}", cell.name.copy())?;
    }
    if let Some(location) = wait.location {
        write!(out, " ({}:{})", location.file(), location.line())?;
    }
    if let Some(since) = wait.woken_ms {
        write!(out, ", was woken and has not been polled for {}", seconds(since))?;
    }
    match (lock.map(|cell| cell.look()), wait.condition) {
        (Some(seen), _) if seen.holder != MemberRef::NOBODY => {
            write!(out, ", held by ")?;
            write_ref(out, seen.holder)
        }
        (Some(seen), _) if seen.readers != 0 => write!(out, ", held by {} readers", seen.readers),
        (None, Some(condition)) => {
            write!(out, ", notified by unknown")?;
            let Some(last) = condition.last_notifier() else { return Ok(()) };
            write!(out, ", last by \"{}\"", last.name)?;
            if last.member.look().is_none() { write!(out, ", which has ended") } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn write_owed(out: &mut Out<'_>, wait: &Seen) -> fmt::Result {
    write!(out, "{}", wait.operation)?;
    if !wait.object.is_empty() {
        write!(out, " {}", wait.object)?;
    }
    if wait.length != 0 {
        write!(out, " at {}, {} bytes", Grouped(wait.offset), Grouped(wait.length))?;
    }
    match wait.debtor {
        Debtor::Unknown => write!(out, ", owed by unknown"),
        Debtor::Storage => Ok(()),
        Debtor::Member(member) => {
            write!(out, ", owed by ")?;
            write_ref(out, member)
        }
    }
}
