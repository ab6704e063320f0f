//! The domain's callback thread: callbacks run here, never inside `request`, `complete` or a guard's drop, whose caller may hold the big lock.
//!
//! A callback is a small future that waits for its completion and then calls; the thread polls those that were woken. It starts with the
//! first callback, and ends when its domain is gone and no callback is left.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use crate::registry::domain::DomainRef;
use crate::registry::member::{Kind, MemberRef, Membership};
use crate::sys::{self, JoinHandle, Mutex, Parker, Until};
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{self, NOTIFIED, WAITING, Watcher, What};

use super::StartHook;
use super::shutdown::WAY_OUT;

type Callback = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A domain's callbacks.
pub(super) struct Callbacks {
    thread: Mutex<Option<Thread>>,
}

/// The thread, once it was started.
struct Thread {
    shared: Arc<Shared>,
    handle: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    parker: Parker,
}

struct State {
    woken: VecDeque<Arc<Job>>,
    /// Callbacks that have not run; the first one starts the thread.
    jobs: usize,
    /// No more will come.
    closed: bool,
    /// Who waits for the last one: slot and word.
    watcher: Option<Watcher>,
    running: bool,
    /// The thread, as a member; nobody before it runs.
    member: MemberRef,
}

struct Job {
    /// Taken out while it is polled: so no lock is held over foreign code.
    callback: Mutex<Option<Callback>>,
    shared: Arc<Shared>,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let shared = self.shared.clone();
        shared.state.lock().woken.push_back(self);
        shared.parker.unpark();
    }
}

impl Callbacks {
    pub(super) fn new() -> Self {
        Callbacks { thread: Mutex::new(None) }
    }

    /// Has a callback run by the thread, which is started if need be.
    pub(super) fn run(
        &self,
        callback: impl Future<Output = ()> + Send + 'static,
        hook: Option<StartHook>,
    ) -> io::Result<()> {
        let shared = {
            let mut thread = self.thread.lock();
            match &*thread {
                // Counted before the thread can find that nothing is left.
                Some(Thread { shared, .. }) if shared.expect_one() => shared.clone(),
                _ => {
                    let shared = Arc::new(Shared::new());
                    let own = shared.clone();
                    let handle = sys::spawn_service("uw-callback", move || own.serve(hook))?;
                    *thread = Some(Thread { shared: shared.clone(), handle });
                    shared
                }
            }
        };
        let job = Job { callback: Mutex::new(Some(Box::pin(callback))), shared };
        Arc::new(job).wake();
        Ok(())
    }

    /// Whether `me` is the callback thread: then nobody can wait for it.
    pub(super) fn is_on(&self, me: MemberRef) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| thread.shared.state.lock().member == me)
    }

    /// The domain is gone: the thread ends when its last callback has run.
    pub(super) fn leave(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.shared.close();
        }
    }

    /// Lets the callbacks that are left run, and the thread end. How many threads (one at most) and callbacks are late.
    pub(super) fn finish(&self, deadline: Instant, hurry: DomainRef) -> (usize, usize) {
        let Some(Thread { shared, handle }) = self.thread.lock().take() else { return (0, 0) };
        shared.close();
        let mut late = shared.wait_idle(deadline, Some(hurry));
        if late > 0 && hurry.is_over() {
            // One that was stopped only now is given time for its way out.
            late = shared.wait_idle(deadline.min(sys::now() + sys::HURRIED_WAY_OUT), None);
        }
        if late > 0 {
            return (1, late);
        }
        // It has nothing left to do, but what was closed before it may have used up the time.
        let way_out = Until::new(deadline.max(sys::now() + WAY_OUT), || hurry.is_over());
        (usize::from(!sys::join_by(handle, || way_out.at())), 0)
    }
}

impl Shared {
    fn new() -> Self {
        Shared {
            state: Mutex::new(State {
                woken: VecDeque::new(),
                jobs: 1,
                closed: false,
                watcher: None,
                running: true,
                member: MemberRef::NOBODY,
            }),
            parker: Parker::new(),
        }
    }

    /// Counts a callback that is about to come, if the thread still serves.
    fn expect_one(&self) -> bool {
        let mut state = self.state.lock();
        if state.running {
            state.jobs += 1;
        }
        state.running
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.parker.unpark();
    }

    /// Waits until no callback is left. How many are.
    #[track_caller]
    fn wait_idle(&self, deadline: Instant, hurry: Option<DomainRef>) -> usize {
        let location = std::panic::Location::caller();
        let note = Note { domain: hurry, ..Note::endless(What::End, location) };
        let ticket = Ticket::begin(waiter::Kind::Thread, WAITING, &note);
        {
            let mut state = self.state.lock();
            if !state.running {
                return 0;
            }
            state.watcher = Some(ticket.watcher());
        }
        if !ticket.is_over() {
            ticket.park_while(|state| state == WAITING, Some(deadline));
        }
        if ticket.retire() == NOTIFIED { 0 } else { self.state.lock().jobs }
    }

    /// The thread's loop.
    fn serve(&self, hook: Option<StartHook>) {
        let membership = Membership::new("uw-callback", Kind::Thread, None);
        let _entered = membership.enter_thread();
        self.state.lock().member = membership.member();
        if let Some(hook) = hook {
            waiter::contain(|| hook("uw-callback"));
        }
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.woken.pop_front();
                if next.is_none() && state.closed && state.jobs == 0 {
                    state.running = false;
                    let watcher = state.watcher.take();
                    drop(state);
                    if let Some(watcher) = watcher {
                        watcher.notify();
                    }
                    return;
                }
                next
            };
            match next {
                Some(job) => self.poll(&job),
                None => self.parker.park(None),
            }
        }
    }

    fn poll(&self, job: &Arc<Job>) {
        let Some(mut callback) = job.callback.lock().take() else { return };
        let waker = Waker::from(job.clone());
        let mut context = Context::from_waker(&waker);
        // Done, or the callback panicked: the panic hook has told; the others run all the same.
        let mut done = true;
        waiter::contain(|| done = callback.as_mut().poll(&mut context).is_ready());
        if done {
            waiter::contain(|| drop(callback));
            self.state.lock().jobs -= 1;
        } else {
            *job.callback.lock() = Some(callback);
        }
    }
}
