//! The report as text for a terminal. The first lines say why it does not stop; then come those that have not ended, and what else there is.

use std::fmt::{self, Formatter, Write};
use std::time::Duration;

use super::Report;
use super::explain::{Cause, CauseKind, Step};
use super::parts::{
    HeldBy, MemberReport, Notified, OperationReport, Outcome, OwedBy, Party, PhaseReport, WaitReport, WaitsFor,
};

/// How many causes the text names.
const CAUSES: usize = 2;

/// How many members the text names.
const MEMBERS: usize = 100;

/// How many locks the text names.
const LOCKS: usize = 20;

/// How many operations the text names that nobody waits for.
const OPERATIONS: usize = 5;

/// How many waits, or locks that it holds, the text names of a member.
const EACH: usize = 4;

/// How many of those that panicked, and how many inversions, the text names.
const REST: usize = 10;

/// Passes a text on that has to stay in its line, whoever gave it: control characters as escapes.
pub(super) fn in_line(text: &str, mut pass_on: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
    let mut rest = text;
    while let Some((at, control)) = rest.char_indices().find(|(_, c)| c.is_control()) {
        pass_on(&rest[..at])?;
        for escaped in control.escape_default() {
            pass_on(escaped.encode_utf8(&mut [0; 4]))?;
        }
        rest = &rest[at + control.len_utf8()..];
    }
    pass_on(rest)
}

/// Where a report is written, line by line.
struct Lines<'a, 'f>(&'a mut Formatter<'f>);

impl Lines<'_, '_> {
    /// The next line begins.
    fn next(&mut self) -> fmt::Result {
        self.0.write_str("\n  ")
    }

    /// How many more there are of what was told a few of.
    fn more(&mut self, all: usize, told: usize, what: &str) -> fmt::Result {
        match all.saturating_sub(told) {
            0 => Ok(()),
            more => {
                self.next()?;
                write!(self, "and {more} more{what}")
            }
        }
    }
}

impl Write for Lines<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        in_line(text, |part| self.0.write_str(part))
    }
}

/// A number with a comma before each three digits.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.checked_ilog10().unwrap_or(0);
        for at in (0..=digits).rev() {
            write!(f, "{}", self.0 / 10_u64.pow(at) % 10)?;
            if at != 0 && at % 3 == 0 {
                f.write_str(",")?;
            }
        }
        Ok(())
    }
}

/// Seconds with one decimal.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.as_millis() + 50) / 100;
        write!(f, "{}.{} s", tenths / 10, tenths % 10)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let f = &mut Lines(f);
        self.write_head(f)?;
        self.write_causes(f)?;
        let unwaited = self.flights.unwaited();
        if self.waits_for_io() {
            write_operations(f, "stop waits for", &unwaited)?;
        }
        self.write_phases(f)?;
        self.write_members(f)?;
        self.write_locks(f)?;
        match self.elapsed {
            Some(_) => write_operations(f, "left in flight:", &unwaited)?,
            None if !self.waits_for_io() => {
                write_operations(f, "in flight, and nobody waits for it:", &unwaited)?;
            }
            None => {}
        }
        self.write_rest(f)
    }
}

impl Report {
    fn write_head(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        write!(f, "{}: ", self.domain)?;
        match (&self.reason, self.elapsed) {
            (None, _) => write!(f, "no stop requested"),
            (Some(reason), None) => write!(f, "stopping ({reason})"),
            (Some(reason), Some(elapsed)) if self.is_clean() => write!(f, "stopped ({reason}) in {elapsed:.1?}"),
            (Some(reason), Some(elapsed)) => write!(f, "NOT STOPPED ({reason}) after {elapsed:.1?}"),
        }?;
        self.write_current_phase(f)
    }

    /// The phase that the shutdown waits for.
    fn write_current_phase(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        let Some(phase) = self.phases.iter().find(|phase| phase.outcome.is_current()) else { return Ok(()) };
        let count = self.phases.iter().filter(|other| other.plan == phase.plan).count();
        write!(f, ", in phase {}", phase.name)?;
        if phase.domain != self.domain {
            write!(f, " of {}", phase.domain)?;
        }
        write!(f, " ({} of {count}), ", phase.place + 1)?;
        write!(f, "{}", TimeLeft(phase.left, phase.limit))
    }

    /// Whether a shutdown has nothing else to wait for.
    fn waits_for_io(&self) -> bool {
        self.reason.is_some() && self.elapsed.is_none() && self.left.is_empty()
    }

