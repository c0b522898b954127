//! The rules of ARCHITECTURE.md that a program can check.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Which crates of the workspace a crate may import: those below it.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let model = "longshore-model";
    let engine_may =
        ["longshore-policy", "longshore-sandbox", "longshore-vault", "longshore-source", "longshore-catalog"];
    let mut engine = vec![model];
    engine.extend(engine_may);
    let mut server = engine.clone();
    server.push("longshore-engine");
    let mut cli = server.clone();
    cli.extend(["longshore-server", "longshore-policy-test"]);
    BTreeMap::from([
        ("model", vec![]),
        ("sandbox", vec![model]),
        ("policy", vec![model, "longshore-sandbox"]),
        ("policy-test", vec![model, "longshore-sandbox", "longshore-policy"]),
        ("vault", vec![model]),
        ("source", vec![model]),
        ("catalog", vec![model]),
        ("engine", engine),
        ("server", server),
        ("cli", cli),
    ])
}

#[test]
fn imports_go_downwards_only() {
    let mut seen = Vec::new();
    for (folder, allowed) in allowed() {
        let path = root().join("host").join(folder).join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for name in dependencies.keys().filter(|name| name.starts_with("longshore")) {
            assert!(allowed.contains(&name.as_str()), "host/{folder} imports {name}, which is not below it");
        }
        seen.push(folder.to_owned());
    }
    let mut there: Vec<String> = std::fs::read_dir(root().join("host"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    seen.sort();
    assert_eq!(there, seen, "a crate under host/ has no rule here");
}

#[test]
fn only_the_sandbox_names_wasmtime_and_one_line_is_unsafe() {
    let mut unsafe_lines = Vec::new();
    for folder in allowed().keys() {
        for (path, text) in sources(&root().join("host").join(folder)) {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let names_it = line.contains("wasmtime") && *folder != "sandbox";
                assert!(!names_it, "{} names wasmtime: {line}", path.display());
                let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                if words.into_iter().any(|word| word == "unsafe") {
                    unsafe_lines.push((path.strip_prefix(root()).unwrap().to_owned(), line.trim().to_owned()));
                }
            }
        }
    }
    let says_why =
        "#[allow(unsafe_code, reason = \"loading machine code is unsafe in wasmtime; see the argument below\")]";
    let the_line = "unsafe { Component::deserialize(engine, code.bytes()) }";
    let expected = [says_why, the_line].map(|line| (PathBuf::from("host/sandbox/src/native.rs"), line.to_owned()));
    assert_eq!(unsafe_lines, expected);
}

#[test]
fn every_crate_forbids_unsafe_code_and_the_sandbox_allows_it_nowhere_by_default() {
    let table = |path: &str| -> toml::Table { std::fs::read_to_string(root().join(path)).unwrap().parse().unwrap() };
    let workspace = table("Cargo.toml")["workspace"]["lints"].clone();
    assert_eq!(workspace["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for folder in allowed().keys().filter(|folder| **folder != "sandbox") {
        let lints = table(&format!("host/{folder}/Cargo.toml"))["lints"].clone();
        assert_eq!(lints["workspace"].as_bool(), Some(true), "host/{folder}");
    }
    // `forbid` cannot be lifted for a line, so the sandbox repeats the list with `deny`.
    let mut same_but_one = workspace;
    same_but_one["rust"]["unsafe_code"] = "deny".into();
    assert_eq!(table("host/sandbox/Cargo.toml")["lints"], same_but_one);
}

#[test]
fn only_the_command_line_prints() {
    for folder in allowed().keys().filter(|folder| **folder != "cli") {
        let src = root().join("host").join(folder).join("src");
        for (path, text) in sources(&src) {
            let prints = ["println!(", "eprintln!(", "print!(", "dbg!("];
            let tests_from = text.find("#[cfg(test)]").unwrap_or(text.len());
            let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
            let line = text[..tests_from]
                .lines()
                .find(|line| !line.trim_start().starts_with("//") && prints.iter().any(|print| line.contains(print)));
            assert!(is_test || line.is_none(), "{} prints: {line:?}", path.display());
        }
    }
}

#[test]
fn no_file_holds_more_than_one_idea_can_fill() {
    for folder in ["host", "plugins", "tests"] {
        for (path, text) in sources(&root().join(folder)) {
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines; it probably holds two ideas", path.display());
        }
    }
}

/// All Rust files below a folder, without build folders.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", folder.display());
    found
}
