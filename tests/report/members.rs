//! Who is in a report, and in which order.

use unwedge::Stop;
use unwedge::report::Report;

fn names(report: &Report) -> Vec<&str> {
    report.members().iter().map(|member| member.name.as_str()).collect()
}

#[test]
fn by_name_and_each_once() {
    let stop = Stop::new("mds.a");
    let child = stop.child("rank 1");
    let other = Stop::new("mds.b");
    // More names than a few, each three times, turn about; every other one in a child. Some are the beginnings of others.
    let tracked: Vec<_> = (0..120)
        .map(|n| {
            let name = format!("task{}", "-".repeat(n % 20) + ["", "b"][n % 40 / 20]);
            drop(other.track("not of this life", async {}));
            [&stop, &child][n % 2].track(&name, std::future::pending::<()>())
        })
        .collect();
    let mut expected: Vec<_> = tracked.iter().map(|(spawned, _)| spawned.name().to_owned()).collect();
    expected.sort();
    let report = stop.report();
    assert_eq!(names(&report), expected);
    let mut ids: Vec<_> = report.members().iter().map(|member| member.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 120);
    let only = child.report();
    assert_eq!(only.members().len(), 60);
    assert!(only.members().iter().all(|member| ids.contains(&member.id)));
    drop(tracked);
    assert_eq!(names(&stop.report()), [""; 0]);
}

#[test]
fn who_has_ended_is_in_no_report_when_its_end_is_known() {
    let stop = Stop::new("mds.a");
    for _ in 0..1_000 {
        let (spawned, task) = stop.track("short", async {});
        drop(spawned);
        drop(task);
        assert_eq!(names(&stop.report()), [""; 0]);
    }
    let (_kept, task) = stop.track(&"a".repeat(40), async {});
    assert_eq!(names(&stop.report()), ["a".repeat(32)], "as much of a name as the registry has room for");
    drop(task);
}
