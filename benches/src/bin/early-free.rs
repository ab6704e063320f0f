//! Which runtimes free memory that the kernel still writes to: `cargo run --release -p unwedge-benches --bin early-free [REPETITIONS]`.
//!
//! 128 direct reads are in flight; then all is dropped, or shut down with a deadline of zero. Buffers are pages of an arena that see a write
//! after they were given back (`unwedge_benches::arena`). Files as for `cargo compare io`.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use compio::io::AsyncReadAt;
use unwedge::io::Io;
use unwedge::{Plan, Stop};
use unwedge_benches::arena::{Arena, Lent};
use unwedge_benches::device::describe;
use unwedge_benches::groups::io::{PAGE, Page, scene};

const READS: usize = 128;
/// What the device is given to answer all reads; if pages are still out then, it is given more.
const LATE: Duration = Duration::from_millis(20);
const VERY_LATE: Duration = Duration::from_secs(2);

/// Begins a read into each page and drops everything.
type Scene = fn(Vec<Lent>);

const SCENES: [(&str, &str, Scene); 6] = [
    ("compio 0.19.2", "runtime dropped", compio),
    ("tokio-uring 0.5.0", "runtime dropped", tokio_uring),
    ("monoio 0.2.4", "runtime dropped", monoio),
    ("unwedge, io_uring", "shut down, deadline zero", shut_down),
    ("unwedge, io_uring", "completions dropped, shut down, deadline zero", dropped_and_shut_down),
    ("unwedge, io_uring", "all dropped", all_dropped),
];

fn main() -> Result<(), Box<dyn Error>> {
    let repetitions: usize = std::env::args().nth(1).map_or(Ok(100), |text| text.parse())?;
    let files = scene::Scene::make()?;
    println!(
        "| runtime | end | repetitions with a late write | buffers written after they were given back, least to most | kept for good |"
    );
    println!("|---|---|---|---|---|");
    let mut early = 0;
    for (who, end, begin) in SCENES {
        let (mut written, mut kept) = (Vec::new(), 0);
        for _ in 0..repetitions {
            let (arena, pages) = Arena::lend(READS);
            begin(pages);
            thread::sleep(LATE);
            let patience = Instant::now() + VERY_LATE;
            // Whoever keeps buffers as long as the kernel does gives them back when it is through; whoever leaks them never does.
            while who.starts_with("unwedge") && arena.look().0 < READS && Instant::now() < patience {
                thread::sleep(Duration::from_millis(1));
            }
            let (back, late) = arena.look();
            written.push(late);
            kept += READS - back;
        }
        let with = written.iter().filter(|late| **late > 0).count();
        let (least, most) = (written.iter().min().unwrap_or(&0), written.iter().max().unwrap_or(&0));
        println!(
            "| {who} | {end} | {with} of {repetitions} | {least} to {most} of {READS} | {kept} of {} |",
            READS * repetitions
        );
        early += if who.starts_with("unwedge") { with + kept } else { 0 };
    }
    println!("\n{}.", describe(files.dir()));
    if early > 0 { Err("unwedge gave memory back too early, or never".into()) } else { Ok(()) }
}

/// Offsets all over the file.
fn offset(index: usize) -> u64 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % scene::DIRECT * PAGE as u64
}

fn compio(pages: Vec<Lent>) {
    let runtime = compio::runtime::Runtime::new().expect("io_uring works here");
    runtime.block_on(async {
        let mut options = compio::fs::OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_DIRECT).open(scene::path("direct")).await.expect("a file");
        let cached = compio::fs::File::open(scene::path("hits")).await.expect("a file");
        for (index, page) in pages.into_iter().enumerate() {
            let file = file.clone();
            compio::runtime::spawn(async move { file.read_at(page, offset(index)).await }).detach();
        }
        // Has the kernel take all of them: this one is answered from the page cache, after they were submitted.
        assert_eq!(cached.read_at(Page::new(), 0).await.0.expect("a read"), PAGE);
        assert_eq!(cached.read_at(Page::new(), 0).await.0.expect("a read"), PAGE);
    });
}

fn tokio_uring(pages: Vec<Lent>) {
    tokio_uring::start(async {
        let file = std::rc::Rc::new(tokio_uring::fs::File::from_std(scene::open(true)));
        let cached = tokio_uring::fs::File::from_std(scene::open(false));
        for (index, page) in pages.into_iter().enumerate() {
            let file = file.clone();
            tokio_uring::spawn(async move { file.read_at(page, offset(index)).await.0 });
        }
        tokio::task::yield_now().await;
        assert_eq!(cached.read_at(Page::new(), 0).await.0.expect("a read"), PAGE);
    });
}

fn monoio(pages: Vec<Lent>) {
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
    let mut runtime = builder.build().expect("io_uring works here");
    runtime.block_on(async {
        let file = std::rc::Rc::new(monoio::fs::File::from_std(scene::open(true)).expect("a file"));
        let cached = monoio::fs::File::from_std(scene::open(false)).expect("a file");
        for (index, page) in pages.into_iter().enumerate() {
            let file = file.clone();
            monoio::spawn(async move { file.read_at(page, offset(index)).await.0 });
        }
        assert_eq!(cached.read_at(Page::new(), 0).await.0.expect("a read"), PAGE);
        assert_eq!(cached.read_at(Page::new(), 0).await.0.expect("a read"), PAGE);
    });
}

type Read = unwedge::Completion<Lent, unwedge::io::IoError<Lent>>;

fn begin(pages: Vec<Lent>) -> (Stop, Io, Vec<Read>) {
    let stop = Stop::new("early-free");
    let io = Io::builder(&stop).backend(unwedge::io::Backend::Uring).build().expect("io_uring works here");
    let file = io.attach(scene::open(true), "direct").expect("an open file");
    let reads: Vec<Read> =
        pages.into_iter().enumerate().map(|(index, page)| io.read_at(&file, page, offset(index))).collect();
    // One of the last is answered: so nearly all are with the kernel.
    let mut reads = reads;
    let mut context = Context::from_waker(Waker::noop());
    let begun = Instant::now();
    while begun.elapsed() < LATE && reads.iter_mut().all(|read| pin!(read).poll(&mut context).is_pending()) {
        thread::yield_now();
    }
    (stop, io, reads)
}

fn shut_down(pages: Vec<Lent>) {
    let (stop, _io, _reads) = begin(pages);
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
}

fn dropped_and_shut_down(pages: Vec<Lent>) {
    let (stop, io, reads) = begin(pages);
    drop((io, reads));
    drop(stop.shutdown(Plan::within(Duration::ZERO)));
}

fn all_dropped(pages: Vec<Lent>) {
    drop(begin(pages));
}
