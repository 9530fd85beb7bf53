//! Conventions that a machine can hold, held by a machine.
//!
//! Each check returns a list of problems, each with its file and line; no problem, no output.
//! They run as ordinary tests of this crate and, for a quick look, as `cargo xtask tidy`.

mod documents;
mod layers;
mod rust;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

type Check = fn(&Tree) -> Vec<String>;

/// Every check with the name of its test.
const CHECKS: &[(&str, Check)] = &[
    ("layers", layers::check),
    ("lengths", rust::check_lengths),
    ("headers", rust::check_headers),
    ("attributes", rust::check_attributes),
    ("words", words::check),
    ("documents", documents::check),
];

/// A text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with forward slashes.
    path: String,
    text: String,
}

/// Every text file of the repository that somebody wrote.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<File>,
}

/// Runs every check.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::read(&crate::root())?;
    let problems: Vec<String> = CHECKS.iter().flat_map(|(_, check)| check(&tree)).collect();
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problems", problems.len());
    }
    Ok(())
}

/// What cargo knows about the workspace's own packages.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(crate::root())
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Tree {
    /// Reads the repository below `root`; what is not UTF-8 text is left out.
    fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = std::fs::read_dir(&directory)
                .with_context(|| format!("cannot list {}", directory.display()))?;
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    if !is_left_out(&entry.file_name().to_string_lossy()) {
                        waiting.push(path);
                    }
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    let relative = path.strip_prefix(root).expect("found below the root");
                    files.push(File {
                        path: relative.to_string_lossy().into_owned(),
                        text,
                    });
                }
            }
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Tree {
            root: root.to_owned(),
            files,
        })
    }

    fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

/// Directories that hold what was built, fetched or written by a run.
fn is_left_out(name: &str) -> bool {
    matches!(
        name,
        ".git" | "target" | "weir-data" | "node_modules" | "__pycache__"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(name: &str) {
        let tree = Tree::read(&crate::root()).expect("the repository can be read");
        let check = CHECKS
            .iter()
            .find(|check| check.0 == name)
            .expect("a check")
            .1;
        let problems = check(&tree);
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    #[test]
    fn layers() {
        clean("layers");
    }

    #[test]
    fn lengths() {
        clean("lengths");
    }

    #[test]
    fn headers() {
        clean("headers");
    }

    #[test]
    fn attributes() {
        clean("attributes");
    }

    #[test]
    fn words() {
        clean("words");
    }

    #[test]
    fn documents() {
        clean("documents");
    }
}