    fn write_phases(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        for phase in &self.phases {
            f.next()?;
            write!(f, "phase {}", phase.name)?;
            if phase.domain != self.domain {
                write!(f, " of {}", phase.domain)?;
            }
            write!(f, ": ")?;
            write_phase(f, phase)?;
        }
        Ok(())
    }

    fn write_causes(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        let told: Vec<_> = self.causes.iter().filter(|cause| self.is_told(cause)).collect();
        for cause in told.iter().take(CAUSES) {
            f.next()?;
            match &self.reason {
                Some(_) => write!(f, "stop waits for {cause:#}")?,
                None => write!(f, "{cause}")?,
            }
        }
        // The worst come first: behind one that is not worth a line none is.
        let more = if told.len() == self.causes.len() { self.more_causes } else { 0 };
        f.more(told.len() + more, CAUSES, "")
    }

    /// Whether a cause is worth a line: one that merely waits for the stop, or for work, is none until it should have ended.
    pub(super) fn is_told(&self, cause: &Cause) -> bool {
        match cause.kind {
            _ if cause.phase.is_some() => true,
            CauseKind::Idle => false,
            CauseKind::Unknown | CauseKind::Outside | CauseKind::Several => self.reason.is_some() || cause.in_turn > 0,
            _ => true,
        }
    }

    fn write_members(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        let shown = self.first_members(MEMBERS);
        let heads: Vec<_> = shown.iter().map(head).collect();
        let width = heads.iter().map(|head| head.chars().count()).max().unwrap_or(0);
        for (member, head) in shown.iter().zip(&heads) {
            f.next()?;
            write!(f, "{head:width$}")?;
            if member.waits.is_empty() {
                write!(f, " runs, or blocks outside unwedge")?;
            }
            for (at, wait) in member.waits.iter().take(EACH).enumerate() {
                write!(f, "{}", if at == 0 { "" } else { "," })?;
                write_wait(f, wait)?;
            }
            write_more(f, member.waits.len())?;
            for (at, lock) in member.holds.iter().take(EACH).enumerate() {
                write!(f, "{}{lock}", if at == 0 { "; holds " } else { ", " })?;
            }
            write_more(f, member.holds.len())?;
        }
        f.more(self.left.len(), MEMBERS, " threads and tasks")
    }

    fn write_locks(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        let waited_for: Vec<_> = self.locks.iter().filter(|lock| lock.queue > 0).collect();
        for lock in waited_for.iter().take(LOCKS) {
            f.next()?;
            write!(f, "lock {}: {}", lock.name, Held(&lock.held_by))?;
            if let Some(age) = lock.held_for {
                write!(f, " for at least {}", Seconds(age))?;
            }
            write!(f, ", {} waiting", lock.queue)?;
        }
        f.more(waited_for.len(), LOCKS, " locks")
    }

    fn write_rest(&self, f: &mut Lines<'_, '_>) -> fmt::Result {
        let leaked = &self.rest.leaked;
        if leaked.operations != 0 {
            f.next()?;
            write!(f, "in the kernel: {} operations, {} bytes leaked", leaked.operations, leaked.bytes)?;
        }
        if self.leaked_threads() != 0 {
            f.next()?;
            write!(f, "threads left: {}", self.leaked_threads())?;
        }
        if self.rest.late_callbacks != 0 {
            f.next()?;
            write!(f, "callbacks left: {}", self.rest.late_callbacks)?;
        }
        if self.rest.busy != 0 {
            f.next()?;
            write!(f, "still being closed by another shutdown: {} domains", self.rest.busy)?;
        }
        for inversion in self.inversions.iter().take(REST) {
            f.next()?;
            write!(f, "{inversion}")?;
        }
        f.more(self.inversions.len(), REST, " inversions")?;
        for name in self.panicked.iter().take(REST) {
            f.next()?;
            write!(f, "panicked: {name}")?;
        }
        f.more(self.panicked.len(), REST, " that panicked")
    }
}

/// The rest of what was told a few of in a line.
fn write_more(f: &mut Lines<'_, '_>, all: usize) -> fmt::Result {
    if all > EACH { write!(f, ", and {} more", all - EACH) } else { Ok(()) }
}

fn write_operations(f: &mut Lines<'_, '_>, what: &str, operations: &[OperationReport]) -> fmt::Result {
    for operation in operations.iter().take(OPERATIONS) {
        f.next()?;
        write!(f, "{what} {operation}")?;
    }
    f.more(operations.len(), OPERATIONS, " operations")
}

