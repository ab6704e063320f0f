//! The groups of `cargo compare` that need no files under criterion, which keeps the last results and shows what a change did to each side:
//! `cargo bench --package unwedge-benches`. To judge ours against its peers use `cargo compare`: here the sides run one after the other,
//! minutes apart.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use unwedge_benches::{apart, groups::all};

fn trends(criterion: &mut Criterion) {
    for group in all().filter(|group| !group.files) {
        let mut bench = criterion.benchmark_group(group.name);
        for contest in (group.contests)() {
            for side in std::iter::once(contest.ours).chain(contest.peers.into_iter().map(|(side, _)| side)) {
                bench.bench_function(BenchmarkId::from_parameter(side.name), |b| b.iter_custom(|n| side.time(n)));
            }
        }
        bench.finish();
    }
}

criterion_group! {
    name = trend;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = trends
}

fn main() {
    apart::serve();
    trend();
    Criterion::default().configure_from_args().final_summary();
}
