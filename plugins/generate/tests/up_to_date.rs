//! The committed files are what would be generated now.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_generate::{generated, repository};

#[test]
fn committed_files_are_what_the_contract_generates() {
    let repository = repository().unwrap();
    let files = generated(&repository).unwrap();
    assert_eq!(files.len(), 4, "the reference, and header, source and object of the bindings for C");
    for file in files {
        let committed = std::fs::read(repository.join(&file.path)).unwrap_or_default();
        assert!(
            committed == file.content,
            "{} is not what the contract generates: run `cargo run -p longshore-generate` in plugins/ and commit it",
            file.path
        );
    }
}

#[test]
fn everything_in_the_reference_is_explained() {
    let repository = repository().unwrap();
    let files = generated(&repository).unwrap();
    let reference = files.iter().find(|file| file.path.ends_with("REFERENCE.md")).unwrap();
    let text = String::from_utf8(reference.content.clone()).unwrap();
    let empty: Vec<&str> = text.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(empty.is_empty(), "without a word in the contract: {empty:#?}");
}
