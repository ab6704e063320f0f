//! The order of locks and waits: what contradicts itself is told with both places though nothing has deadlocked, and nothing else is.

use std::sync::{Arc, Mutex};

use unwedge::report::{Inversion, on_inversion};
use unwedge::{Completion, Condvar, Monitor, Stop};

use crate::common::guarded;
use crate::end;
use crate::seen::until_waits;

fn monitor(name: &'static str, stop: &Stop) -> Arc<Monitor<Mutex<u32>>> {
    Arc::new(Monitor::new(name, Mutex::new(0), stop))
}

/// What was found so far in which a class of this name has a part.
fn found(stop: &Stop, name: &str) -> Vec<Inversion> {
    let all = stop.report().inversions().to_vec();
    all.into_iter().filter(|it| it.now.held == name || it.now.wanted == name).collect()
}

/// Runs a test in a domain of its own. What is found is not printed.
fn in_a_domain(test: impl FnOnce(&Stop) -> Result<(), unwedge::Stopped> + Send + 'static) {
    guarded(|| {
        on_inversion(|_| ());
        let stop = Stop::new("order");
        test(&stop).expect("no stop");
        end(&stop);
    });
}

#[test]
fn two_orders_of_two_locks_are_told_with_both_places() {
    in_a_domain(|stop| {
        let (a, b) = (monitor("a1", stop), monitor("b1", stop));
        let first = line!() + 2;
        {
            let _a = a.lock()?;
            let _b = b.lock()?;
        }
        assert!(found(stop, "a1").is_empty());
        let second = line!() + 2;
        for _ in 0..3 {
            let _b = b.lock()?;
            let _a = a.lock()?;
        }
        let found = found(stop, "a1");
        assert_eq!(found.len(), 1, "once: {found:?}");
        let Inversion { now, before, .. } = &found[0];
        assert_eq!(
            (&*now.held, now.held_at.line(), &*now.wanted, now.wanted_at.line()),
            ("b1", second, "a1", second + 1)
        );
        assert_eq!(before.len(), 1);
        let then = &before[0];
        assert_eq!(
            (&*then.held, then.held_at.line(), &*then.wanted, then.wanted_at.line()),
            ("a1", first, "b1", first + 1)
        );
        assert!(then.held_at.file().ends_with("order.rs"));
        assert!(stop.report().to_string().contains("lock order inversion: b1 ("), "{}", stop.report());
        Ok(())
    });
}

#[test]
fn a_circle_of_three_is_told_with_all_that_leads_round() {
    in_a_domain(|stop| {
        let locks = [monitor("a2", stop), monitor("b2", stop), monitor("c2", stop)];
        for (first, second) in [(0, 1), (1, 2), (2, 0)] {
            let _first = locks[first].lock()?;
            let _second = locks[second].lock()?;
        }
        let found = found(stop, "c2");
        assert_eq!(found.len(), 1, "{found:?}");
        let before: Vec<_> = found[0].before.iter().map(|it| (&*it.held, &*it.wanted)).collect();
        assert_eq!(before, [("a2", "b2"), ("b2", "c2")]);
        Ok(())
    });
}

#[test]
fn what_is_only_tried_wants_nothing_and_is_held_all_the_same() {
    in_a_domain(|stop| {
        let (a, b) = (monitor("a3", stop), monitor("b3", stop));
        {
            let _a = a.lock()?;
            let _b = b.try_lock()?;
        }
        {
            let _b = b.lock()?;
            let _a = a.lock()?;
        }
        assert!(found(stop, "a3").is_empty(), "{:?}", found(stop, "a3"));
        {
            let _a = a.try_lock()?;
            let _b = b.lock()?;
        }
        assert_eq!(found(stop, "a3").len(), 1, "who has it by a try holds it");
        Ok(())
    });
}

#[test]
fn instances_of_one_class_are_told_only_where_two_are_taken_in_both_orders() {
    in_a_domain(|stop| {
        let ranks: Vec<_> = (0..4).map(|_| monitor("rank4", stop)).collect();
        for first in 0..4 {
            for second in first + 1..4 {
                let _first = ranks[first].lock()?;
                let _second = ranks[second].lock()?;
            }
        }
        assert!(found(stop, "rank4").is_empty());
        let _second = ranks[2].lock()?;
        let _first = ranks[1].lock()?;
        assert_eq!(found(stop, "rank4").len(), 1);
        Ok(())
    });
    in_a_domain(|stop| {
        let ranks: Vec<_> = (0..4).map(|rank| Monitor::new("rank5", Mutex::new(0), stop).with_order(rank)).collect();
        {
            let _all: Vec<_> = ranks.iter().map(Monitor::lock).collect();
        }
        assert!(found(stop, "rank5").is_empty());
        // Never seen in the other order, and wrong all the same.
        let _later = ranks[3].lock()?;
        let _sooner = ranks[0].lock()?;
        let found = found(stop, "rank5");
        assert_eq!((found.len(), found[0].before.len()), (1, 0), "{found:?}");
        Ok(())
    });
}

