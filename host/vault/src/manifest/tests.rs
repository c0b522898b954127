//! What people and other programs read: the JSON itself, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_model::{CollectionName, Digest, FileClass, LoadState, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{BlobId, IdKey, PackId};

fn part() -> Part {
    let key = IdKey::new([1; 32]);
    let file = FileEntry {
        number: 0,
        class: FileClass::Segment,
        size_bytes: 5,
        blobs: vec![key.blob_id(b"hello")],
        identity: Some(key.identity(b"/data/a")),
        masked_digest: None,
    };
    let digest = digest_of(b"hello");
    Part {
        open: PartOpen {
            backup_id: "backup0_ab".parse().unwrap(),
            token: 7,
            vault_id: "vault-01".parse().unwrap(),
            home_vault_id: None,
            recipients: None,
            created: Timestamp::from_millis(1_722_358_190_000),
            sizes: Sizes { plain_bytes: 5, stored_bytes: 5, new_bytes: 293 },
            collections: vec![CollectionFiles { number: 0, name_id: None, files: vec![file] }],
            packs: vec![PackRef { id: PackId::new(digest_of(b"pack")), size_bytes: 293 }],
        },
        sealed: Sealed::Readable(PartSealed {
            collections: vec![CollectionSealed {
                number: 0,
                name: CollectionName::new("", "articles").unwrap(),
                schema: JsonText::of(&json!({"fields": []})).unwrap(),
                properties: vec![("ttl".to_owned(), "60".to_owned())],
                indexes: Vec::new(),
                consistent_point: json!({"sequence": 9}),
                physical_rows: 3,
                live_rows: Some(2),
                content_digest: content_digest([("segments/1.parquet", 5, digest)]),
                load_state: LoadState::Loaded,
                finding: CollectionFinding::Unaltered,
                files: vec![FileSealed {
                    number: 0,
                    path: "segments/1.parquet".to_owned(),
                    partition: None,
                    digest,
                    rows: None,
                }],
                extra: serde_json::Value::Null,
            }],
        }),
    }
}

fn root() -> Root {
    let sizes = part().open.sizes;
    Root {
        open: RootOpen {
            backup_id: "backup0_ab".parse().unwrap(),
            token: 7,
            backup_type: longshore_model::BackupType::Cluster,
            creation_method: longshore_model::CreationMethod::Manual,
            cluster_id: "in01-demo".parse().unwrap(),
            project_id: "proj-demo".parse().unwrap(),
            home_region: "local".parse().unwrap(),
            created: Timestamp::from_millis(1_722_358_190_000),
            expires: None,
            sizes,
            parts: vec![PartRef {
                vault_id: "vault-01".parse().unwrap(),
                region_id: "local".parse().unwrap(),
                key: "parts/backup0_ab/x.json".to_owned(),
                digest: digest_of(b"part"),
                sizes,
            }],
        },
        sealed: Sealed::Readable(RootSealed { cluster_name: "demo".to_owned(), ..RootSealed::default() }),
    }
}

fn pretty(bytes: &[u8]) -> String {
    serde_json::to_string_pretty(&serde_json::from_slice::<serde_json::Value>(bytes).unwrap()).unwrap()
}

#[test]
fn a_part_reads_as_documented_and_comes_back_equal() {
    let bytes = part().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    assert_eq!(Part::parse("p", &bytes, &Limits::DEFAULT).unwrap(), part());
    insta::assert_snapshot!(pretty(&bytes));
}

#[test]
fn a_root_reads_as_documented_and_comes_back_equal() {
    let bytes = root().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    assert_eq!(Root::parse("r", &bytes, &Limits::DEFAULT).unwrap(), root());
    insta::assert_snapshot!(pretty(&bytes));
}

#[test]
fn a_receipt_gives_back_the_exact_root() {
    let bytes = root().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    let open = ReceiptOpen {
        backup_id: root().open.backup_id,
        token: 7,
        root: String::from_utf8(bytes.to_vec()).unwrap(),
        root_digest: digest_of(&bytes),
        part: root().open.parts[0].clone(),
        replaces: vec![digest_of(b"lost")],
    };
    let receipt = Receipt { open };
    let written = receipt.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    assert_eq!(Receipt::parse("r", &written, &Limits::DEFAULT).unwrap(), (receipt.clone(), root()));
    let mut other = receipt;
    other.open.root = other.open.root.replace("demo", "omed");
    let written = other.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    assert!(matches!(Receipt::parse("r", &written, &Limits::DEFAULT), Err(VaultError::BadManifest { .. })));
}

#[test]
fn fields_of_later_versions_are_ignored_and_later_formats_are_not() {
    let text = String::from_utf8(part().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap().to_vec()).unwrap();
    let with_more = text.replacen("\"token\":7", "\"token\":7,\"invented_later\":[1]", 1);
    assert_eq!(Part::parse("p", with_more.as_bytes(), &Limits::DEFAULT).unwrap(), part());
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(matches!(Part::parse("p", newer.as_bytes(), &Limits::DEFAULT), Err(VaultError::NewerFormat { .. })));
    let sealed = text.replacen("\"encoding\":\"plain\"", "\"encoding\":\"age-2\"", 1);
    assert!(matches!(Part::parse("p", sealed.as_bytes(), &Limits::DEFAULT), Err(VaultError::Unsupported { .. })));
    assert!(matches!(Root::parse("p", text.as_bytes(), &Limits::DEFAULT), Err(VaultError::BadManifest { .. })));
}

