//! Law L4 on a real device: no write ever lands in memory that was given back.
//!
//! 128 direct reads are in flight; then everything is dropped, or shut down with a deadline of zero. A hundred times, on each backend. The buffers are
//! pages that fill themselves with a canary when they are dropped: a late write of the kernel changes it. `early-free` in benches/ does the
//! same to other runtimes, of which two fail.
//!
//! Needs a file system that takes `O_DIRECT`; says so and ends where it does not.

#[path = "io/pages.rs"]
mod pages;

use std::{
    alloc::{Layout, alloc_zeroed},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Completion, Plan, Stop,
    io::{Backend, File, Io, IoBufMut, IoError, OpenOptions},
};

use pages::Pages;

const GUARD: Duration = Duration::from_secs(30);
const READS: usize = 128;
const REPETITIONS: usize = 100;
const PAGE: usize = 4096;
const PAGES: u64 = 4096;
const CANARY: u64 = 0xc0a1_ce55_dead_f00d;

/// Memory that is never freed, so that a late write can be seen and does no harm.
///
/// **Alone**: a page is reached through its one [`Lent`] until that is dropped, and afterwards by volatile reads of the arena alone.
struct Arena {
    memory: *mut u8,
    given_back: Vec<AtomicBool>,
}

// SAFETY: the memory is never freed, and Alone says who accesses which page when.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

struct Lent {
    arena: Arc<Arena>,
    index: usize,
}

impl Arena {
    fn lend() -> (Arc<Arena>, Vec<Lent>) {
        let layout = Layout::from_size_align(READS * PAGE, PAGE).expect("a layout");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        assert!(!memory.is_null());
        let arena = Arc::new(Arena { memory, given_back: (0..READS).map(|_| AtomicBool::new(false)).collect() });
        let lent = (0..READS).map(|index| Lent { arena: arena.clone(), index }).collect();
        (arena, lent)
    }

    fn words(&self, index: usize) -> impl Iterator<Item = *mut u64> + use<> {
        let page = self.memory.wrapping_add(index * PAGE).cast::<u64>();
        (0..PAGE / 8).map(move |at| page.wrapping_add(at))
    }

    fn given_back(&self) -> usize {
        self.given_back.iter().filter(|back| back.load(Acquire)).count()
    }

    /// Pages that were given back and written to afterwards.
    fn late_writes(&self) -> usize {
        let changed = |index: usize| {
            self.words(index).any(|word| {
                // SAFETY: within the memory, which is never freed; volatile, because a kernel that is wrong writes to it.
                unsafe { word.read_volatile() != CANARY }
            })
        };
        (0..READS).filter(|index| self.given_back[*index].load(Acquire) && changed(*index)).count()
    }
}

impl IoBufMut for Lent {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: within the memory, initialised, and by Alone nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.arena.memory.wrapping_add(self.index * PAGE), PAGE) }
    }

    fn cut(&mut self, _len: usize) {}
}

impl Drop for Lent {
    fn drop(&mut self) {
        for word in self.arena.words(self.index) {
            // SAFETY: within the memory; volatile, because a kernel that is wrong writes to it.
            unsafe { word.write_volatile(CANARY) };
        }
        self.arena.given_back[self.index].store(true, Release);
    }
}

type Read = Completion<Lent, IoError<Lent>>;

fn begin(io: &Io, file: &File, pages: Vec<Lent>, round: usize) -> Vec<Read> {
    let number = |index: usize| ((index + round * READS) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % PAGES;
    pages.into_iter().enumerate().map(|(i, page)| io.read_at(file, page, number(i) * PAGE as u64)).collect()
}

/// All repetitions of one way to end.
fn repeat(backend: Backend, name: &str, end: fn(Stop, Io, File, Vec<Read>)) {
    let pages = Pages::new(&format!("early-{name}-{backend:?}"), PAGES as usize, PAGE);
    for round in 0..REPETITIONS {
        let stop = Stop::new("test");
        let io = match Io::builder(&stop).backend(backend).build() {
            Ok(io) => io,
            Err(error) => return eprintln!("not tested: {error}"),
        };
        let direct = OpenOptions::new().read(true).direct(true);
        let file = match io.open(&pages.0, direct).wait_until(Instant::now() + GUARD).expect("a result") {
            Ok(file) => file,
            Err(error) => return eprintln!("not tested: no direct I/O here: {error}"),
        };
        let (arena, lent) = Arena::lend();
        let reads = begin(&io, &file, lent, round);
        end(stop, io, file, reads);
        // What was in flight comes back when the device has answered, and only then is it freed.
        let patience = Instant::now() + GUARD;
        while arena.given_back() < READS {
            assert!(Instant::now() < patience, "{} buffers never come back", READS - arena.given_back());
            thread::sleep(Duration::from_micros(200));
        }
        // A device that has answered them all has no more to write; what it wrote too late is there by now.
        thread::sleep(Duration::from_millis(1));
        assert_eq!(arena.late_writes(), 0, "written after they were given back, in round {round}");
    }
}

fn shut_down(stop: Stop, io: Io, file: File, reads: Vec<Read>) {
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
    drop((reads, file, io));
}

fn drop_and_shut_down(stop: Stop, io: Io, file: File, reads: Vec<Read>) {
    drop((reads, file, io));
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
}

fn drop_all(stop: Stop, io: Io, file: File, reads: Vec<Read>) {
    drop((reads, file, io, stop));
}

/// As `shut_down`, when the first has been answered: so the kernel has the others.
fn shut_down_under_way(stop: Stop, io: Io, file: File, mut reads: Vec<Read>) {
    drop(reads[0].wait_until(Instant::now() + GUARD).expect("a result"));
    shut_down(stop, io, file, reads);
}

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() { super::repeat(super::Backend::Uring, stringify!($name), super::$name) })*
        }
        mod pool {
            $(#[test] fn $name() { super::repeat(super::Backend::Pool, stringify!($name), super::$name) })*
        }
    };
}

on_both!(shut_down, shut_down_under_way, drop_and_shut_down, drop_all);
