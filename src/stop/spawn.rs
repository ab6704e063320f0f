//! Threads and tasks that belong to a domain: a shutdown waits for them and names those that do not end.
//!
//! A member ends in this order: its closure or future is dropped, its result is given to its [`Spawned`], it is taken out of the registry, so that no report
//! has it any more, and then off the list of members, whose watchers are told. A thread's handle goes to the list of the ended, where the next spawn or a shutdown joins it.

use std::any::Any;
use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::completion::{Completer, Completion, Object, Owed};
use crate::error::{Abandoned, Stopped};
use crate::registry::domain::DomainRef;
use crate::registry::member::{self, Entered, Kind, MemberRef, Membership};
use crate::sys::{self, JoinHandle, LightMutex};
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{self, WAITING, Watcher, What};

use super::slots::Slots;
use super::tracked::Tracked;
use super::{Inner, Stop};

/// The members of one domain.
pub(super) struct Members(LightMutex<State>);

struct State {
    /// A member's place may be another's by the time its handle is known: who asks says which one it means.
    running: Slots<Running>,
    /// Names that were given last: many have the same, and then share it.
    names: Vec<Object>,
    /// How many of `running` are waited for: those that do not shut down themselves.
    awaited: usize,
    /// Threads that are at their end: their handles, to be joined.
    ended: Vec<JoinHandle<()>>,
    /// Who wants to know when none of these is left any more.
    watchers: Vec<(Whom, Watcher)>,
    panicked: Vec<String>,
}

/// Small: there are thousands of them.
struct Running {
    member: MemberRef,
    handle: Handle,
    /// In how many shutdowns of this domain it is itself: nobody waits for it there (L7).
    shuts_down: u32,
}

/// By what it is ended or joined.
enum Handle {
    /// Of a future that some executor runs, or not known yet.
    None,
    Thread(Box<JoinHandle<()>>),
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    Task(tokio::task::AbortHandle),
}

/// Which members are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// By a shutdown: all but those that shut the domain down themselves (L7).
    Others,
    /// By who is itself in no shutdown of the domain, so that nobody waits for it: the one who runs a phase.
    All,
}

/// How many names are kept to be shared.
const NAMES: usize = 8;

impl State {
    /// What is kept of a member, unless it has ended and the place is another's or nobody's.
    fn running(&mut self, place: u32, member: MemberRef) -> Option<&mut Running> {
        self.running.get_mut(place).filter(|running| running.member == member)
    }

    /// A name, shared with who was given the same one lately.
    fn name(&mut self, name: &str) -> Object {
        if let Some(known) = self.names.iter().find(|known| ***known == *name) {
            return known.clone();
        }
        let new = Object::from(name);
        if self.names.len() == NAMES {
            self.names.remove(0);
        }
        self.names.push(new.clone());
        new
    }

    /// Whether any of these has not ended.
    fn are_left(&self, whom: Whom) -> bool {
        match whom {
            Whom::Others => self.awaited != 0,
            Whom::All => !self.running.is_empty(),
        }
    }

    /// The watchers of those of whom nobody is left any more.
    fn watchers_to_tell(&mut self) -> Vec<Watcher> {
        if self.watchers.is_empty() || self.awaited != 0 {
            return Vec::new();
        }
        let watchers = std::mem::take(&mut self.watchers);
        let (waits, told): (Vec<_>, Vec<_>) = watchers.into_iter().partition(|(whom, _)| self.are_left(*whom));
        self.watchers = waits;
        told.into_iter().map(|(_, watcher)| watcher).collect()
    }
}

impl Members {
    pub(super) fn new() -> Self {
        Members(LightMutex::new(State {
            running: Slots::new(),
            names: Vec::new(),
            awaited: 0,
            ended: Vec::new(),
            watchers: Vec::new(),
            panicked: Vec::new(),
        }))
    }

    /// Enters a member, and gives its place, and its name.
    fn add(&self, member: MemberRef, name: &str) -> (u32, Object) {
        let mut state = self.0.lock();
        state.awaited += 1;
        let place = state.running.insert(Running { member, handle: Handle::None, shuts_down: 0 });
        (place, state.name(name))
    }

