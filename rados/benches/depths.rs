//! Reads of objects and of omaps, one at a time and 32 at a time: ours against librados's blocking calls in a loop, and in a pool of threads.
//!
//! On a cluster of its own. Both take turns; ratios are the medians of those of the turns. CPU is that of this process, librados's own threads
//! included, for each operation.
//!
//! Two more peers are judged by nobody. librados's asynchronous calls with a callback that posts a semaphore, as a C program has them: librados hands each
//! callback to a thread of its own, and what ends by one, as all of ours does, pays for that. And the same calls without a callback, waited for by librados's own
//! wait, which no stop ends: what librados takes by itself. So they say how much of a difference is librados's. At depth 32 the OSD's CPU says what is left of
//! the machine for any client.
//!
//!     cargo bench --package unwedge-rados                # takes about two minutes; exit status 1 if a bar is missed
//!     cargo bench --package unwedge-rados -- omap        # half of it, as `read` is
//!     cargo bench --package unwedge-rados -- --quick     # judges nothing

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_uchar, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Ceph;
use unwedge::Stop;
use unwedge_rados::Pool;

/// Bytes of an object, keys of an omap, and how many objects there are of each.
const BYTES: usize = 4096;
const KEYS: u32 = 16;
const OBJECTS: usize = 64;

/// How many turns are judged.
const TURNS: usize = 15;

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
        complete: Option<extern "C" fn(*mut c_void, *mut c_void)>,
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
    fn rados_aio_wait_for_complete(aio: *mut c_void) -> c_int;
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

/// How a C program is told of the end of an asynchronous operation.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Callback,
    Wait,
}

/// An asynchronous operation, as a C program has it. It is not moved while it is in flight.
struct Called {
    buffer: Vec<u8>,
    page: Page,
    aio: *mut c_void,
    told: Told,
    done: libc::sem_t,
}

extern "C" fn called(_aio: *mut c_void, done: *mut c_void) {
    // SAFETY: The semaphore lies in the operation, which waits for this.
    assert_eq!(unsafe { libc::sem_post(done.cast()) }, 0);
}

impl Called {
    fn begin(io: Blocking, what: What, told: Told, name: &CString) -> Box<Called> {
        // SAFETY: Zeros are bytes of a semaphore, which is made below.
        let done = unsafe { std::mem::zeroed() };
        let aio = std::ptr::null_mut();
        let mut own = Box::new(Called { buffer: vec![0; BYTES], page: Page::default(), aio, told, done });
        // SAFETY: There is room for it.
        assert_eq!(unsafe { libc::sem_init(&raw mut own.done, 0, 0) }, 0);
        let (done, aio) = (&raw mut own.done, &raw mut own.aio);
        let callback = (told == Told::Callback).then_some(called as extern "C" fn(*mut c_void, *mut c_void));
        // SAFETY: Both outlive the operation, which `end` waits for.
        assert_eq!(unsafe { rados_aio_create_completion2(done.cast(), callback, aio) }, 0);
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
        match self.told {
            // SAFETY: The semaphore was made.
            Told::Callback => while unsafe { libc::sem_wait(&raw mut self.done) } != 0 {},
            // SAFETY: It is owned, and not released.
            Told::Wait => assert_eq!(unsafe { rados_aio_wait_for_complete(self.aio) }, 0),
        }
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

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == What::Read { "read of 4 KiB" } else { "omap of 16 keys" })
    }
}

/// What a turn was like.
#[derive(Clone, Copy)]
struct Seen {
    /// Median time of an operation, µs; 0 where operations overlap.
    p50: f64,
    per_second: f64,
    /// µs of this process for each operation.
    cpu: f64,
    /// µs of the OSD's for each operation.
    osd: f64,
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

/// µs of CPU that a process has had so far.
fn cpu_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the OSD runs");
    // Behind its name, which is in brackets: the 12th and 13th are ticks of 10 ms.
    let behind = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    ticks.sum::<u64>() as f64 * 1e4
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
    osd: u32,
}

impl Sides {
    fn name(&self, what: What, n: usize) -> &str {
        let names = &self.names[usize::from(what == What::Omap)];
        &names[n % names.len()]
    }

