//! Which collections of Milvus Lite a server takes: decided before it is asked, so there is none here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use longshore_model::{CollectionMapping, FileClass};
use longshore_source::milvus::{ServerAddress, StorageLocation};
use longshore_source::{
    MilvusServer, MilvusTarget, MilvusTargetOptions, RestoreTarget, SourceError, TargetCollection, TargetFile,
    TargetPlan,
};
use serde_json::{Value, json};

fn schema() -> Value {
    let field = |name: &str, dtype: &str, more: Value| {
        let mut field = json!({"name": name, "dtype": dtype, "nullable": false});
        field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        field
    };
    json!({
        "collection_name": "docs", "schema_format_version": 2, "version": 1, "enable_dynamic_field": true, "properties": {},
        "fields": [
            field("id", "int64", json!({"is_primary": true})),
            field("title", "varchar", json!({"max_length": 64})),
            field("vec", "float_vector", json!({"dim": 4})),
        ],
    })
}

fn plan(schema: Value, to: &str) -> TargetPlan {
    let file = TargetFile { path: "schema.json".to_owned(), class: FileClass::Metadata, size_bytes: 1 };
    let mapping =
        CollectionMapping { from: "docs".parse().unwrap(), to: to.parse().unwrap(), load_state: Default::default() };
    let collection = TargetCollection { mapping, schema, files: vec![file], description: json!({}) };
    TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None }
}

/// Nobody listens there.
fn target(options: MilvusTargetOptions) -> MilvusTarget {
    let storage = StorageLocation::Folder("/nowhere".into());
    MilvusTarget::new(MilvusServer { address: ServerAddress::open("127.0.0.1:1"), storage }, options)
}

async fn refused(schema: Value, to: &str) -> String {
    let error =
        target(MilvusTargetOptions::default()).begin(&plan(schema, to), &()).await.err().expect("it does not fit");
    assert!(matches!(error, SourceError::DoesNotFit(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_names_of_the_fields() {
    let change = |change: &dyn Fn(&mut Value)| {
        let mut schema = schema();
        change(&mut schema);
        schema
    };
    let set = |field: usize, key: &'static str, value: Value| {
        change(&move |schema| {
            schema["fields"][field][key] = value.clone();
        })
    };
    let mut said = Vec::new();
    for schema in [
        set(2, "dtype", json!("sparse_float_vector")),
        set(1, "dtype", json!("geometry")),
        set(1, "dtype", json!("timestamptz")),
        set(1, "dtype", json!("something_new")),
        set(1, "dtype", json!("array")),
        set(1, "nullable", json!(true)),
        set(1, "enable_analyzer", json!(true)),
        set(1, "name", json!("a title")),
        set(2, "dtype", json!("int64")),
        set(2, "dim", json!(0)),
        change(&|schema| {
            let mut second = schema["fields"][2].clone();
            second["name"] = json!("vec_2");
            schema["fields"].as_array_mut().unwrap().push(second);
        }),
        change(&|schema| {
            schema["functions"] = json!([{"name": "bm25", "function_type": 1, "output_field_names": ["sparse"]}]);
        }),
    ] {
        said.push(refused(schema, "docs").await);
    }
    said.push(refused(schema(), "my-docs").await);
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn what_fits_goes_on_to_ask_the_server() {
    let error = target(MilvusTargetOptions::default()).begin(&plan(schema(), "docs"), &()).await.err().unwrap();
    assert!(matches!(error, SourceError::ServerUnreachable { .. }), "{error}");
    let earlier = MilvusTargetOptions { until_ms: Some(1_790_000_000_000), ..MilvusTargetOptions::default() };
    let error = target(earlier).begin(&plan(schema(), "docs"), &()).await.err().unwrap();
    assert!(error.to_string().contains("does not tell when its rows were written"), "{error}");
    let seconds = MilvusTargetOptions { until_ms: Some(1_790_000_000), ..MilvusTargetOptions::default() };
    let error = target(seconds).begin(&plan(schema(), "docs"), &()).await.err().unwrap();
    assert!(error.to_string().contains("looks like seconds"), "{error}");
    let mut elsewhere = plan(schema(), "docs");
    elsewhere.collections[0].files[0].path = "../schema.json".to_owned();
    let error = target(MilvusTargetOptions::default()).begin(&elsewhere, &()).await.err().unwrap();
    assert!(matches!(error, SourceError::BadPlan { .. }), "{error}");
}