#[test]
fn a_part_that_contradicts_itself_is_neither_written_nor_read() {
    fn sealed(part: &mut Part) -> &mut PartSealed {
        match &mut part.sealed {
            Sealed::Readable(body) => body,
            Sealed::Locked(_) => panic!("it is readable"),
        }
    }
    type Change = fn(&mut Part);
    let changes: [(&str, Change); 7] = [
        ("another file number", |part| sealed(part).collections[0].files[0].number = 1),
        ("another collection number", |part| part.open.collections[0].number = 4),
        ("a file less", |part| sealed(part).collections[0].files.clear()),
        ("sizes", |part| part.open.sizes.plain_bytes += 1),
        ("a path that leads out", |part| sealed(part).collections[0].files[0].path = "a/../../b".to_owned()),
        ("an absolute path", |part| sealed(part).collections[0].files[0].path = "/etc/passwd".to_owned()),
        ("a name with a slash", |part| sealed(part).collections[0].name.collection = "a/b".to_owned()),
    ];
    for (what, change) in changes {
        let mut part = part();
        change(&mut part);
        assert!(
            matches!(part.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT), Err(VaultError::BadManifest { .. })),
            "{what}"
        );
        let (seal, limits, backup) = (&ManifestSeal::Plain, &Limits::DEFAULT, (&part.open.backup_id, 7));
        let packed = PackedHalf::of(ManifestKind::Part, backup, &part.sealed, seal, limits).unwrap();
        let bytes = packed.write(ManifestKind::Part, &part.open, seal, limits).unwrap();
        assert!(matches!(Part::parse("p", &bytes, &Limits::DEFAULT), Err(VaultError::BadManifest { .. })), "{what}");
    }
}

#[test]
fn a_root_whose_parts_do_not_add_up_is_refused() {
    let mut more = root();
    more.open.parts.push(more.open.parts[0].clone());
    assert!(more.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).is_err());
    let mut sizes = root();
    sizes.open.sizes.stored_bytes += 1;
    assert!(sizes.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).is_err());
}

#[test]
fn the_content_digest_depends_on_names_sizes_and_bytes_but_not_on_order() {
    let (one, two) = (digest_of(b"1"), digest_of(b"2"));
    let digest = content_digest([("a", 1, one), ("b", 2, two)]);
    assert_eq!(digest, content_digest([("b", 2, two), ("a", 1, one)]));
    for other in [[("a", 1, one), ("c", 2, two)], [("a", 1, one), ("b", 3, two)], [("a", 1, two), ("b", 2, one)]] {
        assert_ne!(digest, content_digest(other));
    }
    assert_ne!(content_digest([("ab", 1, one)]), content_digest([("a", 1, one)]));
}

proptest! {
    #[test]
    fn damaged_json_never_panics(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = part().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap().to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = Part::parse("p", &bytes, &Limits::DEFAULT);
        let _ = Root::parse("p", &bytes, &Limits::DEFAULT);
        let _ = Receipt::parse("p", &bytes, &Limits::DEFAULT);
    }
}

#[test]
fn a_long_sealed_half_is_shrunk_and_comes_back_equal() {
    let mut long = root();
    let Sealed::Readable(body) = &mut long.sealed else { panic!("it is readable") };
    body.cluster_name = "a cluster with a long name ".repeat(4_000);
    let bytes = long.to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    assert!(bytes.len() < 4_000, "{} bytes", bytes.len());
    assert!(String::from_utf8_lossy(&bytes).contains(r#""sealed":{"encoding":"zstd","body":""#));
    assert_eq!(Root::parse("r", &bytes, &Limits::DEFAULT).unwrap(), long);
    assert_eq!(RootOpen::parse("r", &bytes).unwrap(), (long.open.clone(), false));
    // What it would grow to is bounded like what is read.
    let limits = Limits { manifest_bytes: 100_000, ..Limits::DEFAULT };
    assert!(matches!(Root::parse("r", &bytes, &limits), Err(VaultError::BadManifest { .. })));
    assert!(matches!(long.to_bytes(&ManifestSeal::Plain, &limits), Err(VaultError::TooLarge { .. })));
    for (from, to) in [("\"body\":\"", "\"body\":\"AAAA"), ("\"body\":\"", "\"body\":\"*")] {
        let damaged = String::from_utf8(bytes.to_vec()).unwrap().replacen(from, to, 1);
        assert!(matches!(Root::parse("r", damaged.as_bytes(), &Limits::DEFAULT), Err(VaultError::BadManifest { .. })));
    }
}

#[test]
fn halves_are_read_in_any_order_of_their_fields() {
    let bytes = root().to_bytes(&ManifestSeal::Plain, &Limits::DEFAULT).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let (open, body) = (&value["open"], &value["sealed"]["body"]);
    let turned = format!(r#"{{"sealed":{{"body":{body},"encoding":"plain"}},"open":{open},"kind":"root","format":1}}"#);
    assert_eq!(Root::parse("r", turned.as_bytes(), &Limits::DEFAULT).unwrap(), root());
}

#[test]
fn digests_in_manifests_are_hexadecimal_text() {
    let id = BlobId::new(Digest::new([0xab; 32]));
    assert_eq!(serde_json::to_value(id).unwrap(), json!("ab".repeat(32)));
}
