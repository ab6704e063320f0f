//! The results: a Markdown table for people, one JSON object a line for programs.

use serde::Serialize;

use crate::measure::{Compared, Fairness};
use crate::verdict::{Bar, Verdict, is_fair};

/// Ours against one peer in one group.
#[derive(Clone, Debug)]
pub struct Row {
    /// The group's name.
    pub group: &'static str,
    /// Our name: in some groups there are two of us.
    pub ours: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// Whether it is the best peer of its contest: the one with the highest ratio.
    pub best: bool,
    /// What must be.
    pub bar: Bar,
    /// What is.
    pub measured: Compared,
}

/// What a line of `--json` holds. A field that does not apply is left out.
#[derive(Serialize)]
struct Line<'a> {
    group: &'a str,
    ours: &'a str,
    ours_ns: f64,
    peer: &'a str,
    peer_ns: f64,
    ratio: f64,
    low: f64,
    high: f64,
    cpu_ratio: f64,
    ours_cpu_ns: f64,
    peer_cpu_ns: f64,
    difference_ns: f64,
    best_peer: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    must_be: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fair: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_shares: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_least_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_p999_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_shares: Option<&'a [f64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_least_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_p999_ns: Option<f64>,
}

/// A row as one JSON object on one line.
///
/// # Errors
///
/// If a number is none that JSON can hold: a measurement that went wrong.
pub fn json(row: &Row) -> serde_json::Result<String> {
    let Compared { ratio, cpu_ratio, difference, ours, peer } = &row.measured;
    let (our_fairness, peer_fairness) = (ours.fairness.as_ref(), peer.fairness.as_ref());
    serde_json::to_string(&Line {
        group: row.group,
        ours: row.ours,
        ours_ns: ours.wall_ns,
        peer: row.peer,
        peer_ns: peer.wall_ns,
        ratio: ratio.value,
        low: ratio.low,
        high: ratio.high,
        cpu_ratio: cpu_ratio.value,
        ours_cpu_ns: ours.cpu_ns,
        peer_cpu_ns: peer.cpu_ns,
        difference_ns: difference.value,
        best_peer: row.best,
        must_be: row.bar.words(row.best),
        met: row.bar.judge(&row.measured, row.best),
        fair: is_fair(&row.measured),
        ours_shares: our_fairness.map(|f| f.shares.as_slice()),
        ours_least_share: our_fairness.map(|f| f.least_share),
        ours_p999_ns: our_fairness.map(|f| f.p999_ns),
        peer_shares: peer_fairness.map(|f| f.shares.as_slice()),
        peer_least_share: peer_fairness.map(|f| f.least_share),
        peer_p999_ns: peer_fairness.map(|f| f.p999_ns),
    })
}

/// All rows as Markdown: the table, and under it how threads that competed were served.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut text = table(
        &[
            "group",
            "ours",
            "peer",
            "ours ns",
            "peer ns",
            "ratio",
            "95 % interval",
            "ours CPU ns",
            "peer CPU ns",
            "must be",
            "met",
        ],
        "lllrrrrrrll",
        rows.iter().map(comparison),
    );
    let mut fairness: Vec<Vec<String>> = Vec::new();
    for row in rows {
        for (who, side) in [(row.ours, &row.measured.ours), (row.peer, &row.measured.peer)] {
            if let Some(f) = &side.fairness {
                fairness.push(served(row, who, f));
            }
        }
    }
    if !fairness.is_empty() {
        text.push('\n');
        text += &table(
            &["group", "who", "against", "shares", "least share in a run", "p99.9 of acquisition, ns"],
            "lllrrr",
            fairness,
        );
    }
    text
}

