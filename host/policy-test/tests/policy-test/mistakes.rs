//! Typing mistakes never pass: they are errors with file and line.

use longshore_policy_test::PolicyTestError;
use longshore_policy_test::cases::{FuzzFile, find};

use crate::support::{mistake, plain, write};

#[test]
fn what_cannot_be_asked_is_said_with_its_line() {
    let mut all = String::new();
    for text in [
        "[[collection]]\nname = \"a\"",
        "[[collection]]\nname = \"a\"\n\n[[expect]]\ncollection = \"a\"",
        "[[collection]]\nnam = \"a\"",
        "[[collection]]\nname = \"a\"\n[[expect]]\nselectd = true",
        "[[collection]]\nname = \"a/b\"\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\n[[collection]]\nname = \"default.a\"\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\ncount = 3\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\nlast_write = \"yesterday\"\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\nsize_bytes = \"4 GByte\"\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\nsize_bytes = { segments = 4 }\n[[expect]]\nselected = true",
        "[[collection]]\nname = \"a\"\n[[expect]]\nselected = true\nregion = \"eu-1\"",
        "[[collection]]\nname = \"a\"\n[[expect]]\nkind = \"placement\"\nselected = true",
        "[[collection]]\nname = \"a\"\n[[expect]]\nselected = true\nrefused = \"no\"",
        "[[collection]]\nname = \"a\"\n[[expect]]\nretention_days = \"for ever\"",
        "[[collection]]\nname = \"a\"\n[[expect]]\nkind = \"selection\"\nclass = \"wal\"\nopinion = true",
        "page_items = 0\n[[expect]]\nselected = true",
        "[run]\ntime = \"1 day ago\"\n[[expect]]\nselected = true",
        "[budget]\nfuell = 1\n[[expect]]\nselected = true",
        "[[region]]\nid = \"eu-1\"\n[[region]]\nid = \"eu-1\"\n[[expect]]\nselected = true",
        "offers = { zstd = 1000 }\n[[expect]]\nselected = true",
        "[[expect]]\nselected = true\n[[case]]\nname = \"a\"\n[[case]]\nname = \"a\"",
        "name = \"a\"\n[[expect]]\nselected = true",
        "[[expect]]\nselected = true\n[[case]]\ndescription = \"a\"",
        "[[expect]]\nselected = true\n[[case]]\nname = \"a\"\n[[case.case]]\nname = \"b\"",
        "settings = { days = }",
    ] {
        all.push_str(&mistake(text));
        all.push_str("\n\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_file_of_declarations_is_read_as_strictly() {
    let mistake = |text: &str| FuzzFile::parse("cases/fuzz.toml", text).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            "order_mater = true",
            "[[monotone]]\nwhen = \"rows\"\nthen = \"selected\"",
            "[[monotone]]\nwhen = \"size\"\nthen = \"selected\"\nnever = \"falls\"",
            "[[always]]\ncollection = \"a\"",
            "\n[[always]]\nkind = \"selection\"\nrefused = \"x\"",
        ]
        .map(mistake)
        .join("\n\n")
    );
}

#[test]
fn a_folder_without_cases_is_an_error_and_not_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let error = plain().subject().test(folder.path()).unwrap_err();
    assert!(matches!(error, PolicyTestError::NoCases { .. }), "{error:?}");
    let error = plain().subject().test(folder.path().join("cases")).unwrap_err();
    assert!(matches!(error, PolicyTestError::NoCases { .. }), "{error:?}");
    for name in ["b.toml", "a.toml", "fuel.toml", "fuzz.toml", "notes.md"] {
        write(folder.path(), name, "");
    }
    let names: Vec<_> = find(folder.path()).unwrap();
    let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.toml", "b.toml"]);
    write(folder.path(), "a.toml", &"#".repeat(5 << 20));
    assert!(plain().subject().test(folder.path()).unwrap_err().to_string().contains("more than"), "a huge file");
}