    /// Keeps the handle of a thread that was just started, wherever it has come to meanwhile. Joins who has ended before, and waits for nobody: who
    /// does not get past its end (a thread-local's destructor that blocks) is left to the shutdown.
    fn started(&self, (place, member): (u32, MemberRef), handle: JoinHandle<()>) {
        let mut state = self.0.lock();
        match state.running(place, member) {
            Some(running) => running.handle = Handle::Thread(Box::new(handle)),
            None => state.ended.push(handle),
        }
        // Under the lock, so that a shutdown meanwhile misses nobody: only who is gone is joined, which waits for nothing and runs nobody's code.
        let ended = std::mem::take(&mut state.ended);
        state.ended = ended.into_iter().filter_map(|handle| sys::try_join(handle).err()).collect();
    }

    /// `panicked`: its name, if it did.
    fn end(&self, place: u32, panicked: Option<String>) {
        // What a task's executor gave is dropped without the lock (L6).
        let (watchers, _task) = {
            let mut state = self.0.lock();
            state.panicked.extend(panicked);
            let mut task = Handle::None;
            if let Some(ended) = state.running.remove(place) {
                state.awaited -= usize::from(ended.shuts_down == 0);
                match ended.handle {
                    Handle::Thread(handle) => state.ended.push(*handle),
                    other => task = other,
                }
            }
            (state.watchers_to_tell(), task)
        };
        for watcher in watchers {
            watcher.notify();
        }
    }

    /// Who has not ended: their slots.
    pub(super) fn left(&self) -> Vec<MemberRef> {
        self.0.lock().running.iter().map(|running| running.member).collect()
    }

    /// Whether any of these has not ended; then the watcher is told when nobody is, and not at each end: of thousands that end the last one wakes
    /// the one who waits.
    fn watch(&self, whom: Whom, watcher: &Ticket) -> bool {
        let mut state = self.0.lock();
        let left = state.are_left(whom);
        if left {
            state.watchers.push((whom, watcher.watcher()));
        }
        left
    }

    /// Marks a member as one that shuts down, and gives its place. Nobody waits for it then.
    pub(super) fn begin_shutdown(&self, member: MemberRef) -> Option<u32> {
        let (place, watchers) = {
            let mut state = self.0.lock();
            let (place, running) = state.running.iter_mut().find(|(_, running)| running.member == member)?;
            running.shuts_down += 1;
            member::set_shuts_down(running.member.index(), running.shuts_down);
            if running.shuts_down == 1 {
                state.awaited -= 1;
            }
            (place, state.watchers_to_tell())
        };
        for watcher in watchers {
            watcher.notify();
        }
        Some(place)
    }

    /// It is through with that, and may have ended meanwhile.
    pub(super) fn end_shutdown(&self, place: u32, member: MemberRef) {
        let mut state = self.0.lock();
        let Some(running) = state.running(place, member) else { return };
        running.shuts_down -= 1;
        member::set_shuts_down(running.member.index(), running.shuts_down);
        if running.shuts_down == 0 {
            state.awaited += 1;
        }
    }

    /// Has those of these that are tasks dropped by their runtime, at their next await. Whether there are any.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    pub(super) fn abort_tasks(&self, whom: Whom) -> bool {
        let state = self.0.lock();
        let left = state.running.iter().filter(|running| whom == Whom::All || running.shuts_down == 0);
        let task = |running: &Running| if let Handle::Task(task) = &running.handle { Some(task.clone()) } else { None };
        let tasks: Vec<_> = left.filter_map(task).collect();
        drop(state);
        for task in &tasks {
            task.abort();
        }
        !tasks.is_empty()
    }

    /// Joins the threads that are at their end, by a deadline that may come nearer meanwhile. How many do not get past it (a thread-local's destructor that
    /// blocks).
    pub(super) fn join_ended(&self, deadline: impl Fn() -> Instant) -> usize {
        let ended = std::mem::take(&mut self.0.lock().ended);
        sys::join_all_by(ended, deadline)
    }

    pub(super) fn panicked(&self) -> Vec<String> {
        self.0.lock().panicked.clone()
    }
}