#[test]
fn a_wait_with_a_lock_held_for_what_is_owed_by_who_needs_it_is_told_before_it_deadlocks() {
    in_a_domain(|stop| {
        let mds = monitor("mds6", stop);
        let acks = || Completion::<u8>::new("ack6", stop);
        let (completer, mut ack) = acks();
        let own = mds.clone();
        let dispatch = stop.spawn("dispatch", move || {
            completer.owed_by_me();
            drop(own.lock()?);
            completer.complete(1).ok();
            Ok::<(), unwedge::Stopped>(())
        });
        ack.wait()?.expect("it comes");
        dispatch.expect("a thread").join().expect("no panic")?;
        assert!(found(stop, "ack6").is_empty());
        // This time the lock is held, and it goes well because another one gives the result.
        let (completer, mut ack) = acks();
        let own = mds.clone();
        let line = line!() + 3;
        let waiter = stop.spawn("suicide", move || {
            let _held = own.lock()?;
            ack.wait()?.ok();
            Ok::<(), unwedge::Stopped>(())
        });
        until_waits(stop, "suicide", "ack6");
        completer.complete(1).expect("wanted");
        waiter.expect("a thread").join().expect("no panic")?;
        let found = found(stop, "ack6");
        assert_eq!(found.len(), 1, "{found:?}");
        let Inversion { now, before, .. } = &found[0];
        assert_eq!((&*now.held, &*now.wanted, now.wanted_at.line()), ("mds6", "ack6", line));
        assert_eq!((&*before[0].held, &*before[0].wanted), ("ack6", "mds6"));
        Ok(())
    });
}

#[test]
fn who_has_given_what_it_owed_or_has_passed_it_on_owes_it_no_more() {
    in_a_domain(|stop| {
        let mds = monitor("mds12", stop);
        let acks = || Completion::<u8>::new("ack12", stop);
        let (completer, mut ack) = acks();
        let own = mds.clone();
        let gives = move || {
            completer.owed_by_me();
            completer.complete(1).ok();
            own.lock().map(drop)
        };
        stop.spawn("gives", gives).expect("a thread").join().expect("no panic")?;
        ack.wait()?.expect("it has come");
        let (completer, _ack) = acks();
        let own = mds.clone();
        let passes_on = move || {
            completer.owed_by_me();
            let takes_over = std::thread::spawn(move || {
                completer.owed_by_me();
                completer
            });
            let completer = takes_over.join().expect("no panic");
            drop(own.lock()?);
            drop(completer);
            Ok::<(), unwedge::Stopped>(())
        };
        stop.spawn("passes on", passes_on).expect("a thread").join().expect("no panic")?;
        // So nobody who owes it needs the lock that is held here.
        let (completer, mut ack) = acks();
        let waiter = stop.spawn("waiter12", move || {
            let _held = mds.lock()?;
            ack.wait()?.ok();
            Ok::<(), unwedge::Stopped>(())
        });
        until_waits(stop, "waiter12", "ack12");
        completer.complete(1).expect("wanted");
        waiter.expect("a thread").join().expect("no panic")?;
        assert!(found(stop, "ack12").is_empty(), "{:?}", found(stop, "ack12"));
        Ok(())
    });
}

#[test]
fn a_join_with_a_lock_held_that_the_thread_takes_is_told() {
    in_a_domain(|stop| {
        let mds = monitor("mds7", stop);
        let own = mds.clone();
        stop.spawn("finisher7", move || own.lock().map(drop)).expect("a thread").join().expect("no panic")?;
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let second = stop.spawn("finisher7", move || gone.recv().is_ok()).expect("a thread");
        let own = mds.clone();
        let stopper = stop.spawn("stopper7", move || {
            let _held = own.lock()?;
            Ok::<bool, unwedge::Stopped>(second.join().is_ok())
        });
        until_waits(stop, "stopper7", "end of finisher7");
        go.send(()).expect("it waits");
        assert!(stopper.expect("a thread").join().expect("no panic")?);
        let found = found(stop, "end of finisher7");
        assert_eq!(found.len(), 1, "{found:?}");
        Ok(())
    });
}

