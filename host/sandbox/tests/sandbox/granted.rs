//! Granted files as a plugin sees them that uses its language's own file functions.

use longshore_model::{RunFacts, Timestamp};
use longshore_sandbox::{Budget, Call, GrantedFiles, Plugin};

use super::fixtures::{behave, call, hostile, messages, page, run, sandbox, wasm};

fn rules(json: &str) -> GrantedFiles {
    serde_json::from_str(json).unwrap()
}

/// What the plugin found, and how much fuel it took.
fn found(plugin: &Plugin, run: &RunFacts, files: &GrantedFiles) -> (Vec<String>, u64) {
    let (settings, budget) = (behave("read-granted"), Budget::default());
    let ask = Call { files, ..call(run, &settings, &budget) };
    let outcome = plugin.select(&ask, &page(1)).unwrap();
    let said = messages(&outcome.log).join(" ");
    (said.split(' ').map(str::to_owned).collect(), outcome.fuel_used)
}

const RULES: &str =
    r#"{"/rules": {"z.toml": {"text": "last"}, "a.toml": {"text": "one"}, "b/c.toml": {"text": "two"}}}"#;

#[test]
fn a_plugin_lists_and_reads_what_was_granted_and_changes_nothing() {
    let adapted = sandbox().load(&wasm("hostile/hostile-wasip1"), &Budget::default()).unwrap();
    for plugin in [hostile(), &adapted] {
        let (found, _) = found(plugin, &run(), &rules(RULES));
        let (read, tried) = found.split_at(5);
        assert_eq!(
            read,
            ["/rules/a.toml=one", "/rules/b/", "/rules/b/c.toml=two", "/rules/z.toml=last", "modified=0s"]
        );
        let refused: Vec<&str> = tried.iter().filter(|tried| !tried.ends_with("=done")).map(String::as_str).collect();
        insta::allow_duplicates! { insta::assert_snapshot!(refused.join(" "), @"write=ReadOnlyFilesystem create=ReadOnlyFilesystem append=ReadOnlyFilesystem remove=ReadOnlyFilesystem rename=ReadOnlyFilesystem link=ReadOnlyFilesystem make=ReadOnlyFilesystem remove-all=ReadOnlyFilesystem leave=PermissionDenied elsewhere=NotFound"); }
        assert_eq!(refused.len(), tried.len());
    }
}

#[test]
fn the_same_files_are_the_same_answer_and_other_files_another_whatever_time_it_is() {
    let first = found(hostile(), &run(), &rules(RULES));
    let mut later = run();
    later.time = Timestamp::from_millis(1_800_000_000_000);
    assert_eq!(found(hostile(), &later, &rules(RULES)), first);
    let other = found(hostile(), &run(), &rules(&RULES.replace("one", "two")));
    assert_eq!(other.0[0], "/rules/a.toml=two");
}

#[test]
fn an_empty_directory_is_there_and_one_that_was_not_granted_is_not() {
    let (empty, _) = found(hostile(), &run(), &rules(r#"{"/rules": {}}"#));
    assert_eq!(empty[0], "modified=none");
    let (none, _) = found(hostile(), &run(), GrantedFiles::none());
    assert!(none[0].starts_with("/rules=") && none[0] != "/rules=done", "{none:?}");
    let (elsewhere, _) = found(hostile(), &run(), &rules(r#"{"/other": {"a.toml": {"text": "x"}}}"#));
    assert_eq!(none, elsewhere);
}
