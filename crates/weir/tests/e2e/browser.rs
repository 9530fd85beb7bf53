//! A real browser without a window: opens a file and says what became of it.
//!
//! `WEIR_TEST_CHROMIUM` names the program; without it `chromium` is looked for. The tests install
//! nothing: `cargo xtask test` does.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::harness::{clean, run_to_end};

/// Virtual time that a page's scripts get, in milliseconds.
const SCRIPT_TIME_MS: &str = "5000";

/// What a page had become when its scripts were done.
pub(crate) struct Opened {
    /// The document's elements as text.
    pub(crate) document: String,
    /// What was written to the console: messages, errors, violated policies.
    pub(crate) console: Vec<String>,
}

/// Opens a file in a wide window.
pub(crate) fn open(file: &Path) -> Opened {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let program =
        std::env::var_os("WEIR_TEST_CHROMIUM").unwrap_or_else(|| OsString::from("chromium"));
    let is_there = Command::new(&program).arg("--version").output().is_ok();
    assert!(
        is_there,
        "{program:?} cannot be started; `cargo xtask test` installs Debian's chromium, \
         WEIR_TEST_CHROMIUM names another one"
    );
    let mut command = clean(Command::new(program));
    command
        .env("HOME", profile.path())
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--window-size=1600,1000")
        .arg(format!("--virtual-time-budget={SCRIPT_TIME_MS}"))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()));
    let output = run_to_end(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    Opened {
        document: String::from_utf8(output.stdout).expect("text"),
        console: said
            .lines()
            .filter(|line| line.contains(":CONSOLE"))
            .map(str::to_owned)
            .collect(),
    }
}

#[test]
fn errors_on_the_console_are_seen() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let page = directory.path().join("page.html");
    std::fs::write(
        &page,
        "<p>before</p><script>throw new Error('seen')</script>",
    )
    .expect("written");
    let opened = open(&page);
    assert!(opened.document.contains("<p>before</p>"));
    assert_eq!(opened.console.len(), 1, "{:?}", opened.console);
    assert!(opened.console[0].contains("Uncaught Error: seen"));
}