/// Why [`Spawned::join`] gave no result.
pub enum JoinError {
    /// A stop of the domain ended the wait. The shutdown waits for the thread itself.
    Stopped,
    /// It panicked; what it panicked with.
    Panicked(Box<dyn Any + Send>),
    /// A thread would wait for its own end.
    Itself,
    /// The task was dropped before it ended.
    Aborted,
}

impl JoinError {
    /// Whether a stop ended the wait.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self, JoinError::Stopped)
    }

    /// Whether the thread or task panicked.
    #[must_use]
    pub fn is_panicked(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinError::Stopped => "Stopped",
            JoinError::Panicked(_) => "Panicked",
            JoinError::Itself => "Itself",
            JoinError::Aborted => "Aborted",
        })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinError::Stopped => "stopped while waiting for a thread or task to end",
            JoinError::Panicked(_) => "the thread or task panicked",
            JoinError::Itself => "a thread cannot wait for its own end",
            JoinError::Aborted => "the task was dropped before it ended",
        })
    }
}

impl error::Error for JoinError {}

impl From<Abandoned> for JoinError {
    fn from(_: Abandoned) -> Self {
        JoinError::Aborted
    }
}

impl From<Stopped> for JoinError {
    fn from(_: Stopped) -> Self {
        JoinError::Stopped
    }
}

/// A thread or task that a domain started. Dropping it lets go of the result only: a shutdown waits for the thread or task all the same.
pub struct Spawned<T> {
    completion: Completion<T, JoinError>,
    member: MemberRef,
    name: Object,
}

impl<T> Spawned<T> {
    /// Name of the thread or task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has given its result.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.completion.is_complete()
    }

    /// Whether this runs on the member itself.
    fn is_current(&self) -> bool {
        self.member == member::me() && !self.is_finished()
    }

    /// Waits for the result; blocks the thread.
    ///
    /// # Errors
    /// [`JoinError`]: a stop of the domain, a panic, an aborted task, or a thread that would wait for its own end (L7).
    #[track_caller]
    pub fn join(mut self) -> Result<T, JoinError> {
        if self.is_current() {
            return Err(JoinError::Itself);
        }
        self.completion.wait()?
    }
}

/// The same as [`Spawned::join`], for a task.
///
/// # Cancel safety
/// Dropping it lets go of the result only.
impl<T> Future for Spawned<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_current() {
            return Poll::Ready(Err(JoinError::Itself));
        }
        Pin::new(&mut self.completion).poll(cx).map(|result| result?)
    }
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Ends a membership however the member ends. Small: there is one in each of thousands of tasks.
pub(super) struct Ending {
    domain: Arc<Inner>,
    membership: Membership,
    place: u32,
    panicked: bool,
    /// Here, where there is room for it.
    was_polled: bool,
}

impl Ending {
    /// What runs on this thread from now on is this task.
    pub(super) fn enter(&self) -> Entered {
        self.membership.enter()
    }

    /// Its place, and whom it means there.
    fn place(&self) -> (u32, MemberRef) {
        (self.place, self.membership.member())
    }

    pub(super) fn has_panicked(&mut self) {
        self.panicked = true;
    }

    /// Whether nobody has asked this before.
    pub(super) fn is_first_poll(&mut self) -> bool {
        !std::mem::replace(&mut self.was_polled, true)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.membership.retire();
        let name = || self.membership.member().last_name().map(|name| name.to_string()).unwrap_or_default();
        self.domain.members.end(self.place, self.panicked.then(name));
    }
}

impl Stop {
    fn member<T>(&self, name: &str, kind: Kind) -> (Ending, Completer<T, JoinError>, Spawned<T>) {
        let membership = Membership::new(name, kind, Some(*self.domain()));
        let member = membership.member();
        let (place, name) = self.inner.members.add(member, name);
        let owed = Owed { operation: "end of", object: Some(name.clone()), ..Owed::default() };
        let (completer, completion) = Completion::new(owed, self);
        completer.owed_as_end_of(member, &name);
        let ending = Ending { domain: self.inner.clone(), membership, place, panicked: false, was_polled: false };
        (ending, completer, Spawned { completion, member, name })
    }

