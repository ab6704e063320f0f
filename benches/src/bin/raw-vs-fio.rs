//! Whether the raw loop of the benches is a fair measure, that is no more than 5 % slower than the best there is: against `fio --ioengine=io_uring` on the same file, in turn.
//!
//! `cargo run --release -p unwedge-benches --bin raw-vs-fio`; needs fio. Files as for `cargo compare io`.

use std::error::Error;
use std::process::Command;

use unwedge_benches::device::describe;
use unwedge_benches::groups::io::{raw, scene::Scene};
use unwedge_benches::measure::Measured;
use unwedge_benches::stats::Median;

/// Pairs of runs for each row, and seconds of one run.
const PAIRS: usize = 11;
const SECONDS: f64 = 1.0;

type Run = fn(u64) -> Measured;

const ROWS: [(&str, bool, u32, Run); 5] = [
    ("page-cache hits, depth 1", false, 1, raw::run::<false, 1, false>),
    ("page-cache hits, depth 32", false, 32, raw::run::<false, 32, false>),
    ("direct, depth 1", true, 1, raw::run::<true, 1, false>),
    ("direct, depth 32", true, 32, raw::run::<true, 32, false>),
    ("direct, depth 128", true, 128, raw::run::<true, 128, false>),
];

fn main() -> Result<(), Box<dyn Error>> {
    let scene = Scene::make()?;
    println!("| random reads of 4 KiB | raw kIOPS | fio kIOPS | raw / fio | 95 % interval | at least 0.95 |");
    println!("|---|---|---|---|---|---|");
    for (name, direct, depth, run) in ROWS {
        let file = scene.dir().join(if direct { "direct" } else { "hits" });
        let calibration = run(2000);
        let reads = (SECONDS * 1e9 / calibration.wall_ns()) as u64;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let fio_first = (pair % 2 == 1).then(|| fio(&file, direct, depth)).transpose()?;
            let raw = 1e6 / run(reads).wall_ns();
            let fio = fio_first.map_or_else(|| fio(&file, direct, depth), Ok)?;
            ours.push(raw);
            theirs.push(fio);
            ratios.push(raw / fio);
        }
        let (raw, fio, ratio) = (Median::of(ours).value, Median::of(theirs).value, Median::of(ratios));
        let met = if ratio.value >= 0.95 { "yes" } else { "NO" };
        println!(
            "| {name} | {raw:.1} | {fio:.1} | {:.3} | {:.3} to {:.3} | {met} |",
            ratio.value, ratio.low, ratio.high
        );
    }
    println!("\n{}. {PAIRS} pairs of runs for each row, {SECONDS} s a run.", describe(scene.dir()));
    Ok(())
}

/// One run of fio; thousands of reads a second.
fn fio(file: &std::path::Path, direct: bool, depth: u32) -> Result<f64, Box<dyn Error>> {
    let output = Command::new("fio")
        .args(["--name=raw", "--ioengine=io_uring", "--rw=randread", "--bs=4k", "--readonly", "--time_based"])
        // As the raw loop: no map of blocks already read, one thread, what is in the page cache stays there.
        .args(["--norandommap", "--thread", "--numjobs=1", "--invalidate=0", "--gtod_reduce=1", "--output-format=json"])
        // Waits for one completion and takes all that are there, and submits as many again.
        .args(["--iodepth_batch_complete_min=1".to_owned(), format!("--iodepth_batch_complete_max={depth}")])
        .args([
            format!("--direct={}", u8::from(direct)),
            format!("--iodepth={depth}"),
            format!("--iodepth_batch={depth}"),
        ])
        .args([format!("--runtime={SECONDS}"), format!("--filename={}", file.display())])
        .output()?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("fio: {error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let reads = json["jobs"][0]["read"]["iops"].as_f64().ok_or("fio says nothing about its reads")?;
    Ok(reads / 1e3)
}
