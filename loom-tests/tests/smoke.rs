//! Smoke.
extern crate unwedge_loom as unwedge;
use std::sync::Arc;
use unwedge::{model, Completion, Condvar, Monitor, Stop};

#[test]
fn lock_and_stop() {
    let n = model::check(Some(2), || {
        let stop = Stop::new("a");
        let m = Arc::new(Monitor::new("m", model::Mutex::new(0), &stop));
        let m2 = m.clone();
        let t = model::thread::spawn(move || m2.lock().map(|mut g| *g += 1).is_ok());
        let held = m.lock().unwrap();
        stop.request("x");
        t.join().unwrap();
        drop(held);
    });
    println!("executions {n}");
}

#[test]
fn condvar_stop() {
    let n = model::check(Some(2), || {
        let stop = Stop::new("a");
        let m = Arc::new(Monitor::new("m", model::Mutex::new(false), &stop));
        let cv = Arc::new(Condvar::new());
        let (m2, cv2) = (m.clone(), cv.clone());
        let t = model::thread::spawn(move || {
            let mut g = m2.lock().map_err(|_| ())?;
            while !*g {
                g = g.wait(&cv2).map_err(|_| ())?;
            }
            Ok::<_, ()>(())
        });
        if let Ok(mut g) = m.lock() {
            *g = true;
            cv.notify_one();
        }
        t.join().unwrap().unwrap();
    });
    println!("executions {n}");
    let n = model::check(Some(2), || {
        let stop = Stop::new("a");
        let m = Arc::new(Monitor::new("m", model::Mutex::new(false), &stop));
        let cv = Arc::new(Condvar::new());
        let (m2, cv2) = (m.clone(), cv.clone());
        let t = model::thread::spawn(move || {
            let g = m2.lock().map_err(|_| ())?;
            let _g = g.wait(&cv2).map_err(|_| ())?;
            Ok::<_, ()>(())
        });
        stop.request("x");
        assert!(t.join().unwrap().is_err());
    });
    println!("executions {n}");
}

#[test]
fn completion_stop() {
    let n = model::check(None, || {
        let stop = Stop::new("a");
        let (c, mut w) = Completion::<u32>::new("c", &stop);
        let t = model::thread::spawn(move || drop(c.complete(1)));
        let s2 = stop.clone();
        let u = model::thread::spawn(move || s2.request("x"));
        let _ = w.wait();
        drop(w);
        t.join().unwrap();
        u.join().unwrap();
    });
    println!("executions {n}");
}
