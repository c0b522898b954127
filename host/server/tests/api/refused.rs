//! Every way in which a call is refused, tried on every call of the API: the table is the OpenAPI document, which a test
//! compares with what is routed. Each refusal has its status, its code and a sentence, and changes nothing in the catalog.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use longshore_catalog::Catalog as _;
use longshore_engine::Role;
use longshore_model::{KeyScope, Timestamp};
use longshore_server::Limits;
use serde_json::{Value, json};

use crate::contract::operations;
use crate::place::{Answer, CLUSTER, Place};

/// One call of the document, with ids of things that exist.
struct Call {
    method: String,
    template: String,
    path: String,
    operation: &'static Value,
}

impl Call {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.template)
    }

    fn takes_a_key(&self) -> bool {
        self.operation.get("security").is_none()
    }

    fn roles(&self) -> Vec<&str> {
        self.operation["x-roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap()).collect()
    }

    fn parameters(&self) -> impl Iterator<Item = (&str, &Value)> {
        let listed = self.operation["parameters"].as_array().into_iter().flatten();
        listed.filter(|one| one["in"] == "query").map(|one| (one["name"].as_str().unwrap(), &one["schema"]))
    }

    fn body(&self) -> Option<&'static Value> {
        self.operation["requestBody"]["content"]["application/json"].get("schema")
    }

    /// A body that is right; every property of the document is in it.
    fn good_body(&self) -> Value {
        let region = json!({ "regionId": "local-us" });
        let copy = json!([{ "regionId": "local-us", "retentionDays": 3 }]);
        match self.operation["operationId"].as_str().unwrap() {
            "createBackup" => json!({
                "backupType": "COLLECTION",
                "dbCollections": [{ "dbName": "default", "collectionNames": ["medium_articles"] }],
                "crossRegionCopies": [region],
            }),
            "restoreCluster" => json!({
                "projectId": "proj-test", "targetProjectId": "proj-test", "clusterName": "New", "cuSize": 1,
                "collectionStatus": "KEEP", "restoreVersionPolicy": "LATEST", "includeRbac": true,
            }),
            "restoreCollection" => json!({
                "destClusterId": CLUSTER,
                "dbCollections": [{ "dbName": "default", "destDbName": "default", "collections": [{
                    "collectionName": "medium_articles", "destCollectionName": "copy", "destCollectionStatus": "LOADED",
                }] }],
            }),
            "setBackupPolicy" => json!({
                "enabled": true, "frequency": "1", "startTime": "02:00-04:00", "cron": "30 2 * * 1", "retentionDays": 7,
                "crossRegionCopies": copy, "crossRegionPolicies": copy,
            }),
            "verifyBackup" => json!({ "level": "decoded", "samplePercent": 10 }),
            "exportBackup" => json!({ "integrationId": "integ-1", "directory": "a" }),
            "startMigration" => json!({
                "source": {
                    "volumeName": "incoming", "stageName": "incoming", "dataPath": "a", "bucketName": null,
                    "objectUrl": null, "accessKey": null, "secretKey": null, "token": null,
                },
                "destination": { "clusterId": CLUSTER },
            }),
            "applyVolume" => json!({
                "clusterId": CLUSTER, "volumeName": "incoming", "stageName": "incoming", "path": "a",
            }),
            "renameBackup" => json!({ "backupName": "New name" }),
            other => panic!("write down a good body of {other}"),
        }
    }
}

