//! The bars: what the measured ratio must be, against whom, and whether it is.

use crate::measure::Compared;
use crate::stats::Median;

/// What ours must reach against one peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// The ratio may be at most this if this peer is the best of its contest; against the others nothing is asked.
    BestPeer(f64),
    /// The ratio may be at most this.
    Ratio(f64),
    /// Ours may take at most so many nanoseconds more.
    WithinNs(f64),
    /// The ratio may be at most `wall`, and the ratio of the CPU times at most `cpu`.
    WithCpu {
        /// The most that the ratio of the wall times may be.
        wall: f64,
        /// The most that the ratio of the CPU times may be.
        cpu: f64,
    },
    /// As [`WithCpu`](Bar::WithCpu), if this peer is the best of its contest.
    BestPeerWithCpu {
        /// The most that the ratio of the wall times may be.
        wall: f64,
        /// The most that the ratio of the CPU times may be.
        cpu: f64,
    },
    /// Ours may take at most so many nanoseconds, whatever the peer takes.
    AtMostNs(f64),
    /// Nothing is asked: the peer is there for comparison.
    Context,
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is within the bar.
    Yes,
    /// The median is within the bar, the interval's upper end is not.
    Likely,
    /// The median is beyond the bar, the interval's lower end is not.
    Unlikely,
    /// The whole interval is beyond the bar.
    No,
}

impl Verdict {
    fn of(measured: Median, bar: f64) -> Verdict {
        match (measured.low <= bar, measured.value <= bar, measured.high <= bar) {
            (_, _, true) => Verdict::Yes,
            (_, true, false) => Verdict::Likely,
            (true, false, false) => Verdict::Unlikely,
            (false, false, false) => Verdict::No,
        }
    }

    /// The word for the table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Yes => "yes",
            Verdict::Likely => "likely",
            Verdict::Unlikely => "unlikely",
            Verdict::No => "NO",
        }
    }
}

impl Bar {
    /// What must be, in words; `None` where nothing is asked.
    #[must_use]
    pub fn words(self, best: bool) -> Option<String> {
        match self {
            Bar::BestPeer(_) | Bar::BestPeerWithCpu { .. } if !best => None,
            Bar::BestPeer(bar) | Bar::Ratio(bar) => Some(format!("≤ {:?}", rounded(bar))),
            Bar::WithCpu { wall, cpu } | Bar::BestPeerWithCpu { wall, cpu } => {
                Some(format!("≤ {:?}, CPU ≤ {:?}", rounded(wall), rounded(cpu)))
            }
            Bar::WithinNs(bar) => Some(format!("≤ +{bar:?} ns")),
            Bar::AtMostNs(bar) => Some(format!("ours ≤ {bar:?} ns")),
            Bar::Context => None,
        }
    }

    /// Whether `measured` meets it; `best`: this peer is the best of its contest. `None` where nothing is asked.
    #[must_use]
    pub fn judge(self, measured: &Compared, best: bool) -> Option<Verdict> {
        match self {
            Bar::BestPeer(_) | Bar::BestPeerWithCpu { .. } if !best => None,
            Bar::BestPeer(bar) | Bar::Ratio(bar) => Some(Verdict::of(measured.ratio, bar)),
            Bar::WithCpu { wall, cpu } | Bar::BestPeerWithCpu { wall, cpu } => {
                Some(Verdict::of(measured.ratio, wall).max(Verdict::of(measured.cpu_ratio, cpu)))
            }
            Bar::AtMostNs(bar) => Some(Verdict::of(measured.ours.wall, bar)),
            Bar::WithinNs(bar) => Some(Verdict::of(measured.difference, bar)),
            Bar::Context => None,
        }
    }
}

/// No thread may be served less than this part of its fair share.
pub const LEAST_OF_FAIR_SHARE: f64 = 1.0 / 3.0;

/// A bar in words: with three digits at most.
fn rounded(bar: f64) -> f64 {
    (bar * 1000.0).round() / 1000.0
}

/// Whether every thread got at least [`LEAST_OF_FAIR_SHARE`], in every run; `None` where nobody competes.
#[must_use]
pub fn is_fair(measured: &Compared) -> Option<bool> {
    let fairness = measured.ours.fairness.as_ref()?;
    Some(fairness.least_share >= LEAST_OF_FAIR_SHARE / fairness.shares.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Fairness, Summary};

    fn measured(low: f64, value: f64, high: f64) -> Compared {
        let median = Median { value, low, high, confidence: 0.97 };
        let side = Summary { wall_ns: value, wall: median, cpu_ns: value, fairness: None };
        Compared { ratio: median, cpu_ratio: median, difference: median, ours: side.clone(), peer: side }
    }

    #[test]
    fn an_interval_across_the_bar_is_not_a_plain_yes_or_no() {
        let judge = |low, value, high| Bar::Ratio(1.0).judge(&measured(low, value, high), false);
        assert_eq!(judge(0.8, 0.9, 1.0), Some(Verdict::Yes));
        assert_eq!(judge(0.8, 0.9, 1.1), Some(Verdict::Likely));
        assert_eq!(judge(0.9, 1.1, 1.2), Some(Verdict::Unlikely));
        assert_eq!(judge(1.1, 1.2, 1.3), Some(Verdict::No));
    }

    #[test]
    fn only_the_best_peer_is_a_bar_where_the_bar_says_so() {
        let fast = measured(0.5, 0.5, 0.5);
        assert_eq!(Bar::BestPeer(1.0).judge(&fast, false), None);
        assert_eq!(Bar::BestPeer(1.0).judge(&fast, true), Some(Verdict::Yes));
        assert_eq!(Bar::Context.judge(&fast, true), None);
        assert_eq!(Bar::WithinNs(0.4).judge(&fast, false), Some(Verdict::No));
        assert_eq!(Bar::BestPeer(1.4).words(true).as_deref(), Some("≤ 1.4"));
        assert_eq!(Bar::BestPeer(1.4).words(false), None);
    }

    #[test]
    fn a_bar_on_cpu_time_is_one_more_to_meet() {
        let mut run = measured(0.7, 0.75, 0.8);
        let bar = Bar::BestPeerWithCpu { wall: 1.0 / 1.3, cpu: 1.0 / 3.0 };
        assert_eq!((bar.judge(&run, false), bar.words(false)), (None, None));
        assert_eq!(bar.words(true).as_deref(), Some("≤ 0.769, CPU ≤ 0.333"));
        assert_eq!(bar.judge(&run, true), Some(Verdict::No));
        run.cpu_ratio = Median { value: 0.3, low: 0.3, high: 0.3, confidence: 0.97 };
        assert_eq!(bar.judge(&run, true), Some(Verdict::Likely));
        assert_eq!(Bar::WithCpu { wall: 0.9, cpu: 2.0 }.judge(&run, false), Some(Verdict::Yes));
        assert_eq!(Bar::AtMostNs(0.8).judge(&run, false), Some(Verdict::Yes));
        assert_eq!(Bar::AtMostNs(0.6).judge(&run, false), Some(Verdict::No));
    }

    #[test]
    fn a_thread_below_a_third_of_its_share_is_unfair() {
        let mut two = measured(1.0, 1.0, 1.0);
        assert_eq!(is_fair(&two), None);
        for (least_share, fair) in [(0.17, true), (0.16, false)] {
            two.ours.fairness = Some(Fairness { shares: vec![0.5, 0.5], least_share, p999_ns: 1.0 });
            assert_eq!(is_fair(&two), Some(fair));
        }
    }
}
