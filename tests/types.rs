//! What is `Send` and `Sync`, and what is not; and how large what lies on a stack is.

use std::mem::size_of;
use std::sync::Mutex;

use unwedge::lock::Lock;
use unwedge::{Completer, Completion, Condvar, Monitor, MonitorGuard, Plan, Spawned, Stop};

fn send<T: Send>(value: T) -> T {
    value
}

fn sync<T: Sync>(_: &T) {}

fn stays_static<T: 'static>(_: &T) {}

/// Asks whether a type is `Send` where it need not be: the inherent constant hides the trait's where it exists.
struct Ask<T: ?Sized>(std::marker::PhantomData<T>);

trait Otherwise {
    const IS_SEND: bool = false;
}

impl<T: ?Sized> Otherwise for Ask<T> {}

impl<T: ?Sized + Send> Ask<T> {
    const IS_SEND: bool = true;
}

/// A type, and whether it must be `Send`.
macro_rules! is_send {
    ($type:ty, $must:literal) => {
        assert_eq!(Ask::<$type>::IS_SEND, $must, stringify!($type))
    };
}

#[test]
fn a_guard_is_send_where_the_lock_s_own_is() {
    is_send!(MonitorGuard<'static, tokio::sync::Mutex<u8>>, true);
    is_send!(MonitorGuard<'static, tokio::sync::RwLock<u8>, unwedge::Shared>, true);
    is_send!(MonitorGuard<'static, Mutex<u8>>, false);
    is_send!(MonitorGuard<'static, parking_lot::Mutex<u8>>, false);
    is_send!(MonitorGuard<'static, parking_lot::RwLock<u8>, unwedge::Shared>, false);
    is_send!(<tokio::sync::Mutex<u8> as Lock>::Guard<'static>, true);
    is_send!(<Mutex<u8> as Lock>::Guard<'static>, false);
}

#[test]
fn a_monitor_is_shared_where_its_lock_is() {
    let stop = Stop::new("types");
    sync(&send(Monitor::new("m", parking_lot::Mutex::new(0_u8), &stop)));
    sync(&send(Monitor::new("m", Mutex::new(std::cell::Cell::new(0_u8)), &stop)));
    is_send!(Monitor<Mutex<std::rc::Rc<u8>>>, false);
    is_send!(&'static Monitor<parking_lot::ReentrantMutex<std::rc::Rc<u8>>>, false);
}

#[test]
fn what_crosses_threads_may() {
    let stop = Stop::new("types");
    sync(&send(stop.clone()));
    stays_static(&stop);
    sync(&send(Condvar::new()));
    sync(&send(stop.report()));
    drop(send(Plan::within(std::time::Duration::ZERO)));
    // A value that is no more than `Send` may be completed and waited for anywhere.
    let (completer, completion) = send(Completion::<std::cell::Cell<u8>>::new("value", &stop));
    sync(&completer);
    drop(send(completer.complete(std::cell::Cell::new(1))));
    drop(send(completion));
    is_send!(Completion<std::rc::Rc<u8>>, false);
    is_send!(Completer<std::rc::Rc<u8>>, false);
    is_send!(Spawned<u8>, true);
    is_send!(Spawned<std::rc::Rc<u8>>, false);
}

/// A task of the kind that a daemon has, over parking_lot's lock, whose guard is not `Send`.
async fn task(monitor: &Monitor<parking_lot::Mutex<u8>>, rw: &Monitor<parking_lot::RwLock<u8>>, condvar: &Condvar) {
    let _ = monitor.when_async(|n| (*n > 0).then_some(*n)).await;
    let _ = monitor.lock_async().await.map(|guard| *guard);
    let _ = rw.read_async().await.map(|guard| *guard);
    let wait = monitor.lock_async().await.map(|guard| guard.wait_while_async(condvar, |n| *n == 0));
    if let Ok(wait) = wait {
        let _ = wait.await.map(|guard| *guard);
    }
}

#[test]
fn futures_are_send_over_a_lock_whose_guard_is_not() {
    let stop = Stop::new("types");
    let monitor = Monitor::new("m", parking_lot::Mutex::new(0_u8), &stop);
    let rw = Monitor::new("m", parking_lot::RwLock::new(0_u8), &stop);
    let condvar = Condvar::new();
    drop(send(monitor.lock_async()));
    drop(send(rw.read_async()));
    drop(send(monitor.when_async(|n| (*n > 0).then_some(()))));
    drop(send(monitor.lock().expect("free").wait_async(&condvar)));
    drop(send(monitor.lock().expect("free").wait_while_async(&condvar, |n| *n == 0)));
    drop(send(stop.requested()));
    drop(send(stop.shutdown_async(Plan::within(std::time::Duration::ZERO))));
    drop(send(task(&monitor, &rw, &condvar)));
    let (spawned, tracked) = stop.track("task", async {});
    drop(send((spawned, tracked)));
}

#[test]
fn what_lies_on_a_stack_is_small() {
    // In words of the machine; what a lock's own guard or a value needs is its own.
    let word = size_of::<usize>();
    assert!(size_of::<Stop>() <= 4 * word, "{}", size_of::<Stop>());
    assert_eq!(size_of::<Condvar>(), word);
    assert!(size_of::<Completer<u8>>() <= word, "{}", size_of::<Completer<u8>>());
    assert!(size_of::<Completion<u8>>() <= 8 * word, "{}", size_of::<Completion<u8>>());
    let own = size_of::<parking_lot::MutexGuard<'static, u8>>();
    let guard = size_of::<MonitorGuard<'static, parking_lot::Mutex<u8>>>();
    // Where the order of locks is watched it knows who holds it.
    let watch = if cfg!(debug_assertions) { 2 * word } else { 0 };
    assert!(guard <= own + 3 * word + watch, "{guard}");
    assert!(size_of::<unwedge::LockFuture<'static, Mutex<u8>>>() <= 16 * word);
    assert_eq!(size_of::<Result<(), unwedge::Stopped>>(), 1);
}
