//! Good configurations, and mistakes.
#![allow(clippy::unwrap_used)]
use super::*;

const GOOD: &str = r#"
        data_directory = "data"
        [project]
        id = "proj-a"
        name = "A"
        [[region]]
        id = "local-eu"
        jurisdiction = "eu"
        vault = "vaults/eu"
        [[cluster]]
        id = "in01-aa"
        name = "Dedicated-01"
        region = "local-eu"
        milvus_lite = "lite"
        retention = { keep_last = 3 }
        [cluster.labels."docs"]
        "data.region" = "eu"
        [[policy.placement]]
        plugin = "residency.wasm"
        grants = { read = [{ guest = "/rules", host = "rules" }] }
        settings = { second_region = true }
        [[policy.placement]]
        plugin = "standard"
    "#;

#[test]
fn paths_are_relative_to_the_folder_of_the_file() {
    let config = HostConfig::parse(GOOD, Path::new("/etc/longshore")).unwrap();
    assert_eq!(config.data_directory, Path::new("/etc/longshore/data"));
    assert_eq!(config.regions[0].vault, Path::new("/etc/longshore/vaults/eu"));
    assert_eq!(config.policy.placement[0].plugin, "/etc/longshore/residency.wasm");
    assert_eq!(config.policy.placement[1].plugin, "standard");
    assert_eq!(config.policy.placement[0].grants.read[0].host, Path::new("/etc/longshore/rules"));
    assert_eq!(config.clusters[0].labels.len(), 1);
    assert_eq!(config.server.calls_per_second, 20, "as Zilliz Cloud, unless it is said");
}

#[test]
fn mistakes_are_named_with_their_place() {
    let cases = [
        ("vault = \"vaults/eu\"", "vualt = \"x\"", "vualt"),
        ("region = \"local-eu\"", "region = \"local-us\"", "local-us"),
        ("name = \"Dedicated-01\"", "name = \"a b\"", "not a cluster name"),
        ("id = \"in01-aa\"", "id = \"aa\"", "cluster id"),
        ("[cluster.labels.\"docs\"]", "[cluster.labels.\"a/b\"]", "collection name"),
        ("[project]", "[[project]]", "project"),
        ("[project]", "[limits]\nbandwidth_bytes_per_second = 10\n[project]", "slower than the least"),
        ("[project]", "[limits]\ncpu_threads = 0\n[project]", "cpu_threads = 0"),
    ];
    for (good, bad, expected) in cases {
        let error = HostConfig::parse(&GOOD.replacen(good, bad, 1), Path::new("")).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn a_cluster_may_have_retention_rules_of_its_own() {
    let config = HostConfig::parse(&format!("{GOOD}\n[retention]\ndays = 30\n"), Path::new("")).unwrap();
    assert_eq!(config.retention_of(&"in01-aa".parse().unwrap()).keep_last, 3);
    assert_eq!(config.retention_of(&"in01-aa".parse().unwrap()).days, 0);
    assert_eq!(config.retention_of(&"in01-bb".parse().unwrap()).days, 30);
}

#[test]
fn one_vault_cannot_serve_two_regions() {
    let two = format!("{GOOD}\n[[region]]\nid = \"b\"\nvault = \"vaults/eu\"");
    let error = HostConfig::parse(&two, Path::new("")).unwrap_err().to_string();
    assert!(error.contains("two regions"), "{error}");
}

#[test]
fn servers_that_wait_say_where_they_are_and_as_whom_they_are_used() {
    let server = r#"
        [[server_pool]]
        name = "spare"
        region = "local-eu"
        [server_pool.milvus]
        endpoint = "http://10.0.0.7:19530"
        user = "root"
        password_file = "password"
        storage = { folder = "storage" }
    "#;
    let parse = |text: &str| HostConfig::parse(&format!("{GOOD}{text}"), Path::new("/etc/longshore"));
    let spare = parse(server).unwrap().server_pool.remove(0);
    assert_eq!((spare.kind.as_str(), spare.location.as_str()), ("milvus", "http://10.0.0.7:19530"));
    assert_eq!(spare.milvus.unwrap().storage.folder.unwrap(), Path::new("/etc/longshore/storage"));
    let other = "region = \"local-eu\"\nkind = \"other\"\nlocation = \"here\"";
    let cases = [
        (server.replace("\"root\"", "\"db_admin\""), "whom a restore makes anew"),
        (server.replace("region = \"local-eu\"", other), "leave them out"),
        (server.replace("password_file = \"password\"", ""), "has no password"),
        (server.replace("region = \"local-eu\"", "region = \"local-us\""), "no [[region]]"),
        ("[[server_pool]]\nname = \"spare\"\nregion = \"local-eu\"\n".to_owned(), "does not say where it is"),
        (server.to_owned() + &server.replace("\"spare\"", "\"second\""), "stands there twice"),
        (server.replace("name = \"spare\"", "name = \"spare\"\ncu_size = 0"), "1 to 1024"),
    ];
    for (bad, expected) in cases {
        let error = parse(&bad).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("[[server_pool]]"), "{expected}: {error}");
    }
}
