//! Reading granted directories: what is taken, and what is said about the rest.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::Path;

use longshore_policy::{Grants, ReadGrant};

use super::read_grants;

fn grants(host: &Path) -> Grants {
    Grants { read: vec![ReadGrant { guest: "/rules".to_owned(), host: host.to_owned() }] }
}

fn said(host: &Path) -> String {
    read_grants(&grants(host)).unwrap_err().to_string()
}

#[test]
fn files_are_read_in_order_with_those_of_directories_and_links_inside() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path();
    // As a mounted ConfigMap looks.
    std::fs::create_dir_all(rules.join("..2026/deep")).unwrap();
    std::fs::write(rules.join("..2026/b.toml"), "b").unwrap();
    std::fs::write(rules.join("..2026/deep/c.toml"), "c").unwrap();
    symlink("..2026", rules.join("..data")).unwrap();
    symlink("..data/b.toml", rules.join("b.toml")).unwrap();
    std::fs::write(rules.join("a.toml"), "a").unwrap();
    std::fs::create_dir(rules.join("empty")).unwrap();
    let files = read_grants(&grants(rules)).unwrap();
    let read: Vec<(&str, &str)> =
        files.files().map(|(_, path, bytes)| (path, std::str::from_utf8(bytes).unwrap())).collect();
    assert_eq!(read, [("..2026/b.toml", "b"), ("..2026/deep/c.toml", "c"), ("a.toml", "a"), ("b.toml", "b")]);
    assert_eq!(files.directories().collect::<Vec<_>>(), ["/rules"]);
}

#[test]
fn no_link_leads_out_and_nothing_is_left_out_silently() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let (rules, link) = (folder.path().join("rules"), folder.path().join("rules/link"));
    std::fs::create_dir(&rules).unwrap();
    for (target, expected) in [
        (secret.as_path(), "leads out of the granted directory"),
        (Path::new("../secret"), "leads out of the granted directory"),
        (folder.path(), "leads out of the granted directory"),
        (Path::new("nowhere"), "leads nowhere"),
    ] {
        symlink(target, &link).unwrap();
        let error = said(&rules);
        assert!(error.contains(expected) && error.contains("rules/link"), "{}: {error}", target.display());
        std::fs::remove_file(&link).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, &link, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    assert!(said(&rules).contains("neither a file nor a directory"));
    assert!(said(&folder.path().join("missing")).contains("cannot be read for a policy"));
    assert!(said(&secret).contains("cannot be read for a policy"));
}

#[test]
fn what_goes_over_a_limit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path();
    std::fs::write(rules.join("a"), vec![0; 1024 * 1024]).unwrap();
    assert_eq!(read_grants(&grants(rules)).unwrap().files().count(), 1);
    std::fs::write(rules.join("b"), "1").unwrap();
    assert!(said(rules).contains("over the 1048576 bytes"), "{}", said(rules));
    std::fs::remove_file(rules.join("a")).unwrap();
    std::fs::create_dir_all(rules.join("1/2/3/4/5/6/7/8")).unwrap();
    assert!(said(rules).contains("lies deeper than 8 levels"), "{}", said(rules));
    std::fs::remove_dir_all(rules.join("1")).unwrap();
    for number in 0..256 {
        std::fs::write(rules.join(format!("f{number}")), "").unwrap();
    }
    assert!(said(rules).contains("one more than the 256 files and directories"), "{}", said(rules));
}
