//! The OpenAPI document: that it is what is checked in, what is routed, and what clients can read.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::contract::{document, operations};
use crate::place::Place;

/// `openapi.json` beside the crate. `LONGSHORE_BLESS=1` writes it anew.
#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = format!("{:#}\n", document());
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "openapi.json is not what the table of calls says; look at `git diff` after LONGSHORE_BLESS=1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_call_is_routed_and_no_other() {
    let place = Place::start().await;
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    assert_eq!(&place.ask(request).await.body, document(), "it is served without a key");
    let paths: BTreeSet<String> = operations().into_iter().map(|(_, path, _)| path).collect();
    for path in paths {
        let documented = &document()["paths"][&path];
        let example = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let example: String = example.collect::<Vec<_>>().join("/");
        // PATCH is nobody's method: the answer lists those that are routed.
        let answer = place.send("PATCH", &example, "").await;
        assert_eq!(answer.refusal(), (405, 97006), "{path}");
        let routed = answer.headers["allow"].to_str().unwrap().to_ascii_lowercase();
        let routed: BTreeSet<&str> = routed.split(',').map(str::trim).filter(|method| *method != "head").collect();
        let documented: BTreeSet<&str> = documented.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(routed, documented, "{path}");
    }
    place.host.shutdown().await;
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| match value.as_str() {
                Some(text) if name == "$ref" => drop(into.insert(text.to_owned())),
                _ => references(value, into),
            }),
            Value::Array(list) => list.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
    let mut used = BTreeSet::new();
    references(document(), &mut used);
    let schemas = document()["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(used, there);
}

/// REST.md names the test of each sentence of the guide: each is there under that name.
#[test]
fn every_test_that_the_page_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("host/server/REST.md")).unwrap();
    let section = page.split("## The guide, sentence by sentence").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<(&str, &str)> =
        section.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect();
    assert!(named.len() > 15, "{named:?}");
    for (file, name) in named {
        let path = match file.contains('/') {
            true => root.join(file),
            false => root.join(format!("host/server/tests/api/{file}.rs")),
        };
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("fn {name}()")), "{file}::{name} is named in REST.md and is not there");
    }
}
