//! Words that have no place in the repository: promises instead of code, and traces of the
//! machine it was written on.

use super::{File, Tree};

/// Written in halves so that this file passes its own check.
const BANNED: &[(&str, &str)] = &[
    (
        concat!("TO", "DO"),
        "do it, or leave it out and say so in the documents",
    ),
    (
        concat!("FIX", "ME"),
        "do it, or leave it out and say so in the documents",
    ),
    (concat!("todo", "!("), "no stubs"),
    (concat!("unimplemented", "!("), "no stubs"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/opt/", "wheels"), "a path of one machine"),
    (concat!("/tmp/", "weir/"), "a path of one machine"),
    (concat!("/tmp/", "target"), "a path of one machine"),
    (
        concat!("index", "-url"),
        "package sources belong to the machine, not to the repository",
    ),
    (
        concat!("find", "-links"),
        "package sources belong to the machine, not to the repository",
    ),
];

/// The only place that locked dependencies may come from.
const LOCKED_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(tree: &Tree) -> Vec<String> {
    tree.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut report = |reason: &str| {
            problems.push(format!("{}:{}: {reason}", file.path, index + 1));
        };
        for (word, reason) in BANNED {
            if line.contains(word) {
                report(&format!("{word}: {reason}"));
            }
        }
        if names_an_issue(line) {
            report("a numbered issue: say what it was about instead");
        }
        if file.path.ends_with("Cargo.lock")
            && line.starts_with("source = ")
            && !line.contains(LOCKED_SOURCE)
        {
            report("locked to another source than the public registry");
        }
    }
    problems
}

/// The word followed by a number, but not a link into the tracker of another project.
fn names_an_issue(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower
        .match_indices(concat!("iss", "ue"))
        .any(|(start, word)| {
            let rest = lower[start + word.len()..].trim_start_matches('s');
            let number = rest
                .strip_prefix(' ')
                .or_else(|| rest.strip_prefix('-'))
                .unwrap_or("");
            number
                .trim_start_matches('#')
                .starts_with(|c: char| c.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: String) -> usize {
        check_file(&File {
            path: path.to_owned(),
            text,
        })
        .len()
    }

    #[test]
    fn banned_words_are_found() {
        for (word, _) in BANNED {
            assert_eq!(problems("a.rs", format!("// see {word}x")), 1, "{word}");
        }
    }

    #[test]
    fn numbered_issues_are_found() {
        let word = concat!("iss", "ue");
        assert_eq!(problems("a.md", format!("as {word} 3 says")), 1);
        assert_eq!(problems("a.md", format!("as {word} #3 says")), 1);
        assert_eq!(problems("a.md", format!("this is an {word}, no more")), 0);
        assert_eq!(
            problems("a.md", format!("https://example.org/a/b/{word}s/31")),
            0
        );
    }

    #[test]
    fn other_sources_in_the_lock_file_are_found() {
        let line = |host: &str| format!("source = \"registry+https://{host}\"");
        let public = LOCKED_SOURCE.trim_start_matches("registry+https://");
        assert_eq!(problems("Cargo.lock", line(public)), 0);
        assert_eq!(problems("Cargo.lock", line("mirror.example/index")), 1);
    }
}
