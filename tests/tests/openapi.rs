//! The API against its own OpenAPI document: schemathesis makes calls that fit the document and calls that do not, on a real
//! host, and finds answers that are 5xx or not documented.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{Client, HostPlace, Ran, Server, not_run, root};

/// What is checked of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,\
                      ignored_auth";

/// A Python with schemathesis in it; `None`, noted as skipped, where it cannot be had.
fn python() -> Option<PathBuf> {
    let script = root().join("tests/python/venv.sh");
    let requirements = root().join("tests/python/requirements-schemathesis.txt");
    let ran: Ran = Command::new("bash").arg(script).arg(requirements).arg("schemathesis").output().ok()?.into();
    if ran.code != 0 {
        not_run(&format!("schema-driven tests of the API with schemathesis: {}", ran.stderr.trim()));
        return None;
    }
    Some(PathBuf::from(ran.stdout.trim().lines().last().unwrap()))
}

#[tokio::test]
async fn no_call_is_answered_otherwise_than_documented() {
    let Some(python) = python() else { return };
    let host = HostPlace::new("[[integration]]\nid = \"integ-1\"\nfolder = \"exports\"\n");
    let (server, client) = host.start();
    // Something to find.
    let made = client.data("POST", "/v2/clusters/in01-test/backups/create", Some(r#"{"backupType":"CLUSTER"}"#)).await;
    client.ended(made["jobId"].as_str().unwrap()).await;
    let ids = [made["backupId"].as_str().unwrap(), made["jobId"].as_str().unwrap()];
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let seed = std::env::var("LONGSHORE_SEED").unwrap_or_else(|_| "1".to_owned());
    let key = host.new_key("schemathesis", "organization-owner");
    let ran = run(&python, &host, &server, &key, (ids, &seed, long));
    let log = server.log();
    assert!(ran.code == 0, "seed {seed}: {}\n{}\n{log}", ran.stdout, ran.stderr);
    assert!(!log.contains("panicked") && !log.contains("status=500"), "{log}");
    // It was really asked, and is what it was.
    assert!(log.matches("answered").count() > 300, "{}", ran.stdout);
    // By a new connection: nobody looked after the first one meanwhile, and the server may have closed it.
    Client::new(&server, &key).data("GET", "/v2/backups", None).await;
    server.stop();
}

/// Calls name things that exist, so that they get further than a 404; what would take them away names others.
fn settings([backup, job]: [&str; 2]) -> String {
    format!(
        r#"
        [parameters]
        "path.cluster_id" = "in01-test"
        "path.backup_id" = "{backup}"
        "path.job_id" = "{job}"
        "path.project_id" = "proj-test"
        [[operations]]
        include-name = "DELETE /v2/clusters/{{cluster_id}}/drop"
        parameters = {{ "path.cluster_id" = "in01-absent" }}
        [[operations]]
        include-name = "DELETE /v2/clusters/{{cluster_id}}/backups/{{backup_id}}"
        parameters = {{ "path.cluster_id" = "in01-test", "path.backup_id" = "backup0_ab" }}
        "#
    )
}

fn run(python: &Path, host: &HostPlace, server: &Server, key: &str, (ids, seed, long): ([&str; 2], &str, bool)) -> Ran {
    let folder = host.path().join("schemathesis");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("schemathesis.toml"), settings(ids)).unwrap();
    let (phases, examples) = if long { ("coverage,fuzzing,stateful", "150") } else { ("coverage,fuzzing", "6") };
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", server.url)])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--checks", CHECKS, "--phases", phases, "--max-examples", examples, "--seed", seed])
        .args(["--continue-on-failure", "--no-shrink", "--workers", "1", "--suppress-health-check", "all"])
        .current_dir(folder)
        .env("NO_PROXY", "127.0.0.1")
        .env("NO_COLOR", "1");
    command.output().unwrap().into()
}
