//! The long runs of what `cargo xtask test` runs in short: kills, power cuts, flipped bits.
//!
//! The tests are the same; an environment variable says how often. Each prints its seed and what
//! it found.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// A long run: its command, its option, and the tests that it runs.
struct Run {
    option: &'static str,
    variable: &'static str,
    count_default: u64,
    packages: &'static [&'static str],
    tests: &'static str,
}

const CRASH: Run = Run {
    option: "--points",
    variable: "WEIR_TEST_KILLS",
    count_default: 200,
    packages: &["weir"],
    tests: "test(kills::)",
};

const POWER_CUT: Run = Run {
    option: "--cuts",
    variable: "WEIR_TEST_POWER_CUTS",
    count_default: 30,
    packages: &["weir"],
    tests: "test(power_cut::)",
};

const BIT_FLIPS: Run = Run {
    option: "--positions",
    variable: "WEIR_TEST_FLIPS",
    count_default: 10_000,
    packages: &["storage", "weir"],
    tests: "test(flips::)",
};

/// `kill -9` at random points, over each transport.
pub(crate) fn crash(arguments: &[String]) -> Result<()> {
    run(&CRASH, arguments)
}

/// Power cuts on a real file system, over each transport.
pub(crate) fn power_cut(arguments: &[String]) -> Result<()> {
    install_file_systems();
    run(&POWER_CUT, arguments)
}

/// Single-bit flips in a data directory, and some of them under a real server.
pub(crate) fn bit_flips(arguments: &[String]) -> Result<()> {
    run(&BIT_FLIPS, arguments)
}

fn run(run: &Run, arguments: &[String]) -> Result<()> {
    let count = match arguments {
        [] => run.count_default,
        [option, count] if option == run.option => count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .with_context(|| format!("{option} takes a number from 1 on, not {count}"))?,
        _ => bail!("the only option is {} COUNT", run.option),
    };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command.args(["nextest", "run", "--locked", "--profile", "long"]);
    // One at a time: what is found is shown as it comes, and nothing else keeps the disk busy.
    command.args(["--no-capture", "-E", run.tests]);
    for package in run.packages {
        command.args(["--package", package]);
    }
    command.env(run.variable, count.to_string());
    let status = command.status().context("cannot start cargo nextest")?;
    if !status.success() {
        bail!("the run failed with {status}");
    }
    Ok(())
}

/// Tools that make the file systems of the power cuts. Without them the tests say so and pass.
pub(crate) fn install_file_systems() {
    let is_root = Command::new("id").arg("-u").output();
    let is_root = is_root.is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let has_tools = Command::new("mkfs.xfs").arg("-V").output().is_ok();
    if has_tools || !is_root {
        return;
    }
    eprintln!("xtask: installing xfsprogs");
    let apt_get = |arguments: &[&str]| Command::new("apt-get").args(arguments).status();
    let installed = apt_get(&["update"])
        .and_then(|_| apt_get(&["install", "--yes", "xfsprogs", "e2fsprogs"]))
        .is_ok_and(|status| status.success());
    if !installed {
        eprintln!("xtask: power cuts are skipped: xfsprogs cannot be installed here");
    }
}