/// How far a phase has come, and what becomes of it when it is late.
fn write_phase(f: &mut Lines<'_, '_>, phase: &PhaseReport) -> fmt::Result {
    let late = if phase.or_abort { "then the process is aborted" } else { "then it is stopped" };
    match &phase.outcome {
        Outcome::Planned if is_endless(phase.limit) => return f.write_str("to come"),
        Outcome::Planned => return write!(f, "to come, {} at most, {late}", Seconds(phase.limit)),
        Outcome::Running => {
            write!(f, "runs for {}, {}", Seconds(phase.elapsed), TimeLeft(phase.left, phase.limit))?;
            return if is_endless(phase.limit) { Ok(()) } else { write!(f, ", {late}") };
        }
        Outcome::Late => f.write_str("late: stopped, and its step has not ended"),
        Outcome::Done => f.write_str("done"),
        Outcome::Stopped => f.write_str("given up: its time was up"),
        Outcome::Failed(why) => write!(f, "failed: {why}"),
        Outcome::Left => f.write_str("its time was up, and its thread has not ended"),
        Outcome::Skipped => f.write_str("not begun: the stop was hurried"),
    }?;
    write!(f, " ({:.1?})", phase.elapsed)
}

/// A limit that nobody has set.
pub(super) fn is_endless(limit: Duration) -> bool {
    limit >= Duration::from_secs(30 * 24 * 60 * 60)
}

/// How much time a phase has left, of its limit.
pub(super) struct TimeLeft(pub(super) Option<Duration>, pub(super) Duration);

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(_) if is_endless(self.1) => f.write_str("without a limit"),
            Some(left) => write!(f, "{} left", Seconds(left)),
            None => f.write_str("late"),
        }
    }
}

fn head(member: &MemberReport) -> String {
    let kind = if member.is_task { "task" } else { "thread" };
    let mut head = format!("{kind} {}", member.name);
    if member.tid != 0 {
        head += &format!(" (tid {})", member.tid);
    }
    if let Some(phase) = &member.phase {
        head += &format!(" of phase {phase}");
    }
    head
}

fn write_wait(f: &mut Lines<'_, '_>, wait: &WaitReport) -> fmt::Result {
    write!(f, " waits {} for {}", Seconds(wait.age), wait.what)?;
    if let Some(holder) = &wait.holder {
        write!(f, ", held by {holder}")?;
    }
    if wait.woken {
        write!(f, ", woken but not run yet")?;
    }
    if let Some(since) = wait.woken_for {
        write!(f, " (for {})", Seconds(since))?;
    }
    if let Some(location) = wait.location {
        write!(f, " ({location})")?;
    }
    Ok(())
}

/// Who holds a lock, in words.
struct Held<'a>(&'a HeldBy);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            HeldBy::Nobody => f.write_str("held by nobody"),
            HeldBy::Readers(count) => write!(f, "held by {count} readers"),
            HeldBy::Member(party) => write!(f, "held by {}", Ended(party)),
        }
    }
}

/// A party, and that it has ended if it has.
struct Ended<'a>(&'a Party);

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        if self.0.has_ended {
            f.write_str(", which has ended")?;
        }
        Ok(())
    }
}

/// What a wait is for, in a sentence.
pub(super) struct For<'a>(pub(super) &'a WaitsFor);

impl fmt::Display for For<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            WaitsFor::Lock { name, .. } if name.is_empty() => f.write_str("a lock that others also take directly"),
            WaitsFor::Lock { name, .. } => write!(f, "lock {name}"),
            WaitsFor::Condition { monitor: Some(monitor), .. } => write!(f, "a condition variable of {monitor}"),
            WaitsFor::Condition { .. } => f.write_str("a condition variable"),
            WaitsFor::Change { monitor, .. } => write!(f, "a change of {monitor}"),
            WaitsFor::Completion { operation, object, offset, length, .. } => {
                write!(f, "{}", Doing { operation, object: object.as_deref(), at: (*offset, *length) })
            }
            WaitsFor::Stop => f.write_str("the stop"),
            WaitsFor::End { of: Some(of) } => write!(f, "the end of the threads and tasks of {of}"),
            WaitsFor::End { of: None } => f.write_str("threads and tasks to end"),
        }
    }
}

impl fmt::Display for OperationReport {
    /// `read of 200.00000001 at 1,048,576, for 3.2 s`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let doing =
            Doing { operation: &self.operation, object: self.object.as_deref(), at: (self.offset, self.length) };
        write!(f, "{doing}, for {}", Seconds(self.age))
    }
}