    /// Starts a thread that belongs to this domain: a shutdown waits for it, and a report names it. (The kernel keeps 15 bytes of the name.)
    ///
    /// In a domain whose stop was requested the thread starts all the same; its first wait is stopped.
    ///
    /// # Errors
    /// The system's, if it cannot start a thread.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Spawned<T>> {
        let (mut ending, completer, spawned) = self.member(name, Kind::Thread);
        let place = ending.place();
        let hook = self.inner.hook.clone();
        let thread_name = spawned.name.clone();
        let handle = sys::spawn(name, move || {
            let entered = ending.membership.enter_thread();
            let result = catch_unwind(AssertUnwindSafe(|| {
                if let Some(hook) = hook {
                    hook(&thread_name);
                }
                f()
            }));
            if result.is_err() {
                ending.has_panicked();
            }
            let unwanted = completer.finish(result.map_err(JoinError::Panicked));
            // A result that nobody wants is dropped here, and its drop may panic as well.
            waiter::contain(|| drop(unwanted));
            drop(entered);
            drop(ending);
        })?;
        self.inner.members.started(place, handle);
        Ok(spawned)
    }

    /// Starts a task that belongs to this domain, on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime, as `tokio::spawn`.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    pub fn spawn_task<T: Send + 'static>(
        &self,
        name: &str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Spawned<T> {
        let (ending, completer, spawned) = self.member(name, Kind::Task);
        let (place, member) = ending.place();
        let future = Tracked::new(future, completer, ending);
        let task = tokio::spawn(future).abort_handle();
        if let Some(running) = self.inner.members.0.lock().running(place, member) {
            running.handle = Handle::Task(task);
        }
        spawned
    }

    /// Makes a future a member of this domain: to be run on any executor. A shutdown waits until the future has ended or is dropped.
    pub fn track<T, F: Future<Output = T>>(
        &self,
        name: &str,
        future: F,
    ) -> (Spawned<T>, impl Future<Output = ()> + use<T, F>) {
        let (ending, completer, spawned) = self.member(name, Kind::Task);
        (spawned, Box::pin(Tracked::new(future, completer, ending)))
    }

    /// What a watcher of this domain's members waits with: no stop ends it, but a deadline and, if it is given, a hurried one.
    pub(super) fn watcher_note(&self, hurry: Option<DomainRef>, location: &'static Location<'static>) -> Note<'_> {
        let (index, live) = self.domain().words();
        let owed = Some(("end of", self.name(), index, live));
        Note { domain: hurry, owed, ..Note::endless(What::End, location) }
    }

    /// Waits until none of these is left in this domain and its descendants. Not past the deadline, nor past the stop of `hurry`.
    pub(super) fn wait_for_members(
        &self,
        whom: Whom,
        deadline: Instant,
        hurry: Option<DomainRef>,
        location: &'static Location<'static>,
    ) -> bool {
        // Who was found may have started others before it ended, in a part that was looked at already: so again, until nobody was found.
        let mut found = true;
        while found {
            found = false;
            for stop in self.family() {
                loop {
                    let ticket = Ticket::begin(waiter::Kind::Thread, WAITING, &stop.watcher_note(hurry, location));
                    if !stop.inner.members.watch(whom, &ticket) {
                        break;
                    }
                    found = true;
                    if ticket.is_over() || !ticket.park_while(|state| state == WAITING, Some(deadline)) {
                        return false;
                    }
                }
            }
        }
        true
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::{Kind, Stop};

    #[test]
    fn a_task_is_polled_for_the_first_time_once() {
        let (mut ending, _completer, _spawned) = Stop::new("mds.a").member::<()>("task", Kind::Task);
        assert_eq!([ending.is_first_poll(), ending.is_first_poll()], [true, false]);
    }
}
