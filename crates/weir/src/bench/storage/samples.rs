//! Times of one subject, round by round.

use std::time::Duration;

/// What was measured of one subject.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    rounds: Vec<Vec<Duration>>,
}

impl Samples {
    pub(super) fn begin_round(&mut self) {
        self.rounds.push(Vec::new());
    }

    pub(super) fn add(&mut self, time: Duration) {
        let round = self.rounds.last_mut().expect("a round was begun");
        round.push(time);
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Samples of all rounds.
    pub(super) fn count(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }

    /// Of all rounds together, in microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        quantile_of(self.rounds.concat(), quantile)
    }

    /// Highest over lowest median of the rounds.
    pub(super) fn spread(&self) -> f64 {
        spread(
            self.rounds
                .iter()
                .map(|round| quantile_of(round.clone(), 0.5)),
        )
    }
}

/// Highest over lowest figure of some rounds.
pub(super) fn spread(figures: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = figures.fold((f64::MAX, 0.0_f64), |(low, high), figure| {
        (low.min(figure), high.max(figure))
    });
    high / low
}

/// The one in the middle.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn quantile_of(mut times: Vec<Duration>, quantile: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * quantile) as usize;
    times[at.min(times.len() - 1)].as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_rounds_and_the_spread_is_between_them() {
        let mut samples = Samples::default();
        for round in [1_u64, 2] {
            samples.begin_round();
            for time in 1..=100 {
                samples.add(Duration::from_micros(time * round));
            }
        }
        assert_eq!(samples.quantile_us(0.0), 1.0);
        assert_eq!(samples.quantile_us(1.0), 200.0);
        // 51 of the first round against 102 of the second.
        assert!((samples.spread() - 2.0).abs() < 0.01);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
