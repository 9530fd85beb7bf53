//! `cargo xtask autobahn`: the conformance suite against the WebSocket library, in both roles.
//!
//! The suite is installed below the target directory. Its verdicts are compared with
//! `autobahn/expectations.txt`, which lists every case that is not OK with its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const USAGE: &str = "\
usage: cargo xtask autobahn [--profile core|quick|full|PATTERNS] [--role server|client|both]
                            [--stack NAME] [--driver auto|io-uring|poll]
                            [--no-deflate] [--jobs COUNT]";

/// Where the server under test listens.
const SERVER_ADDRESS: &str = "127.0.0.1:9102";

struct Options {
    profile: String,
    roles: Vec<&'static str>,
    stack: String,
    driver: String,
    deflate: bool,
    /// Parts of the suite that run at one time: the suite is one thread and most of the work.
    jobs: usize,
}

impl Options {
    /// The name by which expectations know what is tested.
    fn tested(&self) -> String {
        match self.deflate {
            true => self.stack.clone(),
            false => format!("{}-no-deflate", self.stack),
        }
    }
}

/// Runs the suite and judges what it found.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    let target = target_directory()?;
    let home = target.join("autobahn");
    let scripts = crate::root().join("xtask").join("autobahn");
    execute(Command::new(scripts.join("setup.sh")).arg(&home))?;
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "ws",
        "--examples",
        "--features",
        "bridge,deflate",
    ];
    execute(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(crate::root())
            .args(build),
    )?;
    let examples = target.join("release").join("examples");
    let expectations = std::fs::read_to_string(scripts.join("expectations.txt"))?;
    let expectations = parse_expectations(&expectations, &options.tested())?;
    let mut unexpected_count = 0;
    for role in &options.roles {
        let out = home
            .join("reports")
            .join(format!("{}-{role}", options.tested()));
        let mut suite = Command::new("python3");
        suite
            .arg(scripts.join("run.py"))
            .arg(role)
            .arg("--home")
            .arg(&home);
        suite
            .args(["--profile", &options.profile])
            .args(["--jobs", &options.jobs.to_string()])
            .arg("--out")
            .arg(&out);
        suite.arg("--url").arg(format!("ws://{SERVER_ADDRESS}"));
        suite
            .arg("--")
            .args(command_under_test(&options, role, &examples));
        execute(&mut suite)?;
        let problems = judge(&out, &expectations)?;
        println!(
            "autobahn {role} {}: {} problems",
            options.tested(),
            problems.len()
        );
        problems.iter().for_each(|problem| println!("  {problem}"));
        unexpected_count += problems.len();
    }
    if unexpected_count > 0 {
        bail!("{unexpected_count} cases are not as expected");
    }
    Ok(())
}

fn command_under_test(options: &Options, role: &str, examples: &Path) -> Vec<String> {
    let example = |name: &str| examples.join(name).display().to_string();
    let mut words = match role {
        "server" => vec![example("echo_server"), SERVER_ADDRESS.to_string()],
        _ => vec![example("echo_client"), "{url}".to_string()],
    };
    words.extend(["--driver".to_string(), options.driver.clone()]);
    if !options.deflate {
        words.push("--no-deflate".to_string());
    }
    if options.stack != "native" {
        words.extend(["--stack".to_string(), options.stack.clone()]);
    }
    words
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        profile: "core".into(),
        roles: vec!["server", "client"],
        stack: "native".into(),
        driver: "auto".into(),
        deflate: true,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--no-deflate" {
            options.deflate = false;
            continue;
        }
        let value = arguments
            .next()
            .with_context(|| format!("{argument} lacks a value\n{USAGE}"))?;
        match argument.as_str() {
            "--profile" => options.profile = value.clone(),
            "--stack" => options.stack = value.clone(),
            "--driver" => options.driver = value.clone(),
            "--jobs" => options.jobs = value.parse().with_context(|| USAGE)?,
            "--role" => {
                options.roles = match value.as_str() {
                    "server" => vec!["server"],
                    "client" => vec!["client"],
                    "both" => vec!["server", "client"],
                    _ => bail!("{USAGE}"),
                };
            }
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}

/// Case or group to the behavior that is expected of it.
type Expectations = BTreeMap<String, String>;

fn parse_expectations(text: &str, stack: &str) -> Result<Expectations> {
    let mut expectations = Expectations::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let (Some(of_stack), Some(case), Some(behavior), Some(_reason)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("an expectation has a stack, a case, a behavior and a reason: {line}");
        };
        if of_stack == stack.trim_end_matches("-fixed") {
            expectations.insert(case.into(), behavior.into());
        }
    }
    Ok(expectations)
}

/// The expectation of a case or of the smallest group around it.
fn expected<'a>(expectations: &'a Expectations, case: &'a str) -> Option<(&'a str, &'a str)> {
    let mut name = case;
    loop {
        if let Some(behavior) = expectations.get(name) {
            return Some((name, behavior));
        }
        name = &name[..name.rfind('.')?];
    }
}