fn comparison(row: &Row) -> Vec<String> {
    let Compared { ratio, ours, peer, .. } = &row.measured;
    let none = || "–".to_owned();
    let met = row.bar.judge(&row.measured, row.best).map_or_else(none, |v| v.word().to_owned());
    let unfair = if is_fair(&row.measured) == Some(false) { ", NOT FAIR" } else { "" };
    vec![
        row.group.to_owned(),
        row.ours.to_owned(),
        if row.best { format!("{} (best)", row.peer) } else { row.peer.to_owned() },
        ns(ours.wall_ns),
        ns(peer.wall_ns),
        format!("{:.3}", ratio.value),
        format!("{:.3} to {:.3}", ratio.low, ratio.high),
        ns(ours.cpu_ns),
        ns(peer.cpu_ns),
        row.bar.words(row.best).unwrap_or_else(none),
        met + unfair,
    ]
}

fn served(row: &Row, who: &str, fairness: &Fairness) -> Vec<String> {
    let against = if who == row.peer { row.ours } else { row.peer };
    let shares: Vec<String> = fairness.shares.iter().map(|share| percent(*share)).collect();
    vec![
        row.group.to_owned(),
        who.to_owned(),
        against.to_owned(),
        shares.join(" / "),
        percent(fairness.least_share),
        ns(fairness.p999_ns),
    ]
}

/// Nanoseconds with as many digits as a measurement bears.
fn ns(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 1000.0) };
    format!("{value:.digits$}")
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// A Markdown table, its columns padded so that it reads well unrendered; `alignment` has an `l` or an `r` for each column.
fn table(head: &[&str], alignment: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let right: Vec<bool> = alignment.chars().map(|c| c == 'r').collect();
    let widths: Vec<usize> =
        (0..head.len()).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0).max(3)).collect();
    let rule = (0..head.len()).map(|i| if right[i] { "-".repeat(widths[i] - 1) + ":" } else { "-".repeat(widths[i]) });
    lines.insert(1, rule.collect());
    let mut text = String::new();
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            let width = widths[i];
            text += &if right[i] { format!("| {cell:>width$} ") } else { format!("| {cell:<width$} ") };
        }
        text += "|\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Summary;
    use crate::stats::Median;

    fn row(fairness: Option<Fairness>) -> Row {
        let median = Median { value: 0.9, low: 0.8, high: 0.95, confidence: 0.97 };
        let side = |wall_ns| Summary { wall_ns, wall: median, cpu_ns: 2.0 * wall_ns, fairness: fairness.clone() };
        let measured =
            Compared { ratio: median, cpu_ratio: median, difference: median, ours: side(9.0), peer: side(10.0) };
        Row {
            group: "monitor_contended",
            ours: "unwedge",
            peer: "std Mutex",
            best: true,
            bar: Bar::BestPeer(1.1),
            measured,
        }
    }

    #[test]
    fn a_line_has_the_promised_keys_and_no_others_where_nobody_competes() {
        let line = json(&row(None)).expect("plain numbers");
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).expect("valid JSON");
        for key in ["group", "ours_ns", "peer", "peer_ns", "ratio", "low", "high", "ours_cpu_ns", "peer_cpu_ns"] {
            assert!(object.contains_key(key), "{key} is missing in {line}");
        }
        assert!(!line.contains('\n') && !object.contains_key("ours_shares"), "{line}");
        assert_eq!(object["met"], "yes");
        assert_eq!(object["must_be"], "≤ 1.1");
    }

    #[test]
    fn a_line_of_a_contest_for_a_lock_has_shares_and_the_tail() {
        let unfair = Fairness { shares: vec![0.9, 0.1], least_share: 0.05, p999_ns: 7.0 };
        let row = row(Some(unfair));
        let object: serde_json::Value = serde_json::from_str(&json(&row).expect("plain numbers")).expect("valid JSON");
        assert_eq!(object["ours_shares"][1], 0.1);
        assert_eq!(object["peer_p999_ns"], 7.0);
        assert_eq!(object["fair"], false);
        assert!(markdown(&[row]).contains("yes, NOT FAIR"));
    }

    #[test]
    fn every_line_of_the_table_is_equally_wide() {
        let text = markdown(&[row(None)]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 3, "{text}");
        assert!(widths.iter().all(|&w| w == widths[0]), "{text}");
    }
}
