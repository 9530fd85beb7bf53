//! Why the figures of a run should not be trusted or compared, said before anybody reads them.

use client::TransportKind;

use super::{Report, client_cost, sum};
use crate::bench::arguments::Kind;
use crate::bench::measure::Recorder;

/// Spread of the rounds' averages beyond which a comparison says nothing: highest over lowest.
const SPREAD_MAX: f64 = 1.25;

/// Part of the asked rate below which the server has not kept up with it.
const RATE_PART_MIN: f64 = 0.95;

/// Seconds of a round from which its rate can be told: in a shorter one the last reply is a part.
const RATE_SECONDS_MIN: f64 = 2.0;

/// Part of its cores that the load may use before it is the limit.
const LOAD_PART_MAX: f64 = 0.9;

/// What is known of one transport's rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    /// Highest over lowest average; none of a single round.
    spread: Option<f64>,
    /// Part of the asked rate that was reached; none without a limit.
    rate_part: Option<f64>,
    /// Part of the load's cores that it used.
    load_part: Option<f64>,
}

impl Report<'_> {
    /// Why this run says less than it seems to; none if nothing speaks against it.
    pub(crate) fn doubt(&self) -> Option<String> {
        if self.plan.kind == Kind::IdleConnections {
            return None;
        }
        let seen: Vec<Seen> = self
            .transports()
            .into_iter()
            .map(|transport| self.seen(transport))
            .collect();
        let reasons = reasons(&seen);
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn seen(&self, transport: TransportKind) -> Seen {
        let rounds = self.of(transport);
        let recorders: Vec<Recorder> = rounds.iter().filter_map(|round| round.measured()).collect();
        let seconds: f64 = recorders
            .iter()
            .map(|recorder| recorder.elapsed().as_secs_f64())
            .sum();
        let seconds = Some(seconds).filter(|seconds| *seconds > 0.0);
        let actors = f64::from(self.plan.actors());
        let rate_part = self.plan.rate_bytes.and_then(|rate| {
            let bytes = sum(&recorders)?.payload_bytes as f64;
            let seconds = seconds.filter(|all| all / rounds.len() as f64 >= RATE_SECONDS_MIN)?;
            Some(bytes / seconds / (rate * actors))
        });
        let load_part = seconds.and_then(|seconds| {
            let costs: Option<Vec<_>> = rounds.iter().map(|round| client_cost(round)).collect();
            let cpu: f64 = costs?.iter().map(|cost| cost.cpu.as_secs_f64()).sum();
            // One runtime drives all actors, so that it has one core however many there are.
            Some(cpu / seconds)
        });
        Seen {
            spread: self.summary(transport).spread,
            rate_part,
            load_part,
        }
    }
}

fn reasons(seen: &[Seen]) -> Vec<String> {
    let mut reasons = Vec::new();
    let worst = |value: fn(&Seen) -> Option<f64>| seen.iter().filter_map(value);
    if seen.len() > 1 && seen.iter().any(|one| one.spread.is_none()) {
        reasons.push("a single round says nothing about noise; take three".to_owned());
    }
    let spread = worst(|one| one.spread).fold(1.0, f64::max);
    if spread > SPREAD_MAX {
        reasons.push(format!(
            "the rounds of one transport differ by a factor of {spread:.2} (more than \
             {SPREAD_MAX}): this run is too noisy to compare"
        ));
    }
    let rate_part = worst(|one| one.rate_part).fold(1.0, f64::min);
    if rate_part < RATE_PART_MIN {
        reasons.push(format!(
            "the server did not keep up: {:.0} % of the rate was reached, so latencies are those \
             of a growing queue; lower --rate-limit",
            100.0 * rate_part
        ));
    }
    let load_part = worst(|one| one.load_part).fold(0.0, f64::max);
    if load_part > LOAD_PART_MAX {
        reasons.push(format!(
            "the load itself was busy {:.0} % of the time: it may be the limit, not the server",
            100.0 * load_part
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubt_stands_beyond_its_limit_and_not_on_it() {
        let fine = Seen {
            spread: Some(SPREAD_MAX),
            rate_part: Some(RATE_PART_MIN),
            load_part: Some(LOAD_PART_MAX),
        };
        assert!(reasons(&[fine, fine]).is_empty());
        let beyond = [
            (
                Seen {
                    spread: Some(1.26),
                    ..fine
                },
                "a factor of 1.26",
            ),
            (
                Seen {
                    rate_part: Some(0.9),
                    ..fine
                },
                "90 % of the rate",
            ),
            (
                Seen {
                    load_part: Some(0.97),
                    ..fine
                },
                "busy 97 %",
            ),
            (
                Seen {
                    spread: None,
                    ..fine
                },
                "a single round",
            ),
        ];
        for (seen, expected) in beyond {
            let found = reasons(&[fine, seen]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
        // Nothing is compared where there is one transport.
        assert!(reasons(&[Seen::default()]).is_empty());
    }
}
