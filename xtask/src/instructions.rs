//! `cargo xtask instructions`: what the WebSocket core costs, in instructions.
//!
//! Time on a shared machine says little; the number of instructions says the same on every run.
//! Each case of the core's example `instructions` runs under callgrind with two numbers of
//! repetitions, so that what the process costs by itself cancels out. More than the recorded
//! figure allows is an error; `UPDATE=1` records new figures, and the commit that does so says
//! why they changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const FIGURES: &str = "testdata/instructions.toml";

const FIGURES_HEAD: &str = "\
# Instructions of one repetition of each case of the example `instructions` of ws-proto, built for
# release and counted by callgrind on x86-64 with AVX2. `cargo xtask instructions` fails above
# +3 %; UPDATE=1 records anew, and the commit that does so gives the reason.

";

/// How much more than recorded is accepted, in percent: another memory layout moves a little.
const GROWTH_PERCENT_MAX: u64 = 3;

/// The two numbers of repetitions; the difference is what is counted.
const REPETITIONS: [u64; 2] = [20, 220];

/// Counts every case, then compares with the recorded figures or records them.
pub(crate) fn run() -> Result<()> {
    require_valgrind()?;
    let example = build()?;
    let mut figures = BTreeMap::new();
    for name in output(Command::new(&example))?.0.lines() {
        let [few, many] = REPETITIONS.map(|repetitions| count(&example, name, repetitions));
        let instructions = many?.saturating_sub(few?) / (REPETITIONS[1] - REPETITIONS[0]);
        figures.insert(name.to_owned(), instructions);
    }
    let path = crate::root().join(FIGURES);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, encode(&figures)).context("cannot record the figures")?;
        println!("recorded {} figures in {FIGURES}", figures.len());
        return Ok(());
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {FIGURES}; UPDATE=1 records it"))?;
    compare(&decode(&text)?, &figures)
}

fn require_valgrind() -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("the recorded figures are those of x86-64");
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("valgrind is missing; install it, for example by: apt-get install valgrind"),
    }
}

/// Builds the example for release; cargo says where it lies.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(crate::root()).args([
        "build",
        "--release",
        "--locked",
        "--package=ws-proto",
        "--example=instructions",
        "--message-format=json-render-diagnostics",
    ]);
    let (messages, _) = output(command)?;
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.context("cargo names no executable")
}

/// Instructions of the whole process.
fn count(example: &Path, name: &str, repetitions: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(example)
        .args([name, &repetitions.to_string()]);
    let (_, report) = output(command)?;
    report
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .with_context(|| format!("callgrind collected nothing:\n{report}"))
}

/// Standard output and standard error of a command that succeeds.
fn output(mut command: Command) -> Result<(String, String)> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{shown} failed:\n{}", text(&output.stderr));
    }
    Ok((text(&output.stdout), text(&output.stderr)))
}

fn encode(figures: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(FIGURES_HEAD);
    for (name, instructions) in figures {
        writeln!(text, "{name} = {instructions}").expect("a string takes everything");
    }
    text
}

fn decode(text: &str) -> Result<BTreeMap<String, u64>> {
    let table: toml::Table = text.parse().context("the recorded figures are no TOML")?;
    table
        .into_iter()
        .map(|(name, value)| {
            let figure = value.as_integer().and_then(|figure| figure.try_into().ok());
            let figure = figure.with_context(|| format!("{name} is no number of instructions"))?;
            Ok((name, figure))
        })
        .collect()
}

/// Prints every case beside its record; an error if one costs too much or has no record.
fn compare(recorded: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> Result<()> {
    let mut problems = Vec::new();
    for (name, &now) in counted {
        let Some(&before) = recorded.get(name) else {
            problems.push(format!("{name} has no record"));
            continue;
        };
        let change = (now as f64 / before.max(1) as f64 - 1.0) * 100.0;
        println!("{name:<34} {now:>9} {change:>+7.1} %");
        if now * 100 > before * (100 + GROWTH_PERCENT_MAX) {
            problems.push(format!("{name}: {now} instructions instead of {before}"));
        }
    }
    for name in recorded.keys().filter(|name| !counted.contains_key(*name)) {
        problems.push(format!("{name} is recorded and not counted"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nUPDATE=1 cargo xtask instructions records the new figures; the commit says why",
        problems.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(figures: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let owned = figures.iter().map(|&(name, figure)| (name.into(), figure));
        owned.collect()
    }

    #[test]
    fn three_percent_more_is_accepted_and_not_one_instruction_beyond() {
        let recorded = figures(&[("a", 1000)]);
        compare(&recorded, &figures(&[("a", 1030)])).expect("on the edge");
        compare(&recorded, &figures(&[("a", 500)])).expect("less");
        compare(&recorded, &figures(&[("a", 1031)])).expect_err("beyond");
        compare(&recorded, &figures(&[("a", 1), ("b", 1)])).expect_err("no record");
        compare(&recorded, &figures(&[])).expect_err("not counted");
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let recorded = figures(&[("decode", 7), ("unmask", 8)]);
        assert_eq!(decode(&encode(&recorded)).expect("valid"), recorded);
        decode("decode = -1").expect_err("negative");
    }

    #[test]
    fn every_figure_in_the_repository_is_valid() {
        let text = std::fs::read_to_string(crate::root().join(FIGURES)).expect("recorded");
        assert!(!decode(&text).expect("valid").is_empty());
    }
}