#[test]
fn a_wait_that_lets_the_lock_go_is_no_order() {
    in_a_domain(|stop| {
        let mds = monitor("mds8", stop);
        let owe = || Completion::<u8>::new("read8", stop);
        for _ in 0..2 {
            let (completer, mut read) = owe();
            let own = mds.clone();
            let disk = stop.spawn("disk8", move || {
                completer.owed_by_me();
                *own.lock()? += 1;
                completer.complete(7).ok();
                Ok::<(), unwedge::Stopped>(())
            });
            let (held, value) = mds.lock()?.wait_for(&mut read)?;
            assert_eq!((*held > 0, value), (true, Ok(7)));
            drop(held);
            disk.expect("a thread").join().expect("no panic")?;
        }
        // A condition variable lets its own monitor go, and no other.
        let (changed, queue) = (Arc::new(Condvar::new()), monitor("queue8", stop));
        let (own, c) = (queue.clone(), changed.clone());
        let waiter = stop.spawn("waiter8", move || own.lock()?.wait_while(&c, |value| *value == 0).map(drop));
        until_waits(stop, "waiter8", "a condition variable of queue8");
        *queue.lock()? = 1;
        changed.notify_all();
        waiter.expect("a thread").join().expect("no panic")?;
        assert!(found(stop, "mds8").is_empty() && found(stop, "queue8").is_empty());
        Ok(())
    });
}

#[test]
fn tasks_hold_across_awaits_and_guards_that_are_sent_away_are_let_go_where_they_are_dropped() {
    in_a_domain(|stop| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let task_lock = |name| Arc::new(Monitor::new(name, tokio::sync::Mutex::new(0_u32), stop));
        let (a, b) = (task_lock("a9"), task_lock("b9"));
        let take = |first: &Arc<Monitor<tokio::sync::Mutex<u32>>>, second: &Arc<Monitor<tokio::sync::Mutex<u32>>>| {
            let (first, second) = (first.clone(), second.clone());
            async move {
                let held = first.lock_async().await?;
                tokio::task::yield_now().await;
                drop(second.lock_async().await?);
                drop(held);
                Ok::<(), unwedge::Stopped>(())
            }
        };
        let _entered = runtime.enter();
        runtime.block_on(stop.spawn_task("forth", take(&a, &b))).expect("no panic")?;
        assert!(found(stop, "a9").is_empty());
        runtime.block_on(stop.spawn_task("back", take(&b, &a))).expect("no panic")?;
        assert_eq!(found(stop, "a9").len(), 1);

        // Taken here and dropped there: from then on this thread holds nothing.
        let (c, d) = (task_lock("c9"), task_lock("d9"));
        std::thread::scope(|scope| {
            let guard = c.try_lock().expect("no stop");
            scope.spawn(move || drop(guard));
        });
        drop(d.try_lock()?);
        let blocking = Monitor::new("e9", Mutex::new(0), stop);
        drop(blocking.lock()?);
        {
            let _held = blocking.lock()?;
            runtime.block_on(async { c.lock_async().await.map(drop) })?;
        }
        assert!(found(stop, "c9").is_empty(), "{:?}", found(stop, "c9"));
        Ok(())
    });
}

/// Others of the same two classes in the other order contradict it as well, also where the classes share a name.
#[test]
fn a_class_is_a_name_and_a_place() {
    in_a_domain(|stop| {
        let outer = || Monitor::new("inode13", Mutex::new(0), stop);
        let inner = || Monitor::new("inode13", Mutex::new(0), stop);
        {
            let (outer, inner) = (outer(), inner());
            let _outer = outer.lock()?;
            let _inner = inner.lock()?;
        }
        assert!(found(stop, "inode13").is_empty());
        {
            // Of one class, and never both ways.
            let (one, two, three) = (outer(), outer(), outer());
            for (first, second) in [(&two, &one), (&three, &two)] {
                let _first = first.lock()?;
                let _second = second.lock()?;
            }
        }
        assert!(found(stop, "inode13").is_empty(), "{:?}", found(stop, "inode13"));
        let (outer, inner) = (outer(), inner());
        let line = line!() + 1;
        let _inner = inner.lock()?;
        let _outer = outer.lock()?;
        let found = found(stop, "inode13");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].now.held_at.line(), found[0].now.wanted_at.line()), (line, line + 1));
        Ok(())
    });
}
