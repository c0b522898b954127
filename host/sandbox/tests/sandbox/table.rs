//! `tests/HOSTILE.md` names every limit and every error, and only tests that exist.

use std::path::{Path, PathBuf};

use longshore_sandbox::Budget;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: PathBuf, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in backquotes.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_test_that_the_table_names_exists() {
    let page = std::fs::read_to_string(root().join("tests/HOSTILE.md")).unwrap();
    let mut all = String::new();
    sources(root().join("src"), &mut all);
    sources(root().join("tests"), &mut all);
    sources(root().join("../policy/tests"), &mut all);
    let tests: Vec<&str> = quoted(&page).into_iter().filter(|name| name.matches('_').count() > 3).collect();
    assert!(tests.len() > 45, "{}", tests.len());
    for test in tests {
        assert!(all.contains(&format!("fn {test}()")), "there is no test `{test}`");
    }
}

#[test]
fn every_budget_limit_error_and_behaviour_is_in_the_table() {
    let page = std::fs::read_to_string(root().join("tests/HOSTILE.md")).unwrap();
    let named = quoted(&page);
    let has = |name: &str| named.contains(&name);
    let budget = serde_json::to_value(Budget::default()).unwrap();
    for field in budget.as_object().unwrap().keys() {
        assert!(has(field), "budget `{field}` has no guest");
    }
    let limits = std::fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let fields =
        limits.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(name, _)| name);
    for field in fields.filter(|name| !name.contains(' ')) {
        assert!(has(field), "limit `{field}` has no guest");
    }
    let errors = std::fs::read_to_string(root().join("src/error.rs")).unwrap();
    let variants = errors.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"));
    for variant in variants.filter(|name| name.chars().all(char::is_alphanumeric)) {
        assert!(has(variant), "error `{variant}` has no guest");
    }
    let behaviours = std::fs::read_to_string(root().join("../../plugins/hostile/src/settings.schema.json")).unwrap();
    let list = behaviours.split("\"enum\": [").nth(1).unwrap().split(']').next().unwrap();
    // What is no attack: an honest answer, and opinions that are allowed.
    let harmless = ["honest", "carry", "exclude-all", "answer-nothing"];
    for behaviour in list.split('"').skip(1).step_by(2).filter(|name| !harmless.contains(name)) {
        assert!(has(&format!("hostile:{behaviour}")), "behaviour `{behaviour}` is not used");
    }
}
