//! Who gets at a real host, and how: keys from the command line, and TLS by certificate files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use longshore_tests::{Client, HostPlace, Ran, Server, longshore_in, not_run};
use serde_json::{Value, json};

fn key(host: &HostPlace, arguments: &[&str]) -> Ran {
    let config = host.config.to_str().unwrap();
    longshore_in(host.path(), ["key"].iter().chain(arguments).chain(&["--config", config]))
}

#[tokio::test]
async fn keys_are_made_for_a_role_a_scope_and_a_time_listed_and_revoked() {
    let host = HostPlace::new("");
    let make = |more: &[&str]| key(&host, &[&["create", "narrow", "--json"], more].concat());
    let narrow = make(&["--role", "backup-view", "--cluster", "in01-test", "--expires", "90d"]).ok().json();
    assert_eq!(narrow["scope"], json!({ "projects": [], "clusters": ["in01-test"] }), "{narrow}");
    let whole = make(&["--role", "project-admin", "--project", "proj-test", "--expires", "2999-12-31"]).ok().json();
    assert_eq!(whole["expires"], "2999-12-31T00:00:00Z");

    // What cannot be meant is refused before a key is made.
    make(&["--role", "organization-owner", "--project", "proj-test"]).refused(1, "is for everything");
    make(&["--cluster", "in01-tset"]).refused(1, "no cluster `in01-tset`");
    make(&["--project", "proj-other"]).refused(1, "no project `proj-other`; the one of this host is `proj-test`");
    make(&["--expires", "2001-01-01"]).refused(1, "has passed");
    make(&["--expires", "soon"]).refused(2, "no number of days (90d)");
    make(&["--role", "king"]).refused(2, "organization-owner, project-admin, backup-manage or backup-view");
    key(&host, &["revoke", "key-0"]).refused(1, "key-0");

    let (server, owner) = host.start();
    let client = |made: &Value| Client::new(&server, made["key"].as_str().unwrap());
    let (viewer, admin) = (client(&narrow), client(&whole));
    let listed = viewer.data("GET", "/v2/clusters", None).await;
    assert_eq!(listed["clusters"][0]["clusterId"], "in01-test");
    let create = "/v2/clusters/in01-test/backups/create";
    let body = Some(r#"{"backupType":"CLUSTER"}"#);
    assert_eq!(viewer.send("POST", create, body).await.0, 403);
    let made = admin.data("POST", create, body).await;
    admin.ended(made["jobId"].as_str().unwrap()).await;
    let (status, answer) = admin.send("POST", "/v2/reload", None).await;
    assert_eq!((status, &answer["code"]), (403, &json!(96027)));

    // A key that is revoked stops working at once.
    let id = whole["id"].as_str().unwrap();
    assert_eq!(key(&host, &["revoke", id, "--json"]).ok().json()["id"], id);
    let (status, answer) = admin.send("GET", "/v2/clusters", None).await;
    assert_eq!((status, &answer["code"]), (401, &json!(21119)));
    viewer.data("GET", "/v2/clusters", None).await;

    let listed = key(&host, &["list", "--json"]).ok();
    assert!(!listed.stdout.contains("lsk_"), "a key is shown once: {listed:?}");
    let listed = listed.json();
    let of = |id: &Value| listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    assert_eq!((&of(&whole["id"])["state"], &of(&narrow["id"])["state"]), (&json!("revoked"), &json!("works")));
    let table = key(&host, &["list"]).ok().stdout;
    let row = table.lines().find(|line| line.contains(narrow["id"].as_str().unwrap())).unwrap();
    assert!(row.contains(" backup-view ") && row.contains(" in01-test ") && row.ends_with(" works"), "{table}");
    assert!(table.starts_with("ID") && table.contains("everything"), "{table}");

    let audit = owner.data("GET", "/v2/auditLogs?pageSize=100", None).await;
    let actions: Vec<&str> =
        audit["auditLogs"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"key.create") && actions.contains(&"key.revoke"), "{actions:?}");
    server.stop();
}

