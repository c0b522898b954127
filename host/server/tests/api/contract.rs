//! Every answer that any test gets is held against the OpenAPI document: path, method, status and form.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The document and what was compiled of it.
struct Contract {
    document: Value,
    validators: Mutex<HashMap<String, &'static Validator>>,
}

fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| Contract { document: longshore_server::openapi(), validators: Mutex::default() })
}

/// The document.
pub(crate) fn document() -> &'static Value {
    &contract().document
}

/// Every call of the document: method, path, operation.
pub(crate) fn operations() -> Vec<(String, String, &'static Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push((method.to_ascii_uppercase(), path.clone(), operation));
        }
    }
    operations
}

/// The path of the document that a path is an example of. One without variable parts goes before others.
pub(crate) fn path_of(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (one, other): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.starts_with('{') || one == other)
    };
    let paths = document()["paths"].as_object().unwrap().keys();
    paths.filter(|template| fits(template)).min_by_key(|template| template.matches('{').count()).map(String::as_str)
}

/// Fails the test when an answer is not as documented.
pub(crate) fn check(method: &str, path: &str, status: u16, body: &Value) {
    let method = method.to_ascii_lowercase();
    let operation = path_of(path).and_then(|template| document()["paths"][template].get(&method));
    let Some(operation) = operation else {
        assert!([404, 405].contains(&status), "{method} {path} is not documented, and answers {status}: {body}");
        return conforms("Refusal", &json!({ "$ref": "#/components/schemas/Refusal" }), body);
    };
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {path} answers {status}, which is not documented: {body}");
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} answers JSON, which is not documented");
    conforms(&format!("{} {status}", operation["operationId"]), schema, body);
}

fn conforms(name: &str, schema: &Value, body: &Value) {
    let contract = contract();
    let validator = *contract.validators.lock().unwrap().entry(name.to_owned()).or_insert_with(|| {
        let whole = json!({ "allOf": [schema], "components": contract.document["components"] });
        Box::leak(Box::new(jsonschema::draft202012::new(&whole).unwrap()))
    });
    let wrong: Vec<String> =
        validator.iter_errors(body).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(wrong.is_empty(), "{name} is not as documented: {wrong:?}\n{body:#}");
}