/// Compares the verdicts below `out` with the expectations; returns what does not fit.
fn judge(out: &Path, expectations: &Expectations) -> Result<Vec<String>> {
    let mut verdicts = BTreeMap::new();
    for index in find_reports(out)? {
        let report: Value = serde_json::from_slice(&std::fs::read(&index)?)
            .with_context(|| format!("{} is no report", index.display()))?;
        for (_, cases) in report.as_object().into_iter().flatten() {
            for (case, verdict) in cases.as_object().into_iter().flatten() {
                let field = |name: &str| verdict[name].as_str().unwrap_or_default().to_string();
                verdicts.insert(case.clone(), (field("behavior"), field("behaviorClose")));
            }
        }
    }
    let ran = std::fs::read_to_string(out.join("cases.txt"))?;
    let ran: Vec<&str> = ran.split_whitespace().collect();
    if ran.is_empty() {
        bail!("the suite ran no case");
    }
    println!("{} cases ran: {:?}", ran.len(), counts(verdicts.values()));
    Ok(problems(&ran, &verdicts, expectations))
}

/// How often each verdict was given.
fn counts<'a>(verdicts: impl Iterator<Item = &'a (String, String)>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for (behavior, _) in verdicts {
        *counts.entry(behavior.as_str()).or_default() += 1;
    }
    counts
}

fn problems(
    ran: &[&str],
    verdicts: &BTreeMap<String, (String, String)>,
    expectations: &Expectations,
) -> Vec<String> {
    let mut problems = Vec::new();
    for case in ran {
        let Some((behavior, close)) = verdicts.get(*case) else {
            problems.push(format!("{case} left no verdict"));
            continue;
        };
        let is_ok = behavior == "OK" && close == "OK";
        match expected(expectations, case) {
            None if is_ok => {}
            None => problems.push(format!("{case} {behavior}, close {close}")),
            Some((_, wanted)) if behavior == wanted && (close == "OK" || close == wanted) => {}
            Some((name, _)) if is_ok && name == *case => {
                problems.push(format!("{case} is OK now: remove its expectation"));
            }
            Some((_, wanted)) => {
                problems.push(format!(
                    "{case} {behavior}, close {close}, expected {wanted}"
                ));
            }
        }
    }
    problems
}

fn find_reports(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            reports.extend(find_reports(&path)?);
        } else if path.file_name().is_some_and(|name| name == "index.json") {
            reports.push(path);
        }
    }
    Ok(reports)
}

fn target_directory() -> Result<PathBuf> {
    let metadata = crate::tidy::metadata()?;
    let path = metadata["target_directory"].as_str();
    path.map(PathBuf::from)
        .context("cargo metadata names no target directory")
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# stack case behavior reason\n\nnative 7.1.6 INFORMATIONAL only a look\n\
        native 12 UNIMPLEMENTED not yet\nbridge 6.4 NON-STRICT checks at the end\n";

    fn check(case: &str, behavior: &str, close: &str, problem: Option<&str>) {
        let expectations = parse_expectations(FILE, "native").expect("well-formed");
        let verdict = (behavior.to_string(), close.to_string());
        let verdicts = BTreeMap::from([(case.to_string(), verdict)]);
        let found = problems(&[case], &verdicts, &expectations);
        assert_eq!(found.first().map(String::as_str), problem);
    }

    #[test]
    fn what_is_expected_passes_and_everything_else_does_not() {
        check("1.1.1", "OK", "OK", None);
        check("1.1.1", "OK", "FAILED", Some("1.1.1 OK, close FAILED"));
        check(
            "6.4.1",
            "NON-STRICT",
            "OK",
            Some("6.4.1 NON-STRICT, close OK"),
        );
        check("7.1.6", "INFORMATIONAL", "INFORMATIONAL", None);
        check(
            "7.1.6",
            "OK",
            "OK",
            Some("7.1.6 is OK now: remove its expectation"),
        );
        check("12.1.3", "UNIMPLEMENTED", "OK", None);
        check(
            "12.1.3",
            "FAILED",
            "OK",
            Some("12.1.3 FAILED, close OK, expected UNIMPLEMENTED"),
        );
        let none = problems(&["1.1.1"], &BTreeMap::new(), &Expectations::new());
        assert_eq!(none, ["1.1.1 left no verdict"]);
    }

    #[test]
    fn an_expectation_without_a_reason_is_refused() {
        assert!(parse_expectations("native 7.1.6 INFORMATIONAL", "native").is_err());
    }

    #[test]
    fn the_committed_expectations_are_well_formed() {
        let file = include_str!("../autobahn/expectations.txt");
        assert!(
            !parse_expectations(file, "native")
                .expect("well-formed")
                .is_empty()
        );
    }
}
