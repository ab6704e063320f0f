//! Reads of objects and of omaps, one at a time and 32 at a time: ours against librados's blocking calls in a loop, and in a pool of threads.
//!
//! On a cluster of its own. Both take turns; ratios are the medians of those of the turns. CPU is that of this process, librados's own threads
//! included, for each operation.
//!
//! A third peer is judged by nobody: librados's asynchronous calls with a callback that posts a semaphore, as a C program has them. librados hands each
//! callback to a thread of its own, and what ends by one, as all of ours does, pays for that. So it says how much of a difference is librados's.
//!
//!     cargo bench --package unwedge-rados                # takes about two minutes; exit status 1 if a bar is missed
//!     cargo bench --package unwedge-rados -- --quick     # judges nothing

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_uchar, c_void};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Ceph;
use unwedge::Stop;
use unwedge_rados::Pool;

/// Bytes of an object, keys of an omap, and how many objects there are of each.
const BYTES: usize = 4096;
const KEYS: u32 = 16;
const OBJECTS: usize = 64;

/// How long one turn is.
const TURN: Duration = Duration::from_millis(400);

/// Sizes of the pool of threads; the best of them counts.
const POOLS: [usize; 4] = [8, 16, 32, 64];

#[link(name = "rados")]
unsafe extern "C" {
    fn rados_create(cluster: *mut *mut c_void, id: *const c_char) -> c_int;
    fn rados_conf_read_file(cluster: *mut c_void, path: *const c_char) -> c_int;
    fn rados_connect(cluster: *mut c_void) -> c_int;
    fn rados_ioctx_create(cluster: *mut c_void, pool: *const c_char, io: *mut *mut c_void) -> c_int;
    fn rados_read(io: *mut c_void, oid: *const c_char, buf: *mut c_char, len: usize, off: u64) -> c_int;
    fn rados_create_read_op() -> *mut c_void;
    fn rados_release_read_op(op: *mut c_void);
    fn rados_read_op_omap_get_vals2(
        op: *mut c_void,
        after: *const c_char,
        prefix: *const c_char,
        most: u64,
        iter: *mut *mut c_void,
        more: *mut c_uchar,
        result: *mut c_int,
    );
    fn rados_read_op_operate(op: *mut c_void, io: *mut c_void, oid: *const c_char, flags: c_int) -> c_int;
    fn rados_omap_get_next2(
        iter: *mut c_void,
        key: *mut *mut c_char,
        value: *mut *mut c_char,
        key_len: *mut usize,
        value_len: *mut usize,
    ) -> c_int;
    fn rados_omap_get_end(iter: *mut c_void);
    fn rados_aio_create_completion2(
        arg: *mut c_void,
        complete: extern "C" fn(*mut c_void, *mut c_void),
        aio: *mut *mut c_void,
    ) -> c_int;
    fn rados_aio_read(
        io: *mut c_void,
        oid: *const c_char,
        aio: *mut c_void,
        buf: *mut c_char,
        len: usize,
        off: u64,
    ) -> c_int;
    fn rados_aio_read_op_operate(
        op: *mut c_void,
        io: *mut c_void,
        aio: *mut c_void,
        oid: *const c_char,
        flags: c_int,
    ) -> c_int;
    fn rados_aio_get_return_value(aio: *mut c_void) -> c_int;
    fn rados_aio_release(aio: *mut c_void);
}

/// librados as a C program uses it: calls that block. Its handle is left to the process's end.
#[derive(Clone, Copy)]
struct Blocking(*mut c_void);

// SAFETY: librados's functions may be called from any thread.
unsafe impl Send for Blocking {}
// SAFETY: As above, and from several at a time.
unsafe impl Sync for Blocking {}

