//! New crates. That they build is tested end to end, where a toolchain is at hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_model::PolicyKind;
use longshore_policy_test::NewPlugin;
use longshore_policy_test::cases::{CaseFile, FuzzFile, find};

fn new(folder: &Path, kinds: &[PolicyKind]) -> NewPlugin {
    NewPlugin {
        name: "cost-cap".to_owned(),
        kinds: kinds.to_vec(),
        folder: folder.join("cost-cap"),
        sdk: None,
        author: "Ada \"the first\"".to_owned(),
    }
}

fn sdk() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk")
}

#[test]
fn the_sdk_in_the_program_is_the_sdk_in_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let made = new(folder.path(), &PolicyKind::ALL).write().unwrap();
    let mut there = BTreeSet::new();
    for sub in ["src", "tests"] {
        for entry in std::fs::read_dir(sdk().join(sub)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{sub}/{}", path.file_name().unwrap().to_str().unwrap());
            let written = folder.path().join("cost-cap/vendor/longshore-plugin").join(&name);
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&written).unwrap_or_default(), "{name}");
            there.insert(format!("vendor/longshore-plugin/{name}"));
        }
    }
    let written: BTreeSet<String> =
        made.files.iter().filter(|name| name.starts_with("vendor") && name.ends_with(".rs")).cloned().collect();
    assert_eq!(written, there);
    let dependencies = |path: PathBuf| -> BTreeSet<String> {
        let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
    };
    let vendored = folder.path().join("cost-cap/vendor/longshore-plugin/Cargo.toml");
    assert!(std::fs::read_to_string(&vendored).unwrap().contains("wit-bindgen = { version = \"="), "the pin is gone");
    assert_eq!(dependencies(vendored), dependencies(sdk().join("Cargo.toml")));
}

#[test]
fn a_new_crate_has_all_its_places_filled_for_every_choice_of_kinds() {
    for choice in 1..8_usize {
        let kinds: Vec<PolicyKind> =
            (0..3).filter(|bit| choice >> bit & 1 == 1).map(|bit| PolicyKind::ALL[bit]).collect();
        let folder = tempfile::tempdir().unwrap();
        let made = new(folder.path(), &kinds).write().unwrap();
        for name in &made.files {
            let text = std::fs::read_to_string(made.folder.join(name)).unwrap();
            let own = !name.starts_with("vendor") && !name.starts_with("wit");
            // Only the macro of a format string has doubled braces.
            assert!(!own || !text.replace("{{\"", "").contains("{{"), "{name}: {text}");
        }
        let cases = made.folder.join("cases");
        FuzzFile::read(&cases).unwrap();
        let files = find(&cases).unwrap();
        assert_eq!(files.len(), kinds.len());
        files.iter().for_each(|file| drop(CaseFile::read(file).unwrap().cases().unwrap()));
        let schema = std::fs::read_to_string(made.folder.join("src/settings.schema.json")).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["properties"].as_object().unwrap().len(), kinds.len());
    }
}

#[test]
fn with_an_sdk_at_hand_nothing_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let made = NewPlugin { sdk: Some(sdk()), ..new(folder.path(), &[PolicyKind::Placement]) }.write().unwrap();
    insta::assert_snapshot!(made.files.join("\n"));
    let text = |name: &str| std::fs::read_to_string(made.folder.join(name)).unwrap();
    let manifest = text("Cargo.toml").replace(&made.sdk, "SDK");
    insta::assert_snapshot!(format!("{manifest}\n{}\n{}", text("src/lib.rs"), text("README.md")));
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let good = new(folder.path(), &PolicyKind::ALL);
    good.write().unwrap();
    assert!(good.write().unwrap_err().to_string().contains("there already"));
    for name in ["", "Cost", "1cost", "cost_cap", "cost-", "std", "a/b", "..", &"x".repeat(65)] {
        let wrong = NewPlugin { name: name.to_owned(), folder: folder.path().join("other"), ..good.clone() };
        assert!(wrong.write().is_err(), "{name}");
    }
    let wrong = NewPlugin { folder: folder.path().join("other"), sdk: Some(folder.path().to_owned()), ..good.clone() };
    assert!(wrong.write().unwrap_err().to_string().contains("plugins/sdk"));
    let none = NewPlugin { folder: folder.path().join("other"), kinds: Vec::new(), ..good };
    assert!(none.write().is_err());
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cost-cap"], "something was left behind");
}
