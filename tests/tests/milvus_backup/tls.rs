//! A server that speaks TLS only and wants to see a certificate of whoever calls.

use std::path::Path;

use longshore_source::Limits;
use longshore_source::milvus::{MilvusClient, Secret, ServerAddress, Tls};
use longshore_tests::longshore_in;
use longshore_tests::milvus::Milvus;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};

use super::support::{Rows, configuration, server};

/// Makes an authority and, from it, certificates for a server called `milvus.test` and for a client:
/// `NAME-ca.pem`, `NAME-server.pem`, `NAME-server.key`, `NAME-client.pem`, `NAME-client.key`.
fn make(folder: &Path, name: &str) {
    let named = |common_name: String, mut params: CertificateParams| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params
    };
    let mut params = named(name.to_owned(), CertificateParams::new(Vec::new()).unwrap());
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}-ca.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (who, purpose) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["milvus.test".to_owned()]).unwrap();
        let mut params = named(format!("{name} {who}"), names);
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}-{who}.pem")), certificate.pem()).unwrap();
        let path = folder.join(format!("{name}-{who}.key"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_backed_up_over_tls_and_whoever_cannot_prove_itself_is_told() {
    // The turn: one server works at a time.
    let Some((_, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "good");
    make(folder.path(), "bad");
    let file = |name: &str| folder.path().join(name);
    let settings = [
        "common.security.tlsMode=2".to_owned(),
        format!("tls.serverPemPath={}", file("good-server.pem").display()),
        format!("tls.serverKeyPath={}", file("good-server.key").display()),
        format!("tls.caPemPath={}", file("good-ca.pem").display()),
    ];
    let Some(milvus) = Milvus::start(&settings.each_ref().map(String::as_str)) else { return };
    let tls = Tls {
        ca_certificate: Some(std::fs::read(file("good-ca.pem")).unwrap()),
        server_name: Some("milvus.test".to_owned()),
        identity: Some((
            std::fs::read(file("good-client.pem")).unwrap(),
            Secret::new(std::fs::read_to_string(file("good-client.key")).unwrap()),
        )),
    };
    let address = ServerAddress { tls: Some(tls), ..ServerAddress::open(format!("https://{}", milvus.address())) };
    let client = MilvusClient::connect(&address, Limits::DEFAULT).await.unwrap();
    let rows = Rows::create_by(client, "tls.rows", 1, &[]).await;
    rows.insert(0..500).await;

    let configure = |scheme: &str, more: &str| {
        configuration(folder.path(), &milvus.address(), &milvus.storage, more);
        let path = file("longshore.toml");
        let text = std::fs::read_to_string(&path).unwrap().replace("http://", scheme);
        std::fs::write(path, text).unwrap();
    };
    let of = |ca: &str, client: &str| {
        format!(
            "server_name = \"milvus.test\"\nca_certificate_file = \"{ca}-ca.pem\"\n\
             client_certificate_file = \"{client}-client.pem\"\nclient_key_file = \"{client}-client.key\""
        )
    };
    configure("https://", &of("good", "good"));
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--json"];
    let made = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(made["collections"][0]["liveRows"], 500, "{made}");
    let check = || longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml", "--json"]);
    assert_eq!(check().ok().json()["works"], true);
    let ca_only = "server_name = \"milvus.test\"\nca_certificate_file = \"good-ca.pem\"";
    let another_name = of("good", "good").replace("milvus.test", "another.test");
    for (scheme, more) in [
        ("https://", of("bad", "good")),
        ("https://", of("good", "bad")),
        ("https://", ca_only.to_owned()),
        ("https://", another_name),
        ("http://", String::new()),
    ] {
        configure(scheme, &more);
        let said = check();
        assert_eq!(said.code, 1, "{scheme} {more}: {said:?}");
        let findings = said.json()["findings"].clone();
        let bad = findings.as_array().unwrap().iter().any(|one| one["state"] == "bad" && one["what"] == "server");
        assert!(bad, "{scheme} {more}: {findings}");
        assert!(findings.to_string().contains("address, port and TLS are right"), "{scheme} {more}: {findings}");
    }
}
