//! The median of a sample with a 95 % interval, from order statistics.
//!
//! How many of `n` values fall below the true median is binomial with probability one half, whatever the distribution. So the k-th smallest
//! and the k-th largest value enclose the median with a confidence that depends on `n` and `k` alone: nothing is assumed of the noise
//! and nothing is drawn at random, the same sample gives the same interval. With fewer than six values no two of them reach 95 %; then the
//! interval is the whole range, and [`Median::confidence`] says what that is worth.

/// A median and what encloses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median of the sample.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// How sure it is that the interval holds the true median: at least 0.95 from six values on.
    pub confidence: f64,
}

impl Median {
    /// The median of `sample`.
    ///
    /// # Panics
    ///
    /// If the sample is empty.
    #[must_use]
    pub fn of(mut sample: Vec<f64>) -> Median {
        assert!(!sample.is_empty(), "a median needs a value");
        sample.sort_unstable_by(f64::total_cmp);
        let n = sample.len();
        let (outside, confidence) = ranks(n);
        Median {
            value: f64::midpoint(sample[(n - 1) / 2], sample[n / 2]),
            low: sample[outside],
            high: sample[n - 1 - outside],
            confidence,
        }
    }
}

/// How many of `n` sorted values may be left out at each end, and the confidence that remains.
fn ranks(n: usize) -> (usize, f64) {
    // The probability that exactly i of n values are below the median, begun at i = 0; `tail` is that of at most `outside`.
    let mut exactly = 0.5_f64.powi(n as i32);
    let mut tail = exactly;
    let mut outside = 0;
    loop {
        let i = outside + 1;
        exactly *= (n - outside) as f64 / i as f64;
        if tail + exactly > 0.025 || 2 * i >= n {
            return (outside, 1.0 - 2.0 * tail);
        }
        tail += exactly;
        outside = i;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_samples() {
        assert_eq!(Median::of(vec![3.0, 1.0, 2.0]).value, 2.0);
        assert_eq!(Median::of(vec![4.0, 1.0, 3.0, 2.0]).value, 2.5);
        assert_eq!(Median::of(vec![7.0]), Median { value: 7.0, low: 7.0, high: 7.0, confidence: 0.0 });
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Tables of the sign test: the second of 11, the sixth of 21, the tenth of 31; from 9 values on one may go, below six none reaches 95 %.
        assert_eq!([5, 6, 8, 9, 11, 21, 31].map(|n| ranks(n).0), [0, 0, 0, 1, 1, 5, 9]);
        assert!(ranks(5).1 < 0.95);
        for n in 6..200 {
            let (outside, confidence) = ranks(n);
            assert!(confidence >= 0.95 && 2 * outside < n, "{n}: {outside} {confidence}");
        }
        assert!((ranks(11).1 - 0.98828125).abs() < 1e-12);
    }

    #[test]
    fn the_interval_leaves_out_one_of_eleven_at_each_end() {
        let sample = (0..11).map(f64::from).collect();
        let Median { value, low, high, .. } = Median::of(sample);
        assert_eq!((low, value, high), (1.0, 5.0, 9.0));
    }

    #[test]
    fn the_interval_holds_the_median_as_often_as_it_says() {
        // A skewed sample from a fixed generator: 4,000 samples of 21 values x², whose true median is 0.25.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let held = (0..4000)
            .filter(|_| {
                let m = Median::of((0..21).map(|_| uniform().powi(2)).collect());
                m.low <= 0.25 && 0.25 <= m.high
            })
            .count();
        let (_, promised) = ranks(21);
        assert!((held as f64 / 4000.0 - promised).abs() < 0.02, "{held} of 4000, promised {promised}");
    }
}