/// An operation in words.
struct Doing<'a> {
    operation: &'a str,
    object: Option<&'a str>,
    /// Offset and length.
    at: (u64, u64),
}

impl fmt::Display for Doing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Doing { operation, object, at: (offset, length) } = self;
        f.write_str(operation)?;
        match object {
            // "end of" has the word already.
            Some(object) if operation.ends_with("of") => write!(f, " {object}")?,
            Some(object) => write!(f, " of {object}")?,
            None => {}
        }
        if *length != 0 { write!(f, " at {}", Grouped(*offset)) } else { Ok(()) }
    }
}

impl fmt::Display for Cause {
    /// The chain in a sentence: `thread "replay" waits 3.2 s for ...`. The alternate form goes on after "waits for": `thread "replay", which waits ...`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.kind == CauseKind::Deadlock {
            f.write_str("a deadlock: ")?;
        }
        for (at, step) in self.chain.iter().enumerate() {
            if at == 0 {
                write!(f, "{}", step.member)?;
                if let Some(phase) = &self.phase {
                    write!(f, " of phase {phase}")?;
                }
            }
            let next = self.chain.get(at + 1);
            self.write_step(f, step, at == 0, next)?;
        }
        let rest = self.blocked.saturating_sub(self.chain.len()).max(self.others.len());
        if rest > 0 {
            write!(f, "; {rest} more wait for that: {}", self.others.join(", "))?;
            if rest > self.others.len() {
                f.write_str(", ...")?;
            }
        }
        Ok(())
    }
}

impl Cause {
    /// One step: what it waits for, and who is the next.
    fn write_step(&self, f: &mut Formatter<'_>, step: &Step, is_first: bool, next: Option<&Step>) -> fmt::Result {
        let is_subject = is_first && (self.kind == CauseKind::Deadlock || !f.alternate());
        f.write_str(if is_subject { "" } else { ", which" })?;
        let Some(wait) = &step.wait else { return f.write_str(" runs, or blocks outside unwedge") };
        let on = For(&wait.on);
        if let Some(since) = wait.woken_for {
            write!(f, " waited for {on}, was woken and has not been polled for {}", Seconds(since))?;
            return write_place(f, wait);
        }
        write!(f, " waits {} for {on}", Seconds(wait.age))?;
        write_place(f, wait)?;
        match &wait.on {
            WaitsFor::Lock { held_by, name, .. } if !name.is_empty() => write!(f, ", {}", Held(held_by)),
            WaitsFor::Completion { owed_by: OwedBy::Member(party), .. } => write!(f, ", owed by {}", Ended(party)),
            WaitsFor::Completion { owed_by: OwedBy::Unknown, .. } => f.write_str(", owed by unknown"),
            WaitsFor::Condition { notified_by: by, .. } | WaitsFor::Change { changed_by: by, .. } => {
                write_notifier(f, by.as_ref())
            }
            WaitsFor::End { .. } => next.map_or(Ok(()), |next| write!(f, ": {}", next.member)),
            _ => Ok(()),
        }
    }
}

fn write_place(f: &mut Formatter<'_>, wait: &WaitReport) -> fmt::Result {
    wait.location.map_or(Ok(()), |location| write!(f, " ({location})"))
}

fn write_notifier(f: &mut Formatter<'_>, notified: Option<&Notified>) -> fmt::Result {
    f.write_str("; who is to end that wait is unknown")?;
    match notified {
        None => f.write_str(", nobody has yet"),
        Some(Notified { by, location: None }) => write!(f, ", last it was {}", Ended(by)),
        Some(Notified { by, location: Some(location) }) => write!(f, ", last it was {} ({location})", Ended(by)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Grouped, Seconds};
    use std::time::Duration;

    #[test]
    fn numbers_are_grouped_and_seconds_have_one_decimal() {
        let grouped = |n| Grouped(n).to_string();
        assert_eq!([0, 7, 999].map(grouped), ["0", "7", "999"]);
        assert_eq!([1000, 1_048_576, u64::MAX].map(grouped), ["1,000", "1,048,576", "18,446,744,073,709,551,615"]);
        let seconds = |ms| Seconds(Duration::from_millis(ms)).to_string();
        assert_eq!([0, 49, 50, 3_249, 60_000].map(seconds), ["0.0 s", "0.0 s", "0.1 s", "3.2 s", "60.0 s"]);
    }
}