    /// Runs a turn; it is given a place for the operations' times, and gives back how many there were.
    fn turn(&self, run: impl FnOnce(&mut Vec<f64>) -> u64) -> Seen {
        let (mut times, begun, before, osd) = (Vec::new(), Instant::now(), cpu(), cpu_of(self.osd));
        let count = run(&mut times) as f64;
        let (took, used, osd) = (begun.elapsed().as_secs_f64(), cpu() - before, cpu_of(self.osd) - osd);
        Seen { p50: median(&mut times), per_second: count / took, cpu: used / count, osd: osd / count }
    }

    fn c_names(&self, what: What) -> Vec<CString> {
        (0..OBJECTS).map(|n| CString::new(self.name(what, n)).expect("a name")).collect()
    }

    /// One at a time, by a loop.
    fn loop_of_theirs(&self, what: What) -> Seen {
        let names = self.c_names(what);
        self.turn(|times| alone(times, |n| self.blocking(what, &names[n % OBJECTS])))
    }

    fn blocking(&self, what: What, name: &CString) {
        match what {
            What::Read => self.theirs.read(name),
            What::Omap => self.theirs.omap(name),
        }
    }

    fn one_of_ours(&self, what: What) -> Seen {
        self.turn(|times| {
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
        self.turn(|_| {
            let until = Instant::now() + TURN;
            match what {
                What::Read => window(until, |n| self.ours.read(self.name(what, n), 0, BYTES), end_ours),
                What::Omap => window(until, |n| self.ours.omap_get_vals(self.name(what, n), "", 1024), end_ours),
            }
        })
    }

    /// One at a time, by an asynchronous call of librados's.
    fn one_called(&self, what: What, told: Told) -> Seen {
        let names = self.c_names(what);
        self.turn(|times| alone(times, |n| Called::begin(self.theirs, what, told, &names[n % OBJECTS]).end(what)))
    }

    /// 32 at a time, by those.
    fn many_called(&self, what: What, told: Told) -> Seen {
        let names = self.c_names(what);
        self.turn(|_| {
            let until = Instant::now() + TURN;
            let begin = |n| Called::begin(self.theirs, what, told, &names[n % OBJECTS]);
            window(until, begin, |mut called| called.end(what))
        })
    }

    /// As many at a time as there are threads.
    fn pool_of_theirs(&self, what: What, threads: usize) -> Seen {
        let names = self.c_names(what);
        self.turn(|_| {
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

fn main() {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    common::run(if is_quick {
        &[("read", quick_read), ("omap", quick_omap)]
    } else {
        &[("read", read), ("omap", omap)]
    })
}

fn quick_read(ceph: &Ceph) {
    compare(ceph, What::Read, 1);
}

fn quick_omap(ceph: &Ceph) {
    compare(ceph, What::Omap, 1);
}

fn read(ceph: &Ceph) {
    judge(ceph, What::Read);
}

fn omap(ceph: &Ceph) {
    judge(ceph, What::Omap);
}

fn judge(ceph: &Ceph, what: What) {
    let missed = compare(ceph, what, TURNS);
    assert!(missed.is_empty(), "missed: {missed:?}");
}

/// Prints the table; what was missed.
fn compare(ceph: &Ceph, what: What, turns: usize) -> Vec<&'static str> {
    let stop = Stop::new("bench");
    let (_cluster, ours) = ceph.client(&stop);
    let names = ["bench.data", "bench.omap"].map(|kind| (0..OBJECTS).map(|n| format!("{kind}.{n:08x}")).collect());
    let sides = Sides { ours, theirs: Blocking::connect(ceph), names, osd: ceph.process("osd.0") };
    for n in 0..OBJECTS {
        sides.ours.write_full(sides.name(What::Read, n), vec![1; BYTES]).wait().expect("no stop").expect("an answer");
        let entries = (0..KEYS).map(|key| (format!("name{key:04}_head"), vec![7; 400]));
        sides.ours.omap_set(sides.name(What::Omap, n), entries).wait().expect("no stop").expect("an answer");
    }
    println!(
        "| what | peer | ours | peer's | ratio | CPU, µs, ours / peer | must be | met |\n|---|---|---|---|---|---|---|---|"
    );
    let missed = [sides.alone(what, turns), sides.together(what, turns)].into_iter().flatten().collect();
    common::end(&stop);
    missed
}

impl Sides {
    /// The rows of depth 1; the bar, if it was missed.
    fn alone(&self, what: What, turns: usize) -> Option<&'static str> {
        let mut pairs = Pairs::default();
        for _ in 0..turns {
            pairs.add(self.one_of_ours(what), self.loop_of_theirs(what), |told| self.one_called(what, told));
        }
        let is_met = of(&pairs.judged, |(ours, theirs)| ours.p50 / theirs.p50) <= 1.15;
        pairs.say(&format!("{what}, depth 1, p50"), "loop", |seen| seen.p50, " µs", ("≤ 1.15", is_met));
        (!is_met).then_some("depth 1")
    }

    /// The rows of depth 32; the bar, if it was missed.
    fn together(&self, what: What, turns: usize) -> Option<&'static str> {
        let best = POOLS.map(|threads| (self.pool_of_theirs(what, threads).per_second, threads));
        let threads = best.iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or(32, |best| best.1);
        let mut pairs = Pairs::default();
        for _ in 0..turns {
            let (ours, theirs) = (self.many_of_ours(what), self.pool_of_theirs(what, threads));
            pairs.add(ours, theirs, |told| self.many_called(what, told));
        }
        let is_met = of(&pairs.judged, |(ours, theirs)| ours.per_second / theirs.per_second) >= 1.5
            && of(&pairs.judged, |(ours, theirs)| ours.cpu / theirs.cpu) <= 0.5;
        let bar = ("≥ 1.5, CPU ≤ 0.5", is_met);
        pairs.say(&format!("{what}, depth 32"), &format!("pool of {threads}"), |seen| seen.per_second, "/s", bar);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (osd, theirs) = (of(&pairs.judged, |pair| pair.0.osd), of(&pairs.judged, |pair| pair.1.per_second));
        let all = cores as f64 * 1e6 / (1.5 * theirs);
        println!(
            "\n{what}, depth 32: the OSD takes {osd:.0} µs of CPU for one. With 1.5 times the pool's throughput {cores} cores have {all:.0} µs for one: {:.0} µs \
             for the client.",
            all - osd
        );
        (!is_met).then_some("depth 32")
    }
}

/// Ours in turn with each peer: the one that is judged, and two that are not.
#[derive(Default)]
struct Pairs {
    judged: Vec<(Seen, Seen)>,
    others: [Vec<(Seen, Seen)>; 2],
}

impl Pairs {
    fn add(&mut self, ours: Seen, theirs: Seen, called: impl Fn(Told) -> Seen) {
        self.judged.push((ours, theirs));
        for (pairs, told) in self.others.iter_mut().zip([Told::Callback, Told::Wait]) {
            pairs.push((ours, called(told)));
        }
    }
}

impl Pairs {
    /// The rows of a bar, and those of the peers that are judged by nobody.
    fn say(&self, what: &str, peer: &str, value: fn(&Seen) -> f64, unit: &str, (bar, is_met): (&str, bool)) {
        let row = |what: &str, peer: &str, pairs: &[(Seen, Seen)], verdict: &str| {
            let ratio = of(pairs, |(ours, theirs)| value(ours) / value(theirs));
            let (ours, theirs) = (of(pairs, |pair| value(&pair.0)), of(pairs, |pair| value(&pair.1)));
            let (own, their) = (of(pairs, |pair| pair.0.cpu), of(pairs, |pair| pair.1.cpu));
            let cpu = of(pairs, |(ours, theirs)| ours.cpu / theirs.cpu);
            println!(
                "| {what} | {peer} | {ours:.0}{unit} | {theirs:.0}{unit} | {ratio:.2} | {own:.0} / {their:.0} = {cpu:.2} | {verdict} |"
            );
        };
        row(what, peer, &self.judged, &format!("{bar} | {}", if is_met { "yes" } else { "NO" }));
        for (pairs, peer) in self.others.iter().zip(["callbacks in C", "waits in C"]) {
            row("", peer, pairs, "– | –");
        }
    }
}

/// The median of something of each pair of turns.
fn of(pairs: &[(Seen, Seen)], value: impl Fn(&(Seen, Seen)) -> f64) -> f64 {
    median(&mut pairs.iter().map(value).collect::<Vec<_>>())
}
