//! `cargo xtask test`: the one test command.
//!
//! It needs a Rust toolchain and Python 3 with pip; whatever else is missing it installs: the test
//! runner with cargo, the published Python client into a virtual environment below the target
//! directory, the browser with apt-get. The runner goes last, so that the last line is its verdict.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The published client that the end-to-end tests drive, pinned to the protocol that is served.
const PYTHON_CLIENT: &str = "apache-iggy";
const PYTHON_CLIENT_VERSION: &str = "0.9.0";

/// Installs what is missing, checks style, then runs every test; `arguments` go to the runner.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let python = python_with_client()?;
    install_runner()?;
    install_browser()?;
    crate::proof::install_file_systems();
    execute(cargo().args(["fmt", "--all", "--check"]))?;
    let lint = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    execute(cargo().args(lint))?;
    // The runner does not know the examples in the documentation.
    execute(cargo().args(["test", "--doc", "--workspace", "--locked", "--quiet"]))?;
    let runner = ["nextest", "run", "--workspace", "--locked"];
    execute(
        cargo()
            .args(runner)
            .args(arguments)
            .env("WEIR_TEST_PYTHON", python),
    )
}

fn install_runner() -> Result<()> {
    if succeeds(cargo().args(["nextest", "--version"])) {
        return Ok(());
    }
    eprintln!("xtask: installing cargo-nextest");
    execute(cargo().args(["install", "cargo-nextest", "--locked"]))
}

/// The browser in which the tests open the reports of `weir bench`.
fn install_browser() -> Result<()> {
    let is_named = std::env::var_os("WEIR_TEST_CHROMIUM").is_some();
    if is_named || succeeds(Command::new("chromium").arg("--version")) {
        return Ok(());
    }
    eprintln!("xtask: installing chromium");
    execute(Command::new("apt-get").arg("update"))?;
    execute(Command::new("apt-get").args(["install", "--yes", "chromium"]))
}

/// The interpreter of a virtual environment that has the client installed.
fn python_with_client() -> Result<PathBuf> {
    let environment = target_directory()?.join("python");
    let python = environment.join("bin").join("python");
    if has_client(&python) {
        return Ok(python);
    }
    eprintln!(
        "xtask: installing {PYTHON_CLIENT} into {}",
        environment.display()
    );
    create_environment(&environment)?;
    let requirement = format!("{PYTHON_CLIENT}=={PYTHON_CLIENT_VERSION}");
    execute(Command::new(&python).args(["-m", "pip", "install", "--quiet", &requirement]))?;
    if !has_client(&python) {
        bail!("{requirement} was installed but cannot be imported");
    }
    Ok(python)
}

fn has_client(python: &Path) -> bool {
    let check = format!(
        "import apache_iggy, importlib.metadata as m; \
         assert m.version('{PYTHON_CLIENT}') == '{PYTHON_CLIENT_VERSION}'"
    );
    succeeds(Command::new(python).args(["-c", &check]))
}

/// Some distributions ship Python without the module that makes environments; where apt-get can,
/// it is asked for it.
fn create_environment(environment: &Path) -> Result<()> {
    let create =
        |command: &mut Command| execute(command.args(["-m", "venv", "--clear"]).arg(environment));
    let Err(error) = create(&mut Command::new("python3")) else {
        return Ok(());
    };
    eprintln!("xtask: {error:#}; trying to install python3-venv");
    execute(Command::new("apt-get").arg("update"))?;
    execute(Command::new("apt-get").args(["install", "--yes", "python3-venv"]))?;
    create(&mut Command::new("python3"))
}

/// Where cargo builds to, whatever the environment or a configuration file says.
fn target_directory() -> Result<PathBuf> {
    let metadata = crate::tidy::metadata()?;
    let path = metadata["target_directory"].as_str();
    path.map(PathBuf::from)
        .context("cargo metadata names no target directory")
}

/// The cargo that runs this program, in the root of the repository.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

fn execute(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed with {status}");
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
