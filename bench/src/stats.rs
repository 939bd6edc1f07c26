//! Medians and the like.

use std::time::Duration;

/// Sorted measurements.
pub struct Sample(Vec<Duration>);

impl Sample {
    pub fn new(mut measured: Vec<Duration>) -> Sample {
        measured.sort_unstable();
        Sample(measured)
    }

    /// The value that `share` (0 to 1) of the measurements do not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let at = (share * (self.0.len().saturating_sub(1)) as f64).round() as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        write!(
            f,
            "p50 {:7.1} ms   p90 {:7.1} ms   p99 {:7.1} ms   (n={})",
            ms(self.median()),
            ms(self.quantile(0.9)),
            ms(self.quantile(0.99)),
            self.0.len()
        )
    }
}
