//! The rounds: every server once per scenario and round, so that what disturbs the machine for a
//! while disturbs all of them.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::limits;
use crate::measure::{Sample, Timing, measure};
use crate::scenario::{self, Kind, Scenario};
use crate::servers::{self, Family, Server};

pub(crate) struct Plan {
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) servers: Vec<&'static Server>,
    pub(crate) rounds_count: u32,
    pub(crate) timing: Timing,
}

/// All samples of one server in one scenario.
pub(crate) struct Outcome {
    pub(crate) scenario: &'static Scenario,
    pub(crate) server: &'static Server,
    pub(crate) samples: Vec<Sample>,
    /// What went wrong, one line per measurement that failed.
    pub(crate) failures: Vec<String>,
}

impl Plan {
    pub(crate) fn from_arguments(arguments: &Arguments) -> Result<Self, String> {
        let scenarios = select(scenario::ALL, &arguments.scenario, |scenario| scenario.name)?;
        let servers = select(servers::ALL, &arguments.only, |server| server.name)?;
        let (rounds_count, seconds) = if arguments.quick { (2, 0.3) } else { (7, 0.7) };
        let rounds_count = arguments.rounds.unwrap_or(rounds_count);
        let seconds = arguments.seconds.unwrap_or(seconds);
        if !(1..=limits::ROUNDS_MAX).contains(&rounds_count) {
            return Err(format!("--rounds must be 1 to {}", limits::ROUNDS_MAX));
        }
        if !(0.01..=limits::SECONDS_MAX).contains(&seconds) {
            return Err(format!("--seconds must be 0.01 to {}", limits::SECONDS_MAX));
        }
        let measured = Duration::from_secs_f64(seconds);
        Ok(Plan {
            scenarios,
            servers,
            rounds_count,
            timing: Timing {
                warm_up: measured / 3,
                measured,
                server_core: arguments.server_core,
            },
        })
    }
}

fn select<T>(
    all: &'static [T],
    names: &[String],
    name_of: fn(&T) -> &'static str,
) -> Result<Vec<&'static T>, String> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        let found = all.iter().find(|item| name_of(item) == name);
        found.ok_or_else(|| format!("{name} is not known: see --list"))
    };
    names.iter().map(find).collect()
}

pub(crate) fn run(plan: &Plan) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for scenario in &plan.scenarios {
        let mut of_scenario: Vec<Outcome> = plan
            .servers
            .iter()
            .filter(|server| takes_part(scenario, server))
            .map(|server| Outcome {
                scenario,
                server,
                samples: Vec::new(),
                failures: Vec::new(),
            })
            .collect();
        // Memory does not depend on what else the machine does.
        let rounds_count = match scenario.kind {
            Kind::Idle => 1,
            Kind::Echo { .. } | Kind::Broadcast => plan.rounds_count,
        };
        for round in 0..rounds_count {
            let count = of_scenario.len();
            for index in 0..count {
                // Another one begins each round.
                let outcome = &mut of_scenario[(index + round as usize) % count];
                eprint!(
                    "\r\x1b[K{} {}/{rounds_count} {}",
                    scenario.name,
                    round + 1,
                    outcome.server.name
                );
                match measure(scenario, outcome.server, &plan.timing) {
                    Ok(sample) => outcome.samples.push(sample),
                    Err(error) => outcome.failures.push(error.to_string()),
                }
            }
        }
        outcomes.extend(of_scenario);
    }
    eprint!("\r\x1b[K");
    outcomes
}

fn takes_part(scenario: &Scenario, server: &Server) -> bool {
    match scenario.kind {
        Kind::Broadcast => server.broadcast.is_some() && server.family != Family::Raw,
        Kind::Echo { .. } | Kind::Idle => true,
    }
}