impl Blocking {
    fn connect(ceph: &Ceph) -> Blocking {
        let conf = CString::new(ceph.conf().display().to_string()).expect("a path");
        let (mut cluster, mut io) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: What the pointer leads to outlives the call; so it is below.
        assert_eq!(unsafe { rados_create(&raw mut cluster, std::ptr::null()) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { rados_conf_read_file(cluster, conf.as_ptr()) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { rados_connect(cluster) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { rados_ioctx_create(cluster, c"meta".as_ptr(), &raw mut io) }, 0);
        Blocking(io)
    }

    fn read(self, name: &CString) {
        let mut buffer = vec![0_u8; BYTES];
        // SAFETY: Name and buffer outlive the call.
        let len = unsafe { rados_read(self.0, name.as_ptr(), buffer.as_mut_ptr().cast(), BYTES, 0) };
        assert_eq!(len, BYTES as c_int);
    }

    fn omap(self, name: &CString) {
        let mut page = Page::default();
        let op = page.ask();
        // SAFETY: The operation is owned, and `page` outlives it.
        assert_eq!(unsafe { rados_read_op_operate(op, self.0, name.as_ptr(), 0) }, 0);
        page.take();
    }
}

/// Where librados puts a page of an omap.
struct Page {
    op: *mut c_void,
    iter: *mut c_void,
    more: c_uchar,
    result: c_int,
}

impl Default for Page {
    fn default() -> Page {
        Page { op: std::ptr::null_mut(), iter: std::ptr::null_mut(), more: 0, result: 0 }
    }
}

impl Page {
    /// The operation, which fills this in: it has to stay where it is.
    fn ask(&mut self) -> *mut c_void {
        // SAFETY: It takes nothing.
        self.op = unsafe { rados_create_read_op() };
        let (most, empty) = (1024, c"".as_ptr());
        let (iter, more, result) = (&raw mut self.iter, &raw mut self.more, &raw mut self.result);
        // SAFETY: What the pointers lead to outlives the operation, as the caller sees to.
        unsafe { rados_read_op_omap_get_vals2(self.op, empty, empty, most, iter, more, result) };
        self.op
    }

    /// What was found, once the operation has ended.
    fn take(&mut self) {
        let (iter, mut found) = (self.iter, Vec::new());
        loop {
            let (mut key, mut value, mut key_len, mut value_len) = (std::ptr::null_mut(), std::ptr::null_mut(), 0, 0);
            let (into, value_into) = (&raw mut key, &raw mut value);
            // SAFETY: The iterator was filled in; what the pointers lead to outlives the call.
            unsafe { rados_omap_get_next2(iter, into, value_into, &raw mut key_len, &raw mut value_len) };
            if key.is_null() {
                break;
            }
            // Copied, as ours does.
            // SAFETY: A key of that length lies there until the iterator is ended.
            let key = unsafe { std::slice::from_raw_parts(key.cast::<u8>().cast_const(), key_len) }.to_vec();
            // SAFETY: So does a value.
            let value = unsafe { std::slice::from_raw_parts(value.cast::<u8>().cast_const(), value_len) }.to_vec();
            found.push((key, value));
        }
        assert_eq!(found.len(), KEYS as usize);
        // SAFETY: It is owned, and ended once.
        unsafe { rados_omap_get_end(iter) };
        // SAFETY: It is owned, and released once.
        unsafe { rados_release_read_op(self.op) };
    }
}

/// An operation with a callback, as a C program has it. It is not moved while it is in flight.
struct Called {
    buffer: Vec<u8>,
    page: Page,
    aio: *mut c_void,
    done: libc::sem_t,
}

extern "C" fn called(_aio: *mut c_void, done: *mut c_void) {
    // SAFETY: The semaphore lies in the operation, which waits for this.
    assert_eq!(unsafe { libc::sem_post(done.cast()) }, 0);
}

impl Called {
    fn begin(io: Blocking, what: What, name: &CString) -> Box<Called> {
        // SAFETY: Zeros are bytes of a semaphore, which is made below.
        let done = unsafe { std::mem::zeroed() };
        let aio = std::ptr::null_mut();
        let mut own = Box::new(Called { buffer: vec![0; BYTES], page: Page::default(), aio, done });
        // SAFETY: There is room for it.
        assert_eq!(unsafe { libc::sem_init(&raw mut own.done, 0, 0) }, 0);
        let (done, aio) = (&raw mut own.done, &raw mut own.aio);
        // SAFETY: Both outlive the operation, which `end` waits for.
        assert_eq!(unsafe { rados_aio_create_completion2(done.cast(), called, aio) }, 0);
        let into = own.buffer.as_mut_ptr().cast();
        let begun = match what {
            // SAFETY: The buffer outlives the operation.
            What::Read => unsafe { rados_aio_read(io.0, name.as_ptr(), own.aio, into, BYTES, 0) },
            What::Omap => {
                let op = own.page.ask();
                // SAFETY: The page outlives the operation.
                unsafe { rados_aio_read_op_operate(op, io.0, own.aio, name.as_ptr(), 0) }
            }
        };
        assert_eq!(begun, 0);
        own
    }

    fn end(&mut self, what: What) {
        // SAFETY: The semaphore was made.
        while unsafe { libc::sem_wait(&raw mut self.done) } != 0 {}
        // SAFETY: It is owned, and has ended.
        let answer = unsafe { rados_aio_get_return_value(self.aio) };
        // SAFETY: It is owned, and released once.
        unsafe { rados_aio_release(self.aio) };
        match what {
            What::Read => assert_eq!(answer, BYTES as c_int),
            What::Omap => self.page.take(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Read,
    Omap,
}

/// What a turn was like.
#[derive(Clone, Copy)]
struct Seen {
    /// Median time of an operation, µs; 0 where operations overlap.
    p50: f64,
    per_second: f64,
    /// µs for each operation.
    cpu: f64,
}

fn cpu() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: There is room for it.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) }, 0);
    // SAFETY: It was zeroed, and filled in.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

/// Runs a turn; it is given a place for the operations' times, and gives back how many there were.
fn turn(run: impl FnOnce(&mut Vec<f64>) -> u64) -> Seen {
    let (mut times, begun, before) = (Vec::new(), Instant::now(), cpu());
    let count = run(&mut times) as f64;
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - before);
    Seen { p50: median(&mut times), per_second: count / took, cpu: used / count }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

struct Sides {
    ours: Pool,
    theirs: Blocking,
    /// Of data, and of omaps.
    names: [Vec<String>; 2],
}

impl Sides {
    fn name(&self, what: What, n: usize) -> &str {
        let names = &self.names[usize::from(what == What::Omap)];
        &names[n % names.len()]
    }

    fn c_names(&self, what: What) -> Vec<CString> {
        (0..OBJECTS).map(|n| CString::new(self.name(what, n)).expect("a name")).collect()
    }

    /// One at a time, by a loop.
    fn loop_of_theirs(&self, what: What) -> Seen {
        let names = self.c_names(what);
        turn(|times| alone(times, |n| self.blocking(what, &names[n % OBJECTS])))
    }

    fn blocking(&self, what: What, name: &CString) {
        match what {
            What::Read => self.theirs.read(name),
            What::Omap => self.theirs.omap(name),
        }
    }

    fn one_of_ours(&self, what: What) -> Seen {
        turn(|times| {
            alone(times, |n| match what {
                What::Read => {
                    assert_eq!(
                        self.ours.read(self.name(what, n), 0, BYTES).wait().expect("no stop").expect("an answer").len(),
                        BYTES
                    );
                }
                What::Omap => {
                    let page = self
                        .ours
                        .omap_get_vals(self.name(what, n), "", 1024)
                        .wait()
                        .expect("no stop")
                        .expect("an answer");
                    assert_eq!(page.entries.len(), KEYS as usize);
                }
            })
        })
    }

    /// 32 at a time, by one thread.
    fn many_of_ours(&self, what: What) -> Seen {
        turn(|_| {
            let until = Instant::now() + TURN;
            match what {
                What::Read => window(until, |n| self.ours.read(self.name(what, n), 0, BYTES), end_ours),
                What::Omap => window(until, |n| self.ours.omap_get_vals(self.name(what, n), "", 1024), end_ours),
            }
        })
    }

    /// One at a time, by a callback.
    fn one_called(&self, what: What) -> Seen {
        let names = self.c_names(what);
        turn(|times| alone(times, |n| Called::begin(self.theirs, what, &names[n % OBJECTS]).end(what)))
    }

    /// 32 at a time, by callbacks.
    fn many_called(&self, what: What) -> Seen {
        let names = self.c_names(what);
        turn(|_| {
            let until = Instant::now() + TURN;
            window(until, |n| Called::begin(self.theirs, what, &names[n % OBJECTS]), |mut called| called.end(what))
        })
    }

    /// As many at a time as there are threads.
    fn pool_of_theirs(&self, what: What, threads: usize) -> Seen {
        let names = self.c_names(what);
        turn(|_| {
            let (until, count) = (Instant::now() + TURN, AtomicU64::new(0));
            std::thread::scope(|scope| {
                for first in 0..threads {
                    let (names, count) = (&names, &count);
                    scope.spawn(move || {
                        let mut n = first;
                        while Instant::now() < until {
                            self.blocking(what, &names[n % OBJECTS]);
                            n += threads;
                            count.fetch_add(1, Relaxed);
                        }
                    });
                }
            });
            count.into_inner()
        })
    }
}

fn alone(times: &mut Vec<f64>, mut operation: impl FnMut(usize)) -> u64 {
    let until = Instant::now() + TURN;
    loop {
        let begun = Instant::now();
        if begun >= until {
            return times.len() as u64;
        }
        operation(times.len());
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
}

fn end_ours<T: Send + 'static>(mut completion: unwedge::io::ExternalCompletion<T, unwedge_rados::RadosError>) {
    drop(completion.wait().expect("no stop").expect("an answer"));
}

fn window<T>(until: Instant, mut begin: impl FnMut(usize) -> T, end: impl Fn(T)) -> u64 {
    let mut window: VecDeque<_> = (0..32).map(&mut begin).collect();
    let mut count = 0;
    while let Some(first) = window.pop_front() {
        end(first);
        count += 1;
        if Instant::now() < until {
            window.push_back(begin(count + 32));
        }
    }
    count as u64
}

fn main() -> ExitCode {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    common::run(&[("depths", if is_quick { quick } else { judged })])
}

fn quick(ceph: &Ceph) {
    compare(ceph, 3);
}

fn judged(ceph: &Ceph) {
    let missed = compare(ceph, 21);
    assert!(missed.is_empty(), "missed: {missed:?}");
}

/// Prints the table; what was missed.
fn compare(ceph: &Ceph, turns: usize) -> Vec<String> {
    let stop = Stop::new("bench");
    let (_cluster, ours) = ceph.client(&stop);
    let names = ["bench.data", "bench.omap"].map(|kind| (0..OBJECTS).map(|n| format!("{kind}.{n:08x}")).collect());
    let sides = Sides { ours, theirs: Blocking::connect(ceph), names };
    for n in 0..OBJECTS {
        sides.ours.write_full(sides.name(What::Read, n), vec![1; BYTES]).wait().expect("no stop").expect("an answer");
        let entries = (0..KEYS).map(|key| (format!("name{key:04}_head"), vec![7; 400]));
        sides.ours.omap_set(sides.name(What::Omap, n), entries).wait().expect("no stop").expect("an answer");
    }
    let mut missed = Vec::new();
    println!(
        "| what | peer | ours | peer's | ratio | CPU, µs, ours / peer | must be | met |\n|---|---|---|---|---|---|---|---|"
    );
    for (what, name) in [(What::Read, "read of 4 KiB"), (What::Omap, "omap of 16 keys")] {
        let (pairs, called): (Vec<_>, Vec<_>) = (0..turns)
            .map(|_| {
                let ours = sides.one_of_ours(what);
                ((ours, sides.loop_of_theirs(what)), (ours, sides.one_called(what)))
            })
            .unzip();
        let ratio = of(&pairs, |(ours, theirs)| ours.p50 / theirs.p50);
        let met = ratio <= 1.15;
        let cpu = of(&pairs, |(ours, theirs)| ours.cpu / theirs.cpu);
        let (a, b) = (of(&pairs, |pair| pair.0.p50), of(&pairs, |pair| pair.1.p50));
        let (c, d) = (of(&pairs, |pair| pair.0.cpu), of(&pairs, |pair| pair.1.cpu));
        let verdict = if met { "yes" } else { "NO" };
        println!(
            "| {name}, depth 1, p50 | loop | {a:.0} µs | {b:.0} µs | {ratio:.2} | {c:.0} / {d:.0} = {cpu:.2} | ≤ 1.15 | {verdict} |"
        );
        say_called(&format!("{name}, depth 1, p50"), &called, |seen| seen.p50, "µs");
        if !met {
            missed.push(format!("{name}, depth 1"));
        }
        let best = POOLS.map(|threads| (sides.pool_of_theirs(what, threads).per_second, threads));
        let threads = best.iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or(32, |best| best.1);
        let (pairs, called): (Vec<_>, Vec<_>) = (0..turns)
            .map(|_| {
                let ours = sides.many_of_ours(what);
                ((ours, sides.pool_of_theirs(what, threads)), (ours, sides.many_called(what)))
            })
            .unzip();
        let ratio = of(&pairs, |(ours, theirs)| ours.per_second / theirs.per_second);
        let cpu = of(&pairs, |(ours, theirs)| ours.cpu / theirs.cpu);
        let met = ratio >= 1.5 && cpu <= 0.5;
        let (a, b) = (of(&pairs, |pair| pair.0.per_second), of(&pairs, |pair| pair.1.per_second));
        let (c, d) = (of(&pairs, |pair| pair.0.cpu), of(&pairs, |pair| pair.1.cpu));
        let verdict = if met { "yes" } else { "NO" };
        println!(
            "| {name}, depth 32 | pool of {threads} | {a:.0} /s | {b:.0} /s | {ratio:.2} | {c:.0} / {d:.0} = {cpu:.2} | ≥ 1.5, CPU ≤ 0.5 | {verdict} |"
        );
        say_called(&format!("{name}, depth 32"), &called, |seen| seen.per_second, "/s");
        if !met {
            missed.push(format!("{name}, depth 32"));
        }
    }
    common::end(&stop);
    missed
}

/// The row of the peer that is judged by nobody.
fn say_called(what: &str, pairs: &[(Seen, Seen)], value: fn(&Seen) -> f64, unit: &str) {
    let ratio = of(pairs, |(ours, theirs)| value(ours) / value(theirs));
    let (a, b) = (of(pairs, |pair| value(&pair.0)), of(pairs, |pair| value(&pair.1)));
    let (c, d) = (of(pairs, |pair| pair.0.cpu), of(pairs, |pair| pair.1.cpu));
    let cpu = of(pairs, |(ours, theirs)| ours.cpu / theirs.cpu);
    println!(
        "| {what} | callbacks in C | {a:.0} {unit} | {b:.0} {unit} | {ratio:.2} | {c:.0} / {d:.0} = {cpu:.2} | – | – |"
    );
}

/// The median of something of each pair of turns.
fn of(pairs: &[(Seen, Seen)], value: impl Fn(&(Seen, Seen)) -> f64) -> f64 {
    median(&mut pairs.iter().map(value).collect::<Vec<_>>())
}
