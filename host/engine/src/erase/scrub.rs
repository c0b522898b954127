//! Finds the name of a collection in a manifest, and takes it out. Pure.

use longshore_model::CollectionName;
use longshore_vault::{JsonText, RootSealed};
use serde_json::{Value, json};

use crate::EngineError;
use crate::opened::OpenedBackup;

/// True when a backup holds or names a collection.
pub(super) fn is_named_in(opened: &OpenedBackup, name: &CollectionName) -> Result<bool, EngineError> {
    let holds = opened.collections()?.iter().any(|collection| collection.sealed.name == *name);
    Ok(holds || is_named_in_root(opened.sealed()?, name))
}

pub(super) fn is_named_in_root(root: &RootSealed, name: &CollectionName) -> bool {
    root.excluded.iter().any(|excluded| excluded.name == *name)
        || root.ddl_changes.iter().any(|change| change.name == *name)
        || root.databases.iter().any(|database| {
            database.name == name.database && database.aliases.values().any(|stands_for| *stands_for == name.collection)
        })
        || decisions_name(root, name)
        || names(&root.extra, name)
}

/// A root without the name. `collections` is how many are left. Decision records are pages about many collections and
/// cannot be asked again without one of them, so those that name it go as a whole.
pub(super) fn scrubbed(root: &RootSealed, name: &CollectionName, erasure_id: &str, collections: usize) -> RootSealed {
    let mut root = root.clone();
    root.excluded.retain(|excluded| excluded.name != *name);
    root.ddl_changes.retain(|change| change.name != *name);
    for database in root.databases.iter_mut().filter(|database| database.name == name.database) {
        database.aliases.retain(|_, stands_for| *stands_for != name.collection);
    }
    root.decisions = scrubbed_decisions(&root, name).unwrap_or_default();
    scrub(&mut root.extra, name);
    if !root.extra.is_object() {
        root.extra = json!({});
    }
    if let Value::Object(extra) = &mut root.extra {
        extra.insert("collections".to_owned(), json!(collections));
        let erasures = extra.entry("erasures").or_insert_with(|| json!([]));
        if let Value::Array(erasures) = erasures
            && !erasures.iter().any(|known| known == erasure_id)
        {
            erasures.push(json!(erasure_id));
        }
    }
    root
}

/// Whether the decisions name the collection. What cannot be read may name anything.
fn decisions_name(root: &RootSealed, name: &CollectionName) -> bool {
    root.decisions.read::<Value>().map_or(true, |decisions| names(&decisions, name))
}

/// The decisions without those that name the collection; `None` where they cannot be read.
fn scrubbed_decisions(root: &RootSealed, name: &CollectionName) -> Option<JsonText> {
    let mut decisions: Value = root.decisions.read().ok()?;
    if let Value::Object(decisions) = &mut decisions {
        for list in decisions.values_mut() {
            if let Value::Array(list) = list {
                list.retain(|entry| !names(entry, name));
            }
        }
        decisions.retain(|_, value| !names(value, name));
    }
    JsonText::of(&decisions).ok()
}

/// Takes every entry of a list and every value of an object that is the collection out.
fn scrub(value: &mut Value, name: &CollectionName) {
    match value {
        Value::Array(list) => {
            list.retain(|entry| !is_it(entry, name));
            list.iter_mut().for_each(|entry| scrub(entry, name));
        }
        Value::Object(fields) => {
            fields.retain(|key, value| !mentions(key, name) && !is_it(value, name));
            fields.values_mut().for_each(|value| scrub(value, name));
        }
        _ => {}
    }
}

fn is_it(value: &Value, name: &CollectionName) -> bool {
    match value {
        Value::String(text) => mentions(text, name),
        Value::Object(fields) => fields.values().any(|value| value.as_str().is_some_and(|text| mentions(text, name))),
        _ => false,
    }
}

/// True when the name stands anywhere in a value.
fn names(value: &Value, name: &CollectionName) -> bool {
    match value {
        Value::String(text) => mentions(text, name),
        Value::Array(list) => list.iter().any(|entry| names(entry, name)),
        Value::Object(fields) => fields.iter().any(|(key, value)| mentions(key, name) || names(value, name)),
        _ => false,
    }
}

/// True when the collection's own name stands in a text as a word. A word too many only costs an explanation.
fn mentions(text: &str, name: &CollectionName) -> bool {
    let part_of_a_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    text.match_indices(name.collection.as_str()).any(|(at, found)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_a_name) && !after.is_some_and(part_of_a_name)
    })
}
