//! Whatever is sent, the answer is an envelope and never a 5xx, and nothing changes.

use axum::body::Body;
use axum::http::Request;
use longshore_server::Limits;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::place::{CREATE, Place};

/// Texts that have been trouble elsewhere.
const TROUBLE: &[&str] = &[
    "",
    " ",
    "'",
    "\"",
    "' OR '1'='1",
    "'; DROP TABLE jobs; --",
    "../../../etc/passwd",
    "..",
    ".",
    "/",
    "\\",
    "a\0b",
    "a\nb",
    "\u{202e}abc",
    "北京",
    "🦀",
    "null",
    "undefined",
    "NaN",
    "-1",
    "1e309",
    "18446744073709551616",
    "true",
    "{}",
    "[]",
    "%00",
    "%s%s%n",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "<script>",
    "in01-",
    "in01-test'",
    "backup0_",
    "backup0_zz",
    "job-",
    "proj-",
];

fn paths(text: &str) -> Vec<(&'static str, String)> {
    let text: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        ("POST", format!("/v2/clusters/{text}/backups/create")),
        ("GET", format!("/v2/clusters/{text}")),
        ("GET", format!("/v2/clusters/in01-test/backups/{text}")),
        ("DELETE", format!("/v2/clusters/{text}/backups/{text}")),
        ("POST", format!("/v2/clusters/in01-test/backups/{text}/restoreCluster")),
        ("POST", format!("/v2/clusters/{text}/backups/policy")),
        ("DELETE", format!("/v2/clusters/{text}/drop")),
        ("POST", format!("/v2/clusters/in01-test/backups/{text}/verify")),
        ("POST", format!("/v2/clusters/in01-test/backups/{text}/export")),
        ("POST", format!("/v2/clusters/in01-test/backups/{text}/rename")),
        ("GET", format!("/v2/projects/{text}")),
        ("GET", format!("/v2/jobs/{text}/events")),
        ("GET", format!("/v2/jobs/{text}")),
        ("POST", format!("/v2/jobs/{text}/cancel")),
        ("GET", format!("/v2/backups?projectId={text}&clusterId={text}&backupType={text}")),
        ("GET", format!("/v2/backups?start={text}&end={text}&creationMethod={text}")),
        ("GET", format!("/v2/backups?pageSize={text}&currentPage={text}")),
        ("GET", format!("/v2/jobs?type={text}&status={text}&{text}={text}")),
        ("GET", format!("/v2/regions?cloudId={text}")),
        ("GET", format!("/{text}")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_in_paths_and_parameters_is_refused() {
    let place = Place::start().await;
    let before = place.counts();
    for text in TROUBLE {
        for (method, path) in paths(text) {
            let answer = place.send(method, &path, r#"{"backupType":"CLUSTER"}"#).await;
            assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(place.counts(), before);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_in_bodies_is_refused() {
    let place = Place::start().await;
    let before = place.counts();
    let restore = "/v2/clusters/in01-test/backups/backup0_ab";
    let values = TROUBLE.iter().map(|text| json!(text));
    let values =
        values.chain([json!(null), json!(1.5), json!(-1), json!(u64::MAX), json!([]), json!({}), json!([[[]]])]);
    for value in values {
        let bodies = [
            (CREATE.to_owned(), json!({ "backupType": value })),
            (CREATE.to_owned(), json!({ "backupType": "COLLECTION", "dbCollections": value })),
            (CREATE.to_owned(), json!({ "backupType": "COLLECTION", "dbCollections": [value] })),
            (
                CREATE.to_owned(),
                json!({ "backupType": "COLLECTION", "dbCollections": [{ "dbName": value, "collectionNames": [value] }] }),
            ),
            (CREATE.to_owned(), json!({ "backupType": "COLLECTION", "crossRegionCopies": [{ "regionId": value }] })),
            ("/v2/clusters/in01-test/backups/policy".to_owned(), json!({ "enabled": value, "frequency": "9" })),
            (
                "/v2/clusters/in01-test/backups/policy".to_owned(),
                json!({ "enabled": true, "cron": [value], "startTime": value, "retentionDays": value }),
            ),
            (format!("{restore}/verify"), json!({ "level": value, "samplePercent": value })),
            (format!("{restore}/export"), json!({ "integrationId": value, "directory": value })),
            (format!("{restore}/rename"), json!({ "backupName": value })),
            (
                format!("{restore}/restoreCluster"),
                json!({ "projectId": value, "clusterName": value, "cuSize": value, "collectionStatus": value }),
            ),
            (
                format!("{restore}/restoreCollection"),
                json!({ "destClusterId": "in01-test", "dbCollections": [{ "collections": [{ "collectionName": value }] }] }),
            ),
        ];
        for (path, body) in bodies {
            let answer = place.send("POST", &path, &body.to_string()).await;
            let status = answer.refusal().0;
            assert!((400..500).contains(&status), "{path} {body}: {answer:?}");
        }
    }
    assert_eq!(place.counts(), before);
    place.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_or_too_much_of_it_are_refused() {
    let place = Place::start_with(Limits { body_bytes: 10_000, ..crate::place::FAST }).await;
    let before = place.counts();
    let deep = "[".repeat(5_000);
    let deep_object = r#"{"a":"#.repeat(1_500);
    let bodies: Vec<(Vec<u8>, u16, u64)> = vec![
        (vec![0xff, 0xfe, 0x00], 400, 97001),
        (vec![0; 100], 400, 97001),
        (b"\xef\xbb\xbf{\"backupType\":\"CLUSTER\"}".to_vec(), 400, 97001),
        (b"{\"backupType\":\"\xff\"}".to_vec(), 400, 97001),
        (b"backupType=CLUSTER".to_vec(), 400, 97001),
        (deep.into_bytes(), 400, 97001),
        (deep_object.into_bytes(), 400, 97001),
        (vec![b' '; 10_000], 400, 97001),
        (vec![b' '; 10_001], 413, 97007),
        (vec![b'x'; 1_000_000], 413, 97007),
    ];
    for (body, status, code) in bodies {
        let request = || Request::post(CREATE).header("Authorization", format!("Bearer {}", place.owner));
        let shown = String::from_utf8_lossy(&body).chars().take(40).collect::<String>();
        let announced = request().header("Content-Length", body.len()).body(Body::from(body.clone())).unwrap();
        assert_eq!(place.ask(announced).await.refusal(), (status, code), "{shown}");
        // A body that does not say how long it is.
        let chunks = body.chunks(1_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
        let stream = Body::from_stream(futures::stream::iter(chunks));
        assert_eq!(place.ask(request().body(stream).unwrap()).await.refusal(), (status, code), "{shown}");
    }
    // One that breaks off.
    let broken = futures::stream::iter([Ok(b"{\"backupType\":".to_vec()), Err(std::io::Error::other("gone"))]);
    let request = Request::post(CREATE).header("Authorization", format!("Bearer {}", place.owner));
    let answer = place.ask(request.body(Body::from_stream(broken)).unwrap()).await;
    assert_eq!(answer.refusal(), (400, 97001));
    // One that says nothing for ever.
    let slow = Place::start_with(Limits { body_ms: 20, ..crate::place::FAST }).await;
    let silent = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = Request::post(CREATE).header("Authorization", format!("Bearer {}", slow.owner));
    assert_eq!(slow.ask(request.body(Body::from_stream(silent)).unwrap()).await.refusal(), (408, 97008));
    assert_eq!(place.counts(), before);
    slow.host.shutdown().await;
    place.host.shutdown().await;
}

/// Any JSON, with the names of our fields among its keys so that it gets deeper than the first check.
fn any_json() -> impl Strategy<Value = Value> {
    let names = [
        "backupType",
        "dbCollections",
        "collectionNames",
        "dbName",
        "crossRegionCopies",
        "regionId",
        "collections",
        "collectionName",
        "projectId",
        "clusterName",
        "cuSize",
        "collectionStatus",
        "destClusterId",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["COLLECTION", "KEEP", "proj-test", "in01-test", "local-us", "medium"])
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![prop::sample::select(names.to_vec()).prop_map(str::to_owned), ".{0,6}"];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn no_json_makes_the_host_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::start());
    let before = place.counts();
    let calls = [
        CREATE.to_owned(),
        "/v2/clusters/in01-test/backups/backup0_ab/restoreCluster".to_owned(),
        "/v2/clusters/in01-test/backups/backup0_ab/restoreCollection".to_owned(),
        "/v2/reload".to_owned(),
    ];
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let strategy = (prop::sample::select(calls.to_vec()), any_json());
    let result = runner.run(&strategy, |(path, body)| {
        let answer = runtime.block_on(place.send("POST", &path, &body.to_string()));
        if answer.status.as_u16() < 500 { Ok(()) } else { Err(TestCaseError::fail(format!("{answer:?}"))) }
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
    assert_eq!(place.counts(), before);
    runtime.block_on(place.host.shutdown());
}
