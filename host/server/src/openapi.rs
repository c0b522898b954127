//! The OpenAPI document (3.1), made from the table of calls.
//!
//! Contract: it says nothing that the table does not; `openapi.json` beside this crate is what it was at the last commit, and a
//! test compares the two. What `REST.md` says in sentences stands there, not here.

use serde_json::{Map, Value, json};

use crate::code;
use crate::form::{Field, Form, Side};
use crate::forms;
use crate::routes::{Answered, CALLS, Call, Needs, Verb};

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = Map::new();
    for call in CALLS {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.verb.as_str().to_ascii_lowercase()] = operation(call);
        if let Answered::Data(form) = call.answer {
            form.named(Side::Answered, &mut schemas);
        }
    }
    schemas.insert("Refusal".to_owned(), refusal());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Zilliz Cloud's v2 backup API and a few calls of our own. REST.md says what everything means.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key: `longshore key create`." },
            },
        },
    })
}

fn operation(call: &Call) -> Value {
    let mut operation = json!({
        "operationId": call.name,
        "summary": call.summary,
        "responses": responses(call),
    });
    let parameters: Vec<Value> =
        in_path(call.path).map(path_parameter).chain(call.query.iter().map(query_parameter)).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(fields) = call.body {
        let schema = unless_off(fields, Form::Object(fields).schema(Side::Sent));
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    match call.needs {
        Needs::Nothing => operation["security"] = json!([]),
        Needs::Key(privilege) | Needs::Action(privilege, ..) => {
            let roles = longshore_engine::Role::ALL.into_iter().filter(|role| role.allows(privilege));
            let roles: Vec<&str> = roles.map(longshore_engine::Role::as_str).collect();
            operation["description"] = format!("Roles: {}.", roles.join(", ")).into();
            operation["x-roles"] = json!(roles);
        }
    }
    operation
}

/// A body that turns something off is good whatever else it says: nothing else is read.
fn unless_off(fields: &[Field], schema: Value) -> Value {
    if !fields.iter().any(|field| field.name == "enabled") {
        return schema;
    }
    let off = json!({ "type": "object", "properties": { "enabled": { "const": false } }, "required": ["enabled"] });
    json!({ "anyOf": [schema, off] })
}

/// The variable parts of a path.
pub(crate) fn in_path(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &'static str) -> Value {
    let form = match name {
        "cluster_id" => forms::CLUSTER_ID,
        "backup_id" => forms::BACKUP_ID,
        "job_id" => forms::JOB_ID,
        "project_id" => forms::PROJECT_ID,
        _ => Form::Text,
    };
    json!({ "name": name, "in": "path", "required": true, "schema": form.schema(Side::Sent) })
}

fn query_parameter(field: &Field) -> Value {
    json!({
        "name": field.name,
        "in": "query",
        "required": field.required,
        "description": field.about,
        "allowEmptyValue": true,
        "schema": field.form.schema(Side::Sent),
    })
}

fn responses(call: &Call) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), good(call));
    for (status, what) in refused(call) {
        let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } });
        responses.insert(status.to_string(), json!({ "description": what, "headers": headers(), "content": content }));
    }
    responses.into()
}

fn good(call: &Call) -> Value {
    let (kind, schema) = match call.answer {
        Answered::Data(form) => {
            let data = form.schema(Side::Answered);
            let schema = json!({
                "type": "object",
                "properties": { "code": { "const": 0 }, "data": data },
                "required": ["code", "data"],
                "additionalProperties": false,
            });
            ("application/json", schema)
        }
        Answered::Document => ("application/json", json!({ "type": "object" })),
        Answered::Events => ("text/event-stream", event()),
        Answered::Metrics => ("text/plain", json!({ "type": "string" })),
    };
    json!({ "description": "Done.", "headers": headers(), "content": { kind: { "schema": schema } } })
}

/// One of the events that follow a job.
fn event() -> Value {
    json!({
        "type": "object",
        "properties": {
            "event": { "const": "job" },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "$ref": "#/components/schemas/Job" },
            },
        },
        "required": ["event", "data"],
    })
}

fn headers() -> Value {
    let about = "Under which the host's log has more.";
    json!({ "requestid": { "required": true, "description": about, "schema": { "type": "string" } } })
}

/// HTTP statuses other than 200 with which a call may answer.
fn refused(call: &Call) -> Vec<(u16, &'static str)> {
    let mut refused = vec![(500, "The host failed."), (503, "The host cannot answer now.")];
    if call.needs == Needs::Nothing {
        return refused;
    }
    refused.extend([
        (401, "The key is missing, unknown, revoked or expired."),
        (403, "The key's role or scope does not allow this."),
        (429, "The key makes too many calls of this kind."),
    ]);
    let in_path = in_path(call.path).count() > 0;
    if in_path || call.body.is_some() {
        refused.push((404, "What is named does not exist."));
    }
    if in_path || !call.query.is_empty() || call.body.is_some() {
        refused.push((400, "The path, the query or the body is wrong."));
    }
    if call.verb != Verb::Get || call.path.ends_with("/decisions") {
        refused.push((409, "Something that runs or exists is in the way."));
    }
    if call.body.is_some() {
        refused.extend([(408, "The body came too slowly."), (413, "The body is too large.")]);
    }
    if call.path == "/v2/reload" {
        refused.extend([(400, "There is no configuration file to read."), (422, "The new configuration is wrong.")]);
    }
    refused
}

fn refusal() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": { "type": "integer", "enum": code::ALL },
            "message": { "type": "string", "description": "A sentence for people." },
        },
        "required": ["code", "message"],
        "additionalProperties": false,
    })
}
