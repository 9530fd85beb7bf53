//! Documents exist, stay short where they promise to, and point at files that exist.

use super::{File, Tree};

/// Documents that must exist, with the lines that each may have.
const REQUIRED: &[(&str, usize)] = &[
    ("README.md", 120),
    ("ARCHITECTURE.md", 250),
    ("CONTRIBUTING.md", 200),
    ("SECURITY.md", 100),
    ("CHANGELOG.md", 2_000),
    ("LICENSE", 300),
    ("weir.toml", 200),
    ("docs/benchmarks.md", 400),
    ("docs/decisions/0001-compio-beta.md", 80),
    ("docs/decisions/0002-catalog-on-one-shard.md", 80),
];

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, lines_max) in REQUIRED {
        match tree.files.iter().find(|file| file.path == *path) {
            None => problems.push(format!("{path}: missing")),
            Some(file) if file.text.lines().count() > *lines_max => {
                problems.push(format!("{path}: longer than {lines_max} lines"));
            }
            Some(_) => {}
        }
    }
    let is_document = |file: &&File| file.path.ends_with(".md");
    for file in tree.files.iter().filter(is_document) {
        for (line, target) in references(&file.text) {
            let directory = file
                .path
                .rsplit_once('/')
                .map_or("", |(directory, _)| directory);
            let from_here = tree.root.join(directory).join(&target);
            if !from_here.exists() && !tree.root.join(&target).exists() {
                problems.push(format!("{}:{line}: {target} does not exist", file.path));
            }
        }
    }
    problems
}

/// Files that a document names: targets of relative links, and paths in backticks that start
/// with one of the repository's directories.
fn references(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let links = links.map(|link| link.split('#').next().unwrap_or(link));
        let quoted = line.split('`').skip(1).step_by(2).filter(|code| {
            let starts = ["crates/", "docs/", "xtask/", "testdata/", "fuzz/"];
            let is_pattern = code.contains(['*', '{', ' ', '<', '…']);
            starts.iter().any(|start| code.starts_with(start)) && !is_pattern
        });
        found.extend(
            links
                .chain(quoted)
                .map(|target| (index + 1, target.to_owned())),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_links_and_quoted_paths() {
        let text = "See [the map](ARCHITECTURE.md#map) and [a site](https://example.org).\n\
                    `crates/ws/src/lib.rs` but not `cargo test` nor `crates/*/src`.";
        assert_eq!(
            references(text),
            [
                (1, "ARCHITECTURE.md".to_owned()),
                (2, "crates/ws/src/lib.rs".to_owned())
            ]
        );
    }
}
