//! Shape of the Rust sources: lengths, the header of each crate, attributes.

use super::{File, Tree};

const LINE_COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 900;
const FUNCTION_LINES_MAX: usize = 70;
/// A test that is a table or a story may be longer than what it tests.
const TEST_LINES_MAX: usize = 100;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer, each with its file and the reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Modules that may hold `unsafe`, each with the reason.
const UNSAFE_MODULES: &[(&str, &str)] = &[
    (
        "crates/ws-proto/src/mask",
        "vector instructions behind run-time detection",
    ),
    (
        "crates/ws/src/pooled.rs",
        "an operation of the ring, whose trait is unsafe; readiness is its safe twin",
    ),
    (
        "crates/ws/src/direct.rs",
        "the kernel receives into spare capacity; its test has the safe twin",
    ),
    (
        "crates/weir/tests/freed_memory/quarantine.rs",
        "an allocator that sees the kernel write into freed memory",
    ),
    (
        "peers/",
        "a workspace of its own that measures other implementations",
    ),
];

/// How the documentation of every crate begins.
const HEADER: [&str; 5] = [
    "This room",
    "Owns",
    "Never",
    "Start reading at",
    "Tests run with",
];

pub(super) fn check_lengths(tree: &Tree) -> Vec<String> {
    tree.rust_files()
        .flat_map(|file| [lines(file), functions(file)].concat())
        .collect()
}

fn lines(file: &File) -> Vec<String> {
    let mut problems: Vec<String> = file
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > LINE_COLUMNS_MAX)
        .map(|(index, _)| {
            format!(
                "{}:{}: longer than {LINE_COLUMNS_MAX} columns",
                file.path,
                index + 1
            )
        })
        .collect();
    let count = file.text.lines().count();
    if count > FILE_LINES_MAX && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
        problems.push(format!("{}: {count} lines, split it by idea", file.path));
    }
    problems
}

/// Relies on rustfmt: a function's closing brace stands alone below the start of its first line.
fn functions(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut problems = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        // A declaration without a body, or a body on one line, ends before any brace.
        let Some(body) = lines[start..].iter().position(|line| line.ends_with('{')) else {
            continue;
        };
        if lines[start..start + body]
            .iter()
            .any(|line| line.ends_with([';', '}']))
        {
            continue;
        }
        let Some(length) = lines[start..].iter().position(|line| **line == closing) else {
            continue;
        };
        let is_allowed = LONG_FUNCTIONS
            .iter()
            .any(|(path, long, _)| *path == file.path && *long == name);
        let is_test = file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
        let lines_max = if is_test {
            TEST_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        if length + 1 > lines_max && !is_allowed {
            let path = &file.path;
            problems.push(format!(
                "{path}:{}: fn {name} has {} lines",
                start + 1,
                length + 1
            ));
        }
    }
    problems
}

fn function_name(line: &str) -> Option<&str> {
    let words = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "const",
        "async",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    let mut rest = line.trim_start();
    loop {
        let (word, after) = rest.split_once(' ')?;
        if word == "fn" {
            return after.split(['(', '<']).next();
        }
        if !words.contains(&word) {
            return None;
        }
        rest = after;
    }
}

pub(super) fn check_headers(tree: &Tree) -> Vec<String> {
    let is_root = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(
            parts[..],
            ["crates", _, "src", "lib.rs" | "main.rs"] | ["xtask", "src", "main.rs"]
        )
    };
    tree.rust_files()
        .filter(|file| is_root(&file.path))
        .flat_map(header)
        .collect()
}

fn header(file: &File) -> Option<String> {
    let mut expected = HEADER.iter();
    let mut next = expected.next();
    // A summary line of its own may come first.
    for line in file.text.lines() {
        let Some(text) = line.strip_prefix("//!") else {
            break;
        };
        if next.is_some_and(|name| text.trim_start().starts_with(&format!("**{name}**"))) {
            next = expected.next();
        }
    }
    next.map(|name| format!("{}: the header lacks **{name}** in its place", file.path))
}

pub(super) fn check_attributes(tree: &Tree) -> Vec<String> {
    tree.rust_files()
        .flat_map(|file| {
            let lines = file.text.lines().enumerate();
            lines.filter_map(|(index, line)| {
                let reason = attribute(&file.path, line)?;
                Some(format!("{}:{}: {reason}", file.path, index + 1))
            })
        })
        .collect()
}

fn attribute(path: &str, line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    if !line.starts_with("#[") && !line.starts_with("#![") {
        return None;
    }
    if line.starts_with("#[ignore") {
        return Some("a test that does not run is no test");
    }
    let may_be_unsafe = UNSAFE_MODULES
        .iter()
        .any(|(module, _)| path.starts_with(module));
    if line.contains("unsafe_code") && !line.contains("deny") && !may_be_unsafe {
        return Some("unsafe code has no place here");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File {
            path: "crates/x/src/lib.rs".to_owned(),
            text: text.to_owned(),
        }
    }

    fn function(body_lines: usize) -> File {
        let body = "        let a = 1;\n".repeat(body_lines);
        file(&format!(
            "impl X {{\n    pub(crate) async fn long(&self) {{\n{body}    }}\n}}\n"
        ))
    }

    #[test]
    fn function_length_stands_on_its_edge() {
        assert!(functions(&function(FUNCTION_LINES_MAX - 2)).is_empty());
        assert_eq!(
            functions(&function(FUNCTION_LINES_MAX - 1)),
            ["crates/x/src/lib.rs:2: fn long has 71 lines"]
        );
    }

    #[test]
    fn line_length_stands_on_its_edge() {
        assert!(lines(&file(&"é".repeat(LINE_COLUMNS_MAX))).is_empty());
        assert_eq!(lines(&file(&"é".repeat(LINE_COLUMNS_MAX + 1))).len(), 1);
    }

    #[test]
    fn header_has_five_parts_in_order() {
        let good: String = HEADER
            .iter()
            .map(|name| format!("//! **{name}**: words,\n//! more\n"))
            .collect();
        assert_eq!(header(&file(&good)), None);
        assert_eq!(header(&file(&format!("//! Hello.\n//!\n{good}"))), None);
        assert!(header(&file(&good.replace("**Never**", "**Ever**"))).is_some());
        assert!(header(&file(&format!("use x;\n{good}"))).is_some());
    }

    #[test]
    fn attributes_are_found() {
        assert!(attribute("crates/x/src/a.rs", "    #[ignore = \"slow\"]").is_some());
        assert!(attribute("crates/x/src/a.rs", "#![allow(unsafe_code)]").is_some());
        assert!(attribute("crates/ws-proto/src/mask/avx2.rs", "#![allow(unsafe_code)]").is_none());
    }
}
