//! Who may depend on whom.

use serde_json::Value;

use super::Tree;

/// Each crate with the crates of ours that it may depend on. A new edge needs a decision record.
const LAYERS: &[(&str, &[&str])] = &[
    ("ws-proto", &[]),
    ("wire", &[]),
    ("ws", &["ws-proto"]),
    ("storage", &["wire"]),
    ("client", &["ws", "wire"]),
    ("server", &["ws", "wire", "storage"]),
    // `ws` for its runtime builder, `wire` for the batches that `weir bench` sends.
    ("weir", &["server", "client", "storage", "ws", "wire"]),
    ("xtask", &[]),
];

/// Other people's crates with the crates of ours that may depend on them outside tests.
const RESTRICTED: &[(&str, &[&str])] = &[
    ("compio", &["ws", "storage", "server", "client"]),
    ("toml", &["server", "xtask"]),
    // Oracles and peers: our own code must not need what it is compared with.
    ("iggy", &[]),
    ("iggy_common", &[]),
    // For `ws::tls` alone, behind a feature; whoever needs its types finds them there.
    ("rustls", &["ws"]),
    // For `ws::bridge` alone, behind a feature.
    ("tungstenite", &["ws"]),
    ("tokio-tungstenite", &[]),
    ("tokio", &[]),
];

/// These cannot do input or output because there is no `std` in them.
const WITHOUT_STD: &[&str] = &["ws-proto", "wire"];

pub(super) fn check(tree: &Tree) -> Vec<String> {
    let mut problems = match super::metadata() {
        Ok(metadata) => check_edges(&metadata),
        Err(error) => vec![error.to_string()],
    };
    for name in WITHOUT_STD {
        let path = format!("crates/{name}/src/lib.rs");
        let file = tree.files.iter().find(|file| file.path == path);
        if !file.is_some_and(|file| file.text.contains("#![no_std]")) {
            problems.push(format!("{path}: lacks #![no_std]"));
        }
    }
    problems
}

fn check_edges(metadata: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            problems.push(format!("{name}: not in the list of layers"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"] == "dev" {
                continue;
            }
            let is_ours = LAYERS.iter().any(|(layer, _)| *layer == target);
            let is_restricted = RESTRICTED
                .iter()
                .any(|(other, users)| *other == target && !users.contains(&name));
            if is_restricted || (is_ours && !allowed.contains(&target)) {
                problems.push(format!("{name}: may not depend on {target}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str, dependency: &str, kind: Value) -> Vec<String> {
        check_edges(&serde_json::json!({
            "packages": [{
                "name": package,
                "dependencies": [{ "name": dependency, "kind": kind }],
            }]
        }))
    }

    #[test]
    fn upward_edges_are_found() {
        assert!(problems("server", "wire", Value::Null).is_empty());
        assert_eq!(problems("wire", "server", Value::Null).len(), 1);
        assert_eq!(problems("storage", "ws", "build".into()).len(), 1);
    }

    #[test]
    fn peers_are_for_tests_only() {
        assert_eq!(problems("weir", "iggy", Value::Null).len(), 1);
        assert!(problems("weir", "iggy", "dev".into()).is_empty());
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(problems("common", "bytes", Value::Null).len(), 1);
    }
}
