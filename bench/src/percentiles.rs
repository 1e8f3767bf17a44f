//! Latencies, kept in a histogram of three significant digits and shown as percentiles.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// No run lasts longer than an hour; what would be longer is recorded as this.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Durations seen, in microseconds.
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three significant digits are allowed"))
    }
}

impl Latencies {
    /// Adds one.
    pub(crate) fn record(&mut self, latency: Duration) {
        // Not `saturating_record`: that one clamps to the present range instead of growing it.
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).min(LONGEST_MICROS);
        self.0.record(micros).expect("a histogram that resizes itself takes every value up to an hour");
    }

    /// Adds all of another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("a histogram that resizes itself takes every value of another");
    }

    /// The summary.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.0.max() }
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Half were no slower.
    pub(crate) p50: u64,
    /// 90 of 100 were no slower.
    pub(crate) p90: u64,
    /// 99 of 100 were no slower.
    pub(crate) p99: u64,
    /// 999 of 1000 were no slower.
    pub(crate) p999: u64,
    /// The slowest.
    pub(crate) max: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, max } = *self;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
        write!(f, "p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, p99.9 {p999} ms, max {max} ms")
    }
}

/// Microseconds as milliseconds with two decimals.
pub(crate) fn millis(micros: u64) -> String {
    let hundredths = micros.saturating_add(5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand() {
        let (mut low, mut high) = (Latencies::default(), Latencies::default());
        for micros in 1..=1000 {
            let half = if micros <= 500 { &mut low } else { &mut high };
            half.record(Duration::from_micros(micros));
        }
        low.add(&high);
        let percentiles = low.percentiles();
        assert_eq!(percentiles, Percentiles { p50: 500, p90: 900, p99: 990, p999: 999, max: 1000 });
        assert_eq!(percentiles.to_string(), "p50 0.50 ms, p90 0.90 ms, p99 0.99 ms, p99.9 1.00 ms, max 1.00 ms");
    }

    #[test]
    fn long_ones_are_kept_too() {
        let mut latencies = Latencies::default();
        for millis in [1, 300, 90_000] {
            latencies.record(Duration::from_millis(millis));
        }
        let Percentiles { p50, max, .. } = latencies.percentiles();
        assert!((300_000..300_300).contains(&p50), "{p50}");
        assert!((90_000_000..90_090_000).contains(&max), "{max}");
        latencies.record(Duration::MAX);
        assert!(latencies.percentiles().max >= LONGEST_MICROS);
    }

    #[test]
    fn milliseconds_are_rounded() {
        assert_eq!([0, 4, 5, 999_994, 1_234_567].map(millis), ["0.00", "0.00", "0.01", "999.99", "1234.57"]);
    }
}