/// A place with a backup and its job, where nothing changes by itself, and every call of the document.
async fn settled(limits: Limits) -> (Place, Vec<Call>) {
    let place = Place::start_with(limits).await;
    let backup = place.backup(r#"{"backupType":"CLUSTER"}"#).await;
    let jobs = place.send("GET", "/v2/jobs", "").await;
    let job = jobs.data()["jobs"][0]["jobId"].as_str().unwrap().to_owned();
    place.host.shutdown().await;
    let calls = operations().into_iter().map(|(method, template, operation)| {
        let path = template
            .replace("{cluster_id}", CLUSTER)
            .replace("{backup_id}", &backup)
            .replace("{job_id}", &job)
            .replace("{project_id}", "proj-test");
        assert!(!path.contains('{'), "{path}: what stands for it?");
        Call { method, template, path, operation }
    });
    let calls: Vec<Call> = calls.collect();
    assert!(calls.len() >= 34, "{}", calls.len());
    (place, calls)
}

async fn ask(place: &Place, call: &Call, key: Option<&str>, body: Value) -> Answer {
    let mut request = Request::builder().method(call.method.as_str()).uri(&call.path);
    if let Some(key) = key {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    place.ask(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_made_without_a_key_that_works() {
    let (place, calls) = settled(crate::place::FAST).await;
    let (row, revoked) = place.key_for("revoked", Role::OrganizationOwner, KeyScope::All, None);
    place.catalog().revoke_key(&row.id, Timestamp::from_millis(1)).unwrap();
    let soon = Some(Timestamp::from_millis(1_000));
    let (_, expired) = place.key_for("expired", Role::OrganizationOwner, KeyScope::All, soon);
    let before = place.everything();
    let mut sentences = BTreeSet::new();
    for call in &calls {
        let body = if call.body().is_some() { call.good_body() } else { json!({}) };
        let keys = [None, Some(""), Some("lsk_0"), Some(revoked.as_str()), Some(expired.as_str())];
        for key in keys.iter().filter(|_| call.takes_a_key()) {
            let answer = ask(&place, call, *key, body.clone()).await;
            assert_eq!(answer.refusal(), (401, 21119), "{} with {key:?}", call.name());
            sentences.insert(answer.body["message"].to_string());
        }
        if !call.takes_a_key() {
            assert_eq!(ask(&place, call, None, body).await.status, 200, "{}", call.name());
        }
    }
    assert_eq!(sentences.len(), 1, "what is wrong with a key is not said: {sentences:?}");
    assert_eq!(place.everything(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_made_in_a_role_or_a_scope_that_does_not_allow_it() {
    let (place, calls) = settled(crate::place::FAST).await;
    let other = KeyScope::of(["proj-other".parse().unwrap()], ["in01-other".parse().unwrap()]);
    let (_, elsewhere) = place.key_for("elsewhere", Role::ProjectAdmin, other, None);
    let keys: Vec<(Role, String)> = Role::ALL.iter().map(|role| (*role, place.key(role.as_str(), *role))).collect();
    let before = place.everything();
    let (mut by_role, mut by_scope) = (0, 0);
    for call in calls.iter().filter(|call| call.takes_a_key()) {
        // Good and bad bodies alike: nothing of a body is looked at before.
        for body in [json!({}), json!("nonsense")] {
            for (role, key) in keys.iter().filter(|(role, _)| !call.roles().contains(&role.as_str())) {
                let answer = ask(&place, call, Some(key), body.clone()).await;
                assert_eq!(answer.refusal(), (403, 96027), "{} as {role:?}", call.name());
                assert!(answer.body["message"].as_str().unwrap().contains(role.as_str()), "{answer:?}");
                by_role += 1;
            }
            let about_cluster = call.template.contains("{cluster_id}") || call.template.contains("{job_id}");
            let code = match call.template.as_str() {
                _ if about_cluster => 96016,
                "/v2/projects/{project_id}" | "/metrics" => 96027,
                // Lists, which are filtered, and what belongs to nobody; the owner alone may reload.
                _ => continue,
            };
            let answer = ask(&place, call, Some(&elsewhere), body).await;
            assert_eq!(answer.refusal(), (403, code), "{}", call.name());
            by_scope += 1;
        }
    }
    assert_eq!(place.everything(), before);
    assert!(by_role >= 2 * 11 && by_scope >= 2 * 17, "{by_role} {by_scope}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_knows_a_method_that_is_not_documented() {
    let (place, calls) = settled(crate::place::FAST).await;
    let before = place.everything();
    for call in &calls {
        let known: Vec<&str> =
            calls.iter().filter(|one| one.template == call.template).map(|one| one.method.as_str()).collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if known.contains(&method) {
                continue;
            }
            let answer = place.send(method, &call.path, r#"{"backupType":"CLUSTER"}"#).await;
            assert_eq!(answer.refusal(), (405, 97006), "{method} {}", call.template);
            let allowed = answer.headers["allow"].to_str().unwrap();
            assert!(known.iter().all(|method| allowed.contains(method)), "{method} {}: {allowed}", call.template);
        }
    }
    assert_eq!(place.everything(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_parameter_has_its_code() {
    let (place, calls) = settled(crate::place::FAST).await;
    let before = place.everything();
    let mut tried = 0;
    for call in &calls {
        for (name, schema) in call.parameters() {
            let (values, code): (&[&str], u64) = match name {
                "pageSize" => (&["0", "101", "-1", "1.5", "ten", "%F0%9F%A6%80"], 96008),
                "currentPage" => (&["0", "-1", "4294967296", "x"], 96009),
                "projectId" => (&["x", "proj-", "proj-%2e%2e", "proj-a%27"], 96005),
                "clusterId" => (&["x", "in01-", "in01-a%20b"], 96036),
                "regionId" => (&["%20", "a%2Fb"], 96001),
                "creationMethod" => (&["manual", "x"], 96030),
                "backupType" => (&["cluster", "x"], 96029),
                "start" | "end" => (&["yesterday", "2024-07-30", "2024-13-01T00:00:00Z"], 96007),
                "type" | "status" | "kind" | "records" | "groupBy" => (&["x", "BACKUP,COPY", "day,,region"], 97002),
                "collection" => (&["a%2Fb", "%00"], 97002),
                // Any text is a provider that there may be.
                "cloudId" => (&[], 0),
                other => panic!("{}: write down what is wrong for {other} {schema}", call.name()),
            };
            for value in values {
                let answer = place.send(&call.method, &format!("{}?{name}={value}", call.path), "").await;
                assert_eq!(answer.refusal(), (400, code), "{} {name}={value}: {answer:?}", call.name());
                assert!(answer.body["message"].as_str().unwrap().contains(name), "{answer:?}");
                tried += 1;
            }
        }
        if call.parameters().any(|(name, _)| name == "start") {
            let query = "start=2024-07-30T16:49:51Z&end=2024-07-30T16:49:50Z";
            let answer = place.send(&call.method, &format!("{}?{query}", call.path), "").await;
            assert_eq!(answer.refusal(), (400, 96035), "{}", call.name());
        }
    }
    assert_eq!(place.everything(), before);
    assert!(tried > 90, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_that_is_no_json_or_too_large_is_refused() {
    let (place, calls) = settled(Limits { body_bytes: 2_000, ..crate::place::FAST }).await;
    let before = place.everything();
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(3_000));
    let mut tried = 0;
    for call in calls.iter().filter(|call| call.body().is_some()) {
        for (body, status, code) in [
            ("", 400, 97001),
            ("{", 400, 97001),
            ("backupType=CLUSTER", 400, 97001),
            ("[]", 400, 97002),
            ("null", 400, 97002),
            ("7", 400, 97002),
            (long.as_str(), 413, 97007),
        ] {
            let answer = place.send(&call.method, &call.path, body).await;
            assert_eq!(answer.refusal(), (status, code), "{} {}", call.name(), body.get(..10).unwrap_or(body));
            tried += 1;
        }
    }
    assert_eq!(place.everything(), before);
    assert_eq!(tried, 9 * 7);
}

/// Every property of a schema as a JSON pointer into a good body, with its schema and whether it must be there.
fn properties(schema: &Value, at: &str, into: &mut Vec<(String, Value, bool)>) {
    // What may be left out is `anyOf` of its schema and `null`.
    let schema = schema["anyOf"].get(0).unwrap_or(schema);
    if let Some(items) = schema.get("items") {
        return properties(items, &format!("{at}/0"), into);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{at}/{name}");
        let required = schema["required"].as_array().is_some_and(|list| list.contains(&name.as_str().into()));
        properties(property, &place, into);
        into.push((place, property["anyOf"].get(0).unwrap_or(property).clone(), required));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_of_a_body_is_refused_and_named() {
    let (place, calls) = settled(crate::place::FAST).await;
    let before = place.everything();
    let mut tried = 0;
    for call in calls.iter().filter(|call| call.body().is_some()) {
        let mut places = Vec::new();
        properties(call.body().unwrap(), "", &mut places);
        for (at, schema, required) in places {
            let mut good = call.good_body();
            // Two names for one thing: only the first is read when both are there.
            if at.starts_with("/crossRegionPolicies") {
                good.as_object_mut().unwrap().remove("crossRegionCopies");
            }
            assert!(good.pointer(&at).is_some(), "{}: {at} is not in the good body", call.name());
            let texts = schema["type"] == "string" || schema["type"] == json!(["string", "null"]);
            let mut wrong = vec![json!({ "an": "object" }), json!([[]])];
            wrong.push(if texts { json!(7) } else { json!("text") });
            if schema.get("enum").is_some() || schema.get("pattern").is_some() {
                wrong.push(json!("no such value"));
            }
            wrong.extend(schema.get("minimum").map(|least| json!(least.as_i64().unwrap() - 1)));
            wrong.extend(schema.get("maximum").map(|most| json!(most.as_i64().unwrap() + 1)));
            for value in wrong {
                let mut body = good.clone();
                *body.pointer_mut(&at).unwrap() = value.clone();
                let answer = place.send(&call.method, &call.path, &body.to_string()).await;
                let (status, _) = answer.refusal();
                assert_eq!(status, 400, "{} {at} = {value}: {answer:?}", call.name());
                let field = at.rsplit('/').find(|part| part.parse::<u32>().is_err()).unwrap();
                let message = answer.body["message"].as_str().unwrap();
                let named = message.contains(field) || field == "targetProjectId" && message.contains("projectId");
                assert!(named, "{} {at}: {message}", call.name());
                tried += 1;
            }
            if required {
                let mut body = good.clone();
                let (parent, name) = at.rsplit_once('/').unwrap();
                body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
                let answer = place.send(&call.method, &call.path, &body.to_string()).await;
                assert_eq!(answer.refusal().0, 400, "{} without {at}: {answer:?}", call.name());
                assert!(answer.body["message"].as_str().unwrap().contains(name), "{answer:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(place.everything(), before);
    assert!(tried > 100, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_and_does_not_exist_is_said() {
    let (place, calls) = settled(crate::place::FAST).await;
    let before = place.everything();
    for call in &calls {
        let body = if call.body().is_some() { call.good_body() } else { json!({}) };
        let mut cases = Vec::new();
        if call.template.contains("{backup_id}") {
            let absent = call.template.replace("{cluster_id}", CLUSTER).replace("{backup_id}", "backup0_ab");
            cases.push((absent, 404, 97003));
            let formless = call.template.replace("{cluster_id}", CLUSTER).replace("{backup_id}", "x");
            cases.push((formless, 404, 97003));
        } else if call.template.contains("{cluster_id}") {
            cases.push((call.template.replace("{cluster_id}", "in01-absent"), 404, 96018));
            cases.push((call.template.replace("{cluster_id}", "absent"), 400, 96036));
        }
        if call.template.contains("{job_id}") {
            cases.push((call.template.replace("{job_id}", "job-absent"), 404, 96026));
            cases.push((call.template.replace("{job_id}", "absent"), 404, 96026));
        }
        if call.template.contains("{project_id}") {
            cases.push((call.template.replace("{project_id}", "proj-absent"), 404, 96005));
            cases.push((call.template.replace("{project_id}", "absent"), 400, 96005));
        }
        for (path, status, code) in cases {
            let answer = place.send(&call.method, &path, &body.to_string()).await;
            assert_eq!(answer.refusal(), (status, code), "{} {path}: {answer:?}", call.method);
            // A path that the client cannot decode.
            let undecodable = call.template.split('/').map(|part| if part.starts_with('{') { "%ff" } else { part });
            let undecodable = undecodable.collect::<Vec<_>>().join("/");
            let answer = place.send(&call.method, &undecodable, &body.to_string()).await;
            assert_eq!(answer.refusal(), (400, 97002), "{} {undecodable}", call.method);
        }
    }
    assert_eq!(place.everything(), before);
}