#[tokio::test]
async fn costs_are_shown_from_the_command_line_as_over_the_api() {
    let host = HostPlace::new("");
    let text = std::fs::read_to_string(&host.config).unwrap();
    let priced = text.replace(
        "jurisdiction = \"eu\", vault = \"vault\"",
        "jurisdiction = \"eu\", storage_price_micros_per_gb_month = 20000000, vault = \"vault\"",
    );
    assert_ne!(text, priced);
    std::fs::write(&host.config, priced).unwrap();
    let (server, client) = host.start();
    let made = client.data("POST", "/v2/clusters/in01-test/backups/create", Some(r#"{"backupType":"CLUSTER"}"#)).await;
    client.ended(made["jobId"].as_str().unwrap()).await;
    let config = host.config.to_str().unwrap();
    let shown =
        longshore_in(host.path(), ["costs", "--by", "region,cluster,backup", "--json", "--config", config]).ok().json();
    let told = client.data("GET", "/v2/costs?groupBy=region,cluster,backup", None).await;
    assert_eq!(shown["costs"], told["costs"], "{shown} {told}");
    assert!(told["storageCostMicros"].as_u64().unwrap() > 0, "{told}");
    let table = longshore_in(host.path(), ["costs", "--by", "month,cluster", "--config", config]).ok().stdout;
    assert!(table.starts_with("MONTH") && table.contains("Dedicated-01") && table.contains("for storage"), "{table}");
    longshore_in(host.path(), ["costs", "--by", "year", "--config", config]).refused(2, "any of day, month");
    longshore_in(host.path(), ["costs", "--region", "mars", "--config", config]).refused(1, "no region `mars`");
    longshore_in(host.path(), ["costs", "--start", "2001-01-01", "--config", config]).refused(1, "at most 366 days");
    server.stop();
}

/// An issuer's certificate, and that of a server with its key, as files of these names.
fn certificate(folder: &Path, name: &str) {
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("{name} issuer"));
    std::fs::write(folder.join(format!("{name}-issuer.pem")), params.self_signed(&issuer_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, issuer_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let signed = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), signed.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    longshore_tests::set_mode(&folder.join(format!("{name}.key")), 0o600);
}

fn curl(host: &HostPlace, issuer: &str, arguments: &[&str]) -> Ran {
    let issuer = host.path().join(issuer);
    let noproxy =
        ["--noproxy", "*", "--silent", "--show-error", "--max-time", "30", "--cacert", issuer.to_str().unwrap()];
    Command::new("curl").args(noproxy).args(arguments).output().unwrap().into()
}

#[test]
fn a_host_with_a_certificate_is_reached_over_tls_only_and_takes_a_new_one_on_hangup() {
    if Command::new("curl").arg("--version").output().is_err() {
        not_run("TLS of a real host: there is no curl here");
        return;
    }
    let host = HostPlace::new("");
    for name in ["first", "second"] {
        certificate(host.path(), name);
    }
    let text = std::fs::read_to_string(&host.config).unwrap();
    let with = |files: &str| {
        let server = format!("calls_per_second = 1000, {files} }}");
        std::fs::write(&host.config, text.replace("calls_per_second = 1000 }", &server)).unwrap();
    };
    // What is wrong is a sentence, and nothing listens.
    for (files, expected) in [
        (r#"tls_certificate_file = "first.pem""#, "belong together"),
        (r#"tls_certificate_file = "first.pem", tls_key_file = "second.key""#, "does not belong to"),
        (r#"tls_certificate_file = "nowhere.pem", tls_key_file = "first.key""#, "nowhere.pem"),
        (r#"tls_certificate_file = "first.key", tls_key_file = "first.key""#, "holds no certificate"),
    ] {
        with(files);
        let log = Server::try_start(&host.config).err().expect("it must not start");
        assert!(log.contains(expected) && log.contains("error:") && !log.contains("panicked"), "{files}: {log}");
        let checked = ["serve", "--check", "--config", host.config.to_str().unwrap()];
        longshore_in(host.path(), checked).refused(1, expected);
    }
    with(r#"tls_certificate_file = "first.pem", tls_key_file = "first.key""#);
    let owner = host.new_key("tests", "organization-owner");
    let server = Server::start(&host.config);
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let (clusters, bearer) = (format!("{}/v2/clusters", server.url), format!("Authorization: Bearer {owner}"));
    let get = ["--header", &bearer, &clusters];
    let answer = curl(&host, "first-issuer.pem", &get).ok();
    assert_eq!(answer.json()["data"]["count"], 1, "{answer:?}");
    curl(&host, "first-issuer.pem", &[&["--tlsv1.2", "--tls-max", "1.2"][..], &get].concat()).ok();
    assert_ne!(curl(&host, "first-issuer.pem", &[&["--tls-max", "1.1"][..], &get].concat()).code, 0);
    assert_ne!(curl(&host, "second-issuer.pem", &get).code, 0, "an issuer that is not trusted");
    let plain = clusters.replace("https://", "http://");
    assert_ne!(curl(&host, "first-issuer.pem", &["--header", &bearer, &plain]).code, 0, "no TLS");

    for suffix in ["pem", "key"] {
        let (from, to) = (host.path().join(format!("second.{suffix}")), host.path().join(format!("first.{suffix}")));
        std::fs::rename(from, to).unwrap();
    }
    server.signal("HUP");
    // The signal has no answer; the log says when it was carried out.
    for _ in 0..1_000 {
        if server.log().contains("reloaded: policy") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(curl(&host, "second-issuer.pem", &get).ok().json()["data"]["count"], 1);
    assert_ne!(curl(&host, "first-issuer.pem", &get).code, 0, "the old certificate is gone");
    server.stop();
}
